"""Which URLs and which network addresses may be asked at all.

A URL list is untrusted input: it may name `file:` URLs, the machine itself, or a cloud's metadata service, under a
spelling that hides it. `resolver` looks names up and refuses them unless public, and `transport` connects to exactly
the addresses that were checked.
"""

import hashlib
import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from yarl import URL

from t2i_core.data.networks import is_on_internet
from t2i_core.data.reject import Rejection, RejectReason


def host_of(text: str) -> str:
    """Give the host of a URL as rows have it, "" when it has none."""
    return _host_of_origin("/".join(text.split("/", 3)[:3]))


@lru_cache(maxsize=4096)
def _host_of_origin(origin: str) -> str:
    url = normalise_url(origin)
    return (url.raw_host or "") if isinstance(url, URL) else ""


MAX_URL_CHARS = 8192
# Control characters, and halves of characters, which have no bytes.
_NOT_IN_A_URL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# Escaped once or many times, as it happens to what is copied from page to page.
_ESCAPED_AMPERSAND = re.compile(r"&(?:amp;)+")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+(%25.*)?", re.IGNORECASE)
_NUMERIC_HOST = re.compile(r"[0-9a-fx.]+", re.IGNORECASE)


def parse_url(text: str) -> URL:
    """Read a URL, or a reference, as it stands.

    Raises:
        ValueError: it is none.
    """
    try:
        return URL(text)
    except IndexError as err:
        # The parser stumbles over an empty host after brackets ("http://[::1]@").
        raise ValueError(f"not a URL: {text}") from err


@lru_cache(maxsize=4096)
def normalise_url(text: str) -> URL | Rejection:
    """Give a URL its one spelling: host in ASCII and lower case, path percent-encoded, no fragment.

    Returns:
        The URL, or a rejection `bad_url` or `bad_scheme`.
    """
    text = _ESCAPED_AMPERSAND.sub("&", text.strip())
    if not text or len(text) > MAX_URL_CHARS or _NOT_IN_A_URL.search(text):
        return Rejection(RejectReason.BAD_URL)
    try:
        url = parse_url(text).with_fragment(None)
        host = url.raw_host
    except ValueError:
        return Rejection(RejectReason.BAD_URL)
    if url.scheme not in ("http", "https"):
        return Rejection(RejectReason.BAD_SCHEME if url.scheme else RejectReason.BAD_URL)
    if not host or not _HOST.fullmatch(host) or url.user is not None or url.password is not None or not url.port:
        return Rejection(RejectReason.BAD_URL)
    if url.explicit_port is not None and url.is_default_port():
        url = url.with_port(None)
    # An empty path and "/" are the same place.
    return url if url.raw_path != "/" else url.with_path("/", keep_query=True)


def url_identity(text: str) -> str:
    """Give the spelling of a URL or local path that its `uid` is made from."""
    url = normalise_url(text)
    return str(url) if isinstance(url, URL) else text


def text_digest(text: str) -> int:
    """Give 64 bits that stand for a URL where very many are remembered."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


@lru_cache(maxsize=1024)
def origin_of(url: URL) -> str:
    """Give scheme, host and port: the unit of robots.txt and of politeness."""
    return str(url.origin())


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is on the public internet, looking inside IPv6 forms that carry an IPv4 address."""
    return is_on_internet(address)


@lru_cache(maxsize=1024)
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
