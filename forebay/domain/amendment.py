"""How the change rules themselves are changed: a proposal, who has agreed to it, and when it takes force. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from forebay.domain.change import Person
from forebay.domain.model import Model, UtcTime, digest
from forebay.domain.rules import ChangeRules


class RulesProposal(Model):
    """`number` is given by the store. `base`: the digest of the rules that it was proposed under, which judge it.

    `agreed`: who proposed it, and those who agreed later.
    """

    number: int = 0
    rules: ChangeRules
    base: str
    proposed_at: UtcTime
    agreed: Annotated[tuple[Person, ...], Field(min_length=1)]
    state: Literal["open", "in force", "withdrawn", "overtaken"] = "open"

    def standing(self, rules: ChangeRules, now: datetime) -> str | None:
        """Under `rules`, those in force: what it waits for at `now` (aware), in words; None if it is to take force."""
        counted = agreeing(rules, self.agreed)
        if len(counted) < rules.amendment.quorum:
            return f"{len(counted)} of {rules.amendment.quorum} amenders have agreed ({', '.join(counted) or 'nobody'})"
        left = self.proposed_at + rules.amendment.delay - now
        return f"it takes force at {now + left:%Y-%m-%d %H:%M:%S} UTC" if left > timedelta(0) else None


def agreeing(rules: ChangeRules, people: Collection[str]) -> list[str]:
    """Those whose word counts under `rules`."""
    return [person for person in people if rules.may_amend(person)]


def base_of(rules: ChangeRules) -> str:
    return digest(rules.model_dump(mode="json"))
