"""What every domain model shares: frozen, strict about unknown fields, aware UTC times, people's errors."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from forebay.domain.errors import InputError

# Sums of times and durations must stay within the calendar.
LONGEST = timedelta(days=3660)


class Model(BaseModel):
    """Immutable value object. Unknown fields are refused: a misspelt limit must not be silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def to_utc(value: datetime) -> datetime:
    """The same instant in UTC; a time without a zone is refused, since guessing one moves a policy by hours."""
    if value.tzinfo is None:
        raise ValueError(
            f"{value.isoformat()} has no zone: write its offset, "
            f"for example {value.isoformat()}+01:00, or {value.isoformat()}Z for UTC"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value.isoformat()} is beyond the calendar in UTC: write a time of this century") from error


def positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero, for example PT5M (5 minutes)")
    return _not_endless(value)


def not_negative(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError("must not be negative; write a duration such as PT5M (5 minutes) or PT0S")
    return _not_endless(value)


def _not_endless(value: timedelta) -> timedelta:
    if value > LONGEST:
        raise ValueError(f"must be at most {LONGEST.days} days; a longer one is taken for a typing error")
    return value


def _yaml_number_is_no_duration(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit: write a duration such as PT5M (5 minutes) or PT30S (30 seconds)")
    return value


M = TypeVar("M", bound=BaseModel)
UtcTime = Annotated[datetime, AfterValidator(to_utc)]
Duration = Annotated[timedelta, BeforeValidator(_yaml_number_is_no_duration), AfterValidator(positive)]
DurationOrZero = Annotated[timedelta, BeforeValidator(_yaml_number_is_no_duration), AfterValidator(not_negative)]
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]


def read_duration(text: str, what: str) -> timedelta:
    """A duration as people write it, PT24H. Raises InputError naming `what`."""
    try:
        return TypeAdapter(Duration).validate_python(text)
    except ValidationError as error:
        raise InputError(f"{what} {text!r} is no duration: write it as PT24H, PT30M or P2D") from error


def field(position: int, title: str, help_text: str, default: Any = ..., **more: Any) -> Any:
    """A field people fill in a form. Prefect's PostgreSQL keeps no field order, hence the stated position."""
    return Field(default, title=title, description=help_text, json_schema_extra={"position": position}, **more)


class _Refused(yaml.MarkedYAMLError):
    """What a YAML parser lets pass, or fails at with an error of Python's."""


class _StrictLoader(yaml.SafeLoader):
    """Plain data that JSON has too, each key once."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise _Refused(problem=f"{key.value!r} is there twice: keep one", problem_mark=key.start_mark)
            seen.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("binary", "omap", "pairs", "set"):
            raise _Refused(
                problem=f"there is no {kind} in JSON: write a text, list or mapping", problem_mark=node.start_mark
            )
        try:
            made = super().construct_object(node, deep)
            if isinstance(made, int | str):
                str(made).encode()  # fails for a hexadecimal number of too many digits, and for half a character
        except (ValueError, LookupError, AttributeError) as error:  # the makers of dates and numbers check little
            problem = f"{node.value[:80]!r} is read as {kind}, but is none: mend it, or quote it if it is a text"
            raise _Refused(problem=problem, problem_mark=node.start_mark) from error
        return made


def parse_yaml(text: str, what: str) -> Any:
    """YAML (or JSON, its subset) -> plain data. Raises InputError that names `what` and the line."""
    try:
        return _StrictLoader(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{what}, line {mark.line + 1}" if mark else what
        why = getattr(error, "problem", error)
        if not isinstance(error, _Refused):
            why = f"this is not YAML or JSON: {why}"
        raise InputError(f"{where}: {why}") from error
    except RecursionError as error:
        raise InputError(f"{what}: it is nested too deeply to be read") from error


def validate(model: type[M], data: object, what: str) -> M:
    """`data` as a `model`. Raises InputError with one line a fault: field, the value found, and the mend."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{what} is not valid:\n" + "\n".join(explain(error))) from error


def explain(error: ValidationError, *, quote: bool = True) -> list[str]:
    """One line a fault, for people: `effective_at: 2026-11-26T09:00:00 has no zone: …`.

    `quote` False leaves out what was found, which may be a secret.
    """
    lines = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"]) or "(whole)"
        message = fault["msg"].removeprefix("Value error, ")
        found = fault.get("input")
        nothing = not quote or isinstance(found, dict | list | BaseModel) or fault["type"] == "missing"
        shown = "" if nothing else f" (found {found!r})"
        lines.append(f"  {where}: {message}{shown}")
    return lines


def canonical_json(data: Any) -> str:
    """One text for one value: sorted keys, no spaces. What is hashed must not depend on field order."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(data: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()
