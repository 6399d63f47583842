"""What one tick of the controller costs in calls of AWS and in the database: `python -m benchmarks.tick`.

The adapters and the store (SQLite) are the real ones, AWS is the sandbox.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from sqlalchemy import event

from forebay.app.advance import tick
from forebay.app.reconcile import reconcile
from sandbox.sandbox import Sandbox
from tests.support.aws_world import aws_world, flat_plan
from tests.support.world import World, a_request


def main() -> int:
    os.environ |= {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}
    with tempfile.TemporaryDirectory(prefix="forebay-") as folder, aws_world(Path(folder)) as (world, cloud, _):
        world.submit(a_request(), flat_plan())
        spent: Counter[str] = Counter()

        @event.listens_for(world.sql._writer, "commit")
        def committed(_: object) -> None:
            spent["transactions"] += 1

        @event.listens_for(world.sql._writer, "before_cursor_execute")
        def executed(connection: object, cursor: object, statement: str, *_: object) -> None:
            spent["rows written"] += statement.startswith(("INSERT", "UPDATE", "DELETE"))

        def measure(what: str, act: Callable[[], object]) -> None:
            spent.clear()
            before = Counter(cloud.world.calls.counts)
            act()
            calls = Counter(cloud.world.calls.counts) - before
            told = ", ".join(f"{name.split(':')[1]} {n}" for name, n in sorted(calls.items())) or "none"
            print(f"{what:<44}{sum(calls.values()):>4}{spent['transactions']:>14}{spent['rows written']:>10}   {told}")

        print(f"{'':<44}{'calls':>5}{'transactions':>13}{'writes':>10}")
        measure("a tick before its step is due", lambda: _tick(world))
        world.clock.sleep(timedelta(minutes=1))
        measure("a tick that asks for a step", lambda: _tick(world))
        measure("a tick that waits for capacity", lambda: _tick(world))
        _until_serving(world, cloud)
        measure("a tick that waits for its verification", lambda: _tick(world))
        world.clock.sleep(timedelta(minutes=3))
        measure("a tick that verifies", lambda: _tick(world))
        measure("a pass of the reconciler", lambda: _reconcile(world, look=False))
        measure("a pass of the reconciler that looks", lambda: _reconcile(world, look=True))
    return 0


def _tick(world: World) -> None:
    with world.sql.transaction() as tx:
        lease = tx.acquire_lease("web", "benchmark", world.clock.now(), world.ctx.lease)
    assert lease is not None
    tick(world.ctx, "CHG-1", "web", lease)


def _until_serving(world: World, cloud: Sandbox) -> None:
    cloud.advance(60)
    _tick(world)


def _reconcile(world: World, look: bool) -> None:
    world.clock.sleep(timedelta(minutes=2))  # until the lease of the ticks has ended
    reconcile(world.ctx, "benchmark", timedelta(hours=1), lambda change, error: None, look)


if __name__ == "__main__":
    sys.exit(main())
