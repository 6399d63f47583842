"""A count that another hand sets below the floor that stands: the answer by each rule, as named rows."""

from __future__ import annotations

import pytest

from forebay.control.keep import Clash, Keep, keep
from forebay.domain.allocation import Setting, TargetState
from forebay.domain.records import Intent, Outcome, Purpose
from tests.support.world import a_workload, floor, minutes

EIGHT = floor(8)


def wrote(purpose: Purpose = Purpose.STEP, at: float = 0, *, units: int = 8, new: Setting = EIGHT) -> Intent:
    return Intent(
        number=1,
        change="CHG-1",
        workload="web",
        sequence=None,
        plan_hash=None,
        units=units,
        old=floor(1),
        new=new,
        why="why",
        fencing=1,
        stored_at=minutes(at),
        purpose=purpose,
        outcome=Outcome.DONE,
    )


STEP, FOUR = wrote(), wrote(Purpose.ADOPTED, 1, units=4)
BUDGET = [STEP, *[wrote(Purpose.INSIST, at) for at in (1, 2, 3)]]
ROWS: dict[str, tuple[str, int, list[Intent], Setting | str | None]] = {
    # rule, units that are to run under floor 8, what was written -> what is written again, or said
    "the floor holds": ("hold", 8, [STEP], None),
    "an autoscaler above it": ("hold", 12, [STEP], None),
    "hold": ("hold", 4, [STEP], "changed by joe: web is to run 4 units, and floor 8 (ceiling 20) stands"),
    "not before it is known": ("hold", 4, [wrote(at=9.5)], None),
    "insist, within one move": ("insist", 4, [STEP], floor(6)),
    "insist, the floor as it is": ("insist", 7, [STEP], floor(8)),
    "insist has its budget": ("insist", 7, BUDGET, "written again 3 times already"),
    "yield": ("yield", 4, [STEP], "less than the 8 units the plan needs"),
    "gone on from already": ("hold", 4, [STEP, FOUR], None),
    "and lowered again since": ("hold", 3, [STEP, FOUR], "web is to run 3 units"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_count_below_the_floor(name: str) -> None:
    rule, desired, intents, wanted = ROWS[name]
    target = TargetState(setting=EIGHT, desired=desired, serving=desired, stable=True)
    answer = keep(a_workload(on_foreign_write=rule), target, intents, minutes(10), "joe", cap=None)
    if isinstance(wanted, Setting):
        assert isinstance(answer, Keep) and answer.setting == wanted
    elif wanted is None:
        assert answer is None
    else:
        assert isinstance(answer, Clash) and wanted in answer.reason
        assert answer.lapses, "it goes on by itself once the count is back"


def test_a_floor_and_a_maximum_lowered_over_what_demand_needs() -> None:
    """A step down asks for 10 units, and the floor of 4 stays under it: 6 that run by demand are nobody's."""
    lowered = floor(4, 10)
    target = TargetState(setting=lowered, desired=6, serving=6, stable=True)
    assert keep(a_workload(), target, [wrote(units=10, new=lowered)], minutes(10), cap=None) is None
