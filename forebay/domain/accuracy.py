"""How right forecasts were: scores of one model, and what a backtest of one series found."""

from __future__ import annotations

from datetime import timedelta

from forebay.domain.model import Model, UtcTime


class Score(Model):
    """One model's forecasts of one series against what came. A figure is None where nothing could be judged.

    `relative_loss`: its mean quantile loss over seasonal naive's, below 1 is better; `mase`: the median's absolute
    error over the history's own one-season-ago error; `coverage`: share of slots within the 5 to 95 % band, 0.9 if
    calibrated; `above`: share above the 95 % quantile, at most 0.05 if calibrated; `seconds`: a forecast.
    """

    model: str
    relative_loss: float | None
    mase: float | None
    coverage: float | None
    above: float | None
    seconds: float


class BandSlot(Model):
    """What was forecast for a slot (5, 50 and 95 % quantile) and what came, None where it is not known."""

    at: UtcTime
    low: float
    median: float
    high: float
    actual: float | None


class SeriesBacktest(Model):
    """Every model on one series from the same rolling origins, best first, and the default's forecasts as they were."""

    workload: str
    resource: str
    entity: str
    horizon: timedelta
    origins: tuple[UtcTime, ...]
    scores: tuple[Score, ...]
    champion: str
    reasons: tuple[str, ...]
    shown: tuple[BandSlot, ...]

    @property
    def name(self) -> str:
        return "/".join(filter(None, (self.workload, self.resource, self.entity)))
