"""A wake-up for shaping steps: whoever gets a workload's lease advances what is due there, in order."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Completed

from tasks.shape import advance, due_together


@flow(name="shaping-step")
def shaping_step(change: str, workload: str, sequence: int) -> State:
    """Advance `workload` of `change`, and at the same time whatever else is due.

    `sequence`: what this wake-up was made for; the store says what is due.
    """
    advanced = [advance.submit(*due) for due in due_together(change, workload)]
    wait(advanced)
    return Completed(message=f"step {sequence}: {'; '.join(future.result() for future in advanced)}")
