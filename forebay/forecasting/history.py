"""Usage histories in files: tidy CSV or Parquet with the columns timestamp, workload, entity, resource, value, unit.

Everything is brought to one zone (UTC) and the resource's canonical unit (cores, GiB, Mbit/s).
Rows may come in any order, as a tidy file's order carries no meaning. An empty value is a gap, never zero. Counters
(unit `core-seconds`, or `bytes` of network) become the rate between two samples.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from forebay.domain.resources import CANONICAL_UNIT, UNIT_FACTOR, Resource
from forebay.domain.workload import Workload
from forebay.forecasting.counters import COUNTER_UNITS, SAID, looks_like_a_counter, rate, since
from forebay.forecasting.errors import HistoryError

COLUMNS = ("timestamp", "workload", "entity", "resource", "value", "unit")

_TIME_AND_OFFSET = r":\d{2}.*(?:[zZ]|[+-]\d{2}(?::?\d{2})?)$"


# Of the usual seasons the longest is a week: what misses four of them is seldom an outage.
LONGEST_SILENCE = timedelta(weeks=4)
MOSTLY = 0.75  # of the longest series of a sum: where less of the sum is known, that is said
Flags = npt.NDArray[np.bool_]


class SeriesKey(NamedTuple):
    """What a series measures; an empty entity means the workload's total."""

    workload: str
    resource: str
    entity: str


@dataclass(frozen=True)
class History:
    """Usage series in canonical units (CPU cores, memory GiB, network Mbit/s), each on an aware UTC index in order."""

    series: Mapping[SeriesKey, pd.Series]

    def __iter__(self) -> Iterator[SeriesKey]:
        return iter(self.series)

    def workloads(self) -> list[str]:
        return sorted({key.workload for key in self.series})

    def resources(self, workload: str) -> list[str]:
        return sorted({key.resource for key in self.series if key.workload == workload})

    def entities(self, workload: str, resource: str) -> list[str]:
        """The entities measured by name; empty where only the workload's total was measured."""
        return sorted(key.entity for key in self.series if key[:2] == (workload, resource) and key.entity)

    def get(self, workload: str, resource: str, entity: str = "") -> pd.Series:
        """One measured series. Raises HistoryError naming what there is instead when it was not measured."""
        found = self.series.get(SeriesKey(workload, resource, entity))
        if found is None:
            there = ", ".join("/".join(filter(None, key)) for key in sorted(self.series)) or "nothing"
            raise HistoryError(
                f"history: no {resource} usage of workload '{workload}'"
                + (f", entity '{entity}'" if entity else " as a total")
                + f"; it holds {there}"
            )
        return found

    def total(self, workload: str, resource: str) -> pd.Series:
        """The workload's total: as measured, else the sum of its entities where all of them are known.

        A time at which one entity is missing has no total (NaN): half a total would be mistaken for a low load.
        """
        entities = self.entities(workload, resource)
        if SeriesKey(workload, resource, "") in self.series or not entities:
            return self.get(workload, resource)
        parts = [self.get(workload, resource, entity) for entity in entities]
        total = pd.concat(aligned(parts), axis=1, sort=True).sum(axis=1, skipna=False)
        total.attrs[SAID] = tuple(
            f"{entity}: {said}"
            for entity, part in zip(entities, parts, strict=True)
            for said in part.attrs.get(SAID, ())
        )
        most = max(parts, key=lambda part: int(part.count()))
        if (there := total.count() / max(most.count(), 1)) < MOSTLY:
            said = f"the total is known only while all of {', '.join(entities)} are, {there:.0%} of the longest of them"
            total.attrs[SAID] = (*total.attrs[SAID], said)
        if total.notna().any():
            return total
        raise HistoryError(
            f"history: the entities of {resource} of workload '{workload}' are never all known at one time, as where "
            "they are sampled at different intervals: give the workload's total too"
        )

    def lately(self, workloads: Iterable[Workload], now: datetime) -> History:
        """As much of the past as each workload's `history` says, which is what production reads; of others all of it.

        What ended before that is left as it is, to be refused for its age.
        """
        begins = {workload.name: pd.Timestamp(now - workload.history) for workload in workloads}
        late = {key: since(of, begins[key.workload]) for key, of in self.series.items() if key.workload in begins}
        return History({**self.series, **{key: series for key, series in late.items() if len(series)}})

    def planned(self, workloads: Iterable[Workload]) -> History:
        """What plans of these workloads rest on: of each planned resource the total, and each entity that is measured.

        Raises HistoryError where it holds none of the workloads, or not a resource of one of them.
        """
        series: dict[SeriesKey, pd.Series] = {}
        wanted = list(workloads)
        for workload in wanted:
            for resource in workload.resources if workload.name in self.workloads() else ():
                series[SeriesKey(workload.name, resource.value, "")] = self.total(workload.name, resource)
                for entity in self.entities(workload.name, resource):
                    series[SeriesKey(workload.name, resource.value, entity)] = self.get(workload.name, resource, entity)
        if not series:
            names = ", ".join(workload.name for workload in wanted)
            raise HistoryError(f"history: it holds none of the workloads {names}; it has {', '.join(self.workloads())}")
        return History(series)


