"""What can be done to a change over HTTP: the use case, what its body says, and which act of the roles' table it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, Field

from forebay.app import approvals, people
from forebay.app.break_glass import break_glass, override_hold
from forebay.app.context import Context
from forebay.app.pins import pin
from forebay.app.raises import settle
from forebay.app.rollback import rollback
from forebay.domain.access import Act
from forebay.domain.approval import PlanHash
from forebay.domain.change import Text
from forebay.domain.model import NUMBER, Model, Name, UtcTime
from forebay.domain.records import ChangeRecord


def _given(reason: str) -> str:
    if not reason.strip():
        raise ValueError("give a reason: the audit log keeps it")
    return reason


# What the schema says is what is checked, in words of ours.
SOMETHING = {"minLength": 1, "pattern": r"\S"}
Reason = Annotated[
    Text, AfterValidator(_given), Field(description="The audit log keeps it.", json_schema_extra=SOMETHING)
]


class Why(Model):
    """The reason; the name comes from the token."""

    reason: Reason


class Answer(Model):
    """To a plan as it was shown: `plan` is its `asked` hash, or the first digits of it."""

    reason: Reason
    plan: PlanHash


class PinOrder(Model):
    """At least `units` until `until`; `workload` where the change touches several."""

    reason: Reason
    units: Annotated[int, Field(ge=0, le=1_000_000), NUMBER]
    until: UtcTime
    workload: Name | None = None


B = TypeVar("B", bound=Model)


@dataclass(frozen=True)
class Perform(Generic[B]):
    """`POST /v1/changes/{change}/{name}` with a `body`."""

    name: str
    act: Act
    body: type[B]
    example: dict[str, Any]
    perform: Callable[[Context, str, str, B], ChangeRecord]
    description: str


WHY = {"reason": "the shop runs a campaign"}
ANSWER = {"reason": "as planned", "plan": "0123456789abcdef"}
PIN = {"reason": "a broadcast", "units": 20, "until": "2026-11-24T18:00:00Z"}

ACTS: tuple[Perform[Any], ...] = (
    Perform[Answer](
        "approve",
        "approve",
        Answer,
        ANSWER,
        lambda ctx, change, who, body: approvals.approve(ctx, change, who, body.reason, door="api", plan=body.plan),
        "Approve the plan that was shown; with the quorum's last approval the change goes on.",
    ),
    Perform[Answer](
        "reject",
        "approve",
        Answer,
        ANSWER,
        lambda ctx, change, who, body: approvals.reject(ctx, change, who, body.reason, door="api", plan=body.plan),
        "Say no to the plan that was shown: a waiting change is denied.",
    ),
    Perform[Why](
        "hold",
        "control",
        Why,
        WHY,
        lambda ctx, change, who, body: people.hold(ctx, change, who, body.reason),
        "Make no further step until the change is resumed.",
    ),
    Perform[Why](
        "resume",
        "control",
        Why,
        WHY,
        lambda ctx, change, who, body: people.resume(ctx, change, who, body.reason),
        "Go on where a change was held or pinned.",
    ),
    Perform[Why](
        "cancel",
        "control",
        Why,
        WHY,
        lambda ctx, change, who, body: people.cancel(ctx, change, who, body.reason),
        "Cancel a change that is not in force; its allocation goes back.",
    ),
    Perform[Why](
        "rollback",
        "control",
        Why,
        WHY,
        lambda ctx, change, who, body: rollback(ctx, change, who, body.reason),
        "Take a change back, policy and capacity, also after it came into force.",
    ),
    Perform[PinOrder](
        "pin",
        "control",
        PinOrder,
        PIN,
        lambda ctx, change, who, body: pin(ctx, change, body.units, body.until, who, body.reason, body.workload),
        "Keep at least so many units until a time; the change's steps wait so long.",
    ),
    Perform[Why](
        "settle",
        "control",
        Why,
        WHY,
        lambda ctx, change, who, body: settle(ctx, change, who, body.reason),
        "Say that what a change could not give back stands right as it is.",
    ),
    Perform[Why](
        "break-glass",
        "break-glass",
        Why,
        WHY,
        lambda ctx, change, who, body: break_glass(ctx, change, who, body.reason),
        "Put the policy in force at once, aligned or not, by a named, permitted person.",
    ),
    Perform[Why](
        "override-hold",
        "break-glass",
        Why,
        WHY,
        lambda ctx, change, who, body: override_hold(ctx, change, who, body.reason),
        "Resume a held change by break glass.",
    ),
)
