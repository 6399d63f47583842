"""Whole lives on the simulated AWS, with what stands in their way there: a missing right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from forebay.aws import AwsClients
from forebay.domain.lifecycle import ChangeState
from sandbox.sandbox import Sandbox
from tests.support.aws_world import aws_world, flat_plan
from tests.support.world import World, a_request, minutes

S = ChangeState
Life = Callable[..., AbstractContextManager[tuple[World, Sandbox, AwsClients]]]


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    """A change submitted: floors or counts of 6 at 09:01 and 8 at 09:07, armed at 09:10, in force at 09:30."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "sandbox")

    @contextmanager
    def begun(**given: Any) -> Iterator[tuple[World, Sandbox, AwsClients]]:
        with aws_world(tmp_path, **given) as (world, cloud, aws):
            world.submit(a_request(), flat_plan())
            yield world, cloud, aws

    return begun


@pytest.mark.parametrize("code", ["AccessDeniedException", "ExpiredTokenException"])
def test_a_right_that_was_missing_holds_the_change_until_it_is_there_again(life: Life, code: str) -> None:
    with life() as (world, cloud, _):
        world.clock.at(minutes(2), lambda: cloud.fault(kind="error", op="DescribeServices", code=code, status=400))
        world.clock.at(minutes(10), cloud.clear_faults)
        world.run_until(minutes(9))
        assert (world.state, [i.new.count for i in world.intents()]) == (S.HELD, [6])
        assert code in world.record().note and "it goes on by itself" in world.record().note
        world.run_until(minutes(29))
        assert (world.state, [i.new.count for i in world.intents()]) == (S.ARMED, [6, 8])
        assert len(world.told("held")) == 1
