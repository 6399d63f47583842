"""Ticket sources: who may deliver tickets, how they sign, and how their payloads are read. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal

import jmespath
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from forebay.domain.answer import ANSWERED
from forebay.domain.change import ChangeRequest
from forebay.domain.model import NUMBER, Model, Name, parse_yaml, validate

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
ANSWERING = ("jira", "servicenow", "github", "gitlab")
ADDRESS = re.compile(r"https?://[^/?#@\s]+(/[^?#@\s]*)?")
Kind = Literal["generic", "jira", "servicenow", "github", "gitlab"]


def _compiled(expression: str) -> str:
    try:
        jmespath.compile(expression)
    except jmespath.exceptions.JMESPathError as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"this is no JMESPath expression: {why}. Text is written as 'text' in it") from error
    return expression


def _network(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}: write a network as 203.0.113.0/24, or one address") from error


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Expression = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_compiled)]
# Of each kind: what an own expression replaces.
READINGS: Mapping[Kind, Mapping[str, str]] = {
    "generic": {},
    "jira": {
        "ticket": "issue.key",
        "revision": "to_string(timestamp)",
        # Every comment is an update too, also those by which Forebay answers.
        "ignore": "!contains(['jira:issue_created', 'jira:issue_updated', 'jira:issue_deleted'], webhookEvent)"
        " || contains(['issue_commented', 'issue_comment_edited', 'issue_comment_deleted'],"
        " issue_event_type_name || '')",
        "closed": "webhookEvent == 'jira:issue_deleted' || issue.fields.status.statusCategory.key == 'done'",
        # Not the displayed name: that is whatever its owner likes.
        "closed_by": "user.emailAddress || user.accountId",
    },
    "servicenow": {
        "ticket": "number",
        "revision": "to_string(sys_mod_count)",
        "closed": "contains(['3', '4'], to_string(state))",
        "closed_by": "sys_updated_by",
    },
    "github": {
        "ticket": "join('-', [repository.name, to_string(issue.number)])",
        "revision": "issue.updated_at",
        # Anybody may open an issue and edit their own; only those with rights on the repository can label one. What
        # stands there as they do is asked for, by them.
        "ignore": "!issue || issue.pull_request || !(action == 'labeled' && label.name == 'forebay' || contains("
        "['closed', 'deleted'], action) && issue.labels[?name == 'forebay'])",
        "closed": "issue.state == 'closed' || action == 'deleted'",
        "closed_by": "sender.login",
        "block": "issue.body",
    },
    "gitlab": {
        "ticket": "join('-', ['gitlab', to_string(object_attributes.project_id), to_string(object_attributes.iid)])",
        "revision": "object_attributes.updated_at",
        # Guests may label what they open themselves; to label what is there takes rights on the project.
        "ignore": "object_kind != 'issue' || !(object_attributes.action == 'update'"
        " && changes.labels.current[?title == 'forebay'] && !(changes.labels.previous[?title == 'forebay'])"
        " || object_attributes.action == 'close' && labels[?title == 'forebay'])",
        "closed": "object_attributes.state == 'closed'",
        "closed_by": "user.username",
        "block": "object_attributes.description",
    },
}
CHANGES: Mapping[Kind, Mapping[str, str]] = {
    "generic": {},
    "jira": {
        "requested_by": "issue.fields.reporter.emailAddress || issue.fields.reporter.accountId",
        "reason": "issue.fields.summary",
    },
    "servicenow": {"requested_by": "requested_by", "reason": "short_description"},
    "github": {name: f"block.{name}" for name in ChangeRequest.model_fields}
    | {"requested_by": "sender.login", "reason": "block.reason || issue.title"},
    "gitlab": {name: f"block.{name}" for name in ChangeRequest.model_fields}
    | {"requested_by": "user.username", "reason": "block.reason || object_attributes.title"},
}


class TicketAnswer(Model):
    """How a ticket is answered. `token` is the environment variable that holds it; with `user` it goes as a password.

    `states`: by event of the change, the state (Jira: the transition) its ticket is to take.
    """

    url: str
    user: str | None = None
    token: str
    unencrypted: bool = False
    states: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _safe(self) -> TicketAnswer:
        # Here, where no error quotes what was found: it may be the token itself.
        if not ADDRESS.fullmatch(self.url):
            raise ValueError("url: write https://host or https://host/path, without name, password and query")
        if not _VARIABLE.fullmatch(self.token):
            raise ValueError("token: write the name of the environment variable that holds it, never the token")
        if self.url.startswith("http:") and not self.unencrypted:
            raise ValueError("the token would travel unencrypted: use https, or say `unencrypted: true`")
        if unknown := sorted(set(self.states) - ANSWERED):
            raise ValueError(f"states: nothing is called {', '.join(unknown)}: any of {', '.join(sorted(ANSWERED))}")
        return self


class TicketSource(Model):
    """One ticketing system. `secrets`: the environment variables that hold its secrets; two may be valid at once.

    All of `ticket` to `closed_by` and the leaves of `change` are JMESPath expressions on the payload. `constants` are
    fields of the change as they are. `block` finds a text whose first fenced block of YAML, fields of a change, is then
    called `block`.
    """

    name: Name
    kind: Kind = "generic"
    secrets: Annotated[tuple[str, ...], Field(max_length=2)] = ()
    networks: tuple[Network, ...] = ()
    max_body_bytes: Annotated[int, Field(ge=1), NUMBER] = 256 * 1024
    deliveries_per_minute: Annotated[int, Field(ge=1), NUMBER] = 120
    ticket: Expression | None = None
    revision: Expression | None = None
    ignore: Expression | None = None
    closed: Expression | None = None
    closed_by: Expression | None = None
    block: Expression | None = None
    change: Mapping[str, Any] = {}
    constants: Mapping[str, Any] = {}
    answer: TicketAnswer | None = None

    @field_validator("secrets")
    @classmethod
    def _variables(cls, secrets: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_VARIABLE.fullmatch(name) for name in secrets):
            raise ValueError("write the names of environment variables that hold the secrets, never the secrets")
        return secrets

    @field_validator("change")
    @classmethod
    def _known_fields(cls, change: Mapping[str, Any]) -> Mapping[str, Any]:
        _check_names(change)
        for leaf in leaves(change):
            _compiled(leaf)
        return change

    @model_validator(mode="after")
    def _whole(self) -> TicketSource:
        _check_names(self.constants)
        if self.answer is not None and self.kind not in ANSWERING:
            raise ValueError(f"answer: only {', '.join(ANSWERING)} can be answered; others may read the audit log")
        if twice := sorted(set(self.change) & set(self.constants)):
            raise ValueError(f"{', '.join(twice)}: an expression and a constant: keep one of them")
        if self.mapped and not (self.reading("ticket") and self.reading("revision")):
            raise ValueError("say by `ticket` and `revision` where the payload has them: edits are told apart by them")
        return self

    @property
    def mapped(self) -> bool:
        """Whether payloads are read by expressions; else they are Forebay's own."""
        return self.kind != "generic" or bool(self.change or self.constants or self.ticket)

    def reading(self, name: str) -> str | None:
        own: str | None = getattr(self, name)
        return own if own is not None else READINGS[self.kind].get(name)

    @property
    def template(self) -> Mapping[str, Any]:
        """The change: its fields by expression, where nothing else is said by those of the kind."""
        usual = {name: text for name, text in CHANGES[self.kind].items() if name not in self.constants}
        return usual | dict(self.change)

    def allows(self, address: str) -> bool:
        """Whether a delivery may come from this IP address."""
        if not self.networks:
            return True
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None)
        return any((mapped or ip) in network for network in self.networks)


class TicketSources(Model):
    """The sources file."""

    sources: tuple[TicketSource, ...] = ()

    @model_validator(mode="after")
    def _one_each(self) -> TicketSources:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)}: named twice: each source needs a name of its own")
        return self

    @classmethod
    def parse(cls, text: str, what: str) -> TicketSources:
        """Raises InputError naming field, value and mend."""
        return validate(cls, parse_yaml(text, what), what)


def leaves(template: Any) -> list[str]:
    """The expressions of a template: every text in it."""
    match template:
        case str():
            return [template]
        case Mapping():
            return [leaf for part in template.values() for leaf in leaves(part)]
        case list() | tuple():
            return [leaf for part in template for leaf in leaves(part)]
        case _:
            return []


def _check_names(fields: Mapping[str, Any]) -> None:
    if unknown := sorted(set(fields) - set(ChangeRequest.model_fields)):
        known = ", ".join(ChangeRequest.model_fields)
        raise ValueError(f"a change has no field {', '.join(unknown)}: it has {known}")


GENERIC = TicketSource(name="generic", max_body_bytes=64 * 1024)
