"""Reading history files: units, zones, gaps; and the message for each thing that can be wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forebay.domain.errors import InputError
from forebay.forecasting import forecast_series
from forebay.forecasting.errors import HistoryError
from forebay.forecasting.history import History, SeriesKey, history_csv, read_history
from tests.support.world import a_workload

HEADER = "timestamp,workload,entity,resource,value,unit\n"


def written(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "history.csv"
    path.write_text(header + rows)
    return path


@pytest.mark.parametrize(
    ("resource", "value", "unit", "canonical"),
    [
        ("cpu", "2.5", "cores", 2.5),
        ("cpu", "1500", "millicores", 1.5),
        ("memory", "3", "GiB", 3.0),
        ("memory", "512", "MiB", 0.5),
        ("memory", "2147483648", "bytes", 2.0),
        ("network", "40", "Mbit/s", 40.0),
        ("network", "5", "MB/s", 40.0),
        ("network", "5000", "KB/s", 40.0),
        ("network", "5e6", "bytes/s", 40.0),
    ],
)
def test_units_become_canonical(tmp_path: Path, resource: str, value: str, unit: str, canonical: float) -> None:
    path = written(tmp_path, f"2026-11-02T00:00:00Z,web,acme,{resource},{value},{unit}\n")
    assert read_history(path).get("web", resource, "acme").tolist() == pytest.approx([canonical])


def test_offsets_become_utc_and_rows_may_come_in_any_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "2026-11-02T02:05:00+02:00,web,,cpu,2,cores\n"
        "2026-11-01T19:00:00-05:00,web,,cpu,1,cores\n"
        "2026-11-02T00:10:00Z,web,,cpu,3,cores\n",
    )
    series = read_history(path).get("web", "cpu")
    assert series.tolist() == [1, 2, 3]
    assert [str(time) for time in series.index] == [f"2026-11-02 00:{m}:00+00:00" for m in ("00", "05", "10")]


ROW = "2026-11-02T00:00:00Z,web,acme,cpu,1,cores\n"
WRONG = {
    "naive": ("2026-11-02T00:05:00,web,acme,cpu,1,cores", ["column timestamp", "2026-11-02T00:05:00", "add Z or an"]),
    "date only": ("2026-11-02,web,acme,cpu,1,cores", ["column timestamp", "add Z or an offset"]),
    "no time": ("yesterday,web,acme,cpu,1,cores", ["column timestamp", "'yesterday'", "ISO 8601"]),
    "unit of another": ("2026-11-02T00:05:00Z,web,acme,cpu,1,GiB", ["column unit", "'GiB'", "cores, millicores"]),
    "no unit": ("2026-11-02T00:05:00Z,web,acme,memory,1,", ["column unit", "GiB, MiB, bytes"]),
    "resource": ("2026-11-02T00:05:00Z,web,acme,disk,1,GiB", ["column resource", "'disk'", "cpu, memory, network"]),
    "no workload": ("2026-11-02T00:05:00Z,,acme,cpu,1,cores", ["column workload", "name the workload"]),
    "word": ("2026-11-02T00:05:00Z,web,acme,cpu,two,cores", ["column value", "'two'", "not a number"]),
    "comma": ('2026-11-02T00:05:00Z,web,acme,cpu,"1,5",cores', ["column value", "'1,5'", "not a number"]),
    "negative": ("2026-11-02T00:05:00Z,web,acme,cpu,-1,cores", ["column value", "'-1'", "below zero"]),
    "infinite": ("2026-11-02T00:05:00Z,web,acme,cpu,inf,cores", ["column value", "'inf'", "infinite"]),
    "repeated": ("2026-11-02T01:00:00+01:00,web,acme,cpu,2,cores", ["web/cpu/acme", "at line 2", "keep one"]),
}


@pytest.mark.parametrize(("row", "said"), WRONG.values(), ids=WRONG.keys())
def test_wrong_rows_are_refused_by_line_and_mend(tmp_path: Path, row: str, said: list[str]) -> None:
    path = written(tmp_path, f"{ROW}\n{row}\n")  # the blank line is skipped, and counted
    with pytest.raises(InputError) as refusal:
        read_history(path)
    for words in [f"{path}, line 4", *said]:
        assert words in str(refusal.value)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"column unit is missing .* the columns are timestamp,workload"):
        read_history(written(tmp_path, "", "timestamp,workload,entity,resource,value\n"))
    with pytest.raises(InputError, match="has no rows"):
        read_history(written(tmp_path, ""))
    with pytest.raises(InputError, match="the file is empty"):
        read_history(written(tmp_path, "", ""))
    with pytest.raises(InputError, match=r"a \.csv or a \.parquet file"):
        read_history(tmp_path / "history.xlsx")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"not parquet")
    with pytest.raises(InputError, match="not readable as parquet"):
        read_history(broken)
    with pytest.raises(FileNotFoundError):
        read_history(tmp_path / "nowhere.csv")


def test_blanks_after_commas_are_of_no_name(tmp_path: Path) -> None:
    plain = "2026-11-02T00:00:00Z,web,acme,cpu,1,cores\n"
    path = written(tmp_path, plain.replace(",", ", ").replace("web", '"web"'), HEADER.replace(",", ", "))
    assert read_history(path).get("web", "cpu", "acme").tolist() == [1]
    with pytest.raises(InputError, match=r"Expected 6 fields in line 3, saw 7; export it again$"):
        read_history(written(tmp_path, plain + plain.replace("1,", "1,5,")))


def test_an_empty_value_is_a_gap_not_zero(tmp_path: Path) -> None:
    rows = "2026-11-02T00:00:00Z,web,acme,cpu,,cores\n2026-11-02T00:05:00Z,web,acme,cpu,NaN,cores\n"
    assert read_history(written(tmp_path, rows)).get("web", "cpu", "acme").isna().all()


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """A customer may be called by whatever a metric's dimension holds."""
    times = pd.date_range("2026-11-01", periods=3, freq="5min", tz="UTC")
    usage = pd.Series([1.25, np.nan, 3e-7], index=times)
    wanted = {SeriesKey("web", "cpu", entity): usage for entity in ("", 'acme, "north"')}
    file = tmp_path / "history.csv"
    file.write_text(history_csv(History(wanted)))
    read = read_history(file)
    assert set(read) == set(wanted)
    for key in read:
        assert read.series[key].dropna().to_dict() == usage.dropna().to_dict()


