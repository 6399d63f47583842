"""A count that another hand sets below the floor that stands: the answer by each rule, as named rows."""

from __future__ import annotations

import pytest

from forebay.control.keep import Clash, Keep, keep
from forebay.domain.allocation import Setting
from forebay.domain.records import Intent, Purpose
from tests.support.world import a_workload, floor, minutes
from tests.unit.test_control_keep import stands, wrote

EIGHT = floor(8)


STEP = wrote(EIGHT)
FOUR = wrote(EIGHT, Purpose.ADOPTED, 1).model_copy(update={"units": 4})  # the count was gone on from, under its floor
BUDGET = [STEP, *[wrote(EIGHT, Purpose.INSIST, at) for at in (1, 2, 3)]]
ROWS: dict[str, tuple[str, int, list[Intent], Setting | str | None]] = {
    # rule, units that are to run under floor 8, what was written -> what is written again, or said
    "the floor holds": ("hold", 8, [STEP], None),
    "an autoscaler above it": ("hold", 12, [STEP], None),
    "hold": ("hold", 4, [STEP], "changed by joe: web is to run 4 units, and floor 8 (ceiling 20) stands"),
    "not before it is known": ("hold", 4, [wrote(EIGHT, at=9.5)], None),
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
    answer = keep(a_workload(on_foreign_write=rule), stands(EIGHT, desired), intents, minutes(10), "joe", cap=None)
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
    step_down = wrote(lowered).model_copy(update={"units": 10})
    assert keep(a_workload(), stands(lowered, 6), [step_down], minutes(10), cap=None) is None
