"""The predictive load engine's forecasts: a usage series in, calibrated quantiles and joint sample paths out."""

from forebay.forecasting.errors import HistoryError
from forebay.forecasting.fleet import forecast_many
from forebay.forecasting.forecaster import Forecast, forecast, forecast_series
from forebay.forecasting.history import History, SeriesKey, read_history

__all__ = [
    "Forecast",
    "History",
    "HistoryError",
    "SeriesKey",
    "forecast",
    "forecast_many",
    "forecast_series",
    "read_history",
]
