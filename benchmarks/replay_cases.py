"""The cases of the replay benchmark: services made of recorded traces, and policy changes on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from forebay.domain.allocation import Lever
from forebay.domain.change import ChangeRequest
from forebay.domain.resources import Resource
from forebay.domain.workload import Workload
from forebay.replay.cloud import Outage

SLOT = timedelta(minutes=5)
OBJECTIVE = 0.6
TYPICAL_UNITS = 16  # of the 95 % quantile of a service's load: large enough for steps to be steps
GROUP = 10  # machines too small to be a service of their own are summed by as many
SETTLE = timedelta(hours=2)
AFTER = SETTLE + timedelta(minutes=15)  # until the floor is given back: what comes then is the autoscaler's alone
SHORT, LONG = timedelta(hours=3), timedelta(hours=24)
UNIT_FIELDS = {Resource.CPU: "cpu_cores", Resource.MEMORY: "memory_gib", Resource.NETWORK: "network_mbps"}


@dataclass(frozen=True)
class Service:
    """A service's demand, per resource one mean a slot, in whatever its trace counts; `pattern` as the trace says."""

    name: str
    pattern: str
    demand: Mapping[Resource, pd.Series] = field(repr=False)

    @property
    def start(self) -> datetime:
        return max(series.index[0].to_pydatetime() for series in self.demand.values())

    @property
    def end(self) -> datetime:
        return min(series.index[-1].to_pydatetime() for series in self.demand.values())

    def of(self, resources: int) -> Service:
        """The first so many of its resources."""
        return replace(self, demand=dict(list(self.demand.items())[:resources]))


@dataclass(frozen=True)
class Case:
    """One change on one service, asked for at `now`. `truth`: true impact as a multiple of the estimated one."""

    service: Service
    now: datetime
    kind: str
    delay: timedelta
    truth: float = 1.0
    factor: float = 2.0
    ramp: timedelta | None = None
    outage: timedelta | None = None
    arrives: float = 0.0
    lever: Lever = Lever.FLOOR

    @property
    def effective_at(self) -> datetime:
        return self.now + self.delay

    @property
    def end(self) -> datetime:
        return self.effective_at + AFTER

    @property
    def request(self) -> ChangeRequest:
        """Half of the load is the customer's; the estimate is honest about 20 % either way of its effect."""
        off = 0.2 * (self.factor - 1)
        low, high = sorted((self.factor - off, self.factor + off))
        impact: dict[str, Any] = {"workload": self.service.name, "factor": self.factor, "low": low, "high": high}
        if self.ramp:
            impact["adoption"] = {"shape": "ramp", "over": self.ramp}
        return ChangeRequest.model_validate(
            {
                "change": "CHG-1",
                "entity": "acme",
                "policy": "quota",
                "effective_at": self.effective_at,
                "impacts": [impact],
                "requested_by": "bench",
                "settle": SETTLE,
            }
        )

    @property
    def outages(self) -> tuple[Outage, ...]:
        """In the middle of the last hour and a half before the effective time."""
        if not self.outage:
            return ()
        start = self.effective_at - timedelta(minutes=75)
        return (Outage(start, start + self.outage, arrives=self.arrives),)

    @property
    def past(self) -> dict[Resource, pd.Series]:
        first = self.now - timedelta(days=14)
        return {r: d[(d.index < self.now) & (d.index >= first)] for r, d in self.service.demand.items()}

    @property
    def actual(self) -> dict[Resource, pd.Series]:
        return {r: d[(d.index >= self.now) & (d.index < self.end)] for r, d in self.service.demand.items()}

    def workload(self, headroom: float = 1.0) -> Workload:
        """The service as it is shaped. `headroom` above 1 aims at a lower utilisation than the service must keep."""
        need = {r: float(past.quantile(0.95)) / OBJECTIVE for r, past in self.past.items()}
        return Workload.model_validate(
            {
                "name": self.service.name,
                "target": {"type": "ecs", "cluster": "bench", "service": self.service.name},
                "unit": {UNIT_FIELDS[r]: value / TYPICAL_UNITS for r, value in need.items()},
                "objectives": dict.fromkeys(need, OBJECTIVE / headroom),
                "limits": {"min_units": 2, "max_units": 300, "soft": {"units": 8, "percent": 25, "dwell": "PT10M"}},
                "lead_time": "PT4M",
                "price": {"per_unit_hour": "0.05"},
                "shares": {"acme": 0.5},
            }
        )