def history_csv(history: History) -> str:
    """As `read_history` reads it, in canonical units; a gap has no row."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for key, series in history.series.items():
        unit = CANONICAL_UNIT[Resource(key.resource)]
        rows.writerows(
            (f"{at:%Y-%m-%dT%H:%M:%SZ}", key.workload, key.entity, key.resource, f"{value:.9g}", unit)
            for at, value in series.dropna().items()
        )
    return text.getvalue().removesuffix("\n")


def aligned(series: Sequence[pd.Series]) -> list[pd.Series]:
    """The series on times they share: each at the beginning of its sampling interval, where that is the same for all.

    Who samples one customer after the other has no two values of one moment. Series that are sampled at different
    intervals stay as they are: the mean of a day says nothing of its peak.
    """
    times = [pd.DatetimeIndex(one.index).as_unit("ns").asi8 for one in series]
    intervals = {int(np.median(np.diff(own))) if len(own) > 1 else 0 for own in times}
    if len(intervals) > 1 or 0 in intervals or len(np.unique(np.concatenate(times))) == max(map(len, times)):
        return list(series)
    interval = pd.Timedelta(intervals.pop(), unit="ns")
    return [one.groupby(pd.DatetimeIndex(one.index).floor(interval)).mean() for one in series]


def read_history(path: Path | str) -> History:
    """Read a history file (`.csv` or `.parquet`).

    Timestamps need an offset or Z and are converted to UTC. Raises HistoryError naming file, line, column, value
    and mend; FileNotFoundError when there is no such file.
    """
    sheet = _Sheet.read(Path(path))
    workloads, entities, resources, units = (sheet.texts(name) for name in ("workload", "entity", "resource", "unit"))
    sheet.refuse(workloads == "", "workload", workloads, "name the workload that was measured")
    tidy = pd.DataFrame(
        {
            "workload": workloads,
            "resource": resources,
            "entity": entities,
            "timestamp": _times(sheet),
            "value": _values(sheet) * _factors(sheet, resources, units),
        }
    )
    _refuse_strays(sheet, pd.DatetimeIndex(tidy["timestamp"]))
    tidy["counter"] = _is_counter(resources, units)
    _refuse_duplicates(sheet, tidy)
    tidy = tidy.sort_values("timestamp", kind="stable")
    groups = tidy.groupby(["workload", "resource", "entity"], sort=True)
    return History({(key := SeriesKey(*(str(part) for part in name))): _series(sheet, key, g) for name, g in groups})


def _series(sheet: _Sheet, key: SeriesKey, rows: pd.DataFrame) -> pd.Series:
    index = pd.DatetimeIndex(rows["timestamp"]).as_unit("ns")
    series = pd.Series(rows["value"].to_numpy(), index=index, name="value")
    of, counters = "/".join(filter(None, key)), rows["counter"]
    if counters.any():
        if not counters.all():
            raise HistoryError(f"{sheet.path}: {of} has both a counter's unit and a rate's: export it in one of them")
        if series.count() < 2:
            raise HistoryError(f"{sheet.path}: {of} is a counter with one value: its rate needs two or more")
        return rate(series)
    expected = COUNTER_UNITS[Resource(key.resource)]
    if expected and looks_like_a_counter(series):
        span = f"from {series.iloc[0]:g} to {series.max():g} {CANONICAL_UNIT[Resource(key.resource)]}"
        raise HistoryError(
            f"{sheet.path}: {of} only ever rises, {span}: it looks like a counter. Give it the unit "
            f"{next(iter(expected))} if that is what it counts, or export its rate"
        )
    return series


@dataclass(frozen=True)
class _Sheet:
    """The file's rows as they stand in it, each with the number an editor shows."""

    path: Path
    table: pd.DataFrame
    numbers: npt.NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> _Sheet:
        kind = path.suffix.lower()
        if kind not in (".csv", ".parquet"):
            raise HistoryError(f"{path}: a history is a .csv or a .parquet file; convert it or rename it")
        try:
            if kind == ".parquet":
                table = pd.read_parquet(path)
            else:
                # everything as text, so that a message can show the value as it stands in the file
                # and blanks after a comma are none of a name's, in the header either
                table = pd.read_csv(
                    path, dtype=str, keep_default_na=False, skip_blank_lines=False, skipinitialspace=True
                )
        except FileNotFoundError:
            raise
        except pd.errors.EmptyDataError as error:
            raise HistoryError(f"{path}: the file is empty; its first line is {','.join(COLUMNS)}") from error
        except (ValueError, OSError) as error:  # the parsers' own errors are ValueErrors
            raise HistoryError(f"{path}: not readable as {kind[1:]}: {str(error).strip()}; export it again") from error
        missing = [name for name in COLUMNS if name not in table.columns]
        if missing:
            raise HistoryError(
                f"{path}, line 1: column {', '.join(missing)} is missing "
                f"(found {', '.join(map(str, table.columns))}); the columns are {','.join(COLUMNS)}"
            )
        numbers = np.arange(len(table)) + (2 if kind == ".csv" else 1)
        if kind == ".csv":
            written = (table != "").any(axis=1).to_numpy(dtype=bool)  # blank lines are counted and skipped
            table, numbers = table[written], numbers[written]
        if table.empty:
            raise HistoryError(f"{path}: it has no rows; export at least a few days of usage")
        return cls(path, table, numbers)

    def texts(self, column: str) -> npt.NDArray[np.object_]:
        return self.table[column].fillna("").astype(str).str.strip().to_numpy(dtype=object)

    def line(self, row: int) -> str:
        return f"{'line' if self.path.suffix.lower() == '.csv' else 'row'} {self.numbers[row]}"

    def refuse(self, wrong: Flags, column: str, values: Sequence[object] | npt.NDArray[Any], mend: str) -> None:
        """Raise for the first row where `wrong` holds."""
        if wrong.any():
            row = int(np.argmax(wrong))
            raise HistoryError(f"{self.path}, {self.line(row)}, column {column}: '{values[row]}': {mend}")


