"""`forebay forecast` and `forebay backtest`: by the workloads' own terms, unfit series said, counted on a terminal."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from forebay.cli import common
from forebay.domain.errors import InputError
from tests.unit.test_cli import HEADER, START, WORKLOADS, files, forebay  # noqa: F401

BY_WORKLOADS = ("--workloads", "workloads.yaml")


def hourly(days: int, name: str = "checkout", entity: str = "", rest: float = 1.0) -> str:
    hours = [START + timedelta(hours=i) for i in range(24 * days)]
    return "".join(
        f"{at.isoformat()},{name},{entity},cpu,"
        f"{(4 + at.hour / 8 + at.day % 3 / 9) * (rest if at.weekday() == 6 else 1):.3f},cores\n"
        for at in hours
    )


def test_a_forecast_says_peak_and_total_beside_the_slots(files: Path, forebay) -> None:  # noqa: F811
    code, text, _ = forebay("forecast", "history.csv", "--horizon", "6h", "--format", "json")
    (series,) = json.loads(text)
    assert code == 0
    slots = series["quantiles"]["0.5"]
    assert series["peak"]["0.5"] >= max(slots)
    assert series["total"]["0.5"] == pytest.approx(sum(slots) / 12, rel=0.1), "core-hours of 5-minute slots"
    code, table, _ = forebay("forecast", "history.csv", "--horizon", "6h", "--format", "table")
    assert code == 0
    assert table.startswith("checkout/cpu: 2026-03-04 00:00 to 2026-03-04 05:55 UTC\n")
    peak, total = (next(line for line in table.splitlines() if line.startswith(what)) for what in ("peak", "total"))
    assert peak.split()[:2] == ["peak", "(cores)"] and f"{series['peak']['0.95']:.4g}" in peak.split()
    assert total.split()[:4] == ["total", "(cores", "x", "h)"] and f"{series['total']['0.5']:.4g}" in total.split()


def test_a_forecast_says_in_what_unit_it_is_whatever_the_history_was_in(files: Path, forebay) -> None:  # noqa: F811
    rows = hourly(4).replace(",cores", ",millicores") + hourly(4).replace("cpu", "memory").replace("cores", "MiB")
    (files / "history.csv").write_text(HEADER + rows)
    words = ("forecast", "history.csv", "--horizon", "2h", "--model", "seasonal-naive")
    code, text, _ = forebay(*words, "--format", "json")
    units = {series["resource"]: (series["unit"], series["total_unit"]) for series in json.loads(text)}
    assert code == 0 and units == {"cpu": ("cores", "core-hours"), "memory": ("GiB", "GiB-hours")}
    code, text, _ = forebay(*words, "--format", "csv")
    header, *rows = (line.split(",") for line in text.splitlines())
    assert code == 0 and header[:5] == ["timestamp", "workload", "resource", "entity", "unit"]
    assert {(row[2], row[4]) for row in rows} == {("cpu", "cores"), ("memory", "GiB")}


def test_a_forecast_by_workloads_knows_their_calendar_and_only_what_they_plan_on(files: Path, forebay) -> None:  # noqa: F811
    (files / "history.csv").write_text(HEADER + hourly(14, rest=0.3) + hourly(14, name="cart"))
    monday = (START + timedelta(days=14)).date()
    known = f"name: checkout\n    slot: PT1H\n    holidays: [{monday}]"
    (files / "workloads.yaml").write_text(WORKLOADS.replace("name: checkout", known))
    words = ("forecast", "history.csv", "--horizon", "24h", "--format", "json")
    code, text, _ = forebay(*words)
    usual, cart = json.loads(text)[::-1]
    assert code == 0 and (usual["workload"], cart["workload"]) == ("checkout", "cart")
    code, text, _ = forebay(*words, *BY_WORKLOADS)
    (free,) = json.loads(text)
    assert code == 0 and any(f"holiday on {monday:%d %b %Y}" in reason for reason in free["reasons"])
    assert free["peak"]["0.5"] < 0.5 * 7 < usual["peak"]["0.99"]


def test_with_workloads_their_measured_entities_are_forecast_and_judged_too(files: Path, forebay) -> None:  # noqa: F811
    (files / "history.csv").write_text(HEADER + hourly(5, entity="acme") + hourly(5, entity="bolt"))
    (files / "workloads.yaml").write_text(WORKLOADS.replace("name: checkout", "name: checkout\n    slot: PT1H"))
    code, text, _ = forebay("forecast", "history.csv", "--format", "json", *BY_WORKLOADS)
    assert code == 0 and [series["entity"] for series in json.loads(text)] == ["", "acme", "bolt"]
    words = ("--origins", "1", "--model", "theta", "--format", "json", "--workers", "2")
    code, text, _ = forebay("backtest", "history.csv", *words, *BY_WORKLOADS)
    assert code == 0 and [series["entity"] for series in json.loads(text)["series"]] == ["", "acme", "bolt"]


def test_by_workloads_as_much_of_the_past_is_read_as_plans_read(files: Path, forebay) -> None:  # noqa: F811
    """Each workload up to its own end: another's history may end weeks later."""
    (files / "history.csv").write_text(HEADER + hourly(12) + hourly(30, name="cart"))
    catalog = WORKLOADS.replace("name: checkout", "name: checkout\n    slot: PT1H\n    history: P2D")
    other = catalog.partition("workloads:\n")[2].replace("checkout", "cart")
    (files / "workloads.yaml").write_text(catalog + other)
    code, text, error = forebay("forecast", "history.csv", "--horizon", "6h", "--format", "json", *BY_WORKLOADS)
    assert code == 0, error
    for series in json.loads(text):
        assert "seasonal naive: only 2 days of history, 3 days needed" in series["reasons"], series["workload"]
    words = ("--origins", "1", "--model", "theta", "--format", "json")
    code, text, error = forebay("backtest", "history.csv", *words, *BY_WORKLOADS)
    assert (code, text) == (2, "") and "2 days of history are too short to judge forecasts of 1 day" in error


