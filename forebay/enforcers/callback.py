"""Pushes a policy in force to an HTTP address of the operator's, signed like the tickets Forebay receives."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from forebay.domain.errors import InputError, OutsideError
from forebay.domain.outbox import worth_repeating
from forebay.domain.policy import PolicyVersion
from forebay.domain.signature import signed_headers
from forebay.enforcers.outward import address_of
from forebay.enforcers.record import delivery_id, to_json
from forebay.ports import Clock

if TYPE_CHECKING:
    import urllib3

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2, 10


class HttpCallback:
    """An Enforcer. Delivery is at least once: receivers drop what they know by `id`.

    Only https to public addresses, unless the host is in `inside`: then plain http and private addresses will do.
    Redirects are not followed. The name is resolved once a push, and what was checked is what is connected to.
    """

    name = "callback"

    def __init__(self, url: str, secret: str, clock: Clock, inside: Collection[str] = ()) -> None:
        """Raises InputError for an address that is none, or that may not be called."""
        self._url = _checked(url, inside)
        self._secret = secret
        self._clock = clock
        self._inside = frozenset(inside)
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}

    def prepare(self, version: PolicyVersion) -> None:
        """Looks the host up and loads what a call needs."""
        self._pool(address_of(self._host, self._port, inside=self._host in self._inside))

    def push(self, version: PolicyVersion) -> None:
        """One POST; any 2xx is taken for received. The body is the version as JSON plus `id`."""
        import urllib3

        pool = self._pool(address_of(self._host, self._port, inside=self._host in self._inside))
        body = json.dumps({"id": delivery_id(version), **json.loads(to_json(version))}, sort_keys=True).encode()
        headers = {
            "Host": self._url.netloc,
            "Content-Type": "application/json",
            "User-Agent": "forebay",
            **signed_headers(self._secret, body, self._clock.now()),
        }
        path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        try:
            # The answer's body is never read: its length is not ours to trust.
            answer = pool.urlopen(
                "POST", path, body=body, headers=headers, redirect=False, retries=False, preload_content=False
            )
            answer.close()
        except urllib3.exceptions.HTTPError as error:
            raise OutsideError(f"callback to {self._host} was not answered: {error}", retryable=True) from error
        _judge(self._host, answer.status)

    @property
    def _host(self) -> str:
        assert self._url.hostname is not None, "it was checked"
        return self._url.hostname

    @property
    def _port(self) -> int:
        return self._url.port or (443 if self._url.scheme == "https" else 80)

    def _pool(self, address: str) -> urllib3.HTTPConnectionPool:
        import urllib3

        if address not in self._pools:
            timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
            if self._url.scheme == "https":
                # The connection goes to the address that was checked, the certificate is that of the name.
                self._pools[address] = urllib3.HTTPSConnectionPool(
                    address, self._port, timeout=timeout, server_hostname=self._host, assert_hostname=self._host
                )
            else:
                self._pools[address] = urllib3.HTTPConnectionPool(address, self._port, timeout=timeout)
        return self._pools[address]


def _checked(url: str, inside: Collection[str]) -> SplitResult:
    # The address is not quoted: many a receiver's path or query is its key.
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InputError("the callback's host or port is no address: write https://host:8443/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("the callback is no address: write https://host/path")
    if parts.username or parts.password or parts.fragment:
        raise InputError("callback: leave name, password and fragment out of the address; deliveries are signed")
    if parts.scheme == "http" and parts.hostname not in inside:
        raise InputError(
            f"the callback to {parts.hostname!r} is not encrypted: use https, "
            "or list the host in FOREBAY_CALLBACK_INSIDE"
        )
    return parts


def _judge(host: str, status: int) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise OutsideError(
            f"callback to {host} answered {status}: redirects are not followed, give the address it leads to",
            retryable=False,
        )
    later = worth_repeating(status)
    mend = "it is tried again" if later else "see what the receiver wants, then retry"
    raise OutsideError(f"callback to {host} answered {status}: {mend}", retryable=later)
