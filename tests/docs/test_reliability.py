"""The table of faults in docs/reliability.md: every row there is, and what rows say is what a run of them shows."""

from __future__ import annotations

import pytest

from benchmarks.faults import BEGIN, END, FAULTS, PAGE, Fault, line, run, units_given_up

TABLE = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip().splitlines()[2:]
# Each is two seconds or more, all of them together a minute and a half; `make reliability` runs them all.
AGAIN = (
    "the answer to a write is lost",  # once for each lever
    "reads are 20 s old, for five minutes",
    "the metrics of five minutes are lost",
    "usage is NaN",
    "another autoscaler does so, and the workload insists",
    "somebody lowers the minimum by hand, and the workload insists",
    "somebody raises the maximum by hand",
)


def test_every_fault_has_its_row() -> None:
    rows = [tuple(row.removeprefix("| ").split(" | ")[:2]) for row in TABLE]
    assert rows == [(fault.name, fault.place.lever) for fault in FAULTS]


def test_what_is_run_again_is_there() -> None:
    assert {fault.name for fault in FAULTS} >= set(AGAIN)


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.name in AGAIN], ids=lambda f: f"{f.name} ({f.place.lever})")
def test_a_row_says_what_a_run_shows(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "sandbox")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sandbox")
    assert line(run(fault)) in TABLE


OURS, ANOTHERS = True, False


@pytest.mark.parametrize(
    ("writes", "live", "given_up"),
    [
        pytest.param([], 4, 0, id="nothing was written"),
        pytest.param([], 3, 1, id="nothing was written, and a unit is gone"),
        pytest.param([(6, OURS), (8, OURS)], 8, 0, id="only up"),
        pytest.param([(6, OURS), (4, OURS)], 4, 2, id="we went back"),
        pytest.param([(6, OURS), (8, OURS)], 6, 2, id="what we wrote last does not stand, and nobody wrote over it"),
        pytest.param([(6, OURS), (4, ANOTHERS)], 4, 0, id="another hand took it away"),
        pytest.param([(9, ANOTHERS), (6, OURS)], 6, 3, id="we wrote over more of another hand"),
    ],
)
def test_what_is_given_up_is_counted(writes: list[tuple[int, bool]], live: int, given_up: int) -> None:
    assert units_given_up(4, writes, live) == given_up
