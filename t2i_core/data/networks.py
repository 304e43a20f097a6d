"""Which addresses lie on the public internet, and which give a cloud's machine its credentials.

After the registries of special-purpose addresses of the IANA (RFC 6890 and its updates). Python knows them too, but by
its release, and counts site-local addresses, relays and service addresses among the public ones.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

_NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            # Azure's service for its machines, at an address that looks public.
            "168.63.129.16/32",
        ),
    )
)
# All that was ever given out for the internet; the special ranges below lie within it.
_GLOBAL_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")))
_NAT64 = IPv6Network("64:ff9b::/96")
# The last 64 bits of an address that reaches an IPv4 address through a tunnel within a site (ISATAP).
_TUNNEL_MARKS = (0x00005EFE, 0x02005EFE)
# Clouds answer here without asking who it is: link-local addresses, and the others that they chose.
_METADATA = tuple(
    map(IPv4Network, ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"))
) + tuple(map(IPv6Network, ("fe80::/10", "fd00:ec2::/32", "fd20:ce::/32", "fd00:42::42/128", "fd00:c1::/32")))


def innermost(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 address stands for or leads to, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    number = int(address)
    if address in _NAT64 or (number >> 32) & 0xFFFFFFFF in _TUNNEL_MARKS:
        inner = IPv4Address(number & 0xFFFFFFFF)
    return inner or address


# Each request asks about its address more than once, and few hosts give most of the pictures.
@lru_cache(maxsize=1024)
def is_on_internet(address: Address) -> bool:
    """Tell whether an address is on the public internet, looking inside IPv6 forms that carry an IPv4 address."""
    inner = innermost(address)
    if isinstance(inner, IPv4Address):
        return not any(inner in network for network in _NOT_PUBLIC_V4) and not _has_zone(address)
    is_global = inner in _GLOBAL_V6 and not any(inner in network for network in _NOT_PUBLIC_V6)
    return is_global and not _has_zone(address)


@lru_cache(maxsize=1024)
def gives_credentials(address: Address) -> bool:
    """Tell whether machines of a cloud ask here for their credentials; what names a zone counts too."""
    inner = innermost(address)
    return _has_zone(address) or any(inner in network for network in _METADATA)


def _has_zone(address: Address) -> bool:
    return isinstance(address, IPv6Address) and address.scope_id is not None
