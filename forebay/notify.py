"""Telling people: in the log at once, and by the addresses of FOREBAY_NOTIFY (chat, e-mail, SNS, …) from the outbox."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from forebay.aws import AwsClients
from forebay.aws_errors import aws_call
from forebay.domain.audit import AuditEvent
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.outbox import Message
from forebay.domain.telling import OWN, Notice
from forebay.domain.wording import on_one_line

logger = logging.getLogger("forebay.events")
LONGEST_SUBJECT = 100  # of SNS


class LogNotifier:
    """A Notifier."""

    def notify(self, event: AuditEvent) -> None:
        # One line each, or a reason could write a line that looks like another event.
        reason = on_one_line(event.reason)
        logger.info("%s: %s by %s: %s", event.change or event.entity, event.action, event.actor, reason)


def notify_outlets(addresses: Sequence[SecretStr], aws: AwsClients) -> Mapping[str, Callable[[Message], None]]:
    """By a name that tells nothing secret: the address's scheme and a digest of it."""
    found: dict[str, Callable[[Message], None]] = {}
    for address in addresses:
        text = address.get_secret_value()
        kind = text.partition(":")[0] if ":" in text else "address"  # without a colon all of it may be a secret
        name = OWN + f"{kind} {hashlib.sha256(text.encode()).hexdigest()[:8]}"
        found[name] = _to_sns(aws, text) if text.startswith("arn:") else _by_apprise(text)
    return found


def _to_sns(aws: AwsClients, topic: str) -> Callable[[Message], None]:
    def send(message: Message) -> None:
        notice = Notice.model_validate_json(message.body)
        # A subject of SNS is one line of printable ASCII.
        subject = "".join(c if " " <= c <= "~" else "?" for c in notice.title)[:LONGEST_SUBJECT]
        with aws_call("sns:Publish", f"topic {topic}"):
            aws.sns.publish(TopicArn=topic, Subject=subject, Message=notice.text)

    return send


def _by_apprise(address: str) -> Callable[[Message], None]:
    def send(message: Message) -> None:
        notice = Notice.model_validate_json(message.body)
        try:
            import apprise
        except ImportError as error:
            raise InputError("FOREBAY_NOTIFY needs an extra: pip install 'forebay[notify]'") from error
        # It logs addresses whole, secrets included; what it says of a failure is told by our own errors.
        log_of_apprise = logging.getLogger("apprise")
        log_of_apprise.propagate = False
        asset = apprise.AppriseAsset(app_id="Forebay", app_desc="Forebay", async_mode=False, secure_logging=True)
        target = apprise.Apprise(asset=asset)
        log_of_apprise.disabled = True  # here even to who listens to that log itself
        try:
            known = target.add(address)
        finally:
            log_of_apprise.disabled = False
        if not known:
            raise InputError(
                f"FOREBAY_NOTIFY: the address behind {message.outlet!r} is none that Apprise knows: write it as its "
                "documentation says, for example mailto://… or a Slack webhook's https://hooks.slack.com/services/…"
            )
        capture: Any = apprise.LogCapture  # has no types
        with capture(level=logging.WARNING) as log:
            sent = target.notify(body=notice.text, title=notice.title, body_format=apprise.NotifyFormat.TEXT)
            said = log.getvalue()
        if not sent:
            # Apprise does not say whether trying again can help; an address may hold a secret, and is not repeated.
            words = " ".join(said.replace(address, "…").split())[:300] or "it does not say why"
            raise OutsideError(f"{message.outlet} was not told: {words}", retryable=True)

    return send
