"""Change rules: the policy on changing policies. Who may do what, how long it must wait, when nothing may move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from forebay.domain.approval import Approval, ApprovalRule, Standing, approved_units, standing
from forebay.domain.change import Misalignment, PolicyChange
from forebay.domain.errors import InputError, RuleRefusal
from forebay.domain.freeze import ANYONE, Freeze, FreezeWindow, matches
from forebay.domain.model import NUMBER, DurationOrZero, Model, validate
from forebay.domain.plan import ShapingPlan

Action = Literal["request", "approve", "cancel", "revoke", "hold", "break-glass"]
# What a refusal says of each, and the field of a rule that names who may.
SAID: Mapping[Action, tuple[str, str]] = {
    "request": ("ask for", "requesters"),
    "approve": ("approve or reject", "approvers"),
    "cancel": ("cancel", "cancellers"),
    "revoke": ("take back", "revokers"),
    "hold": ("hold, resume, pin or settle", "holders"),
    "break-glass": ("break the glass for", "break_glass"),
}
Direction = Literal["increase", "decrease"]
DIRECTIONS: tuple[Direction, ...] = ("increase", "decrease")
GROUP = "group:"
# Where freeze windows leave no room for so long, it is said that they do; nobody plans further ahead.
LONGEST_SEARCH = timedelta(days=366)
MOST_WINDOWS_PASSED = 500
FROZEN = "nothing: all is frozen for a year, but for an exception to the freeze, or other change rules"


class ChangeRule(Model):
    """One rule. `kinds`, `entities` and `directions` select changes; the first rule that matches a change governs it.

    People are named as the doors report them; `*` lets everyone in, `group:NAME` whoever is in that group. To `cancel`
    stops a change before it is in force, to `revoke` takes back one that is. Break glass has nobody by default.
    `second_change` of a policy while one is under way: stacked on it, or refused. `on_misalignment`: what a change may
    ask for; `enforce` also needs the right to break glass.
    """

    name: str
    kinds: tuple[str, ...] = (ANYONE,)
    entities: tuple[str, ...] = (ANYONE,)
    directions: tuple[Direction, ...] = DIRECTIONS
    minimum_delay: DurationOrZero = timedelta(0)
    requesters: tuple[str, ...] = (ANYONE,)
    cancellers: tuple[str, ...] = (ANYONE,)
    revokers: tuple[str, ...] = (ANYONE,)
    holders: tuple[str, ...] = (ANYONE,)
    break_glass: tuple[str, ...] = ()
    approval: ApprovalRule | None = None
    second_change: Literal["stack", "refuse"] = "stack"
    on_misalignment: tuple[Misalignment, ...] = ("defer", "reject", "enforce")

    def governs(self, change: PolicyChange) -> bool:
        return (
            matches(self.kinds, change.kind)
            and matches(self.entities, change.entity)
            and change.direction in self.directions
        )

    def permitted(self, action: Action) -> tuple[str, ...]:
        match action:
            case "request":
                return self.requesters
            case "approve":
                return self.approval.approvers if self.approval else ()
            case "cancel":
                return self.cancellers
            case "revoke":
                return self.revokers
            case "hold":
                return self.holders
            case "break-glass":
                return self.break_glass


class Amendment(Model):
    """`quorum`: how many amenders must agree, who proposes included. `delay`: no new rules before it is over."""

    quorum: Annotated[int, Field(ge=1), NUMBER] = 1
    delay: DurationOrZero = timedelta(0)


class ChangeRules(Model):
    """Ordered rules, freeze windows, groups; the default lets everyone ask, with no minimum delay.

    `groups`: name -> people. `amenders`: who may set other change rules, as `amendment` says; these rules govern their
    own change.
    """

    rules: Annotated[tuple[ChangeRule, ...], Field(min_length=1)] = (ChangeRule(name="default"),)
    freezes: tuple[Freeze, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = {}
    amenders: Annotated[tuple[str, ...], Field(min_length=1)] = (ANYONE,)
    amendment: Amendment = Amendment()

    @classmethod
    def written(cls, content: Any, what: str) -> ChangeRules:
        """As a person writes them. Raises InputError, also for what stays readable in a store: no rules at all, by
        which everyone may do everything, and two of one name, of which no refusal tells which.
        """
        found = validate(cls, content, what)
        if "rules" not in found.model_fields_set:
            raise InputError(
                f"{what}: rules: there are none, so everyone might do everything at once: write them, "
                "or where you mean just that `rules: [{ name: everyone }]`"
            )
        names = [rule.name for rule in found.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"{what}: rules: two are called {', '.join(twice)}: a refusal names its rule, rename one")
        return found

    @model_validator(mode="after")
    def _groups_are_known(self) -> ChangeRules:
        actions: tuple[Action, ...] = ("request", "approve", "cancel", "revoke", "hold", "break-glass")
        named = {name for rule in self.rules for action in actions for name in rule.permitted(action)}
        for name in named | set(self.amenders):
            if name.startswith(GROUP) and name.removeprefix(GROUP) not in self.groups:
                raise ValueError(f"{name} is not among the groups: {', '.join(self.groups) or 'there are none'}")
        if any(member.startswith(GROUP) for members in self.groups.values() for member in members):
            raise ValueError("a group lists people, not groups")
        for rule in self.rules:
            if rule.approval is not None:
                who = rule.approval.approvers
                self._quorum_can_be_met(f"rule {rule.name!r}", rule.approval.quorum, who, "approvers")
        self._quorum_can_be_met("amendment", self.amendment.quorum, self.amenders, "amenders")
        return self

    def _quorum_can_be_met(self, where: str, quorum: int, names: tuple[str, ...], called: str) -> None:
        people = {person for name in names for person in self._people(name)}
        if ANYONE not in names and len(people) < quorum:
            raise ValueError(f"{where}: a quorum of {quorum} cannot be met by {len(people)} {called}")

    def _people(self, name: str) -> tuple[str, ...]:
        return self.groups[name.removeprefix(GROUP)] if name.startswith(GROUP) else (name,)

    def governing(self, change: PolicyChange) -> ChangeRule:
        """The first rule that matches. Raises RuleRefusal where none does: what no rule allows is denied."""
        for rule in self.rules:
            if rule.governs(change):
                return rule
        raise RuleRefusal(
            "no rule",
            f"no change rule covers kind {change.kind!r} of {change.entity!r} ({change.direction})",
            "a kind and entity named in the change rules",
        )

    def freezes_for(self, change: PolicyChange, start: datetime, end: datetime) -> tuple[FreezeWindow, ...]:
        """The windows (aware UTC) that overlap [start, end) and bind `change`: no named exception lets it through."""
        return tuple(window for f in self.freezes if f.binds(change) for window in f.windows(start, end))

    def freeze_at(self, at: datetime, change: PolicyChange) -> FreezeWindow | None:
        """The window that binds `change` at `at`: of several, the one that ends last."""
        covering = self.freezes_for(change, at, at + timedelta(microseconds=1))
        return max(covering, key=lambda window: window.end, default=None)

    def check_request(self, change: PolicyChange, now: datetime, asked_at: datetime | None = None) -> None:
        """Raises RuleRefusal with the rule and the earliest legal time if `change` may not be accepted at `now`.

        The minimum delay counts from `asked_at`, if that was earlier: waiting to be read must not cost a request.
        """
        rule = self.governing(change)
        self.check_permitted("request", change, change.requested_by)
        self._check_misalignment(rule, change)
        self._check_quorum(rule, change)
        earliest = self.earliest_legal(change, now + rule.minimum_delay)
        would_pass = f"effective_at {earliest.isoformat()} or later" if earliest else FROZEN
        if earliest == now:  # which is not in the future itself
            would_pass = f"effective_at after {now.isoformat()}"
        if change.effective_at <= now:
            raise RuleRefusal(
                rule.name,
                f"effective time {change.effective_at.isoformat()} is not in the future (now {now.isoformat()})",
                would_pass,
            )
        if change.effective_at < (asked_at or now) + rule.minimum_delay:
            raise RuleRefusal(
                rule.name,
                f"effective time {change.effective_at.isoformat()} is {change.effective_at - now} away, "
                f"under the minimum delay of {rule.minimum_delay}",
                would_pass,
            )
        if freeze := self.freeze_at(change.effective_at, change):
            raise RuleRefusal(
                f"freeze: {freeze.reason}",
                f"effective time {change.effective_at.isoformat()} falls into a freeze window",
                self._around(change, freeze, earliest),
            )

    def _around(self, change: PolicyChange, freeze: FreezeWindow, earliest: datetime | None) -> str:
        """What would pass instead of a time in `freeze`, where nothing before `earliest` does, or nothing at all.

        Ahead of it that is the gap right before it, which the minimum delay or another window may begin.
        """
        begin, after = freeze.start, self.earliest_legal(change, freeze.end)
        for _ in range(MOST_WINDOWS_PASSED):
            before = self.freeze_at(begin - timedelta(microseconds=1), change)
            if before is None or earliest is None or begin <= earliest:
                break
            begin = before.start
        ways = []
        if earliest and earliest < begin:
            since = max([earliest, *(window.end for window in self.freezes_for(change, earliest, begin))])
            ways = [f"after {since.isoformat()} and before {begin.isoformat()}"]
        ways += [f"{after.isoformat()} or later"] if after else []
        return f"effective_at {', or '.join(ways)}" if ways else FROZEN

    def _check_misalignment(self, rule: ChangeRule, change: PolicyChange) -> None:
        if change.on_misalignment not in rule.on_misalignment:
            raise RuleRefusal(
                rule.name,
                f"on_misalignment {change.on_misalignment} is not allowed",
                f"on_misalignment {' or '.join(rule.on_misalignment)}",
            )
        if change.on_misalignment == "enforce" and not self.may("break-glass", change, change.requested_by):
            allowed = rule.break_glass
            raise RuleRefusal(
                rule.name,
                f"{change.requested_by!r} may not ask for on_misalignment enforce: that breaks the glass in their name",
                "on_misalignment defer" + (f", or a request by {in_words(allowed)}" if allowed else ""),
            )

    def _check_quorum(self, rule: ChangeRule, change: PolicyChange) -> None:
        """Who asks is not counted: where too few others are left, it would wait in vain until it is denied."""
        approval = rule.approval
        if approval is None or approval.free is not None or ANYONE in approval.approvers:
            return
        asker = change.requested_by
        others = {person for name in approval.approvers for person in self._people(name)} - {asker}
        if len(others) < approval.quorum:
            raise RuleRefusal(
                rule.name,
                f"{approval.quorum} must approve, of {in_words(approval.approvers)}, and {asker!r}, who asks, is not "
                "counted",
                "a request by somebody who is none of them",
            )

    def may(self, action: Action, change: PolicyChange, person: str) -> bool:
        """Whether the governing rule permits `person` to do `action`. Raises RuleRefusal where no rule governs."""
        return self._includes(self.governing(change).permitted(action), person)

    def _includes(self, allowed: tuple[str, ...], person: str) -> bool:
        return any(name == ANYONE or person in self._people(name) for name in allowed)

    def check_permitted(self, action: Action, change: PolicyChange, person: str) -> None:
        """Raises RuleRefusal naming who may, if `person` may not do `action` to `change`."""
        if self.may(action, change, person):
            return
        rule = self.governing(change)
        if action == "approve" and rule.approval is None:
            reason = f"changes of {change.entity!r} need no approval by this rule"
            raise RuleRefusal(rule.name, reason, "nothing has to: it goes on by itself")
        verb, names = SAID[action]
        allowed = rule.permitted(action)
        nobody = f"change rules whose `{names}` names who may: nobody does here"
        would_pass = f"one of {in_words(allowed)}" if allowed else nobody
        raise RuleRefusal(rule.name, f"{person!r} may not {verb} changes of {change.entity!r}", would_pass)

    def standing(self, change: PolicyChange, plans: Sequence[ShapingPlan], approvals: Sequence[Approval]) -> Standing:
        """How far the request has come with these plans; `approvals` are all that were given to the change."""
        try:
            rule = self.governing(change).approval
        except RuleRefusal as refusal:
            # The rules have changed since it was accepted: nothing lets it go on by itself.
            return Standing(needed=refusal.reason, quorum=1, by=(), approvers=())
        found = standing(rule, change, plans, self._counted(change, approvals))
        asker = {change.requested_by}
        others = tuple(name for name in found.approvers if set(self._people(name)) - asker)
        return found.model_copy(update={"approvers": others})

    def approved_units(self, change: PolicyChange, plan: ShapingPlan, approvals: Sequence[Approval]) -> int | None:
        """The most units that were approved for the plan's workload; None where the rule asks for no approval."""
        try:
            approval = self.governing(change).approval
        except RuleRefusal:  # the rules have changed since it was accepted: nobody's counts
            return approved_units(ApprovalRule(), plan, ())
        return approved_units(approval, plan, self._counted(change, approvals)) if approval else None

    def asks_at_all(self, change: PolicyChange) -> bool:
        """Whether there are changes of this rule that need an approval."""
        return any(rule.approval for rule in self.rules if rule.governs(change))

    def tolerance_percent(self, change: PolicyChange) -> float:
        """How far a new plan may go beyond an approved one."""
        rule = next((rule for rule in self.rules if rule.governs(change)), None)
        return rule.approval.tolerance_percent if rule and rule.approval else 0.0

    def _counted(self, change: PolicyChange, approvals: Sequence[Approval]) -> list[Approval]:
        """Those that count now: given to the change as it is, by who may approve and did not ask for it."""
        return [
            a
            for a in approvals
            if a.fingerprint == change.fingerprint
            and (a.door == "rule" or (a.person != change.requested_by and self.may("approve", change, a.person)))
        ]

    def may_amend(self, person: str) -> bool:
        return self._includes(self.amenders, person)

    def check_amendment(self, person: str) -> None:
        """Raises RuleRefusal if these rules do not let `person` set others."""
        if not self.may_amend(person):
            raise RuleRefusal(
                "amenders", f"{person!r} may not set the change rules", f"one of {in_words(self.amenders)}"
            )

    def earliest_legal(self, change: PolicyChange, at: datetime) -> datetime | None:
        """First time (whole second) at or after `at` that lies in no freeze window; None if there is none in a year."""
        earliest = at
        if earliest.microsecond:
            earliest = earliest.replace(microsecond=0) + timedelta(seconds=1)
        for _ in range(MOST_WINDOWS_PASSED):
            freeze = self.freeze_at(earliest, change)
            if freeze is None:
                return earliest
            earliest = freeze.end
            if earliest > at + LONGEST_SEARCH:
                break
        return None


def in_words(names: tuple[str, ...]) -> str:
    """`jane, group:leads`; `anyone`; `nobody`."""
    return "anyone" if ANYONE in names else ", ".join(names) or "nobody"
