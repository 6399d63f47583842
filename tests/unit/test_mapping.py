"""Reading payloads: what each kind's becomes, and that a failure names the field and the expression."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from forebay.domain.errors import InputError
from forebay.domain.mapping import read_payload
from forebay.domain.source import TicketSource, TicketSources
from forebay.domain.ticket import TicketDelivery, newer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SOURCES = {s.name: s for s in TicketSources.parse((EXAMPLES / "sources.yaml").read_text(), "sources").sources}


def payload(name: str) -> dict[str, Any]:
    return json.loads((EXAMPLES / "tickets" / f"{name}.json").read_text())


def jira(**fields: Any) -> dict[str, Any]:
    sent = payload("jira")
    sent["issue"]["fields"] |= fields
    return sent


def github(body: str | None = None, **event: Any) -> dict[str, Any]:
    sent = payload("github") | event
    if body is not None:
        sent["issue"]["body"] = body
    return sent


LABELLED = [{"title": "forebay"}]


def gitlab(**attributes: Any) -> dict[str, Any]:
    sent = payload("gitlab")
    sent["object_attributes"] |= attributes
    return sent


def read(source: str, sent: Any) -> TicketDelivery:
    delivery = read_payload(SOURCES[source], sent)
    assert delivery is not None, "it was ignored"
    return delivery


@pytest.mark.parametrize(
    ("source", "sent", "ticket", "revision", "by"),
    [
        ("jira", payload("jira"), "OPS-12", "1795510800123", "jane@example.com"),
        ("servicenow", payload("servicenow"), "CHG0030012", "4", "jane@example.com"),
        ("reviews", payload("github"), "policies-7", "2026-11-24T09:00:00Z", "bob"),
        ("gitlab", payload("gitlab"), "gitlab-15-7", "2026-11-24T09:00:00Z", "bob"),
    ],
)
def test_each_kind_becomes_the_same_change(
    source: str, sent: dict[str, Any], ticket: str, revision: str, by: str
) -> None:
    delivery = read(source, sent)
    request = delivery.request
    assert request is not None
    assert (delivery.ticket, delivery.revision, request.change, request.requested_by) == (ticket, revision, ticket, by)
    assert request.effective_at is not None
    assert request.effective_at.isoformat() == "2026-12-04T08:00:00+00:00"
    assert (request.entity, request.policy, request.impacts[0].workload, request.impacts[0].factor) == (
        "acme",
        "quota",
        "checkout",
        2.0,
    )


@pytest.mark.parametrize(
    ("source", "sent", "by"),
    [
        ("jira", payload("jira") | {"webhookEvent": "jira:issue_deleted"}, "bob@example.com"),
        ("jira", jira(status={"name": "Won't do", "statusCategory": {"key": "done"}}), "bob@example.com"),
        ("servicenow", payload("servicenow") | {"state": "4"}, "bob"),
        ("servicenow", payload("servicenow") | {"state": 3}, "bob"),
        ("reviews", github(issue=payload("github")["issue"] | {"state": "closed"}, action="closed"), "bob"),
        ("gitlab", gitlab(state="closed", action="close"), "bob"),
    ],
)
def test_a_closed_ticket_is_closed_by_whoever_closed_it(source: str, sent: dict[str, Any], by: str) -> None:
    delivery = read(source, sent)
    assert delivery.change is None
    assert delivery.closed is not None
    assert delivery.closed.by == by


@pytest.mark.parametrize(
    ("source", "sent"),
    [
        ("jira", payload("jira") | {"webhookEvent": "comment_created"}),
        ("jira", payload("jira") | {"issue_event_type_name": "issue_commented"}),
        ("reviews", {"zen": "Keep it logically awesome.", "hook_id": 1}),
        ("reviews", github(issue=payload("github")["issue"] | {"labels": []}, action="closed")),
        ("reviews", github(issue=payload("github")["issue"] | {"pull_request": {"url": "there"}})),
        ("reviews", github(action="assigned")),
        ("reviews", github(action="edited")),
        ("reviews", github(action="opened")),
        ("reviews", github(label={"name": "urgent"})),
        ("gitlab", gitlab(action="open")),
        ("gitlab", payload("gitlab") | {"changes": {"description": {}}}),
        ("gitlab", payload("gitlab") | {"changes": {"labels": {"previous": LABELLED, "current": LABELLED}}}),
        ("gitlab", payload("gitlab") | {"changes": {"labels": {"previous": LABELLED, "current": []}}}),
        ("gitlab", gitlab(action="close", state="closed") | {"labels": []}),
        ("gitlab", payload("gitlab") | {"object_kind": "note"}),
    ],
)
def test_what_is_no_edit_of_a_ticket_is_ignored(source: str, sent: dict[str, Any]) -> None:
    assert read_payload(SOURCES[source], sent) is None


def _without(sent: dict[str, Any], *path: str) -> dict[str, Any]:
    sent = copy.deepcopy(sent)
    part = sent
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    return sent


ALIASES = "```yaml\na: &a [1, 2]\nb: *a\n```"


@pytest.mark.parametrize(
    ("source", "sent", "words"),
    [
        ("jira", jira(customfield_10101=None), "entity: Field required [expression: issue.fields.customfield_10101]"),
        (
            "jira",
            jira(customfield_10104={"value": "double"}),
            "impacts.0.factor: Input should be a valid number, unable to parse string as a number (found 'double') "
            "[expression: issue.fields.customfield_10104.value]",
        ),
        ("jira", jira(customfield_10102="2026-12-04T09:00:00"), "has no zone"),
        ("jira", _without(payload("jira"), "issue"), "ticket: the expression issue.key gives nothing here"),
        ("jira", _without(payload("jira"), "timestamp"), "revision: the expression to_string(timestamp) gives nothing"),
        ("jira", ["a list"], "the payload is no JSON object"),
        ("servicenow", payload("servicenow") | {"u_customer": ""}, "entity: Field required [expression: u_customer]"),
        (
            "servicenow",
            _without(payload("servicenow"), "start_date"),
            "change.effective_at: the expression join('', [start_date, 'Z']) fails",
        ),
        ("reviews", github("no block at all"), "entity: Field required [expression: block.entity]"),
        ("reviews", github("```yaml\nentity: [\n```"), "the fenced block, line 1: this is not YAML"),
        ("reviews", github("```yaml\nimpact: []\n```"), "the fenced block has no fields impact to give"),
        ("reviews", github("```yaml\nrequested_by: eve\n```"), "the fenced block has no fields requested_by to give"),
        ("reviews", github("```yaml\n- 1\n```"), "the fenced block holds no fields"),
        ("reviews", github(ALIASES), "uses an alias"),
    ],
)
def test_a_failure_names_the_field_and_the_expression(source: str, sent: Any, words: str) -> None:
    with pytest.raises(InputError) as refused:
        read_payload(SOURCES[source], sent)
    assert words in str(refused.value)
    assert f"source {source}" in str(refused.value)


def test_a_constant_is_not_the_payloads_to_set() -> None:
    source = TicketSource(
        name="own",
        kind="generic",
        ticket="id",
        revision="to_string(edit)",
        change={"entity": "customer", "effective_in": '`"PT2H"`', "requested_by": "who"},
        constants={"policy": "quota", "impacts": [{"workload": "web", "factor": 1000}]},
    )
    sent = {"id": "A-1", "edit": 7, "customer": "acme", "who": "ann", "policy": "other"}
    with pytest.raises(InputError, match=r"impacts\.0\.factor: .* \[a constant\]"):
        read_payload(source, sent)
    milder = source.model_copy(update={"constants": {"policy": "quota", "impacts": [{"workload": "web", "factor": 2}]}})
    delivery = read_payload(milder, sent)
    assert delivery is not None
    assert delivery.request is not None
    assert (delivery.request.policy, delivery.revision) == ("quota", "7")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"change": {"entity": "a..b"}}, "no JMESPath expression"),
        ({"change": {"entitty": "a"}}, "a change has no field entitty"),
        ({"change": {"entity": "a"}, "constants": {"entity": "acme"}}, "an expression and a constant"),
        ({"kind": "generic", "change": {"entity": "a"}}, "say by `ticket` and `revision`"),
        ({"secrets": ["A", "B", "C"]}, "at most 2 items"),
        ({"secrets": ["s3cret-itself"]}, "never the secrets"),
        ({"networks": ["203.0.113.7/24"]}, "has host bits set"),
        ({"ignore": "'"}, "no JMESPath expression"),
    ],
)
def test_a_wrong_source_is_refused_when_it_is_read(fields: dict[str, Any], words: str) -> None:
    text = json.dumps({"sources": [{"name": "one", "kind": "jira"} | fields]})
    with pytest.raises(InputError, match="is not valid") as refused:
        TicketSources.parse(text, "sources.yaml")
    assert words in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="named twice"):
        TicketSources.parse("sources: [{name: a, kind: jira}, {name: a, kind: github}]", "sources.yaml")


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ((), "anything", True),
        (("203.0.113.0/24",), "203.0.113.255", True),
        (("203.0.113.0/24",), "203.0.114.0", False),
        (("203.0.113.0/24",), "::ffff:203.0.113.9", True),
        (("2001:db8::/32",), "2001:db8::1", True),
        (("2001:db8::/32",), "203.0.113.1", False),
        (("0.0.0.0/0",), "no address", False),
    ],
)
def test_networks(networks: tuple[str, ...], address: str, allowed: bool) -> None:
    assert TicketSource.model_validate({"name": "a", "networks": networks}).allows(address) is allowed


@pytest.mark.parametrize(
    ("revision", "stored", "found"),
    [
        ("2", ["1", "10"], "10"),
        ("10", ["9", "2"], None),
        ("1.9", ["1.10"], "1.10"),
        ("2026-11-24T09:00:00Z", ["2026-11-24T11:00:00+01:00"], "2026-11-24T11:00:00+01:00"),
        ("2026-11-24T09:00:00Z", ["2026-11-24T09:30:00+01:00"], None),
        ("a", ["b"], None),
        ("1", ["2026-11-24T09:00:00Z", "b"], None),
        ("7", ["7"], None),
    ],
)
def test_which_revision_is_later(revision: str, stored: list[str], found: str | None) -> None:
    assert newer(revision, stored) == found
