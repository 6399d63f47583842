"""The ways a call can fail, told apart by who has to act."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ForebayError(Exception):
    """Base of everything Forebay raises on purpose; its text is written for people."""


class InputError(ForebayError, ValueError):
    """The caller's input is wrong: the text says where, what, and how to mend it. Nothing was changed."""


class SetupError(ForebayError):
    """This process is set up wrongly: its operator has to act, and not whoever asked it for something."""


class RuleRefusal(ForebayError):
    """A rule says no. `rule` names it, `would_pass` says what would be accepted instead."""

    def __init__(self, rule: str, reason: str, would_pass: str) -> None:
        super().__init__(f"{reason} (rule: {rule}). What would pass: {would_pass}")
        self.rule = rule
        self.reason = reason
        self.would_pass = would_pass


class OutsideError(ForebayError):
    """Something outside (cloud, database, network) failed. `retryable` says whether trying again can help; `lapses`,
    whether what is held for it may go on by itself once it is mended, which nothing but another look can tell.
    """

    def __init__(self, message: str, *, retryable: bool, lapses: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.lapses = lapses or retryable


class NotShownYet(OutsideError):
    """What was read may be older than our own last write: whether that stands is told by looking again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class TriedLater(OutsideError):
    """It has failed and is left alone for a while: what was said of it then still holds."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class LostLease(ForebayError):
    """Another writer holds the workload now: whoever sees this must stop without writing."""


@contextmanager
def kept(errors: list[Exception], but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Put what the block raises into `errors`, so that what comes after it is done all the same. Errors of the type
    `but` are raised on.

    An error that nobody foresaw is put first: whoever can raise only one of them raises the first.
    """
    try:
        yield
    except but:
        raise
    except ForebayError as error:
        errors.append(error)
    except Exception as error:  # a defect in one's turn takes nobody else's
        errors.insert(0, error)


@contextmanager
def all_tried() -> Iterator[list[Exception]]:
    """A list for `kept`: once the block is through, the first error in it is raised. Not to be returned out of."""
    failed: list[Exception] = []
    yield failed
    if failed:
        raise failed[0]