def test_totals(tmp_path: Path) -> None:
    rows = (
        "2026-11-02T00:00:00Z,web,acme,cpu,1,cores\n"
        "2026-11-02T00:00:00Z,web,beta,cpu,2,cores\n"
        "2026-11-02T00:05:00Z,web,acme,cpu,1,cores\n"
        "2026-11-02T00:00:00Z,web,acme,memory,1,GiB\n"
        "2026-11-02T00:00:00Z,web,,memory,5,GiB\n"
        "2026-11-02T00:00:00Z,api,,cpu,7,cores\n"
    )
    history = read_history(written(tmp_path, rows))
    assert history.workloads() == ["api", "web"]
    assert history.resources("web") == ["cpu", "memory"]
    assert history.entities("web", "cpu") == ["acme", "beta"]
    assert history.entities("api", "cpu") == []
    assert SeriesKey("web", "cpu", "acme") in set(history)
    summed = history.total("web", "cpu")
    assert summed.iloc[0] == 3
    assert pd.isna(summed.iloc[1]), "half a total would be mistaken for a low load"
    assert history.total("web", "memory").tolist() == [5], "the measured total wins"
    assert history.total("api", "cpu").tolist() == [7]
    with pytest.raises(InputError, match=r"no network usage of workload 'api' as a total; it holds api/cpu, web/cpu"):
        history.total("api", "network")


def test_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "timestamp": pd.date_range("2026-11-02", periods=3, freq="5min", tz="Europe/Berlin"),
            "workload": "web",
            "entity": None,
            "resource": "network",
            "value": [1.0, None, 3.0],
            "unit": "MB/s",
        }
    )
    path = tmp_path / "history.parquet"
    table.to_parquet(path)
    series = read_history(path).get("web", "network")
    assert series.dropna().tolist() == [8, 24]
    assert str(series.index[0]) == "2026-11-01 23:00:00+00:00"
    table.assign(timestamp=table["timestamp"].dt.tz_localize(None)).to_parquet(path)
    with pytest.raises(InputError, match=r"row 1, column timestamp: .*: the time zone is missing: add Z"):
        read_history(path)


