"""The backup of the reconciler loop: once a minute, create what is missing and settle what is dead."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.reconcile import reconcile_once


@flow(name="reconcile")
def reconcile() -> State:
    """Find from the store what must exist or happen, and see to it."""
    return Completed(message=reconcile_once("reconcile flow"))
