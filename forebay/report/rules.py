"""What new change rules change, in words: a rule that was left out shows nowhere else."""

from __future__ import annotations

from datetime import timedelta

from forebay.domain.freeze import ANYONE
from forebay.domain.rules import ChangeRule, ChangeRules


def what_changes(before: ChangeRules, after: ChangeRules) -> list[str]:
    """One line a difference, and one for each rule by which everyone may change at once; empty where there is none."""
    old, new = ({rule.name: rule for rule in one.rules} for one in (before, after))
    lines = [f"rule {name!r} is gone" for name in old if name not in new]
    lines += [f"rule {name!r} is new" for name in new if name not in old]
    for name in [name for name in new if name in old and old[name] != new[name]]:
        fields = [field for field in ChangeRule.model_fields if getattr(old[name], field) != getattr(new[name], field)]
        lines.append(f"rule {name!r}: {', '.join(fields)} changed")
    if [name for name in old if name in new] != [name for name in new if name in old]:
        lines.append("the rules' order changed: the first that matches governs")
    others = [name for name in ChangeRules.model_fields if name != "rules"]
    lines += [f"{name} changed" for name in others if getattr(before, name) != getattr(after, name)]
    wide = [rule.name for rule in after.rules if _open(rule)]
    return lines + [f"rule {name!r}: everyone may ask, at once and unapproved" for name in wide]


def _open(rule: ChangeRule) -> bool:
    return ANYONE in rule.requesters and rule.minimum_delay == timedelta(0) and rule.approval is None
