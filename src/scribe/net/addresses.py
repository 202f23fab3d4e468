"""Decide which URLs and IP addresses a job may use, by tables of our own. Opens no connection.

Python's `ipaddress.is_global` is not used: its answer for 6to4, 192.0.0.0/24 and others changed between releases
(python/cpython#113171), and it does not know the clouds' metadata services.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import unquote

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from scribe.errors import UrlBlocked
from scribe.net.share_links import no_address

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = {"http": 80, "https": 443}

# IANA special-purpose registries, plus the clouds' metadata services (168.63.129.16 is Azure's, 100.100.100.200
# Alibaba's, 192.0.0.192 Oracle's; the last two lie inside a range). The first match gives the reason.
_BLOCKED_V4 = [
    (ipaddress.IPv4Network(network), reason)
    for network, reason in {
        "0.0.0.0/8": "an address of this machine",
        "127.0.0.0/8": "an address of this machine",
        "10.0.0.0/8": "a private address",
        "172.16.0.0/12": "a private address",
        "192.168.0.0/16": "a private address",
        "100.64.0.0/10": "a carrier's internal address",
        "169.254.0.0/16": "a link-local or metadata address",
        "168.63.129.16/32": "a metadata address",
        "192.0.0.0/24": "a reserved or metadata address",
        "192.0.2.0/24": "a documentation address",
        "198.51.100.0/24": "a documentation address",
        "203.0.113.0/24": "a documentation address",
        "192.31.196.0/24": "a reserved address",
        "192.52.193.0/24": "a reserved address",
        "192.88.99.0/24": "a tunnel's address",
        "192.175.48.0/24": "a reserved address",
        "198.18.0.0/15": "a benchmark address",
        "224.0.0.0/4": "a multicast address",
        "240.0.0.0/4": "a reserved or broadcast address",
    }.items()
]
# Only 2000::/3 is publicly routed, without these. Tunnel addresses contain an IPv4 address and are all refused, because
# the gateway that unpacks them is unknown and may reach private addresses.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_BLOCKED_V6 = [
    (ipaddress.IPv6Network(network), reason)
    for network, reason in {
        "2001::/23": "a tunnel's or reserved address",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32": "a documentation address",
        "2002::/16": "a tunnel's address",  # 6to4
        "2620:4f:8000::/48": "a reserved address",
        "3fff::/20": "a documentation address",
        "::1/128": "an address of this machine",
        "fc00::/7": "a private address",
        "fe80::/10": "a link-local or metadata address",
        "ff00::/8": "a multicast address",
    }.items()
]
_ISATAP = (0x00005EFE, 0x02005EFE)


def blocked_reason(ip: str | IPAddress) -> str | None:
    """Return why a job may not connect to this IP address ("a private address"), or None if it may.

    Text that is not an IP address is refused too.
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return "not an IP address"
    if isinstance(address, ipaddress.IPv4Address):
        return next((reason for network, reason in _BLOCKED_V4 if address in network), None)
    for network, reason in _BLOCKED_V6:
        if address in network:
            return reason
    if address not in _PUBLIC_V6:
        return "a reserved address or an IPv4 address in disguise"
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return "a tunnel's address"
    return None


@dataclass(frozen=True, slots=True)
class Target:
    """One hop of a request: the host and port to connect to, and the path to request."""

    scheme: str
    host: str  # lower case, IDNA, IPv6 without brackets
    port: int
    path: str  # with the query; percent-encoded
    userinfo: str | None
    exempt: bool  # named by the operator: no check of port and address

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)


def check_url(url: str, allow_hosts: frozenset[str] = frozenset()) -> Target:
    """Parse a URL and check its form: http or https, port 80 or 443, no control characters. Raises UrlBlocked.

    Spaces and line breaks around the URL, which copying adds, are removed, as browsers do.

    `allow_hosts` holds "host" or "host:port" entries, exempt from the check of port and address. A literal IP address is
    checked here; the addresses that a name resolves to are checked before the socket is opened.
    """
    url = url.strip(" \t\r\n")
    if (why := no_address(url)) is not None:
        raise UrlBlocked(why)
    if any(char < " " or char in "\x7f\\" for char in url):
        raise UrlBlocked("the address holds control characters or backslashes")
    try:
        parts = parse_url(url)
    except (LocationParseError, ValueError) as error:
        raise UrlBlocked("the address cannot be read as a URL") from error
    if parts.scheme not in PORTS:
        raise UrlBlocked("only http and https addresses can be used", {"scheme": (parts.scheme or "")[:20]})
    host = (parts.host or "").rstrip(".").strip("[]")
    if not host or any(char in "% \t[]" for char in host):
        raise UrlBlocked("the address names no valid host")
    port = PORTS[parts.scheme] if parts.port is None else parts.port
    shown = f"[{host}]" if ":" in host else host
    exempt = not {host, shown, f"{shown}:{port}"}.isdisjoint(entry.lower() for entry in allow_hosts)
    if not exempt:
        if port not in PORTS.values():
            raise UrlBlocked(f"port {port} cannot be used, only 80 and 443", {"host": host, "port": port})
        refuse_blocked(host, host)
    userinfo = unquote(parts.auth) if parts.auth else None
    return Target(parts.scheme, host, port, parts.request_uri, userinfo, exempt)


def refuse_blocked(host: str, ip: str) -> None:
    """Raise UrlBlocked when `ip` is an address that no job may reach; a name passes. The message hides the address."""
    try:
        ipaddress.ip_address(ip)
    except ValueError:
        return
    reason = blocked_reason(ip)
    if reason:
        raise UrlBlocked(f"{host} is {reason}", {"host": host})
