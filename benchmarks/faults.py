"""What Forebay does about each fault of its outside: `python -m benchmarks.faults [--write]` makes docs/reliability.md.

One change each: at 09:01 a step from 4 to 6 units, at 09:07 one to 8, in force at 09:30. The use cases, the store
(SQLite) and the AWS adapters are the real ones; AWS is the sandbox, and time is its manual clock. All that is told is
read from the run.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import event

from forebay.app.people import cancel
from forebay.aws import AwsClients
from forebay.control.decide import Hold
from forebay.domain.audit import Deed
from forebay.domain.lifecycle import ChangeState
from forebay.domain.records import Outcome
from forebay.domain.resources import Resource
from forebay.domain.workload import AsgTarget, EcsTarget
from forebay.ports import Usage
from sandbox.config import TargetTracking
from sandbox.provision import tracking_policy
from sandbox.sandbox import Sandbox
from tests.support.aws import ASG, ECS, TRACKING
from tests.support.aws_world import aws_world, flat_plan
from tests.support.cloud import Stale
from tests.support.world import EFFECTIVE, World, a_request, minutes

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- made by `make reliability` -->", "<!-- end -->"
OVER = minutes(45)
ENDED = {ChangeState.HELD, ChangeState.IN_FORCE, ChangeState.SETTLING, ChangeState.CLOSED, ChangeState.ROLLED_BACK}
SERVICE: dict[str, Any] = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/prod/web",
    "ScalableDimension": "ecs:service:DesiredCount",
}


@dataclass(frozen=True)
class Place:
    """What is shaped. `lever`: for people; `write`: the call that moves it, and `parameter` what of it are the units;
    `start`: where it stands at first; `stands`: where it stands now.
    """

    lever: str
    target: EcsTarget | AsgTarget
    write: str
    parameter: str
    start: int
    stands: Callable[[Scene], int]

    @property
    def autoscaled(self) -> bool:
        return self.parameter.startswith("Min")


COUNT = Place("count of a service", ECS, "ecs:UpdateService", "desiredCount", 4, lambda s: s.service()["desiredCount"])
FLOOR = Place(
    "minimum of a service",
    ECS,
    "application-autoscaling:RegisterScalableTarget",
    "MinCapacity",
    1,
    lambda s: s.scalable_target()["MinCapacity"],
)
GROUP = Place(
    "minimum of a group", ASG, "autoscaling:UpdateAutoScalingGroup", "MinSize", 1, lambda s: s.group()["MinSize"]
)


@dataclass(frozen=True)
class Scene:
    """Where a fault is injected."""

    world: World
    cloud: Sandbox
    clients: AwsClients
    place: Place

    def at(self, minute: float, action: Callable[[], object]) -> None:
        self.world.clock.at(minutes(minute), action)

    def fault(self, minute: float, **rule: Any) -> None:
        """A fault of the sandbox, from `minute` on."""
        self.at(minute, lambda: self.cloud.fault(**rule))

    def fault_of_writes(self, minute: float, **rule: Any) -> None:
        self.fault(minute, op=self.place.write, **rule)

    def set_by_hand(self, units: int) -> None:
        self.clients.ecs.update_service(cluster="prod", service="web", desiredCount=units)

    def set_bounds_by_hand(self, **bounds: int) -> None:
        self.clients.application_autoscaling.register_scalable_target(**SERVICE, **bounds)

    def service(self) -> Any:
        return self.clients.ecs.describe_services(cluster="prod", services=["web"])["services"][0]

    def scalable_target(self) -> Any:
        found = self.clients.application_autoscaling.describe_scalable_targets(ServiceNamespace="ecs")
        return found["ScalableTargets"][0]

    def group(self) -> Any:
        return self.clients.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]


@dataclass(frozen=True)
class Fault:
    """`at_minute`: when it begins. `timing`: of the sandbox, where that is what is wrong. `rule`: of the workload."""

    name: str
    at_minute: float
    inject: Callable[[Scene], None]
    timing: Mapping[str, Any] = field(default_factory=dict)
    place: Place = COUNT
    rule: str = "hold"


@dataclass(frozen=True)
class Row:
    """What a run with the fault showed."""

    fault: str
    lever: str
    did: str
    took: str
    said: str


@dataclass(frozen=True)
class NotANumber:
    """A Usage that answers NaN."""

    inner: Usage

    def measure(self, start: datetime, end: datetime) -> Mapping[Resource, float]:
        return {resource: float("nan") for resource in self.inner.measure(start, end)}

    def history(self, start: datetime, end: datetime, step: timedelta) -> Mapping[Resource, Any]:
        return self.inner.history(start, end, step)


def _stale(scene: Scene) -> None:
    world = scene.world
    stale = Stale(world.ctx.target(world.ctx.workload("web")), world.clock.now, on=False)
    world.ctx = replace(world.ctx, target=lambda workload: stale)
    scene.at(1, lambda: setattr(stale, "on", True))
    scene.at(6, lambda: setattr(stale, "on", False))


def _nan(scene: Scene, begin: float = 1, end: float = 60) -> None:
    usage = scene.world.ctx.usage

    def broken() -> None:
        scene.world.ctx = replace(scene.world.ctx, usage=lambda workload: NotANumber(usage(workload)))

    scene.at(begin, broken)
    scene.at(end, lambda: setattr(scene.world, "ctx", replace(scene.world.ctx, usage=usage)))


def _nan_on_its_way_back(scene: Scene) -> None:
    _nan(scene, 15, 35)
    scene.at(15, lambda: cancel(scene.world.ctx, "CHG-1", "ann", "not needed any more"))


def _fighting(scene: Scene) -> None:
    for minute in range(2, 59):
        scene.at(minute, lambda: scene.set_by_hand(4))


def _to_zero(scene: Scene) -> None:
    scene.at(0.5, lambda: scene.set_by_hand(0))
    scene.at(5.5, lambda: scene.set_by_hand(4))


def _attach_an_autoscaler(scene: Scene) -> None:
    policy: Any = tracking_policy(TargetTracking.model_validate(TRACKING))
    scene.clients.application_autoscaling.put_scaling_policy(
        **SERVICE,
        PolicyName="tracking",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=policy,
    )


def _rolls_back(scene: Scene) -> None:
    def deploy() -> None:
        scene.cloud.fault(kind="deployment_fails", target="prod/web", threshold=2)
        old = scene.service()["taskDefinition"]
        task = scene.clients.ecs.describe_task_definition(taskDefinition=old)["taskDefinition"]
        kept = ("family", "cpu", "memory", "networkMode", "containerDefinitions", "requiresCompatibilities")
        register: Any = scene.clients.ecs.register_task_definition
        new = register(**{name: task[name] for name in kept if name in task})["taskDefinition"]  # type: ignore[misc]
        scene.clients.ecs.update_service(
            cluster="prod",
            service="web",
            taskDefinition=new["taskDefinitionArn"],
            deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}},
        )

    scene.at(6.5, deploy)


def _database_away(scene: Scene) -> None:
    scene.at(1.5, lambda: setattr(scene.world.store, "away", True))
    scene.at(2.5, lambda: setattr(scene.world.store, "away", False))


def _disk_full(scene: Scene) -> None:
    """SQLite's own limit on the pages of its file: what a full disk is to it."""
    full = [False]

    @event.listens_for(scene.world.sql._writer, "checkout")
    def limit(connection: Any, *_: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0] if full[0] else 1_000_000
        connection.execute(f"PRAGMA max_page_count = {pages}")

    scene.at(0.9, lambda: full.__setitem__(0, True))
    scene.at(4, lambda: full.__setitem__(0, False))


