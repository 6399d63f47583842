"""What a flow run works with: the blocks called `forebay` where an operator saved them, the environment elsewhere."""

from functools import lru_cache
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
from forebay.domain.errors import OutsideError
from forebay.settings import load_settings
from forebay.wiring import build_context, read_catalog

NAME = "forebay"
B = TypeVar("B", bound=Block)


@lru_cache(maxsize=1)
def context() -> Context:
    """One context a process. Raises InputError and OutsideError."""
    database, workloads, aws = saved(ForebayDatabase), saved(ForebayWorkloads), saved(ForebayAws)
    push, settings = saved(ForebayPush), load_settings()
    clients = aws.clients() if aws else AwsClients(settings.aws_region, settings.aws_endpoint_url)
    return build_context(
        settings,
        store=database.store() if database else None,
        # Read before anything begins: no run is to blame a change for a workloads file that cannot be read.
        catalog=workloads.catalog() if workloads else read_catalog(settings.workloads),
        clients=clients,
        enforcers=push.enforcers(clients) if push else None,
    )


def saved(kind: type[B]) -> B | None:
    """The block of this kind called `forebay`, or None if nobody saved one. Raises OutsideError if Prefect is away."""
    try:
        load: Any = kind.load  # typed for async callers only
        block: B | None = load(NAME, _sync=True)
        return block
    except httpx.HTTPError as error:
        raise OutsideError(f"Prefect did not say whether a block {NAME} is saved: {error}", retryable=True) from error
    except ValueError as error:
        # Prefect wraps "not found" in a bare ValueError; anything else wrong with a block must be heard.
        if isinstance(error.__cause__, ObjectNotFound):
            return None
        raise
