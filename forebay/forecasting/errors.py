"""What is wrong with a usage history, or in the way of a model, said for people."""

from __future__ import annotations

from forebay.domain.errors import InputError


class HistoryError(InputError):
    """A usage history that cannot be read or forecast; the message says what, where and how to mend it."""


class FitError(Exception):
    """A model that could not be fitted to this series; the message says why."""
