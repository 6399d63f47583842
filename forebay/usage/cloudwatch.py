"""Usage from CloudWatch, for ECS services and Auto Scaling groups."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call, not_found
from forebay.aws_tasks import reservation
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.resources import Resource, ResourceVector
from forebay.domain.size import CPU_UNITS_PER_CORE, MIB_PER_GIB
from forebay.domain.workload import EcsTarget, Workload
from forebay.ports import Clock
from forebay.usage.periods import Window, period_for, windows
from forebay.usage.sources import AsgSource, EcsSource, EntitySource, Query, Source

if TYPE_CHECKING:
    import pandas as pd
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

logger = logging.getLogger(__name__)

# Below this share of its datapoints a window counts as one without data: a mean of the rest may miss the peak.
MINIMUM_SHARE = 0.5


class CloudWatchUsage:
    """A Usage of the workload's resources with an objective.

    IAM: cloudwatch:GetMetricData, and DescribeAlarms where the workload names alarms; for
    ECS also ecs:DescribeServices and ecs:DescribeTaskDefinition.
    """

    def __init__(self, workload: Workload, clients: AwsClients, clock: Clock) -> None:
        self._workload = workload
        self._clients = clients
        self._clock = clock
        target = workload.target
        self._source: Source = EcsSource(target) if isinstance(target, EcsTarget) else AsgSource(target)
        self._queries = self._source.queries(workload.resources)
        if workload.verification.window < workload.metric_period:
            raise InputError(
                f"{workload.name}: verification.window ({workload.verification.window}) is shorter than metric_period "
                f"({workload.metric_period}), so no datapoint would fall into it: make it three times as long"
            )

    def history(self, start: datetime, end: datetime, step: timedelta) -> Mapping[Resource, pd.Series]:
        """One call a week of 5-minute steps. A step is there if it has any datapoint: a forecast suffers more from
        gaps than from noise. Steps count from the epoch; older data comes as coarse as CloudWatch kept it.
        """
        return self._history(start, end, step, self._workload.resources, self._usage)

    def entity_history(
        self, entity: str, start: datetime, end: datetime, step: timedelta
    ) -> Mapping[Resource, pd.Series]:
        """Of the resources that `entity_usage` names, and of the periods in which the entity's metric has data."""
        source = EntitySource(self._workload.entity_usage, entity)
        wanted = [resource for resource in self._workload.resources if resource in source.metrics]

        def usage(window: Window) -> dict[Resource, dict[int, float]]:
            points = self._read(window, source.queries(wanted))
            return {r: source.usage(r, points, window.period) for r in wanted}

        series = self._history(start, end, step, wanted, usage) if wanted else {}
        return {resource: measured for resource, measured in series.items() if len(measured)}

    def _history(
        self,
        start: datetime,
        end: datetime,
        step: timedelta,
        resources: Iterable[Resource],
        usage_in: Callable[[Window], dict[Resource, dict[int, float]]],
    ) -> Mapping[Resource, pd.Series]:
        import pandas as pd

        now = self._clock.now().timestamp()
        seconds = step.total_seconds()
        found: dict[Resource, dict[float, list[float]]] = {r: defaultdict(list) for r in resources}
        for window in windows(start.timestamp(), end.timestamp(), seconds, now):
            slot = max(seconds, window.period)
            for resource, usage in usage_in(window).items():
                for time, value in usage.items():
                    found[resource][time // slot * slot].append(value)
        return {
            resource: pd.Series(
                [fmean(values) for values in slots.values()],
                index=pd.to_datetime(list(slots), unit="s", utc=True),
                dtype="float64",
                name=resource.value,
            ).sort_index()
            for resource, slots in found.items()
        }

    def alarms(self) -> Sequence[str]:
        """One call. A composite alarm counts as any other."""
        wanted, what = list(self._workload.alarms), f"the alarms of {self._workload.name}"
        if not wanted:
            return ()
        with aws_call("cloudwatch:DescribeAlarms", what):
            answer = self._clients.cloudwatch.describe_alarms(
                AlarmNames=wanted, AlarmTypes=["MetricAlarm", "CompositeAlarm"], MaxRecords=100
            )
        found = {a["AlarmName"]: a["StateValue"] for a in answer["MetricAlarms"]}
        found |= {a["AlarmName"]: a["StateValue"] for a in answer.get("CompositeAlarms", [])}
        if missing := [name for name in wanted if name not in found]:
            raise not_found("cloudwatch:DescribeAlarms", f"{what}: {', '.join(missing)}")
        return [name for name in wanted if found[name] == "ALARM"]

    def measure(self, start: datetime, end: datetime) -> Mapping[Resource, float]:
        """One call. Both ends are rounded down to the workload's metric period; a resource with less than half of
        the window's datapoints is left out.
        """
        age = self._clock.now().timestamp() - start.timestamp()
        period = period_for(self._workload.metric_period.total_seconds(), age)
        window = Window(int(start.timestamp() // period * period), int(end.timestamp() // period * period), period)
        if window.periods < 1:
            return {}
        measured = {}
        for resource, values in self._usage(window).items():
            if len(values) >= MINIMUM_SHARE * window.periods:
                measured[resource] = fmean(values.values())
            else:
                logger.warning(
                    "%s: no %s data: %d of %d datapoints of %d s since %s. If it stays so: %s; "
                    "if they are published less often, say so in metric_period",
                    self._workload.name,
                    resource,
                    len(values),
                    window.periods,
                    period,
                    datetime.fromtimestamp(window.start, UTC).isoformat(),
                    self._source.mend,
                )
        return measured

    def _usage(self, window: Window) -> dict[Resource, dict[int, float]]:
        points = self._read(window, self._queries)
        reserved = cache(self._reserved)  # for this call only: a deployment may change it
        return {r: self._source.usage(r, points, reserved, window.period) for r in self._workload.resources}

    def _read(self, window: Window, queries: Sequence[Query]) -> dict[str, dict[int, float]]:
        """The value of every query at every period that has data."""
        points: dict[str, dict[int, float]] = {query.key: {} for query in queries}
        with aws_call("cloudwatch:GetMetricData", f"the metrics of {self._workload.name}"):
            pages = self._clients.cloudwatch.get_paginator("get_metric_data").paginate(
                MetricDataQueries=[_metric_query(query, window.period) for query in queries],
                StartTime=datetime.fromtimestamp(window.start, UTC),
                EndTime=datetime.fromtimestamp(window.end, UTC),
                ScanBy="TimestampAscending",
            )
            for page in pages:
                for result in page["MetricDataResults"]:
                    if result["StatusCode"] in ("InternalError", "Forbidden"):
                        raise OutsideError(
                            f"cloudwatch:GetMetricData gave no {result['Label']} of {self._workload.name} "
                            f"({result['StatusCode']}): try again; if it is forbidden, allow the action",
                            retryable=result["StatusCode"] == "InternalError",
                            lapses=True,
                        )
                    times = (int(time.timestamp()) for time in result["Timestamps"])
                    points[result["Id"]].update(zip(times, result["Values"], strict=True))
        return points

    def _reserved(self) -> ResourceVector:
        """What one unit has. For ECS what the task definition reserves, which is what percentages relate to."""
        target, unit = self._workload.target, self._workload.unit
        if not isinstance(target, EcsTarget):
            return unit
        what = f"ECS service {target.cluster}/{target.service}"
        with aws_call("ecs:DescribeServices", what):
            answer = self._clients.ecs.describe_services(cluster=target.cluster, services=[target.service])
        if not answer["services"]:
            raise not_found("ecs:DescribeServices", what)
        with aws_call("ecs:DescribeTaskDefinition", what):
            definition = self._clients.ecs.describe_task_definition(
                taskDefinition=answer["services"][0]["taskDefinition"]
            )["taskDefinition"]
        cpu, memory = reservation(definition)
        return ResourceVector(
            cpu_cores=cpu / CPU_UNITS_PER_CORE or unit.cpu_cores, memory_gib=memory / MIB_PER_GIB or unit.memory_gib
        )


def _metric_query(query: Query, period: int) -> MetricDataQueryTypeDef:
    return {
        "Id": query.key,
        "MetricStat": {
            "Metric": {
                "Namespace": query.namespace,
                "MetricName": query.metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in query.dimensions],
            },
            "Period": period,
            "Stat": query.stat,
        },
    }
