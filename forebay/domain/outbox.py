"""The outbox: what is to be told to the outside, stored with what it announces and sent afterwards. Pure.

At least once: a message is claimed before it is sent, and is due again where nobody said how that ended. In order: of
one lane the oldest that waits goes first. Visible: what could not be sent is kept, and says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from forebay.domain.model import Model, UtcTime

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=15)
# With the pauses above: given up after somewhat more than three hours.
MOST_ATTEMPTS = 20
# Longer than any outlet takes to send or to fail (two calls of three attempts each), so that nothing overtakes.
CLAIM = timedelta(seconds=60)


class MessageState(StrEnum):
    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"
    DISCARDED = "discarded"


class Message(Model):
    """`outlet` sends it. Of one outlet and `lane`, messages go one after the other, and each `key` once.

    `number` is given by the store. `attempts` counts claims. `change`: whose audit log tells how it went.
    """

    number: int = 0
    outlet: str
    lane: str
    key: str
    body: str
    change: str | None = None
    made_at: UtcTime
    due_at: UtcTime
    attempts: int = 0
    state: MessageState = MessageState.WAITING
    failure: str | None = None

    @property
    def name(self) -> str:
        return f"{self.outlet}: {self.lane} {self.key}"

    def overdue(self, now: datetime) -> bool:
        """Nobody has come for it for so long: whoever has its outlet configured does not run, or nobody has."""
        return self.state is MessageState.WAITING and self.due_at + CLAIM <= now

    def claimed(self, now: datetime) -> Message:
        """Somebody sends it now; if nobody says how that ended, it is due again."""
        return self.model_copy(update={"attempts": self.attempts + 1, "due_at": now + CLAIM})

    def sent(self) -> Message:
        return self.model_copy(update={"state": MessageState.SENT, "failure": None})

    def failed(self, failure: str, now: datetime, *, retryable: bool) -> Message:
        """To be tried again after a pause that doubles; dead where that cannot help or was tried often enough."""
        if not retryable or self.attempts >= MOST_ATTEMPTS:
            return self.model_copy(update={"state": MessageState.DEAD, "failure": failure})
        return self.model_copy(update={"due_at": now + pause(self.attempts), "failure": failure})

    def revived(self, now: datetime) -> Message:
        """A person has mended what stood in its way."""
        return self.model_copy(update={"state": MessageState.WAITING, "attempts": 0, "due_at": now})

    def discarded(self) -> Message:
        """A person has decided that it need not be sent. It is kept, so that it is not posted anew."""
        return self.model_copy(update={"state": MessageState.DISCARDED})


def pause(attempts: int) -> timedelta:
    """After so many attempts: 5 s, 10 s, 20 s, … and at most 15 min."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(attempts - 1, 10)))


def worth_repeating(status: int) -> bool:
    """Whether the same HTTP call may be answered otherwise later: the server failed, timed out or is busy."""
    return status >= 500 or status in (408, 425, 429)


def due(waiting: Iterable[Message], now: datetime) -> list[Message]:
    """Of each outlet and lane the oldest, where its time has come; oldest first."""
    heads: dict[tuple[str, str], Message] = {}
    for message in sorted(waiting, key=lambda m: m.number):
        heads.setdefault((message.outlet, message.lane), message)
    return [message for message in heads.values() if message.due_at <= now]
