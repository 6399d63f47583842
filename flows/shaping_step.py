"""A wake-up for one shaping step: whoever gets the workload's lease advances what is due, in order."""

from prefect import flow
from prefect.states import Completed, State

from tasks.shape import advance


@flow(name="shaping-step")
def shaping_step(change: str, workload: str, sequence: int) -> State:
    """Advance `workload` of `change`. `sequence`: what this wake-up was made for; the store says what is due."""
    return Completed(message=f"step {sequence}: {advance(change, workload)}")
