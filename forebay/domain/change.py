"""A policy change: a request that a new version of a policy comes into force at an effective time."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from forebay.domain.errors import InputError
from forebay.domain.impact import Entitlement, Impact
from forebay.domain.model import (
    NAME,
    NUMBER,
    Duration,
    DurationOrZero,
    Model,
    Name,
    UtcTime,
    digest,
    field,
    parse_yaml,
    validate,
)
from forebay.domain.wording import duration

Misalignment = Literal["defer", "reject", "enforce"]
# Everything until a plan's end is forecast slot by slot: a quarter in five minutes is what a worker's memory holds.
LONGEST_AHEAD = timedelta(days=92)
DEEPEST_DOCUMENT = 32
# The context by which a request is read that was stored: what came in before more was asked of it stays readable.
STORED = "stored"
# They turn the text around them: what is read is then not what is stored.
DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str) -> str:
    """`text` as it is. Raises ValueError for characters that show nothing, or turn what is around them."""
    for character in text:
        if character in DIRECTIONS or (unicodedata.category(character) == "Cc" and character not in "\t\r\n"):
            raise ValueError(f"leave out the invisible character {character!a}: people must see what they read")
    return text


def _one_line(text: str) -> str:
    if len(text.splitlines()) > 1:
        raise ValueError("write it in one line")
    return visible(text)


def _is_json(document: Mapping[str, Any]) -> Mapping[str, Any]:
    _check_json(document, DEEPEST_DOCUMENT)
    return document


def _check_json(value: object, levels: int) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    inner = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else []
    if inner and not levels:
        raise ValueError(f"it is nested deeper than {DEEPEST_DOCUMENT} levels: no policy needs that")
    for part in inner:
        _check_json(part, levels - 1)


def _bounded(entitlement: Entitlement, info: ValidationInfo) -> Entitlement:
    if info.context != STORED and entitlement.min_units is None and entitlement.max_units is None:
        raise ValueError("give min_units, max_units or both: it bounds nothing without (min_units: 0 ends one)")
    return entitlement


Person = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Text = Annotated[str, Field(max_length=2000), AfterValidator(visible)]
Document = Annotated[Mapping[str, Any], AfterValidator(_is_json)]


class ChangeRequest(Model):
    """A change as it comes in. Say when it takes effect (a time or a delay) and what it moves (impacts or bounds)."""

    # The docstring is what a form shows above the fields. `change` names it across doors and revisions: the same name
    # twice is the same change. `document` is handed to whoever asks the decision point.

    change: Annotated[str, Field(max_length=120, pattern=rf"^({NAME})?$")] = field(
        1,
        "Change",
        "Its name everywhere, a ticket number for example; left empty, it is made from entity, policy and time",
        "",
        examples=["CHG-1042"],
    )
    entity: Name = field(2, "Entity", "The customer or tenant the policy governs", examples=["acme"])
    policy: Name = field(3, "Policy", "Which of its policies changes", examples=["quota"])
    kind: Name = field(4, "Kind", "quota, tier, rate-limit, feature, retention, …", "quota")
    effective_at: UtcTime | None = field(
        5,
        "Effective at",
        "A time with its zone. Give this or the delay below, not both",
        None,
        examples=["2026-12-04T09:00:00+01:00"],
    )
    effective_in: Duration | None = field(
        6,
        "Effective in",
        "A delay instead of a time: PT2H is 2 hours, PT45M 45 minutes, P1D a day",
        None,
        examples=["PT2H"],
    )
    impacts: tuple[Impact, ...] = field(
        7,
        "Impacts",
        "How demand changes from the effective time on: at least one, or one entitlement",
        (),
        examples=[[{"workload": "checkout", "factor": 2.0}]],
    )
    entitlements: tuple[Annotated[Entitlement, AfterValidator(_bounded)], ...] = field(
        8,
        "Entitlements",
        "Bounds that the new policy sets on the units of a workload",
        (),
        examples=[[{"workload": "checkout", "max_units": 40}]],
    )
    document: Document = field(
        9,
        "Document",
        'The policy\'s new content, as JSON: {"requests_per_minute": 12000}',
        {},
        examples=[{"requests_per_minute": 12000}],
    )
    requested_by: Person = field(10, "Requested by", "Your name; the audit log keeps it", examples=["jane@example.com"])
    reason: Text = field(
        11, "Reason", "Why; the audit log keeps it", "", examples=["acme's contract doubles its quota"]
    )
    on_misalignment: Misalignment = field(
        12,
        "If capacity is not there",
        "Defer until it is, reject the change, or enforce all the same (for who may break glass)",
        "defer",
    )
    settle: DurationOrZero = field(
        13, "Settle", "How long it is watched afterwards, before raised floors go back: PT30M", timedelta(minutes=30)
    )
    base_version: Annotated[int, Field(ge=0), NUMBER] | None = field(
        14, "Base version", "The policy version this builds on, checked; None takes whichever is latest", None
    )
    supersedes: Annotated[str, Field(max_length=120)] = field(
        15,
        "Supersedes",
        "A change of the same policy whose place this one takes, while nothing has moved for it nor anybody holds it",
        "",
        examples=["CHG-1041"],
    )

    @model_validator(mode="after")
    def _consistent(self) -> ChangeRequest:
        if (self.effective_at is None) == (self.effective_in is None):
            raise ValueError("give exactly one of effective_at (a time with a zone) and effective_in (a duration)")
        if not self.impacts and not self.entitlements:
            raise ValueError("name at least one impact or entitlement: without one there is no capacity to move")
        seen = set()
        for impact in self.impacts:
            key = (impact.workload, impact.resource, impact.scope)
            if key in seen:
                raise ValueError(f"two impacts on {impact.workload} {impact.resource}: join them into one")
            seen.add(key)
        names = [entitlement.workload for entitlement in self.entitlements]
        if len(set(names)) < len(names):
            raise ValueError("two entitlements on one workload: join them into one")
        return self

    @classmethod
    def parse(cls, text: str, what: str = "change file") -> ChangeRequest:
        """From YAML or JSON. Raises InputError naming field, value and mend."""
        return validate(cls, parse_yaml(text, what), what)

    def named(self, at: datetime) -> ChangeRequest:
        """The request with a name. One left open is made from `at`, and a relative effective time then counts from it:
        a run that a schedule made is the same change however late or often it runs.
        """
        if self.change:
            return self
        return self.fixed(at.astimezone(UTC)).model_copy(
            update={"change": f"{self.entity}-{self.policy}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"}
        )

    def fixed(self, at: datetime) -> ChangeRequest:
        """The same request with an absolute effective time; a relative one counts hours that pass from `at` (aware)."""
        if self.effective_in is None:
            return self
        try:
            effective_at = at.astimezone(UTC) + self.effective_in
        except OverflowError as error:
            raise InputError(f"change: effective_in {self.effective_in} leads beyond the year 9999") from error
        return self.model_copy(update={"effective_at": effective_at, "effective_in": None})

    def accepted(self, now: datetime) -> PolicyChange:
        """The change with its name and effective time fixed; both count from `now` (aware UTC) where left open.

        Raises InputError for one that reaches further ahead than can be planned.
        """
        named = self.named(now)
        fixed = named.fixed(now).model_dump(exclude={"effective_in"})
        return PolicyChange(**fixed, effective_in=named.effective_in).within_reach(now)


class PolicyChange(Model):
    """An accepted request: the same fields, its effective time fixed in UTC.

    `effective_in`: the relative time it was asked for by, if it was: said again, it means the time it was given.
    """

    change: Name
    entity: Name
    policy: Name
    kind: Name
    document: Mapping[str, Any]
    base_version: int | None
    effective_at: UtcTime
    impacts: tuple[Impact, ...]
    entitlements: tuple[Entitlement, ...]
    requested_by: Person
    reason: str
    on_misalignment: Misalignment
    settle: DurationOrZero
    supersedes: str = ""
    effective_in: Duration | None = None

    def within_reach(self, now: datetime) -> PolicyChange:
        """The change itself. Raises InputError if it reaches further ahead of `now` (aware UTC) than can be planned."""
        # Subtracted only: the sum might lie beyond the calendar.
        if self.effective_at - now > LONGEST_AHEAD - self.watched_for:
            raise InputError(
                f"change {self.change}: in force at {self.effective_at.isoformat()} and taken up and watched for "
                f"{duration(self.watched_for)}, it reaches further than the {LONGEST_AHEAD.days} days ahead that can "
                "be planned: ask for it later, or shorten settle and ramps"
            )
        return self

    @property
    def workloads(self) -> tuple[str, ...]:
        """Names of the workloads the change touches, in the order it names them."""
        names = [i.workload for i in self.impacts] + [e.workload for e in self.entitlements]
        return tuple(dict.fromkeys(names))

    def entitlement(self, workload: str) -> Entitlement | None:
        return next((e for e in self.entitlements if e.workload == workload), None)

    @property
    def watched_for(self) -> timedelta:
        """How long from its effective time on: as asked, and no shorter than the load takes to come in full."""
        return max([self.settle, *(impact.adoption.over for impact in self.impacts)])

    def settled_at(self, began: datetime | None = None) -> datetime:
        """When settling ends (aware UTC), counted from when the policy took force; that is `began`, if it is known.

        A deferral moves it past the effective time. Where the glass was broken before that, the steps until then are
        still made.
        """
        return max(began or self.effective_at, self.effective_at) + self.watched_for

    @property
    def direction(self) -> Literal["increase", "decrease"]:
        """`decrease` if something in it lowers demand or caps the allocation and nothing may raise either.

        The high estimate tells: that is planned for, and nobody chooses their rule by how they write an estimate.
        """
        raises = any(i.factor_range.high > 1 or i.add_range.high > 0 for i in self.impacts) or any(
            e.min_units for e in self.entitlements
        )
        lowers = any(i.factor < 1 or i.add < 0 for i in self.impacts) or any(
            e.max_units is not None for e in self.entitlements
        )
        return "decrease" if lowers and not raises else "increase"

    @property
    def title(self) -> str:
        """How people and the Prefect UI call it: `acme quota`."""
        return f"{self.entity} {self.policy}"

    @property
    def fingerprint(self) -> str:
        """Same content, same fingerprint: tells a repeated delivery from an edited one.

        Approvals and shared paths are stored with it: a field that came later is left out where it says nothing, and
        how its time was asked for is not what they are of.
        """
        said_nothing = set() if self.supersedes else {"supersedes"}
        return digest(self.model_dump(mode="json", exclude={"effective_in"} | said_nothing))
