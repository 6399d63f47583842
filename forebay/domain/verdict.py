"""The verdict of a verification and the evidence it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from forebay.domain.model import Model, UtcTime
from forebay.domain.plan import Band
from forebay.domain.resources import Resource


class Verdict(StrEnum):
    """`pass`: on plan. `high`/`low`: usage above/below plan. `no_data`: cannot tell. `error`: capacity is not there."""

    PASS = "pass"  # noqa: S105  a verdict, not a secret
    HIGH = "high"
    LOW = "low"
    NO_DATA = "no_data"
    ERROR = "error"


class Evidence(Model):
    """What was looked at. `usage` and `band` in canonical units; a resource missing from `usage` had no data."""

    start: UtcTime
    end: UtcTime
    usage: Mapping[Resource, float]
    band: Mapping[Resource, Band]
    utilisation: Mapping[Resource, float]
    serving_units: int
    asked_units: int
    text: str


class Judgement(Model):
    """A verdict with its evidence; `required_units` is what the measured usage needs at the objectives."""

    verdict: Verdict
    required_units: int
    evidence: Evidence
