"""An offline list of what must never be taken: domains, URLs by prefix or hash, and hashes of source bytes, one a line.

`example.com` means the domain and all below it, `https://example.com/artist/` every address that starts so (over http
too), 64 hexadecimal digits a sha256 of a picture's bytes, 32 an md5. `sha256:` and 64 digits stand for one URL that is
not to be spelled out. `#` starts a comment. Domains and addresses are looked up before asking and at every redirect,
hashes of bytes before anything is decoded.
"""

import hashlib
import io
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from t2i_core.canonical import digest_of
from t2i_core.data.address import literal_address, normalise_url
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.door import open_named
from t2i_core.errors import ConfigError

MAX_LINE_CHARS = 10_000
_HASH = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}", re.IGNORECASE)
_URL_HASH = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)
_DOMAIN = re.compile(r"(\*?\.)?([^\s/:@?#*\[\]]+\.[^\s/:@?#*\[\]]+|localhost|\[[0-9a-f:.]+\])", re.IGNORECASE)
_SCHEME = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DenyList:
    """What must not be taken.

    Attributes:
        domains: in ASCII and lower case; those below them count too.
        prefixes: starts of addresses without their scheme, sorted, none of which starts with another.
        sha256: of source bytes.
        md5: of source bytes.
        urls: sha256 of addresses, in their one spelling.
    """

    domains: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    sha256: frozenset[bytes] = frozenset()
    md5: frozenset[bytes] = frozenset()
    urls: frozenset[bytes] = frozenset()

    @classmethod
    def read(cls, path: Path) -> "DenyList":
        """Read a file, or all files of a folder.

        Raises:
            ConfigError: there is no such file, it cannot be read, or a line is nothing that can be denied.
        """
        if not path.exists():
            raise ConfigError(f"no such deny-list: {path}. Give a text file or a folder of text files.")
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if not file.is_dir() and not file.name.startswith("."))
            if links := [file for file in files if file.is_symlink()]:
                # Left out, it would let pass what it denies.
                raise ConfigError(f"{links[0]} is a link; a folder of deny-lists holds the lists themselves.")
        entries = _Entries()
        for file in files:
            _read_file(file, entries)
        return cls(
            frozenset(entries.domains),
            _without_covered(entries.prefixes),
            frozenset(entries.sha256),
            frozenset(entries.md5),
            frozenset(entries.urls),
        )

    def joined(self, other: "DenyList") -> "DenyList":
        """Give the list of what one of the two denies."""
        return DenyList(
            self.domains | other.domains,
            _without_covered((*self.prefixes, *other.prefixes)),
            self.sha256 | other.sha256,
            self.md5 | other.md5,
            self.urls | other.urls,
        )

    @property
    def digest(self) -> str:
        """Identity of what is denied, whatever the files, their order and their comments."""
        groups = (self.sha256, self.md5, *([self.urls] if self.urls else []))
        hashes = [sorted(value.hex() for value in group) for group in groups]
        return digest_of([sorted(self.domains), self.prefixes, *hashes])

    def refusal(self, url: URL) -> Rejection | None:
        """Say that a normalised URL is denied, or None when it is not."""
        denied = bool(self.domains) and self._has_domain(url.raw_host or "")
        denied = denied or (bool(self.prefixes) and self._has_prefix(_SCHEME.sub("", str(url), count=1)))
        denied = denied or (bool(self.urls) and hashlib.sha256(str(url).encode()).digest() in self.urls)
        return Rejection(RejectReason.DENIED) if denied else None

    def _has_domain(self, host: str) -> bool:
        labels = host.rstrip(".").split(".")
        if literal_address(host):
            # The end of an address is no domain above it.
            return host.rstrip(".") in self.domains
        return any(".".join(labels[start:]) in self.domains for start in range(len(labels)))

    def _has_prefix(self, address: str) -> bool:
        # As none of them starts with another, only the last one that is not behind the address can be its start.
        place = bisect_right(self.prefixes, address)
        return place > 0 and address.startswith(self.prefixes[place - 1])

    def refusal_of_sha256(self, digest: str) -> Rejection | None:
        """Say that source bytes with a sha256, in hexadecimal, are denied, or None when they are not."""
        return Rejection(RejectReason.DENIED) if digest and bytes.fromhex(digest) in self.sha256 else None

    def refusal_of_bytes(self, body: bytes) -> Rejection | None:
        """Say that source bytes are denied, or None when they are not."""
        if self.sha256 and hashlib.sha256(body).digest() in self.sha256:
            return Rejection(RejectReason.DENIED)
        if self.md5 and hashlib.md5(body, usedforsecurity=False).digest() in self.md5:
            return Rejection(RejectReason.DENIED)
        return None


class _Entries:
    """The lines of all files, sorted by kind."""

    def __init__(self) -> None:
        self.domains: set[str] = set()
        self.prefixes: set[str] = set()
        self.sha256: set[bytes] = set()
        self.md5: set[bytes] = set()
        self.urls: set[bytes] = set()

    def add(self, line: str) -> bool:
        """Add one line; False when it is of no kind."""
        if _HASH.fullmatch(line):
            (self.sha256 if len(line) == 64 else self.md5).add(bytes.fromhex(line))
            return True
        if url_hash := _URL_HASH.fullmatch(line):
            self.urls.add(bytes.fromhex(url_hash[1]))
            return True
        is_prefix = _SCHEME.match(line) is not None
        domain = _DOMAIN.fullmatch(line)
        if not is_prefix and domain is None:
            return False
        url = normalise_url(line if domain is None else f"http://{domain[2]}")
        if not isinstance(url, URL):
            return False
        if is_prefix:
            self.prefixes.add(_SCHEME.sub("", str(url), count=1))
        else:
            self.domains.add((url.raw_host or "").rstrip("."))
        return True


def _read_file(path: Path, entries: _Entries) -> None:
    try:
        with io.TextIOWrapper(open_named(path), encoding="utf-8-sig") as file:
            number = 0
            while line := file.readline(MAX_LINE_CHARS):
                number += 1
                # A comment after an entry needs a space before it, since addresses may hold a "#".
                text = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
                if text and not entries.add(text):
                    raise ConfigError(
                        f"{path}, line {number}: {text[:80]!r} is not a domain, an http(s) URL, a sha256 or an md5. "
                        "Mend the line, or start it with # to leave it out."
                    )
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"cannot read deny-list {path}: {err}.") from err


def _without_covered(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Sort, leaving out whatever starts with another."""
    kept: list[str] = []
    for prefix in sorted(prefixes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return tuple(kept)


NOTHING_DENIED = DenyList()
