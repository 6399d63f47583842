"""Once a day: how right the forecasts were, recorded; a warning where they no longer are."""

from prefect import State, flow

from tasks.backtest import backtest_one, workload_names


@flow(name="backtest")
def backtest() -> list[State[str]]:
    """Judge every workload's forecasts. One that cannot be judged fails the run, after all others were."""
    return [backtest_one(name, return_state=True) for name in workload_names()]
