"""Auto Scaling groups that take time: instances launch at a rate, serve after a lag, or fail with a cause."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from moto.autoscaling.models import FakeAutoScalingGroup, InstanceState, autoscaling_backends

from sandbox.world import StartRate, World

RETRY_FAILED_LAUNCH = timedelta(seconds=60)
ACTIVITIES_KEPT = 500
ON_ITS_WAY = ("Pending", "InService")


@dataclass
class Crew:
    """What a group remembers: when each pending instance will serve, and what was done."""

    rate: StartRate
    ready: dict[str, datetime] = field(default_factory=dict)
    activities: list[dict[str, Any]] = field(default_factory=list)
    failed: datetime | None = None


class Groups:
    """Moves every Auto Scaling group of this process towards its desired capacity."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._crews: WeakKeyDictionary[FakeAutoScalingGroup, Crew] = WeakKeyDictionary()

    def tick(self) -> None:
        for group in self.all():
            self.settle(group)

    @staticmethod
    def all() -> Iterator[FakeAutoScalingGroup]:
        for account in list(autoscaling_backends.values()):
            for backend in list(account.values()):
                yield from list(backend.autoscaling_groups.values())

    @staticmethod
    def find(region: str, account: str, name: str) -> FakeAutoScalingGroup | None:
        return autoscaling_backends[account][region].autoscaling_groups.get(name)

    def crew(self, group: FakeAutoScalingGroup) -> Crew:
        found = self._crews.get(group)
        if found is None:
            found = Crew(StartRate(self.world.timing(group.name).start_rate_per_s, self.world.now()))
            self._crews[group] = found
        return found

    def settle(self, group: FakeAutoScalingGroup) -> None:
        """Does what is due now: arrivals, terminations, launches."""
        crew, now = self.crew(group), self.world.now()
        self._arrive(group, crew, now)
        surplus = len(alive(group)) - target_instances(group)
        if surplus > 0 and not suspended(group, "Terminate"):
            self._terminate(group, crew, surplus)
        elif surplus < 0 and not suspended(group, "Launch"):
            self._launch(group, crew, -surplus, now)
        else:
            crew.failed = None

    def start_warm(self, group: FakeAutoScalingGroup) -> None:
        """Lets the desired instances serve at once, as if they had been launched long ago."""
        crew = self.crew(group)
        missing = target_instances(group) - len(alive(group))
        if missing > 0:
            group.replace_autoscaling_group_instances(missing, group.get_propagated_tags())
        for state in group.instance_states:
            state.lifecycle_state = "InService"
        crew.ready.clear()
        crew.activities.clear()
        crew.rate = StartRate(self.world.timing(group.name).start_rate_per_s, self.world.now())

    def note_launched(self, group: FakeAutoScalingGroup, states: list[InstanceState]) -> None:
        """New instances are Pending until the launch lag is over."""
        crew, now = self.crew(group), self.world.now()
        lag = timedelta(seconds=self.world.timing(group.name).launch_lag_s)
        for state in states:
            state.lifecycle_state = "Pending"
            crew.ready[state.instance_id] = now + lag
            self._record(group, crew, f"Launching a new EC2 instance: {state.instance_id}", "PreInService", 30)
        self._arrive(group, crew, now)

    def _arrive(self, group: FakeAutoScalingGroup, crew: Crew, now: datetime) -> None:
        if not crew.ready:
            return
        for state in group.instance_states:
            ready = crew.ready.get(state.instance_id)
            if ready is None or ready > now:
                continue
            del crew.ready[state.instance_id]
            state.lifecycle_state = "InService"
            for row in crew.activities:
                if row["Description"].endswith(state.instance_id):
                    row |= {"StatusCode": "Successful", "Progress": 100, "EndTime": self.world.naive_now()}

    def _launch(self, group: FakeAutoScalingGroup, crew: Crew, wanted: int, now: datetime) -> None:
        cap, there = self.world.faults.capacity(group.name, now), len(alive(group))
        if cap and there + wanted > cap.max_running:
            wanted = max(0, cap.max_running - there)
            if crew.failed is None or now - crew.failed >= RETRY_FAILED_LAUNCH:
                crew.failed = now
                message = f"{cap.cause}. Launching EC2 instance failed."
                self._record(
                    group, crew, f"Launching a new EC2 instance.  Status Reason: {message}", "Failed", 100, message
                )
        count = crew.rate.take(wanted, now)
        if count:
            group.replace_autoscaling_group_instances(count, group.get_propagated_tags())

    def _terminate(self, group: FakeAutoScalingGroup, crew: Crew, count: int) -> None:
        """Pending ones first, then the oldest; protected instances stay."""
        free = [s for s in alive(group) if not s.protected_from_scale_in]
        leaving = sorted(free, key=lambda s: s.lifecycle_state != "Pending")[:count]
        if not leaving:
            return
        group.ec2_backend.terminate_instances([s.instance_id for s in leaving])
        for state in leaving:
            group.instance_states.remove(state)
            crew.ready.pop(state.instance_id, None)
            self._record(group, crew, f"Terminating EC2 instance: {state.instance_id}", "Successful", 100)

    def _record(
        self, group: FakeAutoScalingGroup, crew: Crew, description: str, status: str, progress: int, message: str = ""
    ) -> None:
        now = self.world.naive_now()
        row = {
            "ActivityId": str(uuid4()),
            "AutoScalingGroupName": group.name,
            "AutoScalingGroupARN": group.arn,
            "Description": description,
            "Cause": f"At {now:%Y-%m-%dT%H:%M:%SZ} an instance was started or stopped in response to a difference "
            f"between desired and actual capacity; the desired capacity is {group.desired_capacity}.",
            "StartTime": now,
            "StatusCode": status,
            "Progress": progress,
        }
        if message:
            row["StatusMessage"] = message
        if progress == 100:
            row["EndTime"] = now
        crew.activities = [row, *crew.activities][:ACTIVITIES_KEPT]


def alive(group: FakeAutoScalingGroup) -> list[InstanceState]:
    return [s for s in group.instance_states if s.lifecycle_state in ON_ITS_WAY]


def in_service(group: FakeAutoScalingGroup) -> int:
    return sum(1 for s in group.instance_states if s.lifecycle_state == "InService")


def suspended(group: FakeAutoScalingGroup, process: str) -> bool:
    return any(p["ProcessName"] == process for p in group.suspended_processes)


def target_instances(group: FakeAutoScalingGroup) -> int:
    """Instances for the desired capacity; a weighted group launches its first override (as moto)."""
    overrides = ((group.mixed_instances_policy or {}).get("LaunchTemplate") or {}).get("Overrides") or []
    weight = int(overrides[0].get("WeightedCapacity") or 1) if overrides else 1
    return math.ceil((group.desired_capacity or 0) / max(1, weight))
