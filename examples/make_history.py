"""Makes examples/history.csv, a week of a real server's usage as a workload of 50 cores, 12 GiB and 800 Mbit/s at most,
and examples/actual.csv, the six hours after it.

The trace and its licence: sandbox/traces/README.md.
"""

from __future__ import annotations

import csv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRACE = ROOT / "sandbox" / "traces" / "smd-1-6.csv"
PEAK = {"cpu": (50.0, "cores"), "memory": (12.0, "GiB"), "network": (800.0, "Mbit/s")}
FILES = {
    "history.csv": ("2019-01-08T06:00:00Z", "2019-01-15T06:00:00Z"),
    "actual.csv": ("2019-01-15T06:00:00Z", "2019-01-15T12:00:00Z"),
}


def main() -> None:
    with TRACE.open(encoding="utf-8", newline="") as file:
        samples = list(csv.DictReader(file))
    for name, (begin, end) in FILES.items():
        with (ROOT / "examples" / name).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["timestamp", "workload", "entity", "resource", "value", "unit"])
            for resource, (peak, unit) in PEAK.items():
                for sample in samples:
                    if begin <= sample["timestamp"] < end:
                        value = f"{float(sample[resource]) * peak:.4g}"
                        rows.writerow([sample["timestamp"], "checkout", "", resource, value, unit])


if __name__ == "__main__":
    main()
