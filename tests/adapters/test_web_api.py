"""The HTTP API on changes: who acts is who the key says, roles and rules both hold, and every refusal says the mend."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from forebay.domain.access import ALLOWED, Role
from forebay.domain.lifecycle import ChangeState
from tests.support.api import a_caller, calling
from tests.support.world import EFFECTIVE, World, a_plan, a_request, leave, minutes

S = ChangeState
LATER = [(10, 4, 6), (16, 6, 8)]
WHY = {"reason": "because"}
ASKED = {
    "change": "CHG-2",
    "entity": "acme",
    "policy": "quota",
    "effective_at": (EFFECTIVE + timedelta(days=1)).isoformat(),
    "impacts": [{"workload": "web", "factor": 2}],
}


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


def actors(world: World, change: str) -> dict[str, str]:
    """Who did what, by the audit log."""
    with world.sql.transaction() as tx:
        return {entry.event.action: entry.event.actor for entry in tx.audit_entries(change)}


def test_who_asks_is_who_the_key_says(world: World) -> None:
    client = calling(world, "zoe", "requester")
    answer = client.post("/v1/changes", json=ASKED)
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/changes/CHG-2")
    assert answer.json()["change"]["requested_by"] == "zoe"
    assert actors(world, "CHG-2")["received"] == "zoe"
    assert [ticket.source for ticket in _waiting(world)] == ["api"], "the reconciler starts its run"
    refused = client.post("/v1/changes", json=ASKED | {"change": "CHG-3", "requested_by": "ann"})
    assert (refused.status_code, "leave it out" in refused.json()["detail"]) == (422, True)
    assert client.get("/v1/changes/CHG-3").status_code == 404


def _waiting(world: World) -> Any:
    with world.sql.transaction() as tx:
        return tx.tickets_without_run()


def test_the_same_name_is_the_same_change(world: World) -> None:
    client = calling(world, "zoe", "requester")
    client.post("/v1/changes", json=ASKED)
    again = client.post("/v1/changes", json=ASKED)
    edited = client.post("/v1/changes", json=ASKED | {"document": {"limit": 2}})
    assert (again.status_code, edited.status_code) == (200, 200)
    assert edited.json()["change"]["document"] == {"limit": 2}
    other = calling(world, "ann", "requester").post("/v1/changes", json=ASKED)
    assert (other.status_code, "submit this one under a new name" in other.json()["detail"]) == (422, True)


def test_without_a_name_a_delay_of_just_the_minimum_passes(world: World) -> None:
    world.put_rules(rules=[{"name": "slow", "minimum_delay": "PT1H"}])
    client = calling(world, "zoe", "requester")
    world.clock.reading_takes = timedelta(milliseconds=1)
    asked = {key: value for key, value in ASKED.items() if key not in ("change", "effective_at")}
    assert client.post("/v1/changes", json=asked | {"effective_in": "PT1H"}).json()["state"] == S.RECEIVED


def test_a_denied_change_says_what_would_pass(world: World) -> None:
    world.put_rules(rules=[{"name": "slow", "minimum_delay": "P9D"}])
    answer = calling(world, "zoe", "requester").post("/v1/changes", json=ASKED)
    assert (answer.status_code, answer.json()["state"]) == (201, "denied")
    assert "What would pass" in answer.json()["note"]


BROKEN: dict[str, tuple[dict[str, Any], int, str]] = {
    "no JSON": ({"content": b"{"}, 400, "is not JSON"),
    "no number": ({"content": b'{"document": {"a": 1e999}}'}, 400, "Out of range"),
    "a field twice": ({"content": b'{"factor": 2.0, "factor": 3.0}'}, 400, "'factor' is there twice in one object"),
    "half a character": ({"content": b'{"reason": "\\ud83d"}'}, 400, "half a character"),
    "a list": ({"json": []}, 422, "change is not valid"),
    "no workload of ours": ({"json": ASKED | {"impacts": [{"workload": "wbe", "factor": 2}]}}, 422, "Known: web"),
    "too large": ({"content": b" " * 70_000}, 413, "exceeds 65536 bytes"),
    "too far": ({"json": ASKED | {"effective_at": None, "effective_in": "P999999999D"}}, 422, "effective"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_bad_input_is_refused_with_its_mend_and_changes_nothing(world: World, name: str) -> None:
    sent, status, words = BROKEN[name]
    client = calling(world, "zoe", "requester")
    answer = client.post("/v1/changes", **sent)
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in problem["detail"] + " ".join(problem["faults"])
    assert client.get("/v1/changes").json() == []


def test_a_list_is_chosen_from_and_what_no_route_hears_is_refused(world: World) -> None:
    world.submit(a_request(), a_plan(LATER))
    client = calling(world, "zoe", "requester")
    client.post("/v1/changes", json=ASKED | {"entity": "bolt"})
    world.put_rules(rules=[{"name": "slow", "minimum_delay": "P9D"}])
    client.post("/v1/changes", json=ASKED | {"change": "CHG-3"})

    def listed(query: str) -> list[str]:
        return [record["change"]["change"] for record in client.get(f"/v1/changes?{query}").json()]

    assert listed("") == ["CHG-3", "CHG-2", "CHG-1"]
    assert listed("open=true") == ["CHG-2", "CHG-1"]
    assert listed("entity=acme&open=true") == ["CHG-1"] and listed("state=denied") == ["CHG-3"]
    for method, path, known in (
        ("GET", "/v1/changes?entty=acme", "it takes state, entity, open, after, limit"),
        ("GET", "/v1/changes/CHG-1?entty=acme", "it takes none"),
        ("POST", "/v1/changes?entty=acme", "it takes none"),
    ):
        answer = client.request(method, path, json=ASKED if method == "POST" else None)
        assert (answer.status_code, answer.json()["detail"]) == (
            422,
            f"there is no query parameter entty here: {known}",
        )
    assert calling(world, "zoe", "requester", open_reading=False).get("/v1/changes?x=1").status_code == 422
    assert a_caller(world, open_reading=False).get("/v1/changes?x=1").status_code == 401


@pytest.mark.parametrize("reason", ["", " "])
def test_who_gives_no_reason_is_asked_for_one(world: World, reason: str) -> None:
    world.submit(a_request(), a_plan(LATER))
    answer = calling(world, "bob", "operator").post("/v1/changes/CHG-1/hold", json={"reason": reason})
    assert (answer.status_code, answer.json()["faults"][0].partition(" (")[0]) == (
        422,
        "reason: give a reason: the audit log keeps it",
    )


def test_what_is_approved_is_what_was_shown(world: World) -> None:
    world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob"]}}])
    world.submit(a_request(), a_plan(LATER))
    bob = calling(world, "bob", "approver")
    shown = bob.get("/v1/changes/CHG-1/plan").json()
    assert shown["plans"]["web"]["steps"][0]["to_units"] == 6
    other = bob.post("/v1/changes/CHG-1/approve", json=WHY | {"plan": "0" * 64}).json()
    assert (other["status"], other["rule"]) == (409, "what is approved is what was shown")
    assert shown["asked"][:16] in other["would_pass"]
    given = WHY | {"plan": shown["asked"]}
    carl = calling(world, "carl", "approver").post("/v1/changes/CHG-1/approve", json=given)
    assert carl.status_code == 409, "the role opens the door, the change rules do not"
    assert bob.post("/v1/changes/CHG-1/approve", json=given).json()["state"] == "scheduled"
    assert actors(world, "CHG-1")["approved"] == "bob"


def test_a_rejected_change_is_denied(world: World) -> None:
    world.put_rules(rules=[{"name": "careful", "approval": {"approvers": ["bob"]}}])
    world.submit(a_request(), a_plan(LATER))
    bob = calling(world, "bob", "approver")
    asked = bob.get("/v1/changes/CHG-1/plan").json()["asked"]
    assert bob.post("/v1/changes/CHG-1/reject", json=WHY | {"plan": asked}).json()["state"] == "denied"


def test_what_an_operator_does_to_a_change_under_way(world: World) -> None:
    world.submit()
    world.run_until(minutes(3))
    carl = calling(world, "carl", "operator")
    url = "/v1/changes/CHG-1"
    pinned = carl.post(f"{url}/pin", json=WHY | {"units": 7, "until": minutes(20).isoformat()})
    assert pinned.status_code == 200, pinned.text
    assert [carl.post(f"{url}/{act}", json=WHY).json()["state"] for act in ("hold", "resume", "cancel")] == [
        "held",
        "shaping",
        "cancelled",
    ]
    late = carl.post(f"{url}/hold", json=WHY)
    assert (late.status_code, late.json()["title"]) == (409, "Conflict")
    assert {actors(world, "CHG-1")[action] for action in ("pinned", "held", "resumed", "cancelled")} == {"carl"}


def test_an_operator_settles_what_a_change_has_left(world: World) -> None:
    world.submit()
    carl, url = calling(world, "carl", "operator"), "/v1/changes/CHG-1/settle"
    assert carl.post(url, json=WHY).json()["rule"] == "settle what was left"
    leave(world)
    assert carl.post(url, json=WHY).status_code == 200
    assert actors(world, "CHG-1")["settled by a person"] == "carl"


def test_what_is_in_force_is_rolled_back_where_there_was_something_before(world: World) -> None:
    world.submit()
    world.run_until(EFFECTIVE + timedelta(minutes=2))
    refused = calling(world, "carl", "operator").post("/v1/changes/CHG-1/rollback", json=WHY).json()
    assert (refused["status"], refused["rule"]) == (409, "roll back to what was in force before")


def test_break_glass_takes_the_role_and_the_rule(world: World) -> None:
    world.put_rules(rules=[{"name": "emergency", "break_glass": ["eve"]}])
    world.submit()
    url = "/v1/changes/CHG-1/break-glass"
    assert calling(world, "eve", "operator").post(url, json=WHY).status_code == 403
    assert calling(world, "bob", "admin").post(url, json=WHY).status_code == 409
    world.enforcer.failing = 1  # what is in force is no failure, whoever else could not be told of it yet
    assert calling(world, "eve", "admin").post(url, json=WHY).json()["state"] == "in force"


ROUTES = {
    ("GET", "/v1/changes"): "read",
    ("GET", "/v1/changes/CHG-1"): "read",
    ("GET", "/v1/changes/CHG-1/plan"): "read",
    ("GET", "/v1/audit"): "read",
    ("POST", "/v1/changes"): "submit",
    ("POST", "/v1/changes/CHG-1/approve"): "approve",
    ("POST", "/v1/changes/CHG-1/reject"): "approve",
    ("POST", "/v1/changes/CHG-1/hold"): "control",
    ("POST", "/v1/changes/CHG-1/resume"): "control",
    ("POST", "/v1/changes/CHG-1/cancel"): "control",
    ("POST", "/v1/changes/CHG-1/rollback"): "control",
    ("POST", "/v1/changes/CHG-1/pin"): "control",
    ("POST", "/v1/changes/CHG-1/settle"): "control",
    ("POST", "/v1/changes/CHG-1/break-glass"): "break-glass",
    ("POST", "/v1/changes/CHG-1/override-hold"): "break-glass",
}


@pytest.mark.parametrize("role", Role)
def test_a_role_opens_what_the_table_says_and_nothing_else(world: World, role: Role) -> None:
    world.submit()
    client, nobody = calling(world, "zoe", role), a_caller(world)
    for (method, path), act in ROUTES.items():
        # An empty body is refused too, but only after the role was looked at.
        status = client.request(method, path, json={}).status_code
        assert (status != 403) is (act in ALLOWED[role]), (method, path, status)
        assert nobody.request(method, path, json={}).status_code == (200 if act == "read" else 401)


def test_every_route_on_changes_is_in_the_table_above(world: World) -> None:
    paths = a_caller(world).get("/openapi.json").json()["paths"]
    served = {(m.upper(), p.replace("{name}", "CHG-1")) for p, routes in paths.items() for m in routes}
    assert {route for route in served if route[1].startswith(("/v1/changes", "/v1/audit"))} == set(ROUTES)


def test_a_key_for_one_entity_sees_and_does_nothing_else(world: World) -> None:
    world.submit()
    other = calling(world, "zoe", "admin", entities=["globex"])
    assert other.get("/v1/changes").json() == other.get("/v1/audit").json() == []
    assert other.get("/v1/changes/CHG-1").status_code == 404
    assert other.get("/v1/changes/CHG-1/plan").status_code == 404
    assert other.post("/v1/changes/CHG-1/cancel", json=WHY).status_code == 404
    assert other.post("/v1/changes", json=ASKED).status_code == 403
    assert other.get("/v1/policies/acme/quota").status_code == 403
    assert other.get("/v1/policies", params={"changed_since": "2026-01-01T00:00:00Z"}).json()["policies"] == []
    assert other.get("/changes").status_code == 403
    mine = calling(world, "zoe", "admin", entities=["acme"])
    assert [one["change"]["change"] for one in mine.get("/v1/changes").json()] == ["CHG-1"]
    assert {entry["event"]["entity"] for entry in mine.get("/v1/audit").json()} == {"acme"}


def test_a_key_for_one_entity_is_not_told_of_anothers_change(world: World) -> None:
    world.submit(a_request(entity="other"))
    answer = calling(world, "zoe", "requester", entities=["acme"]).post("/v1/changes", json=ASKED | {"change": "CHG-1"})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "change: the name 'CHG-1' is taken: submit this one under a new name"


def test_asking_to_enforce_takes_the_right_to_break_glass(world: World) -> None:
    world.put_rules(rules=[{"name": "loose", "break_glass": ["zoe"], "on_misalignment": ["defer", "enforce"]}])
    wanted = ASKED | {"on_misalignment": "enforce"}
    assert calling(world, "zoe", "requester").post("/v1/changes", json=wanted).status_code == 403
    assert calling(world, "zoe", "admin").post("/v1/changes", json=wanted).json()["state"] == "received"


def test_nothing_is_done_by_a_password_that_a_browser_sends_along(world: World) -> None:
    """Another site can make a browser post a form here, and the browser adds the password that it knows."""
    world.submit()
    client = calling(world, "bob", "admin")
    token = client.headers["authorization"].removeprefix("Bearer ")
    form = {"content": b'{"reason": "=x"}', "headers": {"Content-Type": "text/plain"}}
    client.headers["authorization"] = "Basic " + b64encode(f"me:{token}".encode()).decode()
    assert client.get("/changes").status_code == 200
    assert client.post("/v1/changes/CHG-1/cancel", **form).status_code == 401
    assert world.state is S.SCHEDULED


def test_a_reason_shows_all_of_itself(world: World) -> None:
    world.submit()
    answer = calling(world, "bob", "operator").post("/v1/changes/CHG-1/hold", json={"reason": "a\u202eb"})
    assert (answer.status_code, world.state) == (422, S.SCHEDULED)


def test_pages_lead_on_to_the_end(world: World) -> None:
    client = calling(world, "zoe", "requester")
    for number in range(5):
        client.post("/v1/changes", json=ASKED | {"change": f"CHG-{number}", "policy": f"p{number}"})
    for path, everything in (("/v1/changes?limit=2", 5), ("/v1/audit?limit=3", 11)):
        found, url = [], path
        while url:
            answer = client.get(url)
            found += [str(one) for one in answer.json()]
            url = answer.links.get("next", {}).get("url", "")
        assert len(found) == len(set(found)) == everything
    assert client.get("/v1/changes?after=CHG-9").status_code == 422
    assert calling(world, "bob", "viewer", entities=["bolt"]).get("/v1/changes?after=CHG-3").status_code == 422
    audit = client.get("/v1/audit", params={"change": "CHG-1"}).json()
    assert {entry["event"]["change"] for entry in audit} == {"CHG-1"}


def test_a_page_leads_on_though_its_last_change_is_not_listed_any_more(world: World) -> None:
    client = calling(world, "zoe", "requester", "operator")
    for number in range(4):
        client.post("/v1/changes", json=ASKED | {"change": f"CHG-{number}", "policy": f"p{number}"})
    first = client.get("/v1/changes?open=true&limit=2")
    assert client.post("/v1/changes/CHG-2/cancel", json=WHY).json()["state"] == S.ROLLED_BACK
    second = client.get(first.links["next"]["url"])
    assert second.status_code == 200, second.json()
    assert [one["change"]["change"] for one in second.json()] == ["CHG-1", "CHG-0"]


def test_nobody_waits_for_the_plan_of_what_is_over(world: World) -> None:
    client = calling(world, "zoe", "requester", "operator")
    client.post("/v1/changes", json=ASKED)
    assert "ask again" in client.get("/v1/changes/CHG-2/plan").json()["detail"]
    client.post("/v1/changes/CHG-2/cancel", json=WHY)
    answer = client.get("/v1/changes/CHG-2/plan")
    assert (answer.status_code, answer.json()["detail"]) == (404, "change CHG-2 is rolled back, and has no plan")


def test_the_log_of_a_change_that_is_not_there_is_not_an_empty_one(world: World) -> None:
    calling(world, "zoe", "requester").post("/v1/changes", json=ASKED)
    ours, theirs = (calling(world, "bob", "viewer", entities=[entity]) for entity in ("acme", "bolt"))
    assert ours.get("/v1/audit?change=CHG-2").json()
    for client, change in ((ours, "CHG-3"), (theirs, "CHG-2")):
        answer = client.get(f"/v1/audit?change={change}")
        assert answer.status_code == 404 and f"there is no change '{change}'" in answer.text


def test_what_builds_on_a_version_that_never_was_is_told_that_there_is_none(world: World) -> None:
    note = calling(world, "zoe", "requester").post("/v1/changes", json=ASKED | {"base_version": 7}).json()["note"]
    assert "the change builds on version 7, no version is in force" in note and "base_version 0" in note


def test_nothing_goes_on_by_itself_that_is_over(world: World) -> None:
    calling(world, "zoe", "requester").post("/v1/changes", json=ASKED | {"base_version": 7})
    answer = calling(world, "bob", "approver").post(
        "/v1/changes/CHG-2/approve", json=WHY | {"plan": "0123456789abcdef"}
    )
    assert (answer.status_code, answer.json()["detail"].split(" (")[0]) == (409, "change CHG-2 is denied")


def test_the_document_names_every_answer_and_shows_every_body(world: World) -> None:
    document = a_caller(world).get("/openapi.json").json()
    for path, routes in document["paths"].items():
        for method, route in routes.items():
            if method == "post" and "/changes" in path:
                assert {"200", "401", "403", "409", "413", "422"} <= set(route["responses"]), path
                body = route["requestBody"]["content"]["application/json"]
                assert body["schema"]["$ref"].removeprefix("#/components/schemas/") in document["components"]["schemas"]
                assert body["examples"]["one"]["value"]
    assert "requested_by" not in document["components"]["schemas"]["ChangeRequest-Input"]["properties"]
