"""What another process does to the same store: `python -m tests.support.store_process ACTION URL`.

It says `ready` when it is about to begin and waits for a line, so that two of them can be let loose at once.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta

from forebay.store import migrate, open_store
from tests.support.samples import NOW, a_change, a_plan, an_event


def main(action: str, url: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    if action == "migrate":
        migrate(url)
        return
    store = open_store(url)
    if action == "race":
        for _ in range(20):
            with store.transaction() as tx:
                tx.audit(an_event())
        with store.transaction() as tx:
            ticket = tx.add_ticket("jira", "T-1", "1", "{}", NOW)
        with store.transaction() as tx:
            lease = tx.acquire_lease("web", f"process {os.getpid()}", NOW, timedelta(minutes=1))
        print("ticket" if ticket else "-", "lease" if lease else "-")
    elif action == "hang":
        with store.transaction() as tx:
            tx.add_change(a_change(), 2, an_event(change="CHG-1"))
            tx.add_plan(a_plan(), an_event(change="CHG-1"))
            print("inside", flush=True)
            sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