MINUTES = pd.date_range("2026-11-02T00:00:00Z", periods=60, freq="1min")


def counted(values: list[float], unit: str, resource: str = "cpu") -> str:
    times = zip(MINUTES, values, strict=False)
    return "".join(f"{time.isoformat()},web,,{resource},{value},{unit}\n" for time, value in times)


@pytest.mark.parametrize(
    ("resource", "unit", "values", "rates"),
    [
        ("cpu", "core-seconds", [100, 220, 220, 340], [2.0, 0.0, 2.0]),
        ("cpu", "core-seconds", [100, 220, 10, 130], [2.0, None, 2.0]),  # started again: how much went before is lost
        ("network", "bytes", [0, 7_500_000, 15_000_000], [1.0, 1.0]),
    ],
    ids=["rate", "reset", "bytes"],
)
def test_counters_become_rates(
    tmp_path: Path, resource: str, unit: str, values: list[float], rates: list[float | None]
) -> None:
    series = read_history(written(tmp_path, counted(values, unit, resource))).get("web", resource)
    assert [None if pd.isna(value) else value for value in series] == pytest.approx(rates)
    assert series.index[0] == MINUTES[0]
    assert series.dtype == float


def test_the_resets_of_a_counter_are_said_by_the_forecast(tmp_path: Path) -> None:
    """120 core-seconds a minute, started again after minute 40; the other after 15, 32 and 48."""
    counter = np.cumsum(np.full(60, 120.0))
    once, thrice = (counted([*(counter % most)], "core-seconds") for most in (5000, 2000))

    def said(rows: str) -> list[str]:
        total = read_history(written(tmp_path, rows)).total("web", "cpu")
        return forecast_series(total, horizon=2, step=timedelta(minutes=1), seasons=[timedelta(minutes=10)]).reasons

    unknown = "usage from there to the next sample is not known"
    assert said(once)[0] == f"a counter reset after 02 Nov 00:40 UTC: {unknown}"
    assert said(once.replace("web,", "web,acme") + thrice.replace("web,", "web,bolt"))[:2] == [
        f"acme: a counter reset after 02 Nov 00:40 UTC: {unknown}",
        f"bolt: 3 counter resets, the last after 02 Nov 00:48 UTC: {unknown}",
    ]


def test_a_reset_before_what_is_read_is_not_said(tmp_path: Path) -> None:
    counter = [*(np.cumsum(np.full(60, 120.0)) % 5000)]
    history = read_history(written(tmp_path, counted(counter, "core-seconds")))
    known = [
        history.lately([a_workload("web", history=f"PT{minutes}M")], MINUTES[-1]).get("web", "cpu").attrs.get("said")
        for minutes in (30, 10)
    ]
    assert known == [
        ("a counter reset after 02 Nov 00:40 UTC: usage from there to the next sample is not known",),
        None,
    ]


def test_a_sum_known_for_less_than_its_parts_says_so(tmp_path: Path) -> None:
    rows = counted([1.0] * 60, "cores").replace("web,", "web,acme")
    late = "".join(counted([2.0] * 60, "cores").replace("web,", "web,bolt").splitlines(keepends=True)[-15:])
    total = read_history(written(tmp_path, rows + late)).total("web", "cpu")
    said = forecast_series(total, horizon=2, step=timedelta(minutes=1), seasons=[timedelta(minutes=10)]).reasons[0]
    assert said == "the total is known only while all of acme, bolt are, 25% of the longest of them"


def test_what_looks_like_a_counter_is_refused_with_the_unit_that_would_do(tmp_path: Path) -> None:
    rising = [float(90 * n % 3000) for n in range(60)]  # restarted once on the way
    with pytest.raises(InputError, match=r"web/cpu only ever rises.*unit core-seconds.*export its rate"):
        read_history(written(tmp_path, counted(rising, "cores")))


@pytest.mark.parametrize(
    "values",
    [[float(n) for n in range(40)], [5.0] * 60, [float(n % 10) for n in range(60)]],
    ids=["too short to tell", "constant", "a sawtooth of a load"],
)
def test_loads_are_no_counters(tmp_path: Path, values: list[float]) -> None:
    assert read_history(written(tmp_path, counted(values, "cores"))).get("web", "cpu").tolist() == values


