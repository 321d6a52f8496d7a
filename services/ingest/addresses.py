"""Which addresses a source may be fetched from. Pure rules; ``network`` applies them to every connection.

A requester must not be able to make this machine read what only this machine can reach: its own services, its
neighbours, a cloud's metadata. So an address is refused unless it is one that anybody on the internet can reach.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from contracts.errors import Permanent

Address = IPv4Address | IPv6Address

_TRANSLATED = IPv6Network("64:ff9b::/96")
"""NAT64: an IPv4 address in the last 32 bits."""

_COMPATIBLE = IPv6Network("::/96")
"""The retired way to write an IPv4 address in an IPv6 one."""


class ForbiddenAddress(Permanent):
    """The source lies where this installation does not fetch from."""

    code = "ingest.forbidden_address"


class BadUrl(Permanent):
    """Not a web address, or one that carries a secret."""

    code = "ingest.bad_url"


def is_public(host: str) -> bool:
    """Whether a numeric address is reachable by anybody; False for what is no numeric address."""
    try:
        address: Address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return _is_public(inner)
        # Tunnels can end anywhere; nobody publishes a video behind one.
        if address.sixtofour is not None or address.teredo is not None:
            return False
    return _is_public(address)


def _inner(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _TRANSLATED or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _is_public(address: Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def check_url(url: str, *, allow_private: bool) -> str:
    """The URL itself, if it may be asked for at all. Names are looked up later, when the connection is made.

    Raises:
        BadUrl: no http or https address, no host, or a user name or password in it.
        ForbiddenAddress: its host is a private address, written out.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadUrl(f"{url[:200]!r} is no web address ({error}). Submit an http:// or https:// address.") from error
    del port
    if parts.scheme.lower() not in {"http", "https"} or not host:
        raise BadUrl(f"{url[:200]!r} is no web address. Submit an http:// or https:// address, or upload the file.")
    if parts.username is not None or parts.password is not None:
        # The URL travels in events and shows on pages.
        raise BadUrl("The address carries a user name or password, which would become public. Submit one without.")
    if not allow_private and (_is_local_name(host) or (_is_numeric(host) and not is_public(host))):
        raise forbidden(host)
    return url


def forbidden(host: str) -> ForbiddenAddress:
    """The refusal of a host."""
    return ForbiddenAddress(
        f"{host!r} is a private or local address, from which nothing is fetched. Submit a public address, upload the file, "
        "or set HEATERS_INGEST_ALLOW_PRIVATE_ADDRESSES=true on an installation whose users may read its own network."
    )


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_local_name(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")
