"""What the stories on a live stack have in common: a change of a workload, waited for and cancelled."""

from __future__ import annotations

from typing import Any

from tests.support.stack import LiveStack, until


def request(workload: str, entity: str, **more: Any) -> dict[str, Any]:
    return {
        "entity": entity,
        "policy": "quota",
        "requested_by": "jane@example.com",
        "reason": "acme's contract doubles its quota",
        "document": {"requests_per_minute": 12000, "note": 'quotes " and {{ braces }} and </script>'},
        "impacts": [{"workload": workload, "factor": 2.0, "low": 1.9, "high": 2.1, "scope": "workload"}],
        "settle": "PT2S",
    } | more


def planned(stack: LiveStack, change: str) -> dict[str, Any]:
    """The change once its plan is stored and its runs are made."""
    until(lambda: stack.state(change) not in (None, "received", "planned"), f"{change} is planned", 150)
    found = stack.change(change)
    assert found
    assert found["record"]["state"] != "denied", found["record"]["note"]
    steps = len(found["workloads"][0]["steps"])
    until(lambda: len(stack.runs_of(change)) >= steps + 1, f"{change} has its runs", 30)
    return found


def cancel(stack: LiveStack, change: str) -> None:
    """Until its allocation has gone back."""
    done = stack.forebay("cancel", change, "--by", "jane", "--reason", "not wanted any more")
    assert done.returncode == 0, done.stderr
    until(lambda: stack.state(change) == "rolled back", f"{change} is rolled back", 150)


def names(stack: LiveStack) -> list[str]:
    return [record["change"]["change"] for record in stack.web.get("/v1/changes").raise_for_status().json()]
