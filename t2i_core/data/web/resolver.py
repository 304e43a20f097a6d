"""Host names to addresses: asked once in some minutes, many at a time, and refused unless public."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from ipaddress import ip_address
from time import monotonic

from t2i_core.data import address
from t2i_core.data.bounded.expiring import ExpiringCache
from t2i_core.data.reject import Rejection
from t2i_core.data.web.private_hosts import PrivateHosts

MAX_NAMES = 100_000
MAX_CHECKED = 4096
KNOWN_NAME_SECONDS = 300.0
UNKNOWN_NAME_SECONDS = 300.0
# A resolver that does not answer may do so soon; a name that does not exist will not.
SILENT_RESOLVER_SECONDS = 30.0
LOOKUPS_AT_ONCE = 64
NO_PRIVATE_HOSTS = PrivateHosts()

# From a name to its addresses, in the order in which to try them; raises OSError.
LookUp = Callable[[str], list[str]]


class PrivateAddressError(Exception):
    """A host has an address that is not on the public internet, and nobody named it as one that may be asked.

    Attributes:
        rejection: says so.
    """

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


class Resolver:
    """Knows the addresses of hosts, and for some minutes also which names have none.

    Args:
        private: which hosts may have addresses that are not on the public internet.
        look_up: asks the system.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        private: PrivateHosts = NO_PRIVATE_HOSTS,
        *,
        look_up: LookUp | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        # Few hosts give most of the pictures.
        self._refusal = lru_cache(MAX_CHECKED)(lambda host, one: private.refusal(host, ip_address(one)))
        self._look_up = look_up or system_addresses
        self._known = ExpiringCache[list[str] | OSError](MAX_NAMES, clock)
        self._asking: dict[str, asyncio.Future[list[str]]] = {}
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="dns")

    def close(self) -> None:
        """Ask nothing more; what is being asked is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def addresses(self, host: str) -> list[str]:
        """Give the addresses of a name, or of an address in any spelling, in the order in which to try them.

        Raises:
            PrivateAddressError: one of them may not be asked.
            OSError: the name does not resolve, or did not some minutes ago.
        """
        found = self.known(host)
        return self._checked(host, await self._ask(host)) if found is None else found

    def known(self, host: str) -> list[str] | None:
        """Give the same without asking, None when it is not known.

        Raises:
            PrivateAddressError, OSError: as `addresses`.
        """
        literal = _literal(host)
        found = self._known.get(host) if literal is None else [literal]
        if isinstance(found, OSError):
            raise OSError(*found.args)
        return None if found is None else self._checked(host, found)

    def _checked(self, host: str, found: list[str]) -> list[str]:
        for one in found:
            if refusal := self._refusal(host, one):
                raise PrivateAddressError(refusal)
        return found

    async def _ask(self, host: str) -> list[str]:
        """Ask the system, once for all who wait for the same name."""
        asking = self._asking.get(host)
        if asking is None:
            asking = asyncio.get_running_loop().run_in_executor(self._threads, self._look_up, host)
            self._asking[host] = asking
            asking.add_done_callback(lambda done: self._note(host, done))
        return await asyncio.shield(asking)

    def _note(self, host: str, asked: asyncio.Future[list[str]]) -> None:
        del self._asking[host]
        failure = asked.exception() if not asked.cancelled() else None
        if asked.cancelled() or not (failure is None or isinstance(failure, OSError)):
            return
        silent = isinstance(failure, socket.gaierror) and failure.errno == socket.EAI_AGAIN
        unknown_seconds = SILENT_RESOLVER_SECONDS if silent else UNKNOWN_NAME_SECONDS
        seconds = KNOWN_NAME_SECONDS if failure is None else unknown_seconds
        self._known.put(host, failure or asked.result(), seconds)

    def prefer(self, host: str, good: str) -> None:
        """Try this address of a name first from now on."""
        found = self._known.get(host)
        if isinstance(found, list) and good in found:
            self._known.change(host, [good, *(one for one in found if one != good)])


@lru_cache(MAX_CHECKED)
def _literal(host: str) -> str | None:
    """Give the one spelling of a host that is an address, None for a name."""
    literal = address.literal_address(host)
    return None if literal is None else str(literal)


def system_addresses(host: str) -> list[str]:
    """Ask the system for the addresses of a name.

    Raises:
        OSError: it does not resolve.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as err:
        raise OSError(socket.EAI_NONAME, f"not a host name: {host}") from err
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
