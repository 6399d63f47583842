"""Forecasts of many series, piece by piece: as CSV and JSON slot by slot, and as tables of the peak and the total."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from forebay.domain.resources import CANONICAL_UNIT, UNIT_OF_TOTAL, Resource
from forebay.domain.wording import on_one_line
from forebay.report.table import text_table
from forebay.report.words import percent

if TYPE_CHECKING:
    import pandas as pd

    from forebay.forecasting import Forecast, SeriesKey

    Forecasts = Iterable[tuple[SeriesKey, Forecast]]


def forecasts_csv(forecasts: Forecasts) -> Iterator[str]:
    """One row a slot, one column a level, the canonical unit of them all; the header once."""
    for number, (key, forecast) in enumerate(forecasts):
        table = forecast.quantiles.rename_axis("timestamp").reset_index()
        measured = key._asdict() | {"unit": CANONICAL_UNIT[Resource(key.resource)]}
        for place, (column, value) in enumerate(measured.items(), start=1):
            table.insert(place, column, value)
        yield table.to_csv(index=False, header=number == 0)


def forecasts_json(forecasts: Forecasts) -> Iterator[str]:
    """A list of objects: what, units, model, reasons, times, quantiles of each slot, of the peak and of the total."""
    opening = "["
    for key, forecast in forecasts:
        resource = Resource(key.resource)
        yield opening + json.dumps(
            {
                **key._asdict(),
                "unit": CANONICAL_UNIT[resource],
                "total_unit": UNIT_OF_TOTAL[resource],
                "model": forecast.model,
                "reasons": forecast.reasons,
                "timestamps": [t.isoformat() for t in forecast.quantiles.index],
                "quantiles": {str(level): _rounded(forecast.quantiles[level]) for level in forecast.quantiles},
                **{
                    what: dict(zip(map(str, forecast.whole), _rounded(forecast.whole.loc[what]), strict=True))
                    for what in forecast.whole.index
                },
            }
        )
        opening = ", "
    yield "]\n"


def forecasts_table(forecasts: Forecasts) -> Iterator[str]:
    """A table a series: quantiles of its peak and of its total over the whole horizon, and the forecast's own words."""
    for number, (key, forecast) in enumerate(forecasts):
        begin, until = forecast.quantiles.index[0], forecast.quantiles.index[-1]
        head = f"{'/'.join(filter(None, key))}: {begin:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
        unit = CANONICAL_UNIT[Resource(key.resource)]
        table = text_table(
            ("", *(percent(float(level)) for level in forecast.whole.columns)),
            [
                (f"{what} ({of})", *(f"{value:.4g}" for value in forecast.whole.loc[what]))
                for what, of in (("peak", unit), ("total", f"{unit} x h"))
            ],
        )
        said = map(on_one_line, forecast.reasons)
        yield "\n".join(["\n" * (number > 0) + on_one_line(head), "", table, "", *said, ""])


def _rounded(values: pd.Series) -> list[float]:
    return [float(value) for value in values.round(6)]
