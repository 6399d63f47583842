"""What every domain model shares: frozen, strict about unknown fields, aware UTC times, people's errors."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, TypeVar, get_args
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from forebay.domain.errors import InputError
from forebay.domain.strict_yaml import Refused, StrictLoader

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


def _of_hours(value: timedelta) -> timedelta:
    if value > timedelta(days=1):
        raise ValueError("must be at most a day (P1D): what is waited for between two steps takes minutes or hours")
    return value


def _has_a_length(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit: write a duration such as PT5M (5 minutes) or PT30S (30 seconds)")
    # Years of 365 days are read: pydantic writes long durations so.
    if isinstance(value, str) and re.match(r"[-+]?P[^T]*M", value):
        raise ValueError("months have no fixed length: minutes are written PT4M, days P30D")
    return value


def _is_no_answer(value: object) -> object:
    # To pydantic a yes is 1: a ticked box in a ticket would cap a workload at one unit.
    if isinstance(value, bool):
        raise ValueError("this is no number: write one")
    return value


def _is_written_as_a_time(value: object) -> object:
    bare = isinstance(value, int | float) or (isinstance(value, str) and re.fullmatch(r"\s*[-+]?[\d.]+\s*", value))
    if bare and not isinstance(value, bool):
        found = short(str(value))
        raise ValueError(f"{found} is a bare number: write a time with its zone, such as 2026-11-24T09:00:00+01:00")
    return value


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # a KeyError if it is unknown, the others if it is no key at all
        raise ValueError("there is no such time zone: write a name such as Europe/Berlin or UTC") from error
    return name


# Pydantic's word in a place where a key is wrong, and not what it names; and the longest sentence on one fault.
KEY, MOST_SAID = "[key]", 1000
M = TypeVar("M", bound=BaseModel)
Place = tuple[int | str, ...]
NAME = r"[A-Za-z0-9][A-Za-z0-9._:-]*"
# Beside a number that people write; behind its bounds, or these were not in its schema.
NUMBER = BeforeValidator(_is_no_answer)
UtcTime = Annotated[datetime, BeforeValidator(_is_written_as_a_time), AfterValidator(to_utc)]
Duration = Annotated[timedelta, BeforeValidator(_has_a_length), AfterValidator(positive)]
DurationOrZero = Annotated[timedelta, BeforeValidator(_has_a_length), AfterValidator(not_negative)]
Hours = Annotated[Duration, AfterValidator(_of_hours)]
HoursOrZero = Annotated[DurationOrZero, AfterValidator(_of_hours)]
Zone = Annotated[str, AfterValidator(_known_zone)]
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=rf"^{NAME}$")]


def read_duration(text: str, what: str, longest: timedelta = LONGEST) -> timedelta:
    """A duration as people write it: 90m, 48h, 3d, or ISO 8601 (PT48H). Raises InputError naming `what`."""
    short = re.fullmatch(r"(\d+)([smhd])", text)
    iso = f"P{'' if short[2] == 'd' else 'T'}{short[1]}{short[2].upper()}" if short else text
    try:
        duration = TypeAdapter(Duration).validate_python(iso)
    except ValidationError as error:
        why = _sentence(error.errors()[0], None)
        raise InputError(f"{what} {quoted(text)}: {why}; short are 90m, 48h, 3d") from error
    if duration > longest:
        raise InputError(f"{what} {quoted(text)}: it must be at most {longest.days} days")
    return duration


def field(position: int, title: str, help_text: str, default: Any = ..., **more: Any) -> Any:
    """A field people fill in a form. Prefect's PostgreSQL keeps no field order, hence the stated position."""
    return Field(default, title=title, description=help_text, json_schema_extra={"position": position}, **more)


