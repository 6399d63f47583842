"""What is wrong with a usage history, said for the person who has to mend it."""

from __future__ import annotations


class HistoryError(ValueError):
    """A usage history that cannot be read or forecast; the message says what, where and how to mend it."""
