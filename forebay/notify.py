"""Telling people through the log: every event a person should see is one line."""

from __future__ import annotations

import logging

from forebay.domain.audit import AuditEvent

logger = logging.getLogger("forebay.events")


class LogNotifier:
    """A Notifier."""

    def notify(self, event: AuditEvent) -> None:
        logger.info("%s: %s by %s: %s", event.change or event.entity, event.action, event.actor, event.reason)
