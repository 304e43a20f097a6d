"""What a person wants removed from a dataset: URLs, domains and hashes, given one by one or as a file."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from yarl import URL

from t2i_core.data.address import literal_address, normalise_url
from t2i_core.data.dataset.tombstone import url_sha256
from t2i_core.errors import ConfigError

MAX_LIST_BYTES = 1_000_000_000
_NOT_IN_A_HOST = re.compile(r"[/?#@:\\\s]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """What to remove; a sample goes when one of these names it.

    Attributes:
        urls: sha256 of URLs, of the picture or of where it was redirected to, in their one spelling.
        domains: hosts of such URLs, those below them included.
        pictures: sha256 of the source bytes.
    """

    urls: frozenset[str]
    domains: frozenset[str]
    pictures: frozenset[str]

    @classmethod
    def parse(
        cls,
        urls: Iterable[str] = (),
        domains: Iterable[str] = (),
        sha256s: Iterable[str] = (),
        file: Path | None = None,
    ) -> Self:
        """Read what a person wants removed.

        Args:
            urls: URLs, or paths as the dataset has them.
            domains: host names.
            sha256s: of pictures, in hexadecimal.
            file: one of these a line: 64 hexadecimal digits are a sha256, what holds a slash is a URL or path, the
                rest are domains. Empty lines and those that start with # are left out.

        Raises:
            ConfigError: nothing is named, or one of the names cannot be what it is given as.
        """
        named: dict[str, list[str]] = {"url": [*urls], "domain": [*domains], "sha256": [*sha256s]}
        for line in _lines(file) if file else ():
            named[_kind_of(line)].append(line)
        if not any(named.values()):
            raise ConfigError("nothing is named to purge: give --url, --domain, --sha256 or --from FILE.")
        return cls(
            urls=frozenset(url_sha256(_named(url, "URL")) for url in named["url"]),
            domains=frozenset(map(_domain, named["domain"])),
            pictures=frozenset(map(_sha256, named["sha256"])),
        )

    def deny_list_lines(self) -> list[str]:
        """Give the lines of a deny-list that keeps the same things out of an ingest."""
        return [*sorted(self.domains), *sorted(self.pictures), *(f"sha256:{url}" for url in sorted(self.urls))]

    def names(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row of the dataset is to be removed."""
        if row["sha256"] in self.pictures:
            return True
        urls = [url for url in (row["url"], row["final_url"]) if url]
        return any(url_sha256(url) in self.urls for url in urls) or (
            bool(self.domains) and any(self._has_host_of(url) for url in urls)
        )

    def _has_host_of(self, text: str) -> bool:
        host = _host_of(text)
        if literal_address(host):
            return host in self.domains
        labels = host.split(".")
        return any(".".join(labels[start:]) in self.domains for start in range(len(labels)))


def _host_of(text: str) -> str:
    url = normalise_url(text)
    return (url.raw_host or "").rstrip(".").lower() if isinstance(url, URL) else ""


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_LIST_BYTES:,} bytes; split it.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"cannot read what to purge from {path}: {err}") from err
    lines = (line.strip() for line in text.splitlines())
    return (line for line in lines if line and not line.startswith("#"))


def _kind_of(line: str) -> str:
    if _SHA256.fullmatch(line.lower()):
        return "sha256"
    return "url" if "/" in line else "domain"


def _named(text: str, what: str) -> str:
    if not text.strip():
        raise ConfigError(f"an empty {what} is named to purge.")
    return text.strip()


def _domain(text: str) -> str:
    name = _named(text, "domain")
    host = "" if _NOT_IN_A_HOST.search(name) else _host_of(f"http://{name}/")
    if not host:
        raise ConfigError(f"{text!r:.100} is not a domain; give a bare host name such as example.org.")
    return host


def _sha256(text: str) -> str:
    digest = text.strip().lower()
    if not _SHA256.fullmatch(digest):
        raise ConfigError(f"{text!r:.100} is not a sha256: it must be 64 hexadecimal digits.")
    return digest