def _throttled(scene: Scene) -> None:
    scene.fault_of_writes(1, kind="throttle", duration_s=60)


def _answer_lost(scene: Scene) -> None:
    scene.fault_of_writes(1, kind="lost_answer", count=1)


def _no_room(scene: Scene) -> None:
    scene.fault(7, kind="capacity", max_running=6, duration_s=900)


FAULTS = (
    Fault("none", 1, lambda s: None),
    Fault("none", 1, lambda s: None, place=FLOOR),
    Fault("none", 1, lambda s: None, place=GROUP),
    Fault("every write is throttled for a minute", 1, _throttled),
    Fault("every write is throttled for a minute", 1, _throttled, place=GROUP),
    Fault(
        "AWS answers 503 to every call, for a minute",
        1,
        lambda s: s.fault(1, kind="error", op="*", duration_s=60, status=503),
    ),
    Fault("the answer to a write is lost", 1, _answer_lost),
    Fault("the answer to a write is lost", 1, _answer_lost, place=FLOOR),
    Fault("the answer to a write is lost", 1, _answer_lost, place=GROUP),
    Fault("a write is lost on its way", 1, lambda s: s.fault_of_writes(1, kind="lost_call", count=1, delay_s=0)),
    Fault("reads are 20 s old, for five minutes", 1, _stale),
    Fault(
        "5 of 6 units arrive, the last three minutes late",
        1,
        lambda s: s.fault(1, kind="capacity", max_running=5, duration_s=200),
    ),
    Fault("units never get into service", 7, lambda s: s.fault(7, kind="capacity", max_running=6)),
    Fault("no unit gets into service for a quarter of an hour", 7, _no_room),
    Fault("no unit gets into service for a quarter of an hour", 7, _no_room, place=FLOOR),
    Fault("no unit gets into service for a quarter of an hour", 7, _no_room, place=GROUP),
    Fault("the image of new tasks cannot be pulled", 7, lambda s: s.fault(7, kind="tasks_stop")),
    Fault("metrics come two minutes late", 1, lambda s: None, {"metric_delay_s": 120}),
    Fault("the metrics of five minutes are lost", 1, lambda s: s.fault(1, kind="no_metrics", duration_s=300)),
    Fault("metrics stay away for good", 1, lambda s: s.fault(1, kind="no_metrics")),
    Fault("usage is NaN", 1, _nan),
    Fault("usage is NaN for 20 minutes, and the change is cancelled", 15, _nan_on_its_way_back),
    Fault("another autoscaler sets the count back every minute", 2, _fighting),
    Fault("another autoscaler does so, and the workload insists", 2, _fighting, rule="insist"),
    Fault("an autoscaler is attached on the way", 5, lambda s: s.at(5, lambda: _attach_an_autoscaler(s))),
    Fault("somebody sets the count by hand", 5, lambda s: s.at(5, lambda: s.set_by_hand(5))),
    Fault(
        "somebody lowers the minimum by hand, and the workload insists",
        5,
        lambda s: s.at(5, lambda: s.set_bounds_by_hand(MinCapacity=2)),
        place=FLOOR,
        rule="insist",
    ),
    Fault(
        "somebody raises the maximum by hand",
        5,
        lambda s: s.at(5, lambda: s.set_bounds_by_hand(MaxCapacity=40)),
        place=FLOOR,
    ),
    Fault(
        "a deployment sets the count below the minimum, and the workload insists",
        5,
        lambda s: s.at(5, lambda: s.set_by_hand(4)),
        place=FLOOR,
        rule="insist",
    ),
    Fault("somebody scales it to zero for five minutes before the first step", 0.5, _to_zero),
    Fault("a deployment fails and rolls back", 6.5, _rolls_back),
    Fault(
        "credentials have expired, for good",
        1,
        lambda s: s.fault(1, kind="error", op="*", code="ExpiredTokenException", status=400),
    ),
    Fault(
        "a right is missing for ten minutes",
        1,
        lambda s: s.fault(1, kind="error", op="Describe*", code="AccessDeniedException", status=400, duration_s=600),
    ),
    Fault("the database is away for a minute", 1.5, _database_away),
    Fault("the disk of SQLite is full for three minutes", 1, _disk_full),
)


