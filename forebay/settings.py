"""Settings of a process, from the environment: FOREBAY_DATABASE_URL, FOREBAY_WORKLOADS and so on."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from forebay.domain.errors import InputError
from forebay.domain.issuer import TrustedIssuer
from forebay.domain.model import Duration, faults
from forebay.domain.telling import TOPICS
from forebay.environment import check_names


class Settings(BaseSettings):
    """Every field is read from the environment variable of its name with the prefix FOREBAY_.

    AWS credentials, region and endpoint come from the usual AWS variables and files.
    """

    # A secret in the wrong shape is still a secret: no error, and no traceback of one, may quote it.
    model_config = SettingsConfigDict(env_prefix="FOREBAY_", extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr = SecretStr("sqlite:///forebay.db")
    workloads: Path = Path("workloads.yaml")
    aws_region: str | None = None
    aws_endpoint_url: str | None = None
    poll: Duration = Field(default="PT10S", validate_default=True)
    # A sleeping controller renews its lease every 10 s; a shorter one would be lost to a moment's hitch.
    lease: Duration = Field(default="PT60S", ge=timedelta(seconds=20), validate_default=True)
    forecast_budget: Duration = Field(default="PT60S", validate_default=True)
    sources: Path | None = None
    webhook_secrets: dict[str, list[SecretStr]] = {}
    link_secrets: list[SecretStr] = []
    open_reading: bool = True
    requests_per_minute: int = Field(default=600, ge=1)
    oidc: TrustedIssuer | None = None
    web_url: str = "http://127.0.0.1:8080"
    replay_window: Duration = Field(default="PT5M", validate_default=True)
    ssm_prefix: str | None = None
    event_bus: str | None = None
    sns_topic: str | None = None
    callback_url: str | None = None
    callback_secret: SecretStr | None = None
    callback_inside: list[str] = []
    notify: list[SecretStr] = []
    notify_topics: list[str] = list(TOPICS)
    notify_window: Duration = Field(default="PT30S", validate_default=True)

    @field_validator("notify_topics")
    @classmethod
    def _known(cls, topics: list[str]) -> list[str]:
        if unknown := set(topics) - set(TOPICS):
            raise ValueError(f"there is no topic {', '.join(sorted(unknown))}: choose from {', '.join(TOPICS)}")
        return topics


def load_settings() -> Settings:
    """Raises InputError naming the variable at fault."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise not_valid(error) from error
    except SettingsError as error:
        # Its text names the field and quotes nothing; the cause, which holds the whole value, is cut off.
        raise InputError(f"environment (variables FOREBAY_…) is not valid: {error}: write it as JSON") from None
    check_names([name.upper() for name in Settings.model_fields], os.environ, settings.sources)
    return settings


def not_valid(error: ValidationError) -> InputError:
    """What is wrong with which variable, and no value: it may be a secret."""
    found = faults(error.errors(include_url=False), Settings, quote=False)
    # What is wrong between several of them says itself which.
    lines = [f"  FOREBAY_{(name := str(place[0])).upper()}{line.removeprefix(name)}" for place, line in found if place]
    lines += [f"  {line.removeprefix('(whole): ')}" for place, line in found if not place]
    return InputError("environment (variables FOREBAY_…) is not valid:\n" + "\n".join(lines))