def test_of_a_single_sample_workloads_are_forecast_as_without(files: Path, forebay) -> None:  # noqa: F811
    (files / "history.csv").write_text(HEADER + hourly(1).splitlines(keepends=True)[0])
    code, text, error = forebay("forecast", "history.csv", "--horizon", "6h", "--format", "json", *BY_WORKLOADS)
    assert code == 0 and json.loads(text)[0]["model"] == "last value", error


@pytest.mark.parametrize("options", [("forecast",), ("backtest", "--origins", "1", "--model", "simple")])
def test_what_a_terminal_would_obey_is_shown_in_a_table_by_its_escape(
    options: tuple[str, ...],
    files: Path,  # noqa: F811
    forebay,  # noqa: F811
) -> None:
    """Names of customers come from others; in CSV and JSON they stay as they are."""
    (files / "history.csv").write_text(HEADER + hourly(5, entity="\x1b[2Jacme"))
    command, *more = options
    code, text, _ = forebay(command, "history.csv", "--horizon", "6h", "--workers", "1", "--format", "table", *more)
    assert code == 0 and text.startswith("checkout/cpu/\\x1b[2Jacme: ") and "\x1b" not in text


EMPTY = "".join(f"{(START + timedelta(hours=i)).isoformat()},worn,,cpu,,cores\n" for i in range(24))
COMMANDS = (("forecast", "--horizon", "6h"), ("backtest", "--origins", "1", "--model", "theta"))


@pytest.mark.parametrize(("command", "options"), [(c, o) for c, *o in COMMANDS])
def test_of_an_input_in_which_nothing_fits_nothing_is_printed(
    command: str,
    options: list[str],
    files: Path,  # noqa: F811
    forebay,  # noqa: F811
) -> None:
    (files / "history.csv").write_text(HEADER + EMPTY)
    code, text, error = forebay(command, "history.csv", "--format", "json", *options)
    assert (code, text) == (2, "") and "forebay: worn/cpu: history: every value is missing" in error


