"""Bring an armed policy into force: check once more, wait for the exact time, record it, push it."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.shape import arm_if_aligned, enforce


@flow(name="enforce-policy")
def enforce_policy(change: str) -> State:
    """Arm if aligned, then at the effective time record and push, defer or reject."""
    arm_if_aligned(change)
    return Completed(message=enforce(change))
