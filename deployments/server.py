"""Prefect's server, as `prefect server start` starts it, with its garbage collected by a thread of its own.

On SQLite, Prefect 3.8's server stands still for a minute at a time otherwise, with as few as two clients that write.
A query that finds the database locked leaves a cursor to the garbage collector. Where that runs on the event loop's
thread, `sqlite3_reset` waits for the cursor's connection, which another thread uses to wait for the write lock, and
whoever holds the lock needs the event loop: all wait until SQLite's 60 s are over.
"""

from __future__ import annotations

import gc
import itertools
import runpy
import sys
import threading
import time

PERIOD_S = 1.0
FULL_EVERY = 60  # passes: a full one holds everything up for 0.15 s


def collect() -> None:
    for number in itertools.count(1):
        time.sleep(PERIOD_S)
        gc.collect(2 if number % FULL_EVERY == 0 else 1)


if __name__ == "__main__":
    gc.disable()
    threading.Thread(target=collect, name="garbage collector", daemon=True).start()
    sys.argv[:1] = ["prefect", "server", "start"]
    runpy.run_module("prefect", run_name="__main__")
