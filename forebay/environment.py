"""Checks the names of the variables FOREBAY_…: a misspelt one would leave its setting at the default, unnoticed."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from forebay.domain.errors import InputError

log = logging.getLogger(__name__)

PREFIX = "FOREBAY_"
# Read by the tests and the benchmarks, which the Makefile and docs/benchmarks.md tell of.
OF_TESTS = ("API_EXAMPLES", "LIVES", "LONG", "PATIENCE", "STACK", "TRACES", "WEBHOOKS")
# Set by Kubernetes, and by Docker's links, in whatever runs beside a service that is called `forebay`.
OF_THE_PLATFORM = re.compile(r"(SERVICE|PORT)(_[A-Z0-9_]+)?")
# How near to a known name another is for a misspelling of it: FOREBAY_JIRA_WEBHOOK_SECRET is a name of its own.
NEAR = 0.87


def check_names(settings: Collection[str], environment: Mapping[str, str], sources: Path | None) -> None:
    """Raises InputError for a variable that is nearly called as a setting; another unknown one is warned of.

    `settings`: their names without PREFIX, in capitals. A sources file may name variables of its own. No value is told.
    """
    given = [name.upper().removeprefix(PREFIX) for name in environment if name.upper().startswith(PREFIX)]
    known = {*settings, *OF_TESTS, *_named_in(sources)}
    unknown = sorted(name for name in given if name not in known and not OF_THE_PLATFORM.fullmatch(name))
    for name in unknown:
        if near := difflib.get_close_matches(name, settings, 1, NEAR):
            raise InputError(f"environment: there is no setting {PREFIX}{name}: did you mean {PREFIX}{near[0]}?")
    if unknown:
        _warn(", ".join(PREFIX + name for name in unknown))


def _named_in(sources: Path | None) -> set[str]:
    try:
        text = sources.read_text(encoding="utf-8") if sources else ""
    except (OSError, UnicodeDecodeError):  # told by who reads it
        return set()
    return {name.removeprefix(PREFIX) for name in re.findall(rf"{PREFIX}\w+", text)}


@cache
def _warn(names: str) -> None:
    log.warning("forebay: the environment has %s, which is no setting of Forebay: docs/settings.md lists them", names)
