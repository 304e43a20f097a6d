"""Which URLs and which network addresses may be asked at all.

A URL list is untrusted input: it may name `file:` URLs, the machine itself, or a cloud's metadata service, under a
spelling that hides it. Names are resolved here, refused unless public, and the connection goes to exactly the address
that was checked, so a name that changes its mind in between gains nothing.
"""

import re
import socket
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from time import monotonic

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from t2i_core.data.reject import Rejection, RejectReason

MAX_URL_CHARS = 8192
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+(%25.*)?", re.IGNORECASE)
_NUMERIC_HOST = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)
MAX_UNKNOWN_NAMES = 10_000
UNKNOWN_NAME_SECONDS = 300.0
# A resolver that does not answer may do so soon; a name that does not exist will not.
SILENT_RESOLVER_SECONDS = 30.0
_NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddressError(Exception):
    """A host name resolves to an address that is not on the public internet."""


def normalise_url(text: str) -> URL | Rejection:
    """Give a URL its one spelling: host in ASCII and lower case, path percent-encoded, no fragment.

    Returns:
        The URL, or a rejection `bad_url` or `bad_scheme`.
    """
    text = text.strip().replace("&amp;", "&")
    if not text or len(text) > MAX_URL_CHARS or _CONTROL.search(text):
        return Rejection(RejectReason.BAD_URL)
    try:
        url = URL(text).with_fragment(None)
        host = url.raw_host
    # yarl looks for the first letter of a host such as "[@", which has none.
    except (ValueError, IndexError):
        return Rejection(RejectReason.BAD_URL)
    if url.scheme not in ("http", "https"):
        return Rejection(RejectReason.BAD_SCHEME if url.scheme else RejectReason.BAD_URL)
    if not host or not _HOST.fullmatch(host) or url.user is not None or url.password is not None or not url.port:
        return Rejection(RejectReason.BAD_URL)
    # An empty path and "/" are the same place.
    return url if url.raw_path != "/" else url.with_path("/", keep_query=True)


def url_identity(text: str) -> str:
    """Give the spelling of a URL or local path that its `uid` is made from."""
    url = normalise_url(text)
    return str(url) if isinstance(url, URL) else text


def origin_of(url: URL) -> str:
    """Give scheme, host and port: the unit of robots.txt and of politeness."""
    return str(url.origin())


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is on the public internet, looking inside IPv6 forms that carry an IPv4 address."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address.scope_id is not None:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """Read a host that is an address rather than a name, in any spelling a resolver would accept (`0x7f.1`)."""
    try:
        return ip_address(host.replace("%25", "%"))
    except ValueError:
        pass
    if not _NUMERIC_HOST.fullmatch(host):
        return None
    try:
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


def is_private_literal(url: URL) -> bool:
    """Tell whether the URL's host is an address, not a name, and not a public one."""
    address = literal_address(url.raw_host or "")
    return address is not None and not is_public(address)


class GuardedResolver(AbstractResolver):
    """Resolves names as the system does, and refuses a name with any address that is not public."""

    def __init__(self) -> None:
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve one name.

        Raises:
            PrivateAddressError: one of its addresses is not public.
            OSError: the name does not resolve.
        """
        found = await self._system.resolve(host, port, family)
        for entry in found:
            if not is_public(ip_address(entry["host"])):
                raise PrivateAddressError(host)
        return found

    async def close(self) -> None:
        """Release the system's resolver."""
        await self._system.close()


class RememberingResolver(AbstractResolver):
    """Remembers for some minutes which names do not resolve, so that no name is asked for at each of its URLs.

    Args:
        resolver: looks names up.
        clock: seconds that only grow.
    """

    def __init__(self, resolver: AbstractResolver, clock: Callable[[], float] = monotonic) -> None:
        self._resolver = resolver
        self._clock = clock
        self._unknown: OrderedDict[str, tuple[float, OSError]] = OrderedDict()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve one name.

        Raises:
            PrivateAddressError: one of its addresses is not public.
            OSError: the name does not resolve, or did not some minutes ago.
        """
        until, failure = self._unknown.get(host, (0.0, None))
        if failure is not None and self._clock() < until:
            raise OSError(*failure.args)
        try:
            return await self._resolver.resolve(host, port, family)
        except OSError as err:
            self._remember(host, err)
            raise

    def _remember(self, host: str, failure: OSError) -> None:
        silent = isinstance(failure, socket.gaierror) and failure.errno == socket.EAI_AGAIN
        until = self._clock() + (SILENT_RESOLVER_SECONDS if silent else UNKNOWN_NAME_SECONDS)
        self._unknown[host] = (until, OSError(*failure.args))
        self._unknown.move_to_end(host)
        while len(self._unknown) > MAX_UNKNOWN_NAMES:
            self._unknown.popitem(last=False)

    async def close(self) -> None:
        """Release the resolver."""
        await self._resolver.close()
