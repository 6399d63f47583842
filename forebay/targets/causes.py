"""Which of the cloud's own messages explain why capacity does not arrive. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

WITHIN = timedelta(minutes=15)  # ECS repeats "unable to place a task" at least that often
AT_MOST = 5

_TROUBLE = re.compile(
    r"unable|insufficient|not enough|capacity|limit|quota|exceed|fail|cannot|could not|unhealthy|error|denied"
)
_ASKED = re.compile(r"user request|scheduled action|alarm|policy")
_SUBJECTS = re.compile(r"\([^)]*\)")


_NAMES = (
    (re.compile(r"vcpu (?:limit|quota) of (\d+)"), "vCPU quota {} reached"),
    (re.compile(r"reached the limit on the number of (\w+) you can run"), "quota of {} reached"),
    (
        re.compile(r"sufficient .*capacity in the availability zone you requested \(([\w-]+)\)"),
        "insufficient capacity in {}",
    ),
    (re.compile(r"cannotpullcontainer|pull(?:ing)? image|pull .*manifest"), "image pull failed"),
    (re.compile(r"unable to place a task"), "no room for a task"),
    (re.compile(r"failed .*health check"), "health checks failed"),
)


def named(message: str) -> str:
    """The cause in a few words before the cloud's own; the message alone where it is of no known kind."""
    for pattern, name in _NAMES:
        if match := pattern.search(message.lower()):
            return f"{name.format(*match.groups())}: {message}"
    return message


def names_quota(cause: str) -> bool:
    """Whether a cause is a quota that is used up."""
    return bool(re.search(r"quota|vcpu limit", cause.lower()))


def tells_trouble(message: str) -> bool:
    """Whether a service event tells of trouble; names in brackets, `(service error-page)`, do not count."""
    return bool(_TROUBLE.search(_SUBJECTS.sub("", message).lower()))


def changes_size(cause: str) -> bool:
    """Whether an activity's cause tells who asked for another size, rather than that an instance was replaced."""
    return bool(_ASKED.search(cause.lower()))


def newest_first(messages: Iterable[tuple[datetime, str]], now: datetime) -> tuple[str, ...]:
    """The texts of the last 15 minutes, newest first, each once, at most 5. Times are aware."""
    recent = sorted((m for m in messages if m[0] > now - WITHIN), key=lambda m: m[0], reverse=True)
    return tuple(dict.fromkeys(named(text) for _, text in recent))[:AT_MOST]