def run(fault: Fault) -> Row:
    """One life of a change with the fault in it, in virtual time."""
    place, given = fault.place, {"autoscaled": fault.place.autoscaled, "on_foreign_write": fault.rule}
    with (
        tempfile.TemporaryDirectory(prefix="forebay-") as folder,
        aws_world(Path(folder), place.target, **given, **fault.timing) as (world, cloud, clients),
    ):
        scene = Scene(world, cloud, clients, place)
        world.submit(a_request(settle="PT5M"), flat_plan())
        fault.inject(scene)
        while world.clock.now() < OVER and (world.state not in ENDED or world.record().lapses):
            # Once it is armed only the watch is left, which need not look every minute for this.
            every = 5 if world.state is ChangeState.ARMED else 1
            world.run_until(world.clock.now() + timedelta(minutes=every), timedelta(minutes=every))
        return _row(fault, scene)


def _row(fault: Fault, scene: Scene) -> Row:
    world, place = scene.world, scene.place
    record = world.record()
    with world.sql.transaction() as tx:
        log = [entry.event for entry in tx.audit_entries("CHG-1")]
    when = {entry.action: entry.at for entry in reversed(log)}
    calls = [c for c in scene.cloud.world.calls.writes if f"{c.service}:{c.operation}" == place.write]
    # A deployment is a write too, but of no count.
    made = [c for c in calls if c.state == "made" and place.parameter in c.parameters]
    asked = [(int(c.parameters[place.parameter]), c.at) for c in made]
    writes = [(units, _ours(units, at, world)) for units, at in asked]
    moves = f"wrote {', '.join(str(units) for units, ours in writes if ours) or 'nothing'}"
    began = world.store.versions("acme", "quota")[0].in_force_from
    if record.state is ChangeState.HELD:
        ended = when[Deed.HELD]
        scene.cloud.clear_faults()
        given_up = units_given_up(place.start, writes, place.stands(scene))
        did = f"{moves}; held at {ended:%H:%M}, {f'{given_up} units' if given_up else 'nothing'} given up"
    elif began is not None:
        ended = when[Deed.ARMED]
        late = "on time" if began == EFFECTIVE else f"{(began - EFFECTIVE) / timedelta(minutes=1):.0f} min late"
        held = f"held at {when[Deed.HELD]:%H:%M}, by itself " if Deed.HELD in when else ""
        did = f"{moves}; {held}armed at {ended:%H:%M}, in force {late}"
    else:
        ended, did = record.updated_at, f"{moves}; {record.state}"
    assert world.sql.audit_break() is None
    took = (ended - minutes(fault.at_minute)) / timedelta(minutes=1)
    return Row(fault.name, place.lever, did, f"{took:.0f} min", _said(world))


