"""What the web door is configured with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from forebay.domain.errors import InputError
from forebay.domain.model import Duration, Model
from forebay.domain.signature import SHORTEST_SECRET, broken_signing_token
from forebay.domain.source import GENERIC, TicketSource


class WebSettings(Model):
    """`sources`: who may deliver tickets.

    `webhook_secrets` by source; two may be valid at once, so that a secret can be changed without a gap.

    `link_secrets`: what links to approve by are signed with; the first signs, all are valid; none means no links.

    `replay_window`: how far a delivery's timestamp may be from our clock.
    `open_reading`: changes, policies, audit log and pages can be read without a key.
    `requests_per_minute`: of one key's or token's holder, or of one address without a token, to one process; the
    decision point is left out.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    sources: tuple[TicketSource, ...] = (GENERIC,)
    webhook_secrets: Mapping[str, tuple[SecretStr, ...]] = {}
    link_secrets: tuple[SecretStr, ...] = ()
    replay_window: Duration = timedelta(seconds=300)
    open_reading: bool = True
    requests_per_minute: Annotated[int, Field(ge=1)] = 600

    @field_validator("webhook_secrets")
    @classmethod
    def _usable(cls, secrets: Mapping[str, tuple[SecretStr, ...]]) -> Mapping[str, tuple[SecretStr, ...]]:
        for source, valid in secrets.items():
            if any(len(secret.get_secret_value()) < SHORTEST_SECRET for secret in valid):
                raise ValueError(
                    f"a secret of {source} is shorter than {SHORTEST_SECRET} characters: make one with "
                    "`openssl rand -hex 32`"
                )
        return secrets

    @model_validator(mode="after")
    def _of_known_sources(self) -> WebSettings:
        known = [source.name for source in self.sources]
        if unknown := sorted(set(self.webhook_secrets) - set(known)):
            raise ValueError(
                f"FOREBAY_WEBHOOK_SECRETS: there is no source {', '.join(unknown)}: give secrets for {', '.join(known)}"
            )
        for source in self.sources:
            if source.kind == "gitlab" and any(map(broken_signing_token, self.secrets(source.name))):
                raise ValueError(f"a secret of {source.name} begins like a signing token and is none: copy it whole")
        return self

    @field_validator("link_secrets")
    @classmethod
    def _long_enough(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value()) < SHORTEST_SECRET for secret in secrets):
            raise ValueError(f"a secret is shorter than {SHORTEST_SECRET} characters: use `openssl rand -hex 32`")
        return secrets

    def valid_link_secrets(self) -> tuple[str, ...]:
        return tuple(secret.get_secret_value() for secret in self.link_secrets)

    def secrets(self, source: str) -> tuple[str, ...]:
        """The secrets that are valid for `source` now; none means that every delivery is refused."""
        return tuple(secret.get_secret_value() for secret in self.webhook_secrets.get(source, ()))


def with_sources(
    sources: tuple[TicketSource, ...], secrets: Mapping[str, tuple[SecretStr, ...]], environment: Mapping[str, str]
) -> tuple[tuple[TicketSource, ...], dict[str, tuple[SecretStr, ...]]]:
    """The sources of the file and the generic one, and the secrets of each. Raises InputError if one is not set."""
    found = {name: tuple(valid) for name, valid in secrets.items()}
    for source in sources:
        for position, variable in enumerate(source.secrets, start=1):
            if not environment.get(variable):
                # Not quoted: where the secret itself was written for the variable's name, it must not be told.
                raise InputError(f"source {source.name}: its secret {position} names a variable that is not set")
        if source.secrets:
            found[source.name] = tuple(SecretStr(environment[variable]) for variable in source.secrets)
    own = () if any(source.name == GENERIC.name for source in sources) else (GENERIC,)
    return (*own, *sources), found
