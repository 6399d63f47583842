"""The predictive load engine's forecasts: a usage series in, calibrated quantiles and joint sample paths out."""

from forebay.forecasting.errors import HistoryError
from forebay.forecasting.forecaster import Forecast, forecast, forecast_series

__all__ = ["Forecast", "HistoryError", "forecast", "forecast_series"]
