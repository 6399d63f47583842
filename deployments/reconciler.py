"""The reconciler loop: every few seconds, make sure that what the store wants exists. A light process of its own."""

from __future__ import annotations

import itertools
import logging
import time
from contextlib import suppress

from blocks.context import context
from forebay.domain.errors import OutsideError
from tasks.reconcile import log_trouble, logger, reconcile_once, tell_unexpected

PERIOD_S = 5.0
LOOK_EVERY = 6  # passes: a look at the targets costs calls of the cloud's API


def main() -> None:
    """Until told to stop. Whatever a pass fails with is logged once it does and once it is over; the loop goes on.

    Raises SetupError where it is not set up rightly.
    """
    # Prefect has set up the root logger at its import, for warnings only.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    known: set[str] = set()
    failing = ""
    print(f"reconciling every {PERIOD_S:.0f} s", flush=True)  # what the launcher waits for
    with suppress(OutsideError):  # what is away may come back, what is set up wrongly is told by ending here
        context()
    for number in itertools.count():
        failing = one_pass(known, number % LOOK_EVERY == 0, failing)
        time.sleep(PERIOD_S)


def one_pass(known: set[str], look: bool, failing: str) -> str:
    """Returns what it failed with, in words; "" for nothing. `failing`: what the one before returned."""
    try:
        reconcile_once("reconciler", known, look)
    except Exception as error:  # without this loop no change would go on, whatever it is
        text = f"{type(error).__name__}: {error}"
        if text != failing:
            log_trouble("away" if isinstance(error, OutsideError) else "a pass failed", error)
            tell_unexpected(error)
        return text
    if failing:
        logger.info("back: reconciling again")
    return ""


if __name__ == "__main__":
    main()