def services(folder: Path) -> list[Service]:
    """Every trace of `folder` large enough to be a service: tidy Parquet with `series.csv`, or the sandbox's CSV."""
    if not (folder / "series.csv").exists():
        return [
            Service(path.stem, "daily", _columns(pd.read_csv(path, index_col="timestamp", parse_dates=True)))
            for path in sorted(folder.glob("*.csv"))
        ]
    listed = pd.read_csv(folder / "series.csv")
    wanted = listed[listed.resource.isin([*Resource, "requests"]) & (listed.days >= 14)]
    made = []
    for file, rows in wanted.groupby("file"):
        table = pd.read_parquet(folder / str(file))
        by_id = {str(i): g.set_index("timestamp")["value"] for i, g in table.groupby("series_id", observed=True)}
        first = rows[rows.resource.isin(["cpu", "requests"])]
        if len(first) < GROUP * 2:
            made += [Service(row.workload, row.pattern, _resources(rows, by_id, row)) for row in first.itertuples()]
            continue
        for pattern, alike in first.groupby("pattern"):
            for number in range(len(alike) // GROUP):
                ids = alike.series_id.iloc[number * GROUP : (number + 1) * GROUP]
                total = pd.concat([_slots(by_id[i]) for i in ids], axis=1).sum(axis=1, min_count=GROUP).dropna()
                name = f"{Path(str(file)).stem}-{pattern}-{number + 1}"
                made.append(Service(name, str(pattern), {Resource.CPU: total}))
    return made


def _columns(table: pd.DataFrame) -> dict[Resource, pd.Series]:
    return {resource: _slots(table[resource]) for resource in Resource if resource in table}


def _resources(rows: pd.DataFrame, by_id: Mapping[str, pd.Series], first: Any) -> dict[Resource, pd.Series]:
    """The workload's own series; requests stand for the cpu they take. A constant one cannot bind and is left out."""
    of_it = {row.resource: _slots(by_id[row.series_id]) for row in rows.itertuples() if row.workload == first.workload}
    found = {Resource.CPU: of_it[first.resource]}
    found |= {r: of_it[r] for r in (Resource.MEMORY, Resource.NETWORK) if r in of_it}
    return {r: series for r, series in found.items() if series.quantile(0.95) > 0}


def _slots(series: pd.Series) -> pd.Series:
    index = pd.DatetimeIndex(series.index)
    index = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
    known = pd.Series(series.to_numpy(dtype=float), index=index.as_unit("ns"))
    return known.resample(SLOT).mean().interpolate(limit=12).dropna()


def cases(service: Service, origins: int) -> Iterator[Case]:
    """`origins` moments at different times of the day, each with every kind of change."""
    whole, service = service, service.of(1)
    history = min(timedelta(days=14), (service.end - service.start) * 0.7)
    first = pd.Timestamp(service.start + history).ceil("h").to_pydatetime()
    room = service.end - first - LONG - AFTER
    for number in range(origins):
        # 5 hours are prime to 24: the effective times walk through the day.
        at = first + min(number * (timedelta(days=2) + timedelta(hours=5)), max(timedelta(0), room))
        for truth in (1.0, 0.5, 2.0):
            yield Case(service, at, "increase, 3 h", SHORT, truth)
            yield Case(service, at, "increase, 24 h", LONG, truth)
        yield Case(service, at, "ramp, 3 h", SHORT, ramp=timedelta(hours=2))
        yield Case(service, at, "decrease, 3 h", SHORT, factor=0.5)
        yield Case(service, at, "no launch for 20 min", SHORT, outage=timedelta(minutes=20))
        yield Case(service, at, "no launch for 20 min", SHORT, 2.0, outage=timedelta(minutes=20))
        yield Case(service, at, "half of each launch", SHORT, outage=timedelta(minutes=40), arrives=0.5)
        if len(whole.demand) > 1:
            yield Case(whole, at, f"{len(whole.demand)} resources, 3 h", SHORT)
        for truth in (1.0, 0.5, 2.0):
            yield Case(service, at, "count, 3 h", SHORT, truth, lever=Lever.COUNT)
