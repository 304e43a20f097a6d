"""What one look at the built-in site has to ask for in a night, what is new in it, and what was asked."""

from collections import Counter
from collections.abc import Iterator
from math import ceil
from pathlib import Path

from t2i_core.samples.nights import HOST, SECOND_HOST, Night, host_of
from t2i_core.samples.site import PAGE_PICTURES, AwkwardKind, SiteConfig, awkward_cases

# Where hosts say who may ask for what.
RULES = ("/robots.txt", "/.well-known/tdmrep.json", "/ai.txt")
DENIED: tuple[AwkwardKind, ...] = ("robots", "page noai")
# What is only decoration is not worth asking for.
NOT_ASKED: tuple[AwkwardKind, ...] = (*DENIED, "decorative")


def night_of(site: SiteConfig) -> Night:
    """Give what a site that changes shows."""
    return Night(site.night or 0, site.num_pictures, ceil(site.num_pictures / PAGE_PICTURES))


def due(site: SiteConfig, retries: int = 0, *, holds_earlier: bool = False) -> Counter[str]:
    """Say how often one look asks for each file of rules, page and picture, by host and path.

    Args:
        site: in its night; it has as many pictures as it was asked for.
        retries: how often is asked again for what the server fails to give.
        holds_earlier: who looks has what was shown before, and asks whether it still may.
    """
    night = night_of(site)
    asked = Counter([f"{HOST}/", *(f"{HOST}/pages/{name}.html" for name in (*night.pages, "noai"))])
    # Who is turned away by robots.txt asks for no other rules.
    asked.update(HOST + path for path in RULES)
    asked.update(SECOND_HOST + path for path in RULES[: 1 if night.is_second_host_closed else None])
    there = {*night.shown, *night.removed} if holds_earlier else {*night.shown}
    asked.update({*map(address_of, there)} - closed(site))
    for case in awkward_cases(site):
        if case.kind not in NOT_ASKED:
            asked[HOST + case.path] += 1 + retries * (case.kind == "server error")
        if case.kind == "redirect":
            asked[f"{HOST}/pictures/{case.index}.png"] += 1
    return asked


def news(site: SiteConfig) -> frozenset[str]:
    """Give the good pictures that are new or drawn anew in the site's night, by host and path."""
    night = night_of(site)
    numbers = {0: [*night.shown], 1: [*night.added, *night.changed]}.get(night.number, [])
    return frozenset(map(address_of, numbers))


def denied(site: SiteConfig) -> frozenset[str]:
    """Give the pictures that must not be asked for in the site's night, by host and path."""
    hidden = frozenset(HOST + case.path for case in awkward_cases(site) if case.kind in DENIED)
    return hidden | closed(site)


def closed(site: SiteConfig) -> frozenset[str]:
    """Give those of them that lie or lay on the second host, once it wants no robots, by host and path."""
    night = night_of(site)
    ever = range(night.added.stop) if night.is_second_host_closed else ()
    return frozenset(address_of(index) for index in ever if host_of(index) == SECOND_HOST)


def address_of(index: int) -> str:
    """Give the host and path of a good picture."""
    return f"{host_of(index)}/pictures/{index}.png"


def requests_in(log: Path) -> Counter[str]:
    """Count the requests in a site's `request_log` by host and path."""
    return Counter(address for address, _ in _lines(log))


def sent_in(log: Path, site: SiteConfig) -> frozenset[str]:
    """Give the good pictures that were sent, for a 304 sends none, by host and path."""
    shown = frozenset(map(address_of, night_of(site).shown))
    return shown & {address for address, status in _lines(log) if status == "200"}


def _lines(log: Path) -> Iterator[tuple[str, str]]:
    for line in log.read_text(encoding="utf-8").splitlines():
        host, path, status = line.split(" ")
        yield host.partition(":")[0] + path, status