def _times(sheet: _Sheet) -> pd.DatetimeIndex:
    naive = "the time zone is missing: add Z or an offset such as +02:00"
    column, texts = sheet.table["timestamp"], sheet.texts("timestamp")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        times = pd.DatetimeIndex(column)
    else:
        if pd.api.types.is_datetime64_any_dtype(column):
            sheet.refuse(np.ones(len(column), dtype=bool), "timestamp", texts, naive)
        times = pd.DatetimeIndex(pd.to_datetime(pd.Series(texts), utc=True, format="ISO8601", errors="coerce"))
    sheet.refuse(
        np.asarray(times.isna()), "timestamp", texts, "not an ISO 8601 time: write it like 2026-11-24T09:05:00Z"
    )
    offset = pd.Series(texts).str.contains(_TIME_AND_OFFSET).to_numpy(dtype=bool)
    sheet.refuse(~offset, "timestamp", texts, naive)
    return times.tz_convert("UTC")


def _values(sheet: _Sheet) -> npt.NDArray[np.float64]:
    texts = sheet.texts("value")
    gap = pd.Series(texts).str.lower().isin(("", "nan", "none", "<na>")).to_numpy(dtype=bool)
    numbers = np.asarray(pd.to_numeric(pd.Series(np.where(gap, "nan", texts)), errors="coerce"), dtype=np.float64)
    sheet.refuse(np.isnan(numbers) & ~gap, "value", texts, "not a number: write it like 12.5, or leave it empty")
    sheet.refuse(np.isinf(numbers), "value", texts, "infinite: leave it empty if it is not known")
    sheet.refuse(numbers < 0, "value", texts, "negative: usage is never below zero; leave it empty if unknown")
    return numbers


