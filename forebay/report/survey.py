"""A survey of a workload as text that fits a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.domain.allocation import Lever, in_words
from forebay.domain.resources import CANONICAL_UNIT
from forebay.domain.survey import Survey
from forebay.domain.wording import duration
from forebay.report.table import text_table, wrapped
from forebay.report.words import moment, percent, units


def survey_text(survey: Survey) -> str:
    """Where it stands, what is measured of it, and what is wrong; a workload with nothing wrong says so."""
    return "\n".join(_lines(survey))


def _lines(survey: Survey) -> Iterator[str]:
    wrong = [*survey.unread, *survey.faults]
    yield f"{survey.workload}: {'not ready for a change' if wrong else 'ready'}"
    if state := survey.state:
        above = "an autoscaler is in charge above it" if state.setting.lever is Lever.FLOOR else "no autoscaler"
        yield wrapped(f"  target: {in_words(state.setting)}, {above}; {units(state.serving)} serve")
    if survey.usage:
        needs = "" if survey.needed is None else f"; the latest needs {units(survey.needed)} at the objectives"
        yield wrapped(f"  usage{needs}:")
        rows = [
            (
                f"    {one.resource}",
                f"{one.latest:.3g} {CANONICAL_UNIT[one.resource]}",
                moment(one.until),
                duration(one.until - one.since),
                percent(one.complete),
            )
            for one in survey.usage
        ]
        yield text_table(("    resource", "latest", "until", "history", "of its slots"), rows)
    for text in survey.unread:
        yield wrapped(f"  not read: {text}")
    for text in survey.faults:
        yield wrapped(f"  wrong: {text}")
    for text in survey.notes:
        yield wrapped(f"  note: {text}")
