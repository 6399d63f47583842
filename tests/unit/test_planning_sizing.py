"""Size and number together: which is chosen, why, and how the plan tells it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from forebay.domain.freeze import FreezeWindow
from forebay.domain.plan import PlanRefusal, ShapingPlan
from forebay.domain.resources import Resource
from forebay.domain.size import TaskSize
from forebay.domain.workload import Workload
from forebay.report.comparison import comparison_rows
from forebay.report.table import comparison_table, plan_table
from forebay.report.words import explain
from tests.support.planning_cases import EFFECTIVE, NOW, change, drawn, moves, plan, refused, workload

LARGE = TaskSize(cpu_units=2048, memory_mib=4096)
TIGHT = {"limits": {"min_units": 2, "max_units": 10, "soft": {"units": 3, "dwell": "PT10M"}}}


def sized(price: str = "0.10", *more: dict[str, Any], **fields: Any) -> Workload:
    """Demand 4 needs 8 units of a core, or 4 of two; from 12:00 on 12, or 6. A resize is verified after 15 minutes."""
    large = {"unit": {"cpu_cores": 2, "memory_gib": 4}, "price": {"per_unit_hour": price}}
    return workload(**({"unit": {"cpu_cores": 1, "memory_gib": 2}, "sizes": [large, *more]} | fields))


def test_where_the_number_cannot_grow_the_size_does() -> None:
    plan = drawn(sized(**TIGHT))
    (step,) = plan.steps
    assert (step.size, step.from_units, step.to_units, plan.aligned_units) == (LARGE, 8, 8, 6)
    assert step.verified_by <= EFFECTIVE < step.verified_by + timedelta(minutes=10)
    assert plan.price.shaped.misaligned == 0 < plan.price.left_alone.misaligned
    assert plan.sizing.startswith("resizes to 2 vCPU, 4 GiB: as it is no plan meets the effective time; with 2 vCPU")
    assert step.reason.text == (
        "cpu binds at 24 Nov 12:00 UTC (95 % quantile: 12.0 units of 1 vCPU, 2 GiB): resizes to 2 vCPU, 4 GiB, "
        "2.93 USD in all, 1.00 of it for the resize; as it is no plan meets the effective time"
    )


def test_the_deployment_is_paid_for_beside_the_old_tasks() -> None:
    """8 units at 0.05 until the deployment ends at 11:50; 8 more at 0.10 for its two slots; then 8 at 0.10."""
    plan = drawn(sized(**TIGHT))
    slots = [slot for slot in plan.slots if slot.at < plan.steps[0].verified_by - timedelta(minutes=6)]
    before, after = len(slots) / 12, (len(plan.slots) - len(slots)) / 12
    assert plan.price.shaped.unit_hours == pytest.approx(8 * (before + after) + 8 * 2 / 12, abs=1e-3)
    expected = 8 * before * 0.05 + (8 * 2 / 12 + 8 * after) * 0.10
    assert float(plan.price.shaped.money) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("work", "to_be", "words"),
    [
        pytest.param(sized("0.07"), {}, "with 2 vCPU, 4 GiB 2.69 USD in all, 1.00 of it", id="the price of a resize"),
        pytest.param(
            sized(),
            {"entitlements": [{"workload": "web", "min_units": 4}]},
            "stays at 1 vCPU, 2 GiB: the policy bounds the number of its units",
            id="an entitlement",
        ),
        pytest.param(
            sized(unit={"cpu_cores": 4, "memory_gib": 8}, objectives={"cpu": 0.1}),
            {},
            "2 vCPU, 4 GiB has less cpu, and a resize takes no capacity away",
            id="less of what is planned",
        ),
        pytest.param(
            sized(deployment={"drain": "PT3H"}),
            {},
            "cannot be reached and verified in time",
            id="too slow a deployment",
        ),
    ],
)
def test_it_stays_and_says_why(work: Workload, to_be: dict[str, Any], words: str) -> None:
    plan = drawn(work, change(**to_be))
    assert plan.resize is None
    assert plan.sizing.startswith(f"stays at {work.size}") and words in plan.sizing


def test_a_size_of_which_as_many_would_be_needed_is_not_said_to_be_too_slow() -> None:
    small = {"unit": {"cpu_cores": 1, "memory_gib": 3}, "price": {"per_unit_hour": "0.06"}}
    plan = drawn(sized("0.10", small, **TIGHT))
    assert plan.resize is not None
    assert plan.sizing.endswith("; with 1 vCPU, 3 GiB 12 units must serve then, but max_units of its limits is 10")


def test_a_cheaper_size_is_taken_where_it_pays() -> None:
    free = {"shortfall_per_unit_hour": "1", "resize": "0.01"}
    plan = drawn(sized("0.051", risk=free), change(settle="P2D"))
    assert plan.resize is not None and "cheaper" in plan.sizing
    assert plan.price.shaped.money < plan.price.one_jump.money


def test_under_an_autoscaler_the_floor_counts_units_of_the_size_that_stands() -> None:
    plan = drawn(sized("0.05"), change(settle="P2D"), floor=2, autoscaled=True)
    assert plan.resize is not None
    assert (plan.resize.from_units, plan.resize.to_units) == (2, 2)
    assert plan.steps[-1].to_units == plan.aligned_units == 6, "6 of two cores carry what 12 of one do"


def test_no_resize_is_planned_where_none_is_open() -> None:
    plan = drawn(sized("0.01"), change(settle="P2D"), resizable=False)
    assert moves(plan) == moves(drawn(workload(), change(settle="P2D")))
    assert plan.sizing == "stays at 1 vCPU, 2 GiB: no resize is open to it now"


def test_where_no_size_would_do_it_is_refused() -> None:
    limits = {"min_units": 2, "max_units": 8, "soft": {"units": 3, "dwell": "PT10M"}}
    small = {"unit": {"cpu_cores": 1, "memory_gib": 3}, "price": {"per_unit_hour": "0.06"}}
    work = workload(unit={"cpu_cores": 1, "memory_gib": 2}, sizes=[small], limits=limits)
    assert "max_units of its limits is 8" in refused(work).reason


def test_demand_of_each_resource_decides_which_size_helps() -> None:
    """Memory binds: with twice the memory a unit, the 8 that are there carry what 12 would have."""
    more_memory = {"unit": {"cpu_cores": 1, "memory_gib": 4}, "price": {"per_unit_hour": "0.06"}}
    more_cpu = {"unit": {"cpu_cores": 2, "memory_gib": 4}, "price": {"per_unit_hour": "0.09"}}
    work = workload(
        unit={"cpu_cores": 1, "memory_gib": 2},
        objectives={"cpu": 0.9, "memory": 0.25},
        sizes=[more_cpu, more_memory],
        **TIGHT,
    )
    plan = drawn(work)
    assert plan.resize is not None and plan.resize.size == TaskSize(cpu_units=1024, memory_mib=4096)
    assert plan.resize.reason.binding is Resource.MEMORY


def test_the_plan_tells_it() -> None:
    plan = drawn(sized(**TIGHT))
    assert "8 units of 2 vCPU, 4 GiB" in plan_table(plan)
    assert "It resizes to 2 vCPU, 4 GiB" in explain(plan)
    _, hours, *_, last = plan_table(plan).split("\n\n")[2].splitlines()
    assert hours.split()[1:4] == [f"{plan.price.shaped.unit_hours:.2f}", "*", f"{plan.price.one_jump.unit_hours:.2f}"]
    assert last == "* of 2 vCPU, 4 GiB once resized"
    sides = {row[0]: row[1] for row in comparison_rows(plan, drawn())}
    assert sides["unit-hours"] == f"{plan.price.shaped.unit_hours:.2f} *"
    assert ShapingPlan.model_validate_json(plan.model_dump_json()).hash == plan.hash


def test_slots_count_units_of_the_size_that_stands() -> None:
    plan = drawn(sized(**TIGHT))
    high = np.array([slot.required_high for slot in plan.slots])
    at = next(i for i, slot in enumerate(plan.slots) if slot.at >= plan.steps[0].verified_by)
    assert (high[0], high[at - 1], high[-1]) == (8, 4, 6)
    assert plan.price.currency == "USD" and plan.price.shaped.money > Decimal(0)


def test_a_refusal_proposes_the_time_at_which_a_resize_would_do() -> None:
    """12 units of a core are more than may be had; 6 of two are not, once the deployment is through and verified."""

    def at(minutes: int, **fields: Any) -> Any:
        return plan(sized(**TIGHT), change(effective_at=NOW + timedelta(minutes=minutes)), **fields)

    refusal = at(8)
    assert isinstance(refusal, PlanRefusal)
    earliest = refusal.counter_proposal.earliest_effective_at
    assert earliest == NOW + timedelta(minutes=18) and "no later time" not in refusal.reason
    then = at(18)
    assert isinstance(then, ShapingPlan) and then.resize
    assert then.resize.verified_by == NOW + timedelta(minutes=18), "09:05 + 4 + 5 of drain + 6, not rounded to slots"
    assert refusal.counter_proposal.earliest_costs == then.price.more
    assert isinstance(at(13), PlanRefusal)
    never = at(8, resizable=False)
    assert isinstance(never, PlanRefusal)
    assert never.counter_proposal.earliest_effective_at is None and "so no later time is proposed" in never.reason


def test_a_limit_costs_what_the_plan_with_it_does_whatever_its_size() -> None:
    """Without the freeze there is time for the moves as well as for the resize, and that is the cheaper by far."""
    work = sized("0.05", risk={"shortfall_per_unit_hour": "1", "resize": "0.01"})
    to_be = change(settle="P2D")
    sale = FreezeWindow(start=NOW, end=EFFECTIVE, reason="sale")
    (way,) = refused(work, to_be, freezes=[sale]).counter_proposal.relax
    followed = drawn(work, to_be)
    assert followed.resize is not None and way.costs == followed.price.more


def test_a_refusal_says_when_no_other_size_would_do_either() -> None:
    """30 units of a core are needed and 15 of two, from the next slot on as well, and 10 is all there may be."""
    late = change(effective_at=NOW + timedelta(minutes=8), impacts=[{"workload": "web", "factor": 6.5}])
    refusal = plan(sized(**TIGHT), late)
    assert isinstance(refusal, PlanRefusal)
    at = "at 24 Nov 09:15 UTC"
    assert f"; and {at} (with 2 vCPU, 4 GiB {at}) it would need more than the 10 units" in refusal.reason


@pytest.mark.parametrize("lead", [20, 47, 660, 1290])
def test_the_first_time_that_a_resize_would_do_is_found_however_far_ahead(lead: int) -> None:
    """The deployment takes the lead time, and as long again until it is verified."""
    work = sized(**TIGHT, lead_time=f"PT{lead}M")
    refusal = plan(work, change(effective_at=NOW + timedelta(minutes=8)))
    assert isinstance(refusal, PlanRefusal)
    earliest = refusal.counter_proposal.earliest_effective_at
    assert earliest is not None
    assert isinstance(plan(work, change(effective_at=earliest)), ShapingPlan)
    assert isinstance(plan(work, change(effective_at=earliest - work.slot)), PlanRefusal)


@pytest.mark.parametrize(
    ("windows", "fields"),
    [
        pytest.param([(12, 57), (83, 128)], {}, id="between two freezes"),
        pytest.param([(64, 109)], {"deployment": {"maximum_percent": 110}}, id="once there are ten to replace"),
        pytest.param([], {}, id="at once"),
    ],
)
@pytest.mark.parametrize("floor", [None, 2])
def test_no_earlier_time_than_the_one_proposed_would_do(
    windows: list[tuple[int, int]], fields: dict[str, Any], floor: int | None
) -> None:
    work = sized(**TIGHT, **fields)
    freezes = [
        FreezeWindow(start=NOW + timedelta(minutes=start), end=NOW + timedelta(minutes=end), reason="sale")
        for start, end in windows
    ]

    def at(effective_at: datetime) -> ShapingPlan | PlanRefusal:
        to_be = change(effective_at=effective_at)
        return plan(work, to_be, freezes=freezes, floor=floor, autoscaled=floor is not None)

    soon = NOW + timedelta(minutes=8)
    later = [soon + timedelta(minutes=5 * slot) for slot in range(60)]
    refusal = at(soon)
    assert isinstance(refusal, PlanRefusal)
    first = next(
        then for then in later if not any(f.covers(then) for f in freezes) and isinstance(at(then), ShapingPlan)
    )
    assert refusal.counter_proposal.earliest_effective_at == first


def test_a_what_if_that_resizes_is_compared_in_units_of_its_size() -> None:
    as_it_is, resized = drawn(sized(sizes=[])), drawn(sized(**TIGHT))
    rows = comparison_table(as_it_is, resized).splitlines()
    (needed,) = [row.split("  ", 1)[1].split() for row in rows if row.startswith("units that must serve then")]
    assert needed == [str(as_it_is.aligned_units), str(resized.aligned_units), "of", "2", "vCPU,", "4", "GiB"]
    assert "* of 2 vCPU, 4 GiB once resized" in rows
