"""The cases of the replay benchmark: services made of recorded traces, and policy changes on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

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


@dataclass(frozen=True)
class Service:
    """A service's demand: mean per slot, in cores of its own size; `pattern` as the trace says of itself."""

    name: str
    pattern: str
    demand: pd.Series = field(repr=False)


@dataclass(frozen=True)
class Case:
    """One change on one service, asked for at `now`. `truth`: true impact as a multiple of the estimated one."""

    service: Service
    now: datetime
    kind: str
    delay: timedelta
    truth: float
    factor: float = 2.0
    ramp: timedelta | None = None
    outage: timedelta | None = None

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
        return (Outage(start, start + self.outage),)

    @property
    def past(self) -> pd.Series:
        demand = self.service.demand
        return demand[(demand.index < self.now) & (demand.index >= self.now - timedelta(days=14))]

    @property
    def actual(self) -> pd.Series:
        demand = self.service.demand
        return demand[(demand.index >= self.now) & (demand.index < self.end)]

    def workload(self, headroom: float = 1.0) -> Workload:
        """The service as it is shaped. `headroom` above 1 aims at a lower utilisation than the service must keep."""
        need = float(self.past.quantile(0.95)) / OBJECTIVE
        return Workload.model_validate(
            {
                "name": self.service.name,
                "target": {"type": "ecs", "cluster": "bench", "service": self.service.name},
                "unit": {"cpu_cores": need / TYPICAL_UNITS},
                "objectives": {"cpu": OBJECTIVE / headroom},
                "limits": {"min_units": 2, "max_units": 300, "soft": {"units": 8, "percent": 25, "dwell": "PT10M"}},
                "lead_time": "PT4M",
                "price": {"per_unit_hour": "0.05"},
                "shares": {"acme": 0.5},
            }
        )

    def usages(self) -> tuple[dict[str, dict[Resource, pd.Series]], dict[str, dict[Resource, pd.Series]]]:
        name = self.service.name
        return {name: {Resource.CPU: self.past}}, {name: {Resource.CPU: self.actual}}


def services(folder: Path) -> list[Service]:
    """Every trace of `folder` large enough to be a service: tidy Parquet with `series.csv`, or the sandbox's CSV."""
    if not (folder / "series.csv").exists():
        return [
            Service(path.stem, "daily", _slots(pd.read_csv(path, index_col="timestamp", parse_dates=True)["cpu"]))
            for path in sorted(folder.glob("*.csv"))
        ]
    listed = pd.read_csv(folder / "series.csv")
    wanted = listed[listed.resource.isin(["cpu", "requests"]) & (listed.days >= 14)]
    made = []
    for file, rows in wanted.groupby("file"):
        table = pd.read_parquet(folder / str(file))
        by_id = {str(i): g.set_index("timestamp")["value"] for i, g in table.groupby("series_id", observed=True)}
        if len(rows) < GROUP * 2:
            made += [Service(row.workload, row.pattern, _slots(by_id[row.series_id])) for row in rows.itertuples()]
            continue
        for pattern, alike in rows.groupby("pattern"):
            for number in range(len(alike) // GROUP):
                ids = alike.series_id.iloc[number * GROUP : (number + 1) * GROUP]
                total = pd.concat([_slots(by_id[i]) for i in ids], axis=1).sum(axis=1, min_count=GROUP).dropna()
                made.append(Service(f"{Path(str(file)).stem}-{pattern}-{number + 1}", str(pattern), total))
    return made


def _slots(series: pd.Series) -> pd.Series:
    index = pd.DatetimeIndex(series.index)
    index = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
    known = pd.Series(series.to_numpy(dtype=float), index=index.as_unit("ns"))
    return known.resample(SLOT).mean().interpolate(limit=12).dropna()


def cases(service: Service, origins: int) -> Iterator[Case]:
    """`origins` moments at different times of the day, each with every kind of change."""
    index = service.demand.index
    history = min(timedelta(days=14), (index[-1] - index[0]).to_pytimedelta() * 0.7)
    first = (index[0] + history).ceil("h").to_pydatetime()
    room = index[-1].to_pydatetime() - first - timedelta(hours=24) - AFTER
    for number in range(origins):
        # 5 hours are prime to 24: the effective times walk through the day.
        at = first + min(number * (timedelta(days=2) + timedelta(hours=5)), max(timedelta(0), room))
        short, long = timedelta(hours=3), timedelta(hours=24)
        for truth in (1.0, 0.5, 2.0):
            yield Case(service, at, "increase, 3 h", short, truth)
            yield Case(service, at, "increase, 24 h", long, truth)
        yield Case(service, at, "ramp, 3 h", short, 1.0, ramp=timedelta(hours=2))
        yield Case(service, at, "decrease, 3 h", short, 1.0, factor=0.5)
        yield Case(service, at, "failed launches, 3 h", short, 1.0, outage=timedelta(minutes=20))
