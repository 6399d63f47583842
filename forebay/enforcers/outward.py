"""Which addresses may be called: those of the outside world, so that nobody reaches our own network through us."""

from __future__ import annotations

import ipaddress
import socket

from forebay.domain.errors import OutsideError


def address_of(host: str, port: int, *, inside: bool) -> str:
    """The IP address to connect to for `host`. `inside`: the operator has allowed this host's private addresses.

    Raises OutsideError: retryable where the name is not found, not where any of its addresses is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OutsideError(f"host {host} is not found: {error}", retryable=True) from error
    addresses = [str(entry[4][0]) for entry in found]
    # One private address among public ones is refused too: which is taken must not be the resolver's to choose.
    if not inside and not all(map(is_public, addresses)):
        raise OutsideError(
            f"host {host} has an address that is not public ({', '.join(addresses)}): "
            "list the host in FOREBAY_CALLBACK_INSIDE if that is meant",
            retryable=False,
        )
    return addresses[0]


def is_public(address: str) -> bool:
    """Not private, link-local, loopback, multicast, reserved, or IPv6 that stands for such an IPv4 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None and not is_public(str(embedded)):
            return False
    return ip.is_global and not ip.is_multicast
