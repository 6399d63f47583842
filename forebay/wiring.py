"""Ports meet adapters here, and nowhere else."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import SecretStr

from forebay.answering import answer_outlets
from forebay.app.context import Context
from forebay.app.survey import survey
from forebay.aws import AwsClients
from forebay.clock import SystemClock
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.signature import SHORTEST_SECRET
from forebay.domain.source import TicketSource, TicketSources
from forebay.domain.survey import Survey
from forebay.domain.telling import Telling
from forebay.domain.workload import AsgTarget, EcsTarget, Workload, WorkloadCatalog
from forebay.enforcers.callback import HttpCallback
from forebay.enforcers.eventbridge import EventBridgeEvent
from forebay.enforcers.sns import SnsTopic
from forebay.enforcers.ssm import SsmParameter
from forebay.notify import LogNotifier, notify_outlets
from forebay.oidc import OidcAuthenticator
from forebay.ports import Authenticator, Catalog, Clock, Enforcer, Store, Target, Usage
from forebay.settings import Settings
from forebay.store import open_store
from forebay.targets.asg import AutoScalingGroup
from forebay.targets.ecs import EcsService
from forebay.usage.cloudwatch import CloudWatchUsage

log = logging.getLogger(__name__)


class LatestCatalog:
    """The workloads as `read` gave them last. They are first read when one is asked for: break glass asks for none.

    What was read stays in use where `read` fails later: a slip in an edit must not stop what is under way.
    """

    def __init__(self, read: Callable[[], WorkloadCatalog]) -> None:
        self._read = read
        self._last: WorkloadCatalog | None = None
        self._wrong: InputError | None = None

    def refresh(self) -> None:
        """Read again. Raises what `read` does."""
        try:
            self._last, self._wrong = self._read(), None
        except InputError as error:
            self._wrong = error
            raise

    @property
    def workloads(self) -> Sequence[Workload]:
        return self._current().workloads

    def get(self, name: str) -> Workload | None:
        """Raises OutsideError for one that was not there before, while what there is by now cannot be read."""
        found, wrong = self._current().get(name), self._wrong
        if found is None and wrong:
            raise OutsideError(str(wrong), retryable=True)
        return found

    def _current(self) -> WorkloadCatalog:
        if self._last is None:
            self.refresh()
        assert self._last is not None
        return self._last


class CatalogFile(LatestCatalog):
    """The workloads file as it is whenever one is asked for. That it cannot be read any more is logged."""

    def __init__(self, path: Path) -> None:
        super().__init__(lambda: read_catalog(path))

    def _current(self) -> WorkloadCatalog:
        known, before = self._last, self._wrong
        if known is None:
            return super()._current()
        try:
            self.refresh()
        except InputError as error:
            if str(error) != str(before):
                log.error("%s; until it is mended this process goes on by what it read before", error)
        return super()._current()


def build_context(
    settings: Settings,
    *,
    store: Store | None = None,
    catalog: Catalog | None = None,
    clients: AwsClients | None = None,
    enforcers: Sequence[Enforcer] | None = None,
) -> Context:
    """A Context on the real outside. What is passed in wins over the settings. Raises InputError and OutsideError.

    Without a `catalog` it is the workloads file, as it is whenever it is needed.
    """
    aws = clients or AwsClients(settings.aws_region, settings.aws_endpoint_url)
    clock = SystemClock()
    if enforcers is None:
        enforcers = make_enforcers(
            aws,
            ssm_prefix=settings.ssm_prefix,
            event_bus=settings.event_bus,
            sns_topic=settings.sns_topic,
            callback_url=settings.callback_url,
            callback_secret=settings.callback_secret,
            callback_inside=settings.callback_inside,
        )
    told = notify_outlets(settings.notify, aws)
    telling = Telling(outlets=tuple(told), topics=frozenset(settings.notify_topics), window=settings.notify_window)
    return Context(
        clock=clock,
        store=store or open_store(settings.database_url.get_secret_value()),
        catalog=catalog or CatalogFile(settings.workloads),
        target=lambda workload: make_target(workload, aws, clock),
        usage=lambda workload: make_usage(workload, aws, clock),
        notifier=LogNotifier(),
        enforcers=tuple(enforcers),
        telling=telling if told else None,
        outlets={**told, **answer_outlets(read_sources(settings.sources), os.environ)},
        poll=settings.poll,
        lease=settings.lease,
        forecast_budget=settings.forecast_budget,
    )


def make_authenticator(settings: Settings) -> Authenticator | None:
    """Of bearer tokens that are no keys of ours; None where no issuer is trusted."""
    return None if settings.oidc is None else OidcAuthenticator(settings.oidc, SystemClock())


def make_enforcers(
    aws: AwsClients,
    *,
    ssm_prefix: str | None = None,
    event_bus: str | None = None,
    sns_topic: str | None = None,
    callback_url: str | None = None,
    callback_secret: SecretStr | None = None,
    callback_inside: Sequence[str] = (),
) -> tuple[Enforcer, ...]:
    """One for each that is named. Raises InputError for a callback without its secret, or to where none may go."""
    found: list[Enforcer] = []
    if ssm_prefix:
        found.append(SsmParameter(aws, ssm_prefix))
    if event_bus:
        found.append(EventBridgeEvent(aws, event_bus))
    if sns_topic:
        found.append(SnsTopic(aws, sns_topic))
    if callback_url:
        if callback_secret is None or len(callback_secret.get_secret_value()) < SHORTEST_SECRET:
            raise InputError(
                f"the callback needs a secret of {SHORTEST_SECRET} characters or more to sign with: "
                "set FOREBAY_CALLBACK_SECRET, made by `openssl rand -hex 32`"
            )
        secret = callback_secret.get_secret_value()
        found.append(HttpCallback(callback_url, secret, SystemClock(), callback_inside))
    return tuple(found)


def make_target(workload: Workload, aws: AwsClients, clock: Clock) -> Target:
    aws = aws.in_region(workload.target.region)
    match workload.target:
        case EcsTarget() as ref:
            return EcsService(ref, aws, clock, sized=bool(workload.sizes))
        case AsgTarget() as ref:
            return AutoScalingGroup(ref, aws, clock, lead_time=workload.lead_time)


def make_usage(workload: Workload, aws: AwsClients, clock: Clock) -> Usage:
    return CloudWatchUsage(workload, aws.in_region(workload.target.region), clock)


def survey_of(workload: Workload, aws: AwsClients) -> Survey:
    """One look at the workload, without a store. Raises InputError for one that cannot be measured as it says."""
    clock = SystemClock()
    target = make_target(workload, aws, clock)
    reserved = target.reserved if isinstance(target, EcsService) else None
    return survey(workload, target, make_usage(workload, aws, clock), clock.now(), reserved)


def read_catalog(path: Path, named_by: str = "FOREBAY_WORKLOADS") -> WorkloadCatalog:
    """Raises InputError if the workloads file, which `named_by` may name, is missing or not valid."""
    try:
        return _parsed(read_text(path), str(path))
    except InputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        mend = f"name yours by {named_by}, or copy examples/workloads.yaml there"
        raise InputError(f"there is no workloads file {path}: {mend}") from error


@lru_cache(maxsize=1)
def _parsed(text: str, what: str) -> WorkloadCatalog:
    """Asked for again and again, of a file that seldom changes."""
    return WorkloadCatalog.parse(text, what)


def read_sources(path: Path | None) -> tuple[TicketSource, ...]:
    """Those of the sources file. Raises InputError if it is not readable or not valid."""
    return () if path is None else TicketSources.parse(read_text(path), str(path)).sources


def read_text(path: Path) -> str:
    """Raises InputError, naming the file, if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {path}: {error}") from error
