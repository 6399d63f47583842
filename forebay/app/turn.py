"""Changes that overlap on a workload or a policy take turns, in the order they were accepted: one writer, one sequence.

A later change is planned on what the earlier ones will have left, with their impact in the demand. It makes no step on
a shared workload, and its policy is not armed, before they are over, unless one of them carries it (`joint.py`). So
originals, restores and the watch never meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from forebay.domain.change import PolicyChange
from forebay.domain.errors import RuleRefusal
from forebay.domain.lifecycle import AFTER, MOVING, TERMINAL, ChangeState, StepState
from forebay.domain.plan import ShapingPlan
from forebay.domain.records import ChangeRecord
from forebay.domain.workload import Workload
from forebay.ports import Snapshot

# What waits for a change is looked at again, and maybe planned anew, once that is over.
TAKING_OVER = timedelta(minutes=5)
# In these states a change makes its steps, or holds what they brought: whoever it carries may count on it.
CARRYING = MOVING | AFTER | {ChangeState.ARMED}


@dataclass(frozen=True)
class Ahead:
    """An earlier change on the same workload: its current plan there, and the floor it gives back (None: a count).

    `acts_from`: when its policy took force, or will as far as is known: later than its effective time where deferred.
    """

    change: PolicyChange
    plan: ShapingPlan | None
    floor: int | None
    state: ChangeState
    acts_from: datetime

    @property
    def settled_at(self) -> datetime:
        """If all goes as planned."""
        return self.change.settled_at(self.acts_from)

    @property
    def units_left(self) -> int:
        """Where a count stands once it is over."""
        if self.plan is None:
            return 0
        return self.plan.steps[-1].to_units if self.plan.steps else self.plan.counted


def ahead_of(tx: Snapshot, change: PolicyChange) -> list[ChangeRecord]:
    """Changes accepted before `change` (before now, if it is not stored yet) that are not over and overlap with it."""
    newest_first = tx.changes(frozenset(ChangeState) - TERMINAL)
    names = [record.change.change for record in newest_first]
    earlier = newest_first[names.index(change.change) + 1 :] if change.change in names else newest_first
    return [record for record in earlier if _overlap(record.change, change)]


def waits_for(tx: Snapshot, change: PolicyChange, workload: str | None = None) -> str | None:
    """In words, whom `change` waits for (on `workload`); None if it is its turn."""
    return _waiting([r for r in ahead_of(tx, change) if workload is None or workload in r.change.workloads])


def next_is_due(tx: Snapshot, change: PolicyChange, now: datetime) -> bool:
    """Whether a later change that waits for `change` is about to make a step, or to take force."""
    newest_first = tx.changes(frozenset(ChangeState) - TERMINAL)
    names = [record.change.change for record in newest_first]
    if change.change not in names:  # it has come to its end meanwhile, and nobody waits for it
        return False
    later = newest_first[: names.index(change.change)]
    for other in (record.change for record in later if record.state in MOVING and _overlap(record.change, change)):
        pending = (s.step.due_at for s in tx.steps(other.change) if s.state is StepState.PENDING)
        if min([other.effective_at, *pending]) <= now + TAKING_OVER:
            return True
    return False


def waits_to_arm(tx: Snapshot, change: PolicyChange) -> str | None:
    """In words, whom the policy of `change` waits for: as its steps do, but for nobody on its path."""
    plans = {name: tx.plan(change.change, name) for name in change.workloads}

    def on_one_path(other: ChangeRecord) -> bool:
        if same_policy(other.change, change):
            return False
        for name in set(other.change.workloads) & set(change.workloads):
            by = plan.carried_by if (plan := plans[name]) else ""
            theirs = tx.plan(other.change.change, name)
            leads = by == other.change.change and other.state in CARRYING
            if not by or not (leads or (theirs is not None and theirs.carried_by == by)):
                return False
        return True

    return _waiting([record for record in ahead_of(tx, change) if not on_one_path(record)])


def _waiting(newest_first: Sequence[ChangeRecord]) -> str | None:
    names = ", ".join(f"{record.change.change} ({record.state})" for record in reversed(newest_first))
    return f"waits for {names}" if names else None


def free_from(ahead: Sequence[Ahead], workload: Workload) -> datetime | None:
    """When they are over, if all goes as planned: in force, settled, and what was raised given back."""
    return max((a.settled_at + workload.verified_after for a in ahead), default=None)


def check_turn(tx: Snapshot, change: PolicyChange) -> None:
    """Raises RuleRefusal if `change` overtakes an earlier one that it overlaps with; one of the same policy is not even
    to take effect before the earlier is settled. Whether one of others can, on the same path, is for the plan to say.
    """
    for other in ahead_of(tx, change):
        over = other.change.settled_at()
        overtakes = change.effective_at < other.change.effective_at
        if overtakes or (same_policy(other.change, change) and change.effective_at <= over):
            shared = sorted(set(other.change.workloads) & set(change.workloads))
            what = f"on {', '.join(shared)}" if shared else f"of {change.title}"
            if other.state is ChangeState.CANCELLED:
                raise RuleRefusal(
                    "overlapping changes take turns",
                    f"change {other.change.change} (cancelled) {what} is going back",
                    f"this change once {other.change.change} is rolled back",
                )
            raise RuleRefusal(
                "overlapping changes take turns",
                f"change {other.change.change} ({other.state}) {what} will be in force and settled at "
                f"{over.isoformat()}",
                f"an effective time after that, or this change once {other.change.change} is over",
            )


def check_nobody_behind(tx: Snapshot, before: PolicyChange, edited: PolicyChange) -> None:
    """Raises RuleRefusal if a later change counts on this one as it is, or as over: then it is no longer edited."""
    newest_first = tx.changes(frozenset(ChangeState))
    later = newest_first[: [record.change.change for record in newest_first].index(before.change)]
    for other in later:
        if other.state not in TERMINAL and (_overlap(other.change, before) or _overlap(other.change, edited)):
            raise RuleRefusal(
                "overlapping changes take turns",
                f"change {other.change.change} ({other.state}) was accepted after {before.change} and overlaps with it",
                "the same under a new name, which then comes after it",
            )


def same_policy(one: PolicyChange, other: PolicyChange) -> bool:
    return (one.entity, one.policy) == (other.entity, other.policy)


def _overlap(one: PolicyChange, other: PolicyChange) -> bool:
    return same_policy(one, other) or bool(set(one.workloads) & set(other.workloads))
