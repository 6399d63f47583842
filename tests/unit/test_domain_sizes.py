"""Sizes of a unit: which are taken, and what a workload is in another one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from forebay.domain.allocation import Lever, Setting, setting_for
from forebay.domain.errors import InputError
from forebay.domain.resources import Resource, ResourceVector
from forebay.domain.size import TaskSize, not_on_fargate
from tests.support.planning_cases import workload

SMALL, LARGE = {"cpu_cores": 1, "memory_gib": 2}, {"cpu_cores": 2, "memory_gib": 8}


def a_size(unit: dict[str, Any] | None = None, price: str = "0.12", currency: str = "USD") -> dict[str, Any]:
    return {"unit": unit or LARGE, "price": {"per_unit_hour": price, "currency": currency}}


def test_in_another_size_it_has_that_ones_unit_and_price_and_its_own_as_the_alternative() -> None:
    work = workload(unit=SMALL, sizes=[a_size()])
    large = work.sized(TaskSize(cpu_units=2048, memory_mib=8192))
    assert (large.unit.memory_gib, large.price.per_unit_hour, str(large.size)) == (8, Decimal("0.12"), "2 vCPU, 8 GiB")
    assert large.units_for({Resource.CPU: 4.0})[0] == 4
    assert large.sized(work.size) == work
    assert [a.unit for a in large.alternatives] == [work.unit]


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"have 4 vCPU, 8 GiB, which is none of its sizes \(1 vCPU, 2 GiB; 2 vCPU"):
        workload(unit=SMALL, sizes=[a_size()]).sized(TaskSize(cpu_units=4096, memory_mib=8192))


def test_without_sizes_nothing_changes() -> None:
    work = workload()
    assert (work.size, work.alternatives) == (None, ())
    assert work.sized(TaskSize(cpu_units=4096, memory_mib=8192)) is work


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"sizes": [a_size({"cpu_cores": 1, "memory_gib": 9})]}, "it offers 2, 3, 4", id="off the lattice"),
        pytest.param({"sizes": [a_size({"cpu_cores": 3, "memory_gib": 9})]}, "take one of 0.25, 0.5", id="no such cpu"),
        pytest.param({"unit": {"cpu_cores": 1, "memory_gib": 1}, "sizes": [a_size()]}, "offers 2, 3", id="unit itself"),
        pytest.param({"sizes": [a_size(SMALL)]}, "is there twice", id="the unit again"),
        pytest.param({"sizes": [a_size({"cpu_cores": 1})]}, "cpu_cores and memory_gib", id="no memory"),
        pytest.param({"sizes": [a_size(currency="EUR")]}, "priced in USD", id="another currency"),
        pytest.param(
            {"unit": SMALL | {"network_mbps": 9}, "objectives": {"network": 0.5}, "sizes": [a_size()]},
            "has none of it",
            id="an objective without it",
        ),
        pytest.param({"target": {"type": "asg", "group": "g"}, "sizes": [a_size()]}, "launch template", id="a group"),
    ],
)
def test_what_cannot_be_deployed_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        workload(**({"unit": SMALL} | fields))


def test_on_instances_any_size_will_do() -> None:
    target = {"type": "ecs", "cluster": "c", "service": "s", "launch_type": "ec2"}
    assert workload(unit=SMALL, target=target, sizes=[a_size({"cpu_cores": 3, "memory_gib": 5})]).alternatives


@pytest.mark.parametrize(("cores", "gib"), [(0.25, 0.5), (1, 8), (4, 30), (8, 60), (16, 120)])
def test_fargate_offers(cores: float, gib: float) -> None:
    assert not_on_fargate(TaskSize.of(ResourceVector(cpu_cores=cores, memory_gib=gib))) is None


def test_a_size_is_watched_only_once_it_was_asked_for() -> None:
    small, large = TaskSize(cpu_units=1024, memory_mib=2048), TaskSize(cpu_units=2048, memory_mib=4096)
    live = Setting(lever=Lever.COUNT, count=4, size=small, revision="web:1")
    asked = setting_for(live.unsized, 4)
    deployed = live.model_copy(update={"revision": "web:2"})
    assert asked.stands_in(live) and asked.stands_in(deployed), "a deployment by others is theirs"
    resized = live.model_copy(update={"size": large, "revision": "web:3"})
    assert resized.stands_in(resized) and not resized.stands_in(live) and not resized.stands_in(deployed)
    assert setting_for(resized, 6) == resized.model_copy(update={"count": 6})
