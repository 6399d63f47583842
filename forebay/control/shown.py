"""Whether a look at a target may be older than our last write. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from forebay.domain.allocation import Setting, in_words
from forebay.domain.records import Intent, Outcome

# A cloud's API answers from copies: for so long after a write a read may still show what stood before it.
SHOWN_AFTER = timedelta(seconds=60)


def not_shown_yet(intents: Sequence[Intent], live: Setting, now: datetime, lease: timedelta) -> str | None:
    """Why `live` says nothing yet, in words: it is what stood before the last write, which was just made (or may have
    been, where its answer was lost). None where it can be judged by. `intents`: on one workload, oldest first.

    A writer that stands still, or has died, may have made what it announced as late as its `lease` ended.
    """
    last = next((i for i in reversed(intents) if i.outcome in (None, Outcome.DONE)), None)
    if last is None or last.new.stands_in(live) or not last.stood_before(live):
        return None
    shown_at = (last.settled_at or last.unanswered_at or last.stored_at + lease) + SHOWN_AFTER
    if now >= shown_at:
        return None
    return (
        f"{last.workload} still shows {in_words(live)}, from before our write of {in_words(last.new)}: "
        f"whether that stands is told from {shown_at:%H:%M:%S} on"
    )
