"""Hosts off the public internet that may be asked all the same, because whoever runs the ingest named them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self

from yarl import URL

from t2i_core.data import address
from t2i_core.data.networks import Address, gives_credentials, innermost
from t2i_core.data.reject import Rejection, RejectReason

THIS_MACHINE = "localhost"
CREDENTIALS = "machines of a cloud ask there for their credentials, so it is never asked"
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_-]+)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PrivateHosts:
    """An allow-list; empty, it lets nothing through but the public internet.

    Attributes:
        names: of hosts, whatever private addresses they have.
        networks: addresses, under any name.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read names, addresses and networks such as "nas.local", "192.168.1.7" or "10.0.0.0/8".

        Raises:
            ValueError: an entry is none of them.
        """
        names, networks = set[str](), []
        for entry in entries:
            network = _network(entry)
            if network is not None:
                networks.append(network)
            elif entry.lower() == THIS_MACHINE:
                networks += map(ip_network, _LOOPBACK)
            elif _NAME.fullmatch(entry) and not _looks_like_an_address(entry):
                names.add(entry.lower())
            else:
                raise ValueError(
                    f"{entry!r:.80} is no host, address or network; write such as localhost, nas.local, 192.168.1.7 "
                    "or 10.0.0.0/8, without a scheme or a port"
                )
        return cls(frozenset(names), tuple(networks))

    def refusal(self, host: str, one: Address) -> Rejection | None:
        """Say why a host may not be asked at one of its addresses; where clouds keep credentials, none ever may."""
        if gives_credentials(one):
            return Rejection(RejectReason.PRIVATE_ADDRESS, CREDENTIALS)
        if address.is_public(one) or host.lower().rstrip(".") in self.names:
            return None
        inner = innermost(one)
        if any(inner in network for network in self.networks):
            return None
        return Rejection(RejectReason.PRIVATE_ADDRESS)

    def refusal_of(self, url: URL) -> Rejection | None:
        """Say why a URL whose host is an address, not a name, may not be asked for."""
        host = url.raw_host or ""
        literal = address.literal_address(host)
        return None if literal is None else self.refusal(host, literal)


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _looks_like_an_address(entry: str) -> bool:
    # Such as 0x7f.1, which is one under another spelling, or 10.0.0.300, which is a slip.
    return entry.rpartition(".")[2].isdecimal() or address.literal_address(entry) is not None