@pytest.mark.parametrize(("command", "options"), [(c, o) for c, *o in COMMANDS])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_series_that_does_not_fit_is_said_and_the_others_are_done(
    command: str,
    options: list[str],
    workers: str,
    files: Path,  # noqa: F811
    forebay,  # noqa: F811
) -> None:
    (files / "history.csv").write_text(HEADER + hourly(6) + EMPTY + hourly(6, name="zoo"))
    code, text, error = forebay(command, "history.csv", "--format", "json", "--workers", workers, *options)
    done = json.loads(text)
    assert [one["workload"] for one in (done if command == "forecast" else done["series"])] == ["checkout", "zoo"]
    assert code == 2 and "forebay: left out: worn/cpu: history: every value is missing" in error


def spaced(days: int, count: int) -> str:
    times = [START + timedelta(days=days * i) for i in range(count)]
    return "".join(
        f"{at.isoformat()},checkout,,cpu,{3 if at.weekday() > 4 else 9 + at.day % 3},cores\n" for at in times
    )


def test_of_daily_values_the_week_is_learned(files: Path, forebay) -> None:  # noqa: F811
    (files / "history.csv").write_text(HEADER + spaced(1, 56))
    code, text, error = forebay("forecast", "history.csv", "--horizon", "7d", "--format", "json")
    (series,) = json.loads(text)
    week = series["quantiles"]["0.5"]
    assert code == 0, error
    assert START.weekday() == 0 and max(week[5:]) < 5 < 8 < min(week[:5])
    code, text, error = forebay("backtest", "history.csv", "--horizon", "7d", "--format", "json", "--model", "theta")
    assert code == 0 and json.loads(text)["series"][0]["workload"] == "checkout", error


@pytest.mark.parametrize("command", ["forecast", "backtest"])
def test_values_too_far_apart_for_any_season_are_refused(command: str, files: Path, forebay) -> None:  # noqa: F811
    (files / "history.csv").write_text(HEADER + spaced(7, 30))
    code, text, error = forebay(command, "history.csv", "--horizon", "7d")
    assert (code, text) == (2, "") and "checkout/cpu: history: samples every 7 days show no season" in error


@pytest.mark.parametrize("command", ["forecast", "backtest"])
@pytest.mark.parametrize(
    ("apart", "slots"), [("000.1", "1,728,000"), ("000.0001", "1,728,000,000"), ("000.0000001", "")]
)
def test_more_slots_than_memory_holds_are_refused(command: str, apart: str, slots: str, files: Path, forebay) -> None:  # noqa: F811
    rows = (f"{START:%Y-%m-%dT%H:%M}:{n * float(apart):013.10f}Z,checkout,,cpu,{n % 3},cores\n" for n in range(40))
    (files / "history.csv").write_text(HEADER + "".join(rows))
    code, text, error = forebay(command, "history.csv", "--horizon", "48h")
    assert (code, text) == (2, "") and f"checkout/cpu: history: 2 days are {slots}" in error
    assert "at most 262,144 are forecast: ask for a shorter horizon, or export it coarser" in error


@contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """Standard error is a terminal meanwhile; yields what reads what was written to it, up to the end of a line."""
    ours, theirs = os.openpty()

    def shown() -> str:
        text = ""
        while not text.endswith("\n") and select.select([ours], [], [], 10)[0]:
            text += os.read(ours, 1000).decode()
        return text

    with os.fdopen(theirs, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        yield shown
    os.close(ours)


def test_on_a_terminal_the_count_stands_on_one_line() -> None:
    with terminal() as shown:
        assert list(common.counted("abc", 3)) == ["a", "b", "c"]
        assert shown() == "".join(f"\r{n} of 3 series" for n in range(4)) + "\r\n"


def test_what_is_said_after_a_count_that_broke_off_has_its_own_line() -> None:
    def broken() -> Iterator[str]:
        yield "a"
        raise InputError("no more")

    with terminal() as shown:
        with pytest.raises(InputError):
            list(common.counted(broken(), 3))
        assert shown() == "\r0 of 3 series\r1 of 3 series\r\n"


def test_without_a_terminal_nothing_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(common.counted("abc", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
