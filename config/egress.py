"""Which addresses may be dialled: HTTPS, or HTTP to localhost; a private network only if an operator says so."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# ``is_global`` has holes: Python before 3.11.10 calls 192.0.0.192 (a metadata service), 192.88.99.1, 64:ff9b:1::1 and
# 2002:7f00:1:: global, every version 168.63.129.16. Measured table, see docs/decisions/0001-egress-at-the-socket.md.
_DENIED = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",
            "192.88.99.0/24",
            "168.63.129.16/32",
            "100.64.0.0/10",
            "2001::/23",
            "2002::/16",
            "3fff::/20",
            "2001:db8::/32",
        ),
    )
)
_IPV6_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAMES = frozenset({"localhost", "localhost."})


def _reached(address: str) -> IPAddress:
    """The address that is reached in the end, through an IPv4-mapped or NAT64 spelling too."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip


def _is_public(ip: IPAddress) -> bool:
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    if any(ip.version == net.version and ip in net for net in _DENIED):
        return False
    return ip.version == 4 or ip in _IPV6_UNICAST


def _literal(host: str) -> IPAddress | None:
    try:
        return _reached(host)
    except ValueError:
        return None


def is_local_host(host: str) -> bool:
    """Whether a host of a URL names this machine: ``localhost`` or a loopback literal."""
    ip = _literal(host)
    return ip.is_loopback if ip else host.lower() in _LOCAL_NAMES


def is_local_url(url: str) -> bool:
    """Whether a URL points at this machine, where a provider may do without a key."""
    return is_local_host(urlsplit(url).hostname or "")


@dataclass(frozen=True)
class EgressPolicy:
    """What an operator allows beyond the public internet and localhost.

    Args:
        allow_nets: further networks that may be dialled, plain HTTP included.
        allow_hosts: exact host names that may resolve to any address, plain HTTP included.
    """

    allow_nets: tuple[IPNetwork, ...] = ()
    allow_hosts: frozenset[str] = frozenset()

    def allows_address(self, address: str, host: str) -> bool:
        """Whether the very address about to be dialled for ``host`` is allowed.

        Loopback is reached only by a URL that says so: a public name that resolves to it is refused.
        """
        ip = _reached(address)
        if host.lower() in self.allow_hosts or self._in_allowed_net(ip):
            return True
        if ip.is_loopback:
            return is_local_host(host)
        return _is_public(ip)

    def base_url_problem(self, url: str) -> str | None:
        """Why a base URL cannot be accepted, or None."""
        try:
            parts = urlsplit(url)
            host = parts.hostname
            _ = parts.port
        except ValueError:
            return "it is not a URL"
        if parts.scheme not in ("http", "https") or not host:
            return "it must start with https:// (or http:// for this machine) and name a host"
        if parts.username or parts.password or parts.query or parts.fragment or any(c.isspace() for c in url):
            return "it must not carry credentials, a query, a fragment or spaces"
        return self._host_problem(parts, host)

    def _host_problem(self, parts: SplitResult, host: str) -> str | None:
        ip = _literal(host)
        trusted = host.lower() in self.allow_hosts or (ip is not None and self._in_allowed_net(ip))
        if ip is None and not any(c.isalpha() for c in host.rstrip(".").rsplit(".", 1)[-1]):
            return "its host is a number in an odd spelling; write the address as four numbers or use a name"
        if trusted or is_local_host(host):
            return None
        if ip is not None and not _is_public(ip):
            return (
                f"{host} is a private or reserved address; an operator can allow it with TICKETFLOW_EGRESS_ALLOW_NETS"
            )
        if parts.scheme != "https":
            return (
                "plain http:// would send the key and the tickets readable; use https:// (http:// only for localhost)"
            )
        return None

    def _in_allowed_net(self, ip: IPAddress) -> bool:
        return any(ip.version == net.version and ip in net for net in self.allow_nets)
