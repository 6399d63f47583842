"""Whoever does something says who they are and why, in words that the audit log can show."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from forebay.domain.change import Person, visible
from forebay.domain.errors import InputError
from forebay.domain.model import Model, validate


class _Named(Model):
    by: Person
    reason: Annotated[str, AfterValidator(visible)]


def check_named(actor: str, reason: str) -> None:
    """Raises InputError where one is missing or hides something, or the name is too long."""
    if not actor.strip() or not reason.strip():
        raise InputError("give your name and a reason: the audit log keeps both")
    validate(_Named, {"by": actor, "reason": reason}, "who and why")