def _factors(
    sheet: _Sheet, resources: npt.NDArray[np.object_], units: npt.NDArray[np.object_]
) -> npt.NDArray[np.float64]:
    unknown = ~np.isin(resources.astype(str), [str(resource) for resource in Resource])
    sheet.refuse(unknown, "resource", resources, f"use one of {', '.join(Resource)}")
    factors = np.full(len(units), np.nan)
    for resource in Resource:
        accepted = {**UNIT_FACTOR[resource], **COUNTER_UNITS[resource]}
        own = resources == str(resource)
        factors[own] = [accepted.get(unit, np.nan) for unit in units[own]]
        mend = f"not a unit of {resource}: use one of {', '.join(accepted)}"
        sheet.refuse(own & np.isnan(factors), "unit", units, mend)
    return factors


def _is_counter(resources: npt.NDArray[np.object_], units: npt.NDArray[np.object_]) -> Flags:
    found = np.zeros(len(units), dtype=bool)
    for resource, accepted in COUNTER_UNITS.items():
        found |= (resources == str(resource)) & np.isin(units.astype(str), list(accepted))
    return found


def _refuse_strays(sheet: _Sheet, times: pd.DatetimeIndex) -> None:
    """A first or last time alone, further from all the others than those span: a typing error that would move "now"."""
    seconds = times.as_unit("s").asi8
    moments = np.unique(seconds)
    if len(moments) < 2:
        return
    for stray, next_one, furthest in ((moments[-1], moments[-2], moments[0]), (moments[0], moments[1], moments[-1])):
        away = abs(stray - next_one)
        if away > max(abs(next_one - furthest), LONGEST_SILENCE.total_seconds()):
            mend = f"it stands alone, {away // 86400} days from all the others: mend it, or leave the line out"
            sheet.refuse(seconds == stray, "timestamp", sheet.texts("timestamp"), mend)


def _refuse_duplicates(sheet: _Sheet, tidy: pd.DataFrame) -> None:
    keys = ["workload", "resource", "entity", "timestamp"]
    repeated = tidy.duplicated(keys).to_numpy(dtype=bool)
    if not repeated.any():
        return
    row = int(np.argmax(repeated))
    measured = tidy[keys].iloc[row]
    first = int(np.argmax((tidy[keys] == measured).all(axis="columns").to_numpy(dtype=bool)))
    of = "/".join(str(part) for part in measured.iloc[:3] if part)
    raise HistoryError(
        f"{sheet.path}, {sheet.line(row)}, column timestamp: {measured.iloc[3].isoformat()} of {of} was already "
        f"given at {sheet.line(first)}: keep one of the two"
    )