def test_memory_may_only_rise(tmp_path: Path) -> None:
    leaking = [float(n) for n in range(60)]
    assert read_history(written(tmp_path, counted(leaking, "GiB", "memory"))).get("web", "memory").max() == 59


def test_a_counter_of_two_units_or_one_value_is_refused(tmp_path: Path) -> None:
    both = counted([1.0], "core-seconds") + counted([1.0, 2.0], "cores").splitlines()[1] + "\n"
    with pytest.raises(InputError, match="one of them"):
        read_history(written(tmp_path, both))
    with pytest.raises(InputError, match="one value"):
        read_history(written(tmp_path, counted([1.0], "core-seconds")))


@pytest.mark.parametrize("stray", ["2219-01-15T05:55:00Z", "2026-12-30T00:00:00Z", "1919-01-15T05:55:00Z"])
def test_a_time_far_from_all_the_others_is_refused_by_its_line(tmp_path: Path, stray: str) -> None:
    lines = counted([1.0, 2.0, 1.5], "cores").splitlines()
    lines.insert(1, f"{stray},web,,cpu,1,cores")
    with pytest.raises(InputError, match=f"line 3, column timestamp: '{stray}': it stands alone"):
        read_history(written(tmp_path, "\n".join(lines)))


def test_an_outage_of_weeks_is_a_gap(tmp_path: Path) -> None:
    days = [*pd.date_range("2026-01-01", periods=60, tz="UTC"), *pd.date_range("2026-04-10", periods=2, tz="UTC")]
    rows = [f"{day.isoformat()},web,,cpu,{n % 7},cores" for n, day in enumerate(days)]
    assert len(read_history(written(tmp_path, "\n".join(rows))).get("web", "cpu")) == 62


def test_what_workloads_plan_on_is_their_totals_and_measured_entities(tmp_path: Path) -> None:
    rows = [
        f"2026-11-02T0{hour}:00:00Z,{name},{entity},{resource},{value},{unit}"
        for hour in range(2)
        for name, entity, resource, value, unit in (
            ("web", "acme", "cpu", 1, "cores"),
            ("web", "bolt", "cpu", 2, "cores"),
            ("web", "", "memory", 1, "GiB"),
            ("cart", "", "cpu", 1, "cores"),
        )
    ]
    recorded = read_history(written(tmp_path, "\n".join(rows)))
    planned = recorded.planned([a_workload("web"), a_workload("gone")])
    assert list(planned) == [("web", "cpu", ""), ("web", "cpu", "acme"), ("web", "cpu", "bolt")]
    assert planned.get("web", "cpu").tolist() == [3, 3]
    with pytest.raises(InputError, match="holds none of the workloads gone; it has cart, web"):
        recorded.planned([a_workload("gone")])


def test_entities_sampled_one_after_the_other_have_a_total() -> None:
    times = pd.date_range("2026-11-02T00:00:00Z", periods=12, freq="1h")
    acme = pd.Series(np.arange(12.0), times)
    bolt = pd.Series(10.0, times + pd.Timedelta("7s")).drop(times[3] + pd.Timedelta("7s"))
    history = History({SeriesKey("web", "cpu", "acme"): acme, SeriesKey("web", "cpu", "bolt"): bolt})
    total = history.total("web", "cpu")
    assert total.index.equals(times)
    assert total.dropna().tolist() == [10.0 + hour for hour in range(12) if hour != 3], "half a total is none"


def test_entities_sampled_at_different_intervals_have_no_total() -> None:
    fine = pd.Series(np.arange(60.0), pd.date_range("2026-11-02T00:00:00Z", periods=60, freq="1min"))
    coarse = pd.Series(100.0, pd.date_range("2026-11-02T00:02:30Z", periods=12, freq="5min"))
    history = History({SeriesKey("web", "cpu", "acme"): fine, SeriesKey("web", "cpu", "bolt"): coarse})
    with pytest.raises(HistoryError, match=r"never all known at one time, .* give the workload's total too"):
        history.total("web", "cpu")
