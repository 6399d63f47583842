"""ECS services that take time: tasks start at a rate and serve after a lag, deployments roll, complete or fail."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5
from weakref import WeakKeyDictionary

from moto.ecs.models import Service, ecs_backends

from sandbox.config import Amount, TaskFault
from sandbox.world import StartRate, World

BLOCKED_EVENT_EVERY = timedelta(seconds=60)  # ECS repeats "unable to place a task" with a backoff
EVENTS_KEPT = 100
STOPPED_KEPT = 200


@dataclass
class Rollout:
    """One deployment and its tasks; `starting` holds when each task will run, soonest first."""

    deployment: dict[str, Any]
    running: int = 0
    starting: list[datetime] = field(default_factory=list)
    failed: int = 0

    @property
    def tasks(self) -> int:
        return self.running + len(self.starting)

    @property
    def revision(self) -> str:
        """`family:revision` of its task definition."""
        return str(self.deployment["taskDefinition"]).rsplit("/", 1)[-1]

    def stop(self, count: int) -> None:
        """Stops `count` tasks, those that do not serve yet first."""
        unborn = min(count, len(self.starting))
        if unborn:
            del self.starting[-unborn:]
        self.running = max(0, self.running - (count - unborn))


@dataclass
class Fleet:
    """The deployments of one service, PRIMARY first. `stopped`: tasks that did, as DescribeTasks gives them."""

    rollouts: list[Rollout]
    rate: StartRate
    blocked: datetime | None = None
    stopped: list[dict[str, Any]] = field(default_factory=list)
    protected: set[str] = field(default_factory=set)


class Services:
    """Moves every ECS service of this process towards its desired count."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._fleets: WeakKeyDictionary[Service, Fleet] = WeakKeyDictionary()

    def tick(self) -> None:
        for service in self.all():
            self.settle(service)

    @staticmethod
    def all() -> Iterator[Service]:
        for account in list(ecs_backends.values()):
            for backend in list(account.values()):
                yield from list(backend.services.values())

    @staticmethod
    def find(region: str, account: str, target: str) -> Service | None:
        """The service called `cluster/service`."""
        found = ecs_backends[account][region].services.get(target.replace("/", ":"))
        return found if isinstance(found, Service) else None

    def fleet(self, service: Service) -> Fleet:
        found = self._fleets.get(service)
        if found is None:
            rate = StartRate(self.world.timing(target_of(service)).start_rate_per_s, self.world.now())
            found = Fleet([Rollout(d) for d in service.deployments], rate)
            self._fleets[service] = found
        return found

    def set_desired(self, service: Service, desired: int) -> None:
        service.desired_count = desired
        self.settle(service)

    def deploy(self, service: Service, task_definition_arn: str) -> None:
        """Starts a new PRIMARY deployment; the one before becomes ACTIVE and drains as the new one comes up."""
        fleet = self.fleet(service)
        now = self.world.naive_now()
        before = fleet.rollouts[0].deployment
        deployment_id = f"ecs-svc/{uuid4().int % 10**19}"
        before["status"] = "ACTIVE"
        fleet.rollouts.insert(
            0,
            Rollout(
                before
                | {
                    "id": deployment_id,
                    "status": "PRIMARY",
                    "taskDefinition": task_definition_arn,
                    "rolloutState": "IN_PROGRESS",
                    "rolloutStateReason": f"ECS deployment {deployment_id} in progress.",
                    "failedTasks": 0,
                    "createdAt": now,
                    "updatedAt": now,
                }
            ),
        )
        service.task_definition = task_definition_arn

    def start_warm(self, service: Service) -> None:
        """Lets the desired tasks run at once, as if they had been started long ago."""
        fleet = self.fleet(service)
        fleet.rollouts[0].running, fleet.rollouts[0].starting = service.desired_count, []
        fleet.rate = StartRate(self.world.timing(target_of(service)).start_rate_per_s, self.world.now())
        self.settle(service)

    def capacity(self, service: Service, fallback: Amount) -> tuple[float, float, float]:
        """Cores, GiB and Mbit/s of the running tasks; each deployment's tasks have their own size."""
        cpu = memory = network = 0.0
        for rollout in self.fleet(service).rollouts:
            task_cpu, task_memory = task_size(service, rollout.deployment["taskDefinition"])
            cpu += rollout.running * (task_cpu or fallback.cpu_cores)
            memory += rollout.running * (task_memory or fallback.memory_gib)
            network += rollout.running * fallback.network_mbps
        return cpu, memory, network

    def settle(self, service: Service) -> None:
        """Does what is due now: arrivals, stops, starts, deployment states, and the numbers the API shows."""
        if service.status != "ACTIVE" or not service.deployments:
            return
        fleet, now = self.fleet(service), self.world.now()
        primary, *old = fleet.rollouts
        self._arrive(service, fleet, now)
        self._stop(service, primary, old)
        self._start(service, fleet, now)
        self._judge(service, fleet)
        self._show(service, fleet)

    def _arrive(self, service: Service, fleet: Fleet, now: datetime) -> None:
        for rollout in fleet.rollouts:
            arrived = sum(1 for ready in rollout.starting if ready <= now)
            if not arrived:
                continue
            del rollout.starting[:arrived]
            failing = rollout.deployment["rolloutState"] == "IN_PROGRESS" and self.world.faults.deployment(
                target_of(service), rollout.revision, now
            )
            if failing:
                rollout.failed += arrived
                rollout.deployment["failedTasks"] = rollout.failed
            elif fault := self.world.faults.tasks(target_of(service), now):
                stopped = [self._stopped(service, rollout, fault) for _ in range(arrived)]
                fleet.stopped = [*stopped, *fleet.stopped][:STOPPED_KEPT]
            else:
                rollout.running += arrived

    def _stopped(self, service: Service, rollout: Rollout, fault: TaskFault) -> dict[str, Any]:
        now = self.world.naive_now()
        return {
            "taskArn": task_arn(service, uuid4().hex),
            "taskDefinitionArn": rollout.deployment["taskDefinition"],
            "group": f"service:{service.name}",
            "startedBy": rollout.deployment["id"],
            "desiredStatus": "STOPPED",
            "lastStatus": "STOPPED",
            "stopCode": fault.code,
            "stoppedReason": fault.reason,
            "stoppedAt": now,
            "containers": [],
        }

    def running_arns(self, service: Service) -> list[str]:
        """The n-th running task of a deployment has one name as long as so many of it run."""
        return [
            task_arn(service, uuid5(NAMESPACE_OID, f"{r.deployment['id']}/{n}").hex)
            for r in self.fleet(service).rollouts
            for n in range(r.running)
        ]

    @staticmethod
    def _stop(service: Service, primary: Rollout, old: list[Rollout]) -> None:
        keep = max(
            0, math.ceil(service.desired_count * _percent(service, "minimumHealthyPercent", 100)) - primary.running
        )
        for rollout in old:
            rollout.starting.clear()
            rollout.stop(max(0, rollout.running - keep))
            keep = max(0, keep - rollout.running)
        primary.stop(max(0, primary.tasks - service.desired_count))

    def _start(self, service: Service, fleet: Fleet, now: datetime) -> None:
        primary, *old = fleet.rollouts
        if primary.deployment["rolloutState"] == "FAILED":
            return
        wanted = service.desired_count - primary.tasks
        total = sum(r.tasks for r in fleet.rollouts)
        if old:
            most = math.floor(service.desired_count * _percent(service, "maximumPercent", 200))
            wanted = min(wanted, most - total)
        if wanted <= 0:
            fleet.blocked = None
            return
        target = target_of(service)
        cap = self.world.faults.capacity(target, now)
        if cap and total + wanted > cap.max_running:
            wanted = max(0, cap.max_running - total)
            if fleet.blocked is None or now - fleet.blocked >= BLOCKED_EVENT_EVERY:
                fleet.blocked = now
                self.event(service, f"was unable to place a task. Reason: {cap.cause}.")
        started = fleet.rate.take(wanted, now)
        if started:
            ready = now + timedelta(seconds=self.world.timing(target).launch_lag_s)
            primary.starting.extend([ready] * started)
            self.event(service, f"has started {started} tasks.")
            if ready <= now:
                self._arrive(service, fleet, now)

    def _judge(self, service: Service, fleet: Fleet) -> None:
        primary, *old = fleet.rollouts
        deployment = primary.deployment
        if deployment["rolloutState"] != "IN_PROGRESS":
            return
        breaker = (getattr(service, "deployment_configuration", None) or {}).get("deploymentCircuitBreaker") or {}
        fault = self.world.faults.deployment(target_of(service), primary.revision, self.world.now())
        if fault and breaker.get("enable") and primary.failed >= fault.threshold:
            self._fail(service, fleet, bool(breaker.get("rollback")))
        elif primary.running == service.desired_count and not any(r.tasks for r in old):
            fleet.rollouts = [primary]
            deployment["rolloutState"] = "COMPLETED"
            deployment["rolloutStateReason"] = f"ECS deployment {deployment['id']} completed."
            deployment["updatedAt"] = self.world.naive_now()
            self.event(service, f"(deployment {deployment['id']}) deployment completed.")
            self.event(service, "has reached a steady state.")

    def _fail(self, service: Service, fleet: Fleet, rollback: bool) -> None:
        failed = fleet.rollouts[0]
        failed.starting.clear()
        reason = "ECS deployment circuit breaker: tasks failed to start."
        failed.deployment |= {"rolloutState": "FAILED", "rolloutStateReason": reason}
        self.event(service, f"(deployment {failed.deployment['id']}) deployment failed: tasks failed to start.")
        before = next((r for r in fleet.rollouts[1:] if r.deployment["rolloutState"] == "COMPLETED"), None)
        if rollback and before:
            # As ECS: the last completed deployment becomes PRIMARY again, the failed one drains.
            fleet.rollouts.remove(before)
            failed.deployment["status"] = "ACTIVE"
            before.deployment |= {
                "status": "PRIMARY",
                "rolloutState": "IN_PROGRESS",
                "rolloutStateReason": "ECS deployment circuit breaker: rolling back to deploymentId "
                f"{before.deployment['id']}.",
            }
            fleet.rollouts.insert(0, before)
            service.task_definition = before.deployment["taskDefinition"]
            self.event(service, f"rolling back to deployment {before.deployment['id']}.")

    @staticmethod
    def _show(service: Service, fleet: Fleet) -> None:
        for rollout in fleet.rollouts:
            is_primary = rollout is fleet.rollouts[0]
            rollout.deployment |= {
                "desiredCount": service.desired_count if is_primary else 0,
                "runningCount": rollout.running,
                "pendingCount": len(rollout.starting),
            }
        service.deployments = [r.deployment for r in fleet.rollouts]
        running = sum(r.running for r in fleet.rollouts)
        pending = sum(len(r.starting) for r in fleet.rollouts)
        cluster = service._backend.clusters.get(service.cluster_name)
        if cluster:
            cluster.running_tasks_count += running - service.running_count
            cluster.pending_tasks_count += pending - service.pending_count
        service.running_count, service.pending_count = running, pending

    def event(self, service: Service, text: str) -> None:
        """Adds a service event, newest first."""
        event = {
            "id": str(uuid4()),
            "createdAt": self.world.naive_now(),
            "message": f"(service {service.name}) {text}",
        }
        service.events = [event, *service.events][:EVENTS_KEPT]


def target_of(service: Service) -> str:
    return f"{service.cluster_name}/{service.name}"


def task_arn(service: Service, name: str) -> str:
    backend = service._backend
    return f"arn:aws:ecs:{backend.region_name}:{backend.account_id}:task/{service.cluster_name}/{name}"


def task_size(service: Service, task_definition_arn: str | None) -> tuple[float, float]:
    """Cores and GiB reserved by one task; 0 where the task definition does not say."""
    if not task_definition_arn:
        return 0.0, 0.0
    family, _, revision = task_definition_arn.rsplit("/", 1)[-1].partition(":")
    definition = service._backend.task_definitions.get(family, {}).get(int(revision))
    if definition is None:
        return 0.0, 0.0
    containers: list[dict[str, Any]] = definition.container_definitions
    # Without a task size the containers' sizes add up; a soft memory limit counts before a hard one.
    cpu = float(definition.cpu or sum(c.get("cpu") or 0 for c in containers))
    memory = float(definition.memory or sum(c.get("memoryReservation") or c.get("memory") or 0 for c in containers))
    return cpu / 1024, memory / 1024


def _percent(service: Service, name: str, default: float) -> float:
    return float((getattr(service, "deployment_configuration", None) or {}).get(name, default)) / 100