def units_given_up(start: int, writes: Sequence[tuple[int, bool]], live: int) -> int:
    """How many units we took away, or lost, of what stood: by each write of ours below the count before it, and at the
    end by a `live` count below the last write, if that was ours. What another hand took away is not given up.

    `start`: the count before the first of `writes`, which are (count, whether it is ours) in the order they were made.
    """
    stood, ours, given_up = start, True, 0
    for units, is_ours in writes:
        given_up += max(0, stood - units) if is_ours else 0
        stood, ours = units, is_ours
    return given_up + (max(0, stood - live) if ours else 0)


def _ours(units: int, at: datetime, world: World) -> bool:
    """Written as an intent says, at a time when it was open: else by another hand."""
    return any(
        i.new.units == units and i.stored_at <= at and (i.settled_at is None or at <= i.settled_at)
        for i in world.intents()
    )


def _said(world: World) -> str:
    """The first thing said that is not said of a life without a fault."""
    held = next((d.reason for d in world.decisions if isinstance(d, Hold)), None)
    if held or world.state is ChangeState.HELD:
        return held or world.record().note
    words = ("trying again", "no_data", "error:", "problem", "deployment", "capacity", "another")
    odd = [d.reason for d in world.decisions if any(word in d.reason for word in words)]
    settled = [i for i in world.intents() if i.outcome is Outcome.NOT_DONE]
    with world.sql.transaction() as tx:
        log = [entry.event for entry in tx.audit_entries("CHG-1")]
    found = [
        e.reason
        for e in log
        if e.action in (Deed.NOT_GIVEN_BACK, Deed.CHANGED_BY_ANOTHER) or "found in effect" in e.reason
    ]
    return next(iter([*odd, *found, *world.troubles, *(f"{i.new.units} units: not in effect" for i in settled)]), "")


def table(rows: list[Row]) -> str:
    """Markdown."""
    heads = ("what was injected", "what is shaped", "what Forebay did", "settled after", "what it said")
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(line(row) for row in rows)])


def line(row: Row) -> str:
    return f"| {row.fault} | {row.lever} | {row.did} | {row.took} | {_cell(row.said)} |"


def _cell(text: str) -> str:
    shown = " ".join(text.replace("|", "\\|").split())
    for pattern in (r"http://127.0.0.1:\d+", r"(?<=sqlite:)/\S+\.db", r"\d{9,}"):  # what is another one in each run
        shown = re.sub(pattern, "…", shown)
    return f"*{shown}*" if shown else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument("--only", default="", help="faults with this text in their name")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # what the adapters say of each look is no part of the table
    os.environ |= {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}
    rows = []
    for fault in FAULTS:
        if args.only in fault.name:
            rows.append(run(fault))
            print(f"{fault.name}: {rows[-1].did} ({rows[-1].took}); {rows[-1].said}", flush=True)
    if args.write:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
