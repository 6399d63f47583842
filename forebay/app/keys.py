"""API keys: made and shown once, stored as a hash, used, revoked."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from secrets import token_hex

from forebay.app.context import Context
from forebay.app.named import check_named
from forebay.domain.access import ApiKey, NotAuthenticated, Principal, check_key, key_id_of, token_hash, token_of
from forebay.domain.audit import AuditEvent, Deed
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.model import validate

log = logging.getLogger(__name__)

# Noting each use would make every reader a writer; a key that was used is seen within this.
USE_NOTED_EVERY = timedelta(minutes=1)


def create_key(
    ctx: Context,
    person: str,
    roles: Collection[str],
    entities: Collection[str],
    valid: timedelta,
    actor: str,
    reason: str,
) -> tuple[str, ApiKey]:
    """A key for `person`, and the word to be handed to them: it is kept nowhere. Raises InputError."""
    check_named(actor, reason)
    now = ctx.clock.now()
    token = token_of(token_hex(6), token_hex(32))
    key = validate(
        ApiKey,
        {
            "id": key_id_of(token),
            "hash": token_hash(token),
            "person": person,
            "roles": frozenset(roles),
            "entities": frozenset(entities),
            "made_at": now,
            "expires_at": _end(now, valid),
        },
        "key",
    )
    words = f"{', '.join(sorted(key.roles))} for {person}"
    words += f", only {', '.join(sorted(key.entities))}" if key.entities else ""
    with ctx.store.transaction() as tx:
        tx.put_key(key, _event(ctx, Deed.KEY_CREATED, key, f"{words}: {reason}", actor))
    return token, key


def revoke_key(ctx: Context, key_id: str, actor: str, reason: str) -> ApiKey:
    """From now on it lets nobody in; twice is the same as once. Raises InputError."""
    check_named(actor, reason)
    with ctx.store.transaction() as tx:
        key = tx.key(key_id)
        if key is None:
            raise InputError(f"there is no key {key_id!r}: `forebay key list` lists them")
        if key.revoked_at is None:
            key = key.model_copy(update={"revoked_at": ctx.clock.now()})
            tx.put_key(key, _event(ctx, Deed.KEY_REVOKED, key, reason, actor))
    return key


def list_keys(ctx: Context) -> Sequence[ApiKey]:
    """All keys ever made, oldest first."""
    with ctx.store.snapshot() as tx:
        return tx.keys()


class KeyAuthenticator:
    """Implements `ports.Authenticator` by the stored keys."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        # Whoever reads must never wait for those who write, as noting a use does.
        self._notes = ThreadPoolExecutor(1, thread_name_prefix="key-use")
        self._noted: dict[str, datetime] = {}

    def principal(self, token: str) -> Principal:
        key_id = key_id_of(token)
        if key_id is None:
            raise NotAuthenticated("this is no key of ours: send `Authorization: Bearer` and a key, fbk_…")
        key, now = self._ctx.store.key(key_id), self._ctx.clock.now()
        principal = check_key(key, token, now)
        assert key is not None, "checked"
        last = max(filter(None, (key.last_used_at, self._noted.get(key_id))), default=None)
        if last is None or now - last >= USE_NOTED_EVERY:
            self._noted[key_id] = now
            self._notes.submit(self._note_use, key_id, now)
        return principal

    def _note_use(self, key_id: str, now: datetime) -> None:
        try:
            with self._ctx.store.transaction() as tx:
                if (key := tx.key(key_id)) is not None:
                    tx.put_key(key.model_copy(update={"last_used_at": now}))
        except OutsideError as error:
            log.warning("the use of key %s could not be noted: %s", key_id, error)


def _end(now: datetime, valid: timedelta) -> datetime:
    if valid <= timedelta(0):
        raise InputError(f"a key that is valid for {valid} lets nobody in: give --valid 90d")
    try:
        return now + valid
    except OverflowError as error:
        raise InputError(f"a key cannot be valid for {valid}: give --valid 90d") from error


def _event(ctx: Context, action: str, key: ApiKey, reason: str, actor: str) -> AuditEvent:
    return AuditEvent(at=ctx.clock.now(), actor=actor, action=action, reason=reason, new=f"key {key.id}")
