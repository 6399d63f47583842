"""JSON, strictly: numbers that are numbers, and each field once. A parser's choice between two is nobody's."""

from __future__ import annotations

import json
from typing import Any


class Twice(ValueError):
    """A field that one object has twice."""


def read_json(text: str) -> Any:
    """`text` as plain data. Raises ValueError where it is no JSON of RFC 8259, Twice where a field is there twice."""
    return json.loads(text, parse_constant=_no_number, object_pairs_hook=_each_once)


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Twice(f"{name[:80]!r} is there twice in one object: keep one")
        found[name] = value
    return found
