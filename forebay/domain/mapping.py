"""Reading a ticketing system's payload by its source's expressions. Pure: the payload in, the delivery out.

JMESPath only selects and rearranges: an expression can reach nothing but the payload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import jmespath
import yaml
from pydantic import ValidationError

from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError
from forebay.domain.model import faults, parse_yaml, quoted, validate
from forebay.domain.source import TicketSource
from forebay.domain.ticket import TicketDelivery

_FENCES = {"```yaml", "```yml", "```json"}
# GitLab writes its times now so, now as ISO 8601.
_RUBY_TIME = re.compile(r"^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) UTC$")
# Who asks is what the ticketing system says, not what the text claims.
_IN_BLOCK = frozenset(ChangeRequest.model_fields) - {"requested_by"}


def read_payload(source: TicketSource, payload: Any) -> TicketDelivery | None:
    """What the payload says; None where it is to be ignored. Raises InputError naming field and expression."""
    if not source.mapped:
        return validate(TicketDelivery, payload, "ticket")
    if not isinstance(payload, dict):
        raise InputError(f"source {source.name}: the payload is no JSON object")
    if _holds(source, "ignore", payload):
        return None
    head = {name: _text(source, name, payload) for name in ("ticket", "revision")}
    head["revision"] = _RUBY_TIME.sub(r"\1T\2Z", head["revision"])
    if _holds(source, "closed", payload):
        by = _text(source, "closed_by", payload)
        return validate(TicketDelivery, {**head, "closed": {"by": by}}, f"source {source.name}: ticket")
    fields = _filled(source, "change", source.template, _with_block(source, payload))
    for name, value in source.constants.items():
        fields[name] = value
    change = _change(source, fields)
    return validate(TicketDelivery, {**head, "change": change}, f"source {source.name}: ticket")


def _holds(source: TicketSource, name: str, payload: Any) -> bool:
    expression = source.reading(name)
    return expression is not None and bool(_search(source, name, expression, payload))


def _text(source: TicketSource, name: str, payload: Any) -> str:
    expression = source.reading(name)
    if expression is None:
        raise InputError(f"source {source.name}: give it `{name}`, an expression")
    found = _search(source, name, expression, payload)
    if not isinstance(found, str) or found in ("", "null"):  # to_string() of what is not there
        raise InputError(
            f"source {source.name}: {name}: the expression {expression} gives "
            f"{'nothing' if found in (None, '', 'null') else f'{quoted(found)}, no text'} here"
        )
    return found


def _search(source: TicketSource, where: str, expression: str, payload: Any) -> Any:
    try:
        return jmespath.search(expression, payload)
    except jmespath.exceptions.JMESPathError as error:
        why = str(error).splitlines()[0]
        raise InputError(f"source {source.name}: {where}: the expression {expression} fails: {why}") from error


def _filled(source: TicketSource, where: str, template: Any, payload: Any) -> Any:
    """The template with every expression replaced by what it finds; what finds nothing is left out."""
    match template:
        case str():
            return _search(source, where, template, payload)
        case Mapping():
            found = {name: _filled(source, f"{where}.{name}", part, payload) for name, part in template.items()}
            return {name: value for name, value in found.items() if value is not None and value != ""}
        case list() | tuple():
            return [_filled(source, f"{where}.{n}", part, payload) for n, part in enumerate(template)]
        case _:
            return template


def _with_block(source: TicketSource, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with the first fenced block of YAML or JSON in the text that `block` finds, as `block`."""
    expression = source.reading("block")
    text = _search(source, "block", expression, payload) if expression else None
    fenced = _fenced(text) if isinstance(text, str) else None
    if fenced is None:
        return payload
    what = f"source {source.name}: the fenced block"
    block = parse_yaml(fenced, what)
    # A few aliases can stand for gigabytes.
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(fenced)):
        raise InputError(f"{what} uses an alias (*name): write the value out")
    if not isinstance(block, dict) or (unknown := sorted(map(str, set(block) - _IN_BLOCK))):
        wrong = f"has no fields {', '.join(unknown)} to give" if isinstance(block, dict) else "holds no fields"
        raise InputError(f"{what} {wrong}: write fields of a change, any of {', '.join(sorted(_IN_BLOCK))}")
    return payload | {"block": block}


def _fenced(text: str) -> str | None:
    lines = iter(text.splitlines())
    if not any(line.rstrip() in _FENCES for line in lines):
        return None
    return "\n".join(takewhile(lambda line: line.rstrip() != "```", lines))


def _change(source: TicketSource, fields: Any) -> ChangeRequest:
    try:
        return ChangeRequest.model_validate(fields)
    except ValidationError as error:
        lines = [
            f"  {line}{_origin(source, place)}"
            for place, line in faults(error.errors(include_url=False), ChangeRequest)
        ]
        raise InputError(f"source {source.name}: the change is not valid:\n" + "\n".join(lines)) from error


def _origin(source: TicketSource, place: Sequence[int | str]) -> str:
    """Which expression a field came from, as far down as the template goes."""
    if not place:
        return ""
    if place[0] in source.constants:
        return " [a constant]"
    part: Any = source.template
    for step in place:
        try:
            part = part[step]
        except (KeyError, IndexError, TypeError):
            break
        if isinstance(part, str):
            return f" [expression: {part}]"
    return "" if place[0] in source.template else " [no expression and no constant for it]"
