"""Whom the server answers: pages of its own, opened under a name of this machine."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from email.message import Message
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine, and cannot be reached from another.

    Args:
        host: without a port or brackets.

    Returns:
        True for ``localhost`` and loopback addresses.
    """
    if host.lower() == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def names_of(bound: str) -> frozenset[str]:
    """The names, beside addresses, under which a server may be asked for.

    Args:
        bound: the name or address it was told to listen at.

    Returns:
        Names in lower case.
    """
    if is_loopback(bound):
        return frozenset({"localhost"})
    own = {socket.gethostname(), bound}
    return frozenset({"localhost", *(name.lower() for name in own if _address(name) is None and name)})


def is_ours(authority: str, bound: str, names: frozenset[str]) -> bool:
    """Whether a host, as a browser names it, is this server.

    A page elsewhere can have its own name point here (DNS rebinding); its browser then still tells that name. A port
    is not compared, since it is another one behind a tunnel.

    Args:
        authority: host and perhaps port.
        bound: the name or address the server listens at.
        names: what `names_of` gave.

    Returns:
        True where it is: a loopback name where the server listens there alone, else any address or own name.
    """
    try:
        parts = urlsplit(f"//{authority}")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.path or parts.query or parts.fragment or "@" in authority or not authority.isprintable():
        return False
    if host in names:
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or not is_loopback(bound))


def refusal(headers: Message, bound: str, names: frozenset[str]) -> str | None:
    """Say why a request is not answered.

    Args:
        headers: of the request.
        bound: the name or address the server listens at.
        names: what `names_of` gave.

    Returns:
        A sentence, or None where it is answered.
    """
    hosts = headers.get_all("Host") or []
    if len(hosts) != 1 or not is_ours(hosts[0], bound, names):
        return "This server answers under its own address only, the one that landform serve tells."
    origin = headers.get("Origin")
    if origin is not None:
        scheme, _, authority = origin.partition("://")
        if scheme != "http" or not is_ours(authority, bound, names):
            return "This server answers its own pages only."
    if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Sec-Fetch-Mode") != "navigate":
        return "This server answers its own pages only."
    return None


def with_safety(policy: str) -> Mapping[str, str]:
    """The headers of every answer.

    Args:
        policy: what its page may load.

    Returns:
        Headers by name.
    """
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
