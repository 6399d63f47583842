"""What is wrong with a usage history, said for the person who has to mend it."""

from __future__ import annotations

from forebay.domain.errors import InputError


class HistoryError(InputError):
    """A usage history that cannot be read or forecast; the message says what, where and how to mend it."""
