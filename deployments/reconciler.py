"""The reconciler loop: every few seconds, make sure that what the store wants exists. A light process of its own."""

from __future__ import annotations

import itertools
import logging
import time

from forebay.domain.errors import OutsideError
from tasks.reconcile import logger, reconcile_once

PERIOD_S = 5.0
LOOK_EVERY = 6  # passes: a look at the targets costs calls of the cloud's API


def main() -> None:
    """Until told to stop. The outside being away is logged once it is and once it is back; the loop goes on."""
    # Prefect has set up the root logger at its import, for warnings only.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    known: set[str] = set()
    away = ""
    print(f"reconciling every {PERIOD_S:.0f} s", flush=True)  # what the launcher waits for
    for number in itertools.count():
        try:
            reconcile_once("reconciler", known, look=number % LOOK_EVERY == 0)
            if away:
                logger.info("back: reconciling again")
                away = ""
        except OutsideError as error:
            if str(error) != away:
                away = str(error)
                logger.warning("away: %s", error)
        time.sleep(PERIOD_S)


if __name__ == "__main__":
    main()
