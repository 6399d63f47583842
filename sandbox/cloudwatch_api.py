"""CloudWatch calls answered from `MetricStore`: clock-aligned, with percentiles and pages, in milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterCombination, InvalidParameterValue, ValidationError
from moto.cloudwatch.models import CloudWatchBackend
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

from sandbox.metrics import PERCENTILE, Metric, MetricStore
from sandbox.world import Patches, World

MOST_QUERIES = 500
MOST_DATAPOINTS = 100_800
MOST_STATISTICS = 1_440
MOST_DATA_PER_PUT = 1_000
MOST_VALUES_PER_DATUM = 150
OLDEST_S, NEWEST_S = 14 * 86400, 2 * 3600
SHORT_PERIODS = (1, 5, 10, 20, 30)
QUERY_ID = re.compile(r"^[a-z][a-zA-Z0-9_]*$")


def install(patches: Patches, world: World) -> None:
    """Replaces put, get and list of metrics; alarms and dashboards stay moto's."""

    def store(backend: CloudWatchBackend) -> MetricStore:
        return world.store(backend.region_name, backend.account_id)

    def put_metric_data(self: Any, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        _check_put(namespace, metric_data)
        for i, datum in enumerate(metric_data, start=1):
            self._validate_parameters_put_metric_data(datum, i)
            _check_time(datum.get("Timestamp"), world.now().timestamp(), i)
        for datum in metric_data:
            _store_datum(store(self), namespace, datum, world.now().timestamp())

    def get_metric_data(self: Any) -> ActionResult:
        return ActionResult(_metric_data(store(self.cloudwatch_backend), self._get_params()))

    def get_metric_statistics(self: Any) -> ActionResult:
        return ActionResult(_statistics(store(self.cloudwatch_backend), self._get_params()))

    def list_metrics(self: Any) -> ActionResult:
        params = self._get_params()
        found = store(self.cloudwatch_backend).find(
            params.get("Namespace"),
            params.get("MetricName"),
            [(d["Name"], d.get("Value")) for d in params.get("Dimensions", [])],
        )
        offset = int(params.get("NextToken") or 0)
        page = found[offset : offset + 500]
        token = str(offset + 500) if offset + 500 < len(found) else None
        return ActionResult({"Metrics": [_name(m) for m in page], "NextToken": token})

    patches.set(CloudWatchBackend, "put_metric_data", put_metric_data)
    patches.set(CloudWatchResponse, "get_metric_data", get_metric_data)
    patches.set(CloudWatchResponse, "get_metric_statistics", get_metric_statistics)
    patches.set(CloudWatchResponse, "list_metrics", list_metrics)


def epoch(value: datetime | str | float) -> float:
    """Epoch seconds of a request's time; moto hands over naive UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value)


def _name(metric: Metric) -> dict[str, Any]:
    dimensions = [{"Name": n, "Value": v} for n, v in metric.dimensions]
    return {"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions}


def _metric(namespace: str, name: str, dimensions: list[dict[str, str]] | None) -> Metric:
    return Metric.of(namespace, name, {d["Name"]: d["Value"] for d in dimensions or []})


def _check_put(namespace: str, metric_data: list[dict[str, Any]]) -> None:
    if namespace.startswith("AWS/"):
        raise InvalidParameterValue(f"The value {namespace} for parameter Namespace is invalid.")
    if len(metric_data) > MOST_DATA_PER_PUT:
        raise InvalidParameterValue(f"The collection MetricData must not have a size greater than {MOST_DATA_PER_PUT}.")
    if any(len(d.get("Values") or []) > MOST_VALUES_PER_DATUM for d in metric_data):
        raise InvalidParameterValue(f"Values must not have a size greater than {MOST_VALUES_PER_DATUM}.")


def _check_time(timestamp: Any, now: float, position: int) -> None:
    if timestamp is not None and not now - OLDEST_S <= epoch(timestamp) <= now + NEWEST_S:
        raise InvalidParameterValue(
            f"The parameter MetricData.member.{position}.Timestamp must specify a time within two weeks before "
            "and two hours after now."
        )


def _store_datum(store: MetricStore, namespace: str, datum: dict[str, Any], now: float) -> None:
    metric = _metric(namespace, datum["MetricName"], datum.get("Dimensions"))
    time = epoch(datum["Timestamp"]) if datum.get("Timestamp") else now
    unit = datum.get("Unit")
    if datum.get("Values"):
        for value, count in zip(datum["Values"], datum.get("Counts") or [1] * len(datum["Values"]), strict=True):
            store.put(metric, time, float(value) * float(count), unit, float(count))
    elif datum.get("StatisticValues"):
        s = datum["StatisticValues"]
        store.put_statistics(
            metric, time, float(s["Sum"]), float(s["SampleCount"]), float(s["Minimum"]), float(s["Maximum"]), unit
        )
    else:
        store.put(metric, time, float(datum.get("Value", 0)), unit)


def _check_queries(queries: list[dict[str, Any]]) -> None:
    if not queries:
        raise ValidationError("The parameter MetricDataQueries is required.")
    if len(queries) > MOST_QUERIES:
        raise ValidationError(f"The collection MetricDataQueries must not have a size greater than {MOST_QUERIES}.")
    seen: set[str] = set()
    for query in queries:
        if not QUERY_ID.match(query["Id"]) or query["Id"] in seen:
            raise ValidationError(f"The value {query['Id']} for parameter Id is invalid or not unique.")
        seen.add(query["Id"])
        if "MetricStat" not in query and "Expression" not in query:
            raise ValidationError("The parameter MetricDataQueries.member.1.MetricStat is required.\n")
    ids = {q["Id"] for q in queries if "MetricStat" in q}
    for query in queries:
        if "Expression" in query and query["Expression"] not in ids:
            raise ValidationError(
                f"Expression {query['Expression']!r}: this sandbox knows only the bare id of a metric."
            )


def _check_period(period: int) -> None:
    if period < 1 or (period not in SHORT_PERIODS and period % 60):
        raise ValidationError(f"Period {period} must be 1, 5, 10, 20, 30 or a multiple of 60.")


def _metric_data(store: MetricStore, params: dict[str, Any]) -> dict[str, Any]:
    start, end = epoch(params["StartTime"]), epoch(params["EndTime"])
    if start >= end:
        raise ValidationError("The parameter StartTime must be less than the parameter EndTime.")
    queries = params.get("MetricDataQueries") or []
    _check_queries(queries)
    descending = (params.get("ScanBy") or "TimestampDescending") == "TimestampDescending"
    found: dict[str, tuple[list[float], list[float]]] = {}
    for query in queries:
        if "MetricStat" not in query:
            continue
        what = query["MetricStat"]
        _check_period(int(what["Period"]))
        metric = what["Metric"]
        try:
            times, values = store.statistic(
                _metric(metric["Namespace"], metric["MetricName"], metric.get("Dimensions")),
                what["Stat"],
                start,
                end,
                int(what["Period"]),
                what.get("Unit"),
            )
        except ValueError as exc:
            raise ValidationError(str(exc)) from exc
        found[query["Id"]] = (times[::-1], values[::-1]) if descending else (times, values)
    answers = [
        (q, *found[q["Id"] if "MetricStat" in q else q["Expression"]]) for q in queries if q.get("ReturnData", True)
    ]
    return _page(answers, int(params.get("NextToken") or 0), int(params.get("MaxDatapoints") or MOST_DATAPOINTS))


def _page(answers: list[tuple[dict[str, Any], list[float], list[float]]], offset: int, most: int) -> dict[str, Any]:
    """Datapoints `offset`..`offset + most`, counted over all results in order; the token is the next offset."""
    results, position, end = [], 0, offset + most
    total = sum(len(times) for _, times, _ in answers)
    for query, times, values in answers:
        lo, hi = max(0, offset - position), max(0, min(len(times), end - position))
        position += len(times)
        if offset and lo >= len(times):
            continue  # an earlier page has all of it
        stat = query.get("MetricStat", {})
        results.append(
            {
                "Id": query["Id"],
                "Label": query.get("Label") or stat.get("Metric", {}).get("MetricName") or query["Id"],
                "Timestamps": [datetime.fromtimestamp(t, UTC) for t in times[lo:hi]],
                "Values": values[lo:hi],
                "StatusCode": "Complete" if hi == len(times) else "PartialData",
            }
        )
    return {"MetricDataResults": results, "NextToken": str(end) if end < total else None}


def _statistics(store: MetricStore, params: dict[str, Any]) -> dict[str, Any]:
    start, end, period = epoch(params["StartTime"]), epoch(params["EndTime"]), int(params["Period"])
    names = [*(params.get("Statistics") or []), *(params.get("ExtendedStatistics") or [])]
    if not names:
        raise InvalidParameterCombination("Must specify either Statistics or ExtendedStatistics")
    if start >= end:
        raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
    if (end - start) / period > MOST_STATISTICS:
        raise InvalidParameterCombination(
            f"You have requested up to {(end - start) / period:.0f} datapoints, which exceeds the limit of "
            f"{MOST_STATISTICS}."
        )
    metric = _metric(params["Namespace"], params["MetricName"], params.get("Dimensions"))
    unit = params.get("Unit")
    points: dict[float, dict[str, Any]] = {}
    for name in names:
        try:
            times, values = store.statistic(metric, name, start, end, period, unit)
        except ValueError as exc:
            raise InvalidParameterValue(str(exc)) from exc
        for time, value in zip(times, values, strict=True):
            point = points.setdefault(
                time, {"Timestamp": datetime.fromtimestamp(time, UTC), "Unit": store.series_of(metric).unit}
            )
            if PERCENTILE.match(name):
                point.setdefault("ExtendedStatistics", {})[name] = value
            else:
                point[name] = value
    return {"Label": metric.name, "Datapoints": [points[t] for t in sorted(points)]}
