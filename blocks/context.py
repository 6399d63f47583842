"""What a flow run works with: the blocks called `forebay` where an operator saved them, the environment elsewhere."""

from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound

from blocks.aws import ForebayAws
from blocks.database import ForebayDatabase
from blocks.push import ForebayPush
from blocks.workloads import ForebayWorkloads
from forebay.app.context import Context
from forebay.aws import AwsClients
from forebay.domain.errors import InputError, OutsideError, SetupError
from forebay.settings import load_settings
from forebay.wiring import LatestCatalog, build_context, read_catalog

NAME = "forebay"
B = TypeVar("B", bound=Block)


class Workloads(LatestCatalog):
    """The block's where one is saved, the file's elsewhere, as they were when it was last refreshed: nothing changes
    under a run, nor under a pass of the reconciler.
    """

    def __init__(self, file: Path) -> None:
        """Raises InputError and OutsideError."""
        super().__init__(lambda: self._block.catalog() if self._block else read_catalog(file))
        self.ask_for_block()

    def ask_for_block(self) -> None:
        """Whether one is saved by now, and what it holds: for the next time. Raises InputError and OutsideError."""
        self._block = saved(ForebayWorkloads)


@lru_cache(maxsize=1)
def context() -> Context:
    """One context a process. Raises SetupError and OutsideError."""
    try:
        return _context()
    except InputError as error:
        raise SetupError(f"this process is not set up: {error}") from error


def _context() -> Context:
    database, aws, push = saved(ForebayDatabase), saved(ForebayAws), saved(ForebayPush)
    settings = load_settings()
    # Read before anything begins: no run is to blame a change for workloads that cannot be read.
    workloads = Workloads(settings.workloads)
    workloads.refresh()
    clients = aws.clients() if aws else AwsClients(settings.aws_region, settings.aws_endpoint_url)
    return build_context(
        settings,
        store=database.store() if database else None,
        catalog=workloads,
        clients=clients,
        enforcers=push.enforcers(clients) if push else None,
    )


def saved(kind: type[B]) -> B | None:
    """The block of this kind called `forebay`, or None if nobody saved one.

    Raises OutsideError if Prefect is away, and InputError if what is saved cannot be read.
    """
    try:
        load: Any = kind.load  # typed for async callers only
        block: B | None = load(NAME, _sync=True)
        return block
    except httpx.HTTPError as error:
        raise OutsideError(f"Prefect did not say whether a block {NAME} is saved: {error}", retryable=True) from error
    except (ValueError, RuntimeError) as error:
        # Prefect wraps "not found" in a bare ValueError, and values that do not fit the fields in a RuntimeError.
        if isinstance(error.__cause__, ObjectNotFound):
            return None
        raise InputError(
            f"the block {NAME} of type {kind.get_block_type_name()!r} cannot be read: save it anew ({error})"
        ) from error
