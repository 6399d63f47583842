"""Which of the scheduler's runs have outlived their purpose."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from forebay.app.people import cancel
from forebay.app.runs import PLANS_FOR, RECONCILES_FOR, SILENT_FOR, Ending, Run, outlived
from forebay.app.wakeups import wake_ups
from forebay.domain.workload import WorkloadCatalog
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


def test_a_run_goes_whose_step_is_not_planned_any_more() -> None:
    with World() as world:
        world.submit()
        made = [a_run(world, key=w.key) for w in wake_ups(world.ctx, world.record()) if w.kind == "step"]
        world.run_until(minutes(5))
        assert len(made) == 2 and outlived(world.ctx, made) == [], "also that of a step with its pass: it may be undone"
        event = world.ctx.event(world.record().change, "replanned", "test")
        with world.sql.transaction() as tx:
            tx.add_plan(a_plan(((12, 6, 9),)), event)
        assert [judged(world, run) for run in made] == 2 * [[("cancel", "its step is not planned any more")]]
        (now,) = [w for w in wake_ups(world.ctx, world.record()) if w.kind == "step"]
        others = [a_run(world, key="ab:1:1", changes=("CHG-9",)), a_run(world, key="ab:1:1", changes=()), a_run(world)]
        assert outlived(world.ctx, [a_run(world, key=now.key), *others]) == []


def test_a_reconciling_run_that_hangs_turns_away_no_others_for_long() -> None:
    with World() as world:
        since = world.clock.now() - RECONCILES_FOR
        for late, ends in ((timedelta(0), False), (SECOND, True)):
            run = a_run(world, kind="reconcile", state="running", since=since - late, changes=())
            assert bool(judged(world, run)) is ends


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


def test_a_run_works_whose_workload_is_in_no_file_this_process_has_read() -> None:
    with World() as world:
        world.submit()
        with world.sql.transaction() as tx:
            assert tx.acquire_lease("web", "run 7 5f2c90aa", world.clock.now(), MINUTE)
        world.ctx = replace(world.ctx, catalog=WorkloadCatalog(workloads=(a_workload("db"),)))
        assert judged(world, a_run(world, state="running", since=world.clock.now() - SILENT_FOR - SECOND)) == []


def test_planning_may_take_longer_and_a_run_whose_start_is_silent_may_not() -> None:
    with World() as world:
        since = world.clock.now() - SILENT_FOR - SECOND
        assert judged(world, a_run(world, kind="plan", state="running", since=since)) == []
        assert judged(world, a_run(world, kind="plan", state="pending", since=since)) != []
        assert (
            judged(world, a_run(world, kind="plan", state="running", since=world.clock.now() - PLANS_FOR - SECOND))
            != []
        )
