"""Change rules: the policy on changing policies. Who may ask, how long it must wait, when nothing may move."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forebay.domain.change import PolicyChange
from forebay.domain.errors import RuleRefusal
from forebay.domain.model import DurationOrZero, Model, UtcTime

Action = Literal["request", "cancel", "hold", "break-glass"]
ANYONE = "*"


class FreezeWindow(Model):
    """No policy may come into force, and no step may be made, from `start` until `end` (UTC, end excluded)."""

    start: UtcTime
    end: UtcTime
    reason: str

    @model_validator(mode="after")
    def _forward(self) -> FreezeWindow:
        if self.start >= self.end:
            raise ValueError("a freeze window must end after it starts")
        return self

    def covers(self, at: datetime) -> bool:
        return self.start <= at < self.end


class ChangeRule(Model):
    """One rule. `kinds`/`entities` select changes (`*` = all); the first rule that matches a change governs it.

    People are named as the doors report them; `*` lets everyone in. Break glass has nobody by default.
    """

    name: str
    kinds: tuple[str, ...] = (ANYONE,)
    entities: tuple[str, ...] = (ANYONE,)
    minimum_delay: DurationOrZero = timedelta(0)
    requesters: tuple[str, ...] = (ANYONE,)
    cancellers: tuple[str, ...] = (ANYONE,)
    holders: tuple[str, ...] = (ANYONE,)
    break_glass: tuple[str, ...] = ()

    def governs(self, change: PolicyChange) -> bool:
        return _matches(self.kinds, change.kind) and _matches(self.entities, change.entity)

    def permitted(self, action: Action) -> tuple[str, ...]:
        match action:
            case "request":
                return self.requesters
            case "cancel":
                return self.cancellers
            case "hold":
                return self.holders
            case "break-glass":
                return self.break_glass


class ChangeRules(Model):
    """Ordered rules and freeze windows; the default lets everyone ask, with no minimum delay."""

    rules: Annotated[tuple[ChangeRule, ...], Field(min_length=1)] = (ChangeRule(name="default"),)
    freezes: tuple[FreezeWindow, ...] = ()

    def governing(self, change: PolicyChange) -> ChangeRule:
        """The first rule that matches. Raises RuleRefusal where none does: what no rule allows is denied."""
        for rule in self.rules:
            if rule.governs(change):
                return rule
        raise RuleRefusal(
            "no rule",
            f"no change rule covers kind {change.kind!r} of {change.entity!r}",
            "a kind and entity named in the change rules",
        )

    def freeze_at(self, at: datetime) -> FreezeWindow | None:
        return next((freeze for freeze in self.freezes if freeze.covers(at)), None)

    def check_request(self, change: PolicyChange, now: datetime, asked_at: datetime | None = None) -> None:
        """Raises RuleRefusal with the rule and the earliest legal time if `change` may not be accepted at `now`.

        The minimum delay counts from `asked_at`, if that was earlier: waiting to be read must not cost a request.
        """
        rule = self.governing(change)
        self.check_permitted("request", change, change.requested_by)
        earliest = self.earliest_legal(now, rule.minimum_delay)
        if change.effective_at <= now:
            raise RuleRefusal(
                rule.name,
                f"effective time {change.effective_at.isoformat()} is not in the future (now {now.isoformat()})",
                f"effective_at {earliest.isoformat()} or later",
            )
        if change.effective_at < (asked_at or now) + rule.minimum_delay:
            raise RuleRefusal(
                rule.name,
                f"effective time {change.effective_at.isoformat()} is {change.effective_at - now} away, "
                f"under the minimum delay of {rule.minimum_delay}",
                f"effective_at {earliest.isoformat()} or later",
            )
        if freeze := self.freeze_at(change.effective_at):
            raise RuleRefusal(
                f"freeze: {freeze.reason}",
                f"effective time {change.effective_at.isoformat()} falls into a freeze window",
                f"effective_at before {freeze.start.isoformat()}, or {freeze.end.isoformat()} or later",
            )

    def check_permitted(self, action: Action, change: PolicyChange, person: str) -> None:
        """Raises RuleRefusal naming who may, if `person` may not do `action` to `change`."""
        rule = self.governing(change)
        allowed = rule.permitted(action)
        if not _matches(allowed, person):
            raise RuleRefusal(
                rule.name,
                f"{person!r} may not {action} changes of {change.entity!r}",
                f"one of {', '.join(allowed)}" if allowed else "nobody is permitted by this rule",
            )

    def earliest_legal(self, now: datetime, minimum_delay: timedelta) -> datetime:
        """First time (whole second) at or after `now` + delay that lies in no freeze window."""
        earliest = now + minimum_delay
        if earliest.microsecond:
            earliest = earliest.replace(microsecond=0) + timedelta(seconds=1)
        while freeze := self.freeze_at(earliest):
            earliest = freeze.end
        return earliest


def _matches(allowed: Iterable[str], value: str) -> bool:
    return any(name in (ANYONE, value) for name in allowed)
