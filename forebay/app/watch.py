"""The watch: what was set is a state to be held, not an event. It looks where no run is at work."""

from __future__ import annotations

from forebay.app.arm import watch_armed
from forebay.app.blind import look_failed, look_succeeded
from forebay.app.context import Context
from forebay.app.keep import Unseen, keep_workload, tell_hand
from forebay.app.people import hold_by_controller
from forebay.control.keep import Adopt, Clash, Keep
from forebay.domain.errors import NotShownYet, all_tried, kept
from forebay.domain.lifecycle import AFTER, FOR_A_PERSON, MOVING, ChangeState
from forebay.domain.records import ChangeRecord

# A change that waits for a person makes no step, but what it has set is kept.
WATCHED = MOVING | AFTER | {ChangeState.ARMED} | FOR_A_PERSON


def watch(ctx: Context, record: ChangeRecord) -> None:
    """Look once at every workload of a change. Raises OutsideError, once all were looked at.

    A foreign write is answered by the workload's rule. Where that wants a person, the change is held before its policy
    is in force; afterwards, and where it is held already, it is reported, once. So is that nobody can look.
    """
    if record.state not in WATCHED:
        return
    try:
        looked = _watch(ctx, record)
    except NotShownYet:  # it was looked at, and will show in a moment
        raise
    except Exception as error:
        look_failed(ctx, record, error)
        raise
    if looked:
        look_succeeded(ctx, record)


def _watch(ctx: Context, record: ChangeRecord) -> bool:
    """Whether all of its workloads were looked at. Raises the first error, once they were tried."""
    if record.state is ChangeState.ARMED:
        # From its effective time on it is looked at once it is recorded as in force.
        lost = watch_armed(ctx, record.change.change)
        return lost is None and ctx.clock.now() < record.change.effective_at
    looked = True
    with all_tried() as failed:
        for name in record.change.workloads:
            with kept(failed):
                looked &= _watch_workload(ctx, record, name)
    return looked


def _watch_workload(ctx: Context, record: ChangeRecord, name: str) -> bool:
    answer = keep_workload(ctx, record, ctx.workload(name))
    match answer:
        case Clash(reason=reason, lapses=lapses) if record.state in MOVING or (record.lapses and not lapses):
            hold_by_controller(ctx, record.change.change, reason, lapses=lapses)
        case Keep() | Adopt() | Clash():
            tell_hand(ctx, record, name, answer)
    return not isinstance(answer, Unseen)