def parse_yaml(text: str, what: str) -> Any:
    """YAML (or JSON, its subset) -> plain data. Raises InputError that names `what` and the line."""
    try:
        return StrictLoader(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{what}, line {mark.line + 1}" if mark else what
        why = getattr(error, "problem", error)
        if not isinstance(error, Refused):
            why = f"this is not YAML or JSON: {why}"
        raise InputError(f"{where}: {why}") from error
    except RecursionError as error:
        raise InputError(f"{what}: it is nested too deeply to be read") from error


def validate(model: type[M], data: object, what: str, context: object = None) -> M:
    """`data` as a `model`. Raises InputError with one line a fault: field, the value found, and the mend."""
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        raise InputError(f"{what} is not valid:\n" + "\n".join(explain(error, model))) from error


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> list[str]:
    """One line a fault, for people: `effective_at: 2026-11-26T09:00:00 has no zone: …`."""
    return [f"  {line}" for _, line in faults(error.errors(include_url=False), model)]


def faults(
    found: Sequence[Any], model: type[BaseModel] | None = None, *, quote: bool = True
) -> list[tuple[Place, str]]:
    """Where each of pydantic's faults is, and its line: the field, what is wrong with it, and what was found there.

    `model` is what was read: where a field is not known, those it has are named. `quote` False leaves out what was
    found, which may be a secret.
    """
    told = []
    for fault in found:
        place, value = fault["loc"], fault.get("input")
        if fault["type"] == "too_short" and any(other["loc"][: len(place)] == place != other["loc"] for other in found):
            continue  # what is faulty itself was not counted
        silent = not quote or isinstance(value, dict | list | BaseModel) or fault["type"] == "missing"
        shown = "" if silent else " (found nothing)" if value is None else f" (found {quoted(value)})"
        where = ".".join(short(str(step)) for step in _written(model, place)[0]) or "(whole)"
        told.append((place, f"{where}: {short(_sentence(fault, model), MOST_SAID)}{shown}"))
    return told


def short(text: str, most: int = 80) -> str:
    """The beginning of `text`: an error that repeats a whole file is read by nobody."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def quoted(value: object) -> str:
    """What was found, as people write it, and not more of it than tells it apart."""
    match value:
        case bool():
            return str(value).lower()
        case date():
            return value.isoformat()
        case _:
            return short(repr(value))


def _sentence(fault: Any, model: type[BaseModel] | None) -> str:
    context = fault.get("ctx", {})
    match fault["type"]:
        case "string_type" if fault["loc"][-1:] == (KEY,):
            return "a name is a text: write it in quotes"
        case "too_short":
            return f"write at least {context['min_length']} here"
        case "extra_forbidden":
            known = _written(model, fault["loc"])[1]
            near = difflib.get_close_matches(str(fault["loc"][-1]), known, 1)
            hint = "".join(f": did you mean {name}?" for name in near) or "."
            return f"there is no such field{hint}" + (f" The fields are {', '.join(known)}" if known else "")
        case "time_delta_parsing" | "time_delta_type":
            return "this is no duration: write PT30M (30 minutes), PT2H or P1D"
        case "datetime_parsing" | "datetime_from_date_parsing" | "datetime_type":
            why = f" ({context['error']})" if "error" in context else ""
            return f"this is no time{why}: write one with its zone, such as 2026-11-24T09:00:00+01:00"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "write fields here, each as `name: value`"
        case "string_pattern_mismatch" if NAME in context["pattern"]:
            return "a name is made of A-Z, a-z, 0-9 and . _ : - and begins with a letter or digit"
    return str(fault["msg"]).removeprefix("Value error, ")


def _written(model: type[BaseModel] | None, place: Place) -> tuple[list[int | str], list[str]]:
    """`place` as people wrote it in a `model`, and the fields that are known where its last step stands.

    Between them pydantic says which of several models it took something for, and that a key is meant, not its value.
    """
    told: list[int | str] = []
    around: list[type[BaseModel]] = []
    inner, of_several = [model] if model else [], False
    for step in place:
        if step == KEY or (of_several and isinstance(step, str)):
            of_several = False
            continue
        told.append(step)
        around = inner
        parts = [_models(one.model_fields[step].annotation) for one in inner if step in one.model_fields]
        if parts:  # else the step is an index or a key
            inner, of_several = [one for part in parts for one in part], any(len(part) > 1 for part in parts)
    return told, [name for one in around for name in one.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def canonical_json(data: Any) -> str:
    """One text for one value: sorted keys, no spaces. What is hashed must not depend on field order."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(data: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()
