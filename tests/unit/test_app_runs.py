"""Which of the scheduler's runs have outlived their purpose."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from forebay.app.people import cancel
from forebay.app.runs import PLANS_FOR, SILENT_FOR, Ending, Run, outlived
from tests.support.world import MINUTE, World, a_plan, a_request, a_workload, minutes

SECOND = timedelta(seconds=1)


def a_run(world: World, **fields: Any) -> Run:
    given: dict[str, Any] = {"id": "7", "kind": "step", "state": "scheduled", "since": world.clock.now()}
    return Run(**given | {"changes": ("CHG-1",)} | fields)


def judged(world: World, run: Run) -> list[tuple[str, str]]:
    return [(ending.how, ending.reason) for ending in outlived(world.ctx, [run])]


def test_scheduled_runs_go_once_every_change_they_were_made_for_is_over() -> None:
    with World(a_workload("web"), a_workload("db")) as world:
        world.submit()
        world.submit(a_request("db", change="CHG-2", policy="tier"), a_plan(change="CHG-2", workload="db"))
        alone, shared = a_run(world), a_run(world, changes=("CHG-1", "CHG-2"))
        by_hand, unknown = a_run(world, changes=()), a_run(world, changes=("CHG-9",))
        assert outlived(world.ctx, [alone, shared, by_hand, unknown]) == []
        cancel(world.ctx, "CHG-1", "ann", "stop")
        said = "change CHG-1 is rolled back"
        assert outlived(world.ctx, [alone, shared, by_hand, unknown]) == [Ending(alone, "cancel", said)]
        cancel(world.ctx, "CHG-2", "ann", "stop")
        world.run_until(minutes(5))
        said = "change CHG-1 is rolled back, change CHG-2 is rolled back"
        assert outlived(world.ctx, [shared]) == [Ending(shared, "cancel", said)]


def test_a_run_is_dead_once_it_was_silent_for_long_and_holds_no_lease() -> None:
    with World() as world:
        world.submit()
        for state in ("pending", "running"):
            run = a_run(world, state=state, since=world.clock.now() - SILENT_FOR)
            assert judged(world, run) == []
            old = a_run(world, state=state, since=world.clock.now() - SILENT_FOR - SECOND)
            assert judged(world, old) == [("crash", "nobody has worked in it since 2026-11-24 08:56:59 UTC")]
        with world.sql.transaction() as tx:
            assert tx.acquire_lease("web", "run 7 5f2c90aa", world.clock.now(), MINUTE)
        assert judged(world, old) == [], "it holds the workload's lease: it works"
        assert judged(world, a_run(world, id="75", state="running", since=old.since)) != [], "another run's lease"
        world.clock.sleep(MINUTE)
        assert judged(world, old) != [], "the lease has ended"


def test_planning_may_take_longer_and_a_run_whose_start_is_silent_may_not() -> None:
    with World() as world:
        since = world.clock.now() - SILENT_FOR - SECOND
        assert judged(world, a_run(world, kind="plan", state="running", since=since)) == []
        assert judged(world, a_run(world, kind="plan", state="pending", since=since)) != []
        assert (
            judged(world, a_run(world, kind="plan", state="running", since=world.clock.now() - PLANS_FOR - SECOND))
            != []
        )
