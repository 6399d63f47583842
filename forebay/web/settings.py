"""What the web door is configured with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import ConfigDict, Field, SecretStr, field_validator

from forebay.domain.model import Duration, Model
from forebay.domain.signature import SHORTEST_SECRET

SOURCES = ("generic",)


class WebSettings(Model):
    """`webhook_secrets` by source; two may be valid at once, so that a secret can be changed without a gap.

    `link_secrets`: what links to approve by are signed with; the first signs, all are valid; none means no links.

    `replay_window`: how far a delivery's timestamp may be from our clock. `max_body_bytes`: the largest delivery.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    webhook_secrets: Mapping[str, tuple[SecretStr, ...]] = {}
    link_secrets: tuple[SecretStr, ...] = ()
    replay_window: Duration = timedelta(seconds=300)
    max_body_bytes: Annotated[int, Field(ge=1)] = 64 * 1024

    @field_validator("webhook_secrets")
    @classmethod
    def _usable(cls, secrets: Mapping[str, tuple[SecretStr, ...]]) -> Mapping[str, tuple[SecretStr, ...]]:
        for source, valid in secrets.items():
            if source not in SOURCES:
                raise ValueError(f"there is no source {source!r}: give secrets for {', '.join(SOURCES)}")
            if any(len(secret.get_secret_value()) < SHORTEST_SECRET for secret in valid):
                raise ValueError(
                    f"a secret of {source} is shorter than {SHORTEST_SECRET} characters: make one with "
                    "`openssl rand -hex 32`"
                )
        return secrets

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
