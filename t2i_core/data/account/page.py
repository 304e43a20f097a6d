"""What a dataset holds, on one page for people: pictures first, then figures, then where everything came from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from t2i_core.data.account.figures import ASPECT_BINS, ASPECT_STEPS, Histogram, Pick
from t2i_core.data.account.shortfall import shortfalls, unlisted_counts
from t2i_core.data.account.survey import Overview
from t2i_core.data.account.thumbnail import thumbnails
from t2i_core.data.mark import MARKED_PREFIX, DuplicateKind
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.layout import shard_name
from t2i_core.report.charts import bar_chart
from t2i_core.report.page import render_page

NUM_HOSTS, NUM_LICENSES, NUM_REASONS = 50, 20, 3
MAX_CAPTION_CHARS = 240
# Of all pictures on the page together, as base64.
MAX_PICTURE_CHARS = 700_000
# From this share of the kept pictures on, duplicates are told in words.
MANY_COPIES = 0.2
_KIND_MEANINGS = {
    DuplicateKind.PLACEHOLDER: "the same bytes under many addresses of one host, as when it has no picture to give",
    DuplicateKind.EXACT: "the same bytes as an earlier picture; the caption step leaves them out unless asked not to",
    DuplicateKind.NEAR: "looks like an earlier picture to a perceptual hash, as simple drawings can without "
    "being the same; they stay unless the caption step is given --drop-near-duplicates",
}
_ASPECT_TICKS = {"1:8": -3, "1:4": -2, "1:2": -1, "1:1": 0, "2:1": 1, "4:1": 2, "8:1": 3}


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page: its data URI, and what is said about it."""

    uri: str
    key: str
    caption: str
    url: str


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """A reason for which sources were left out."""

    name: str
    meaning: str
    number: int
    refusal: bool


def render_report(overview: Overview) -> bytes:
    """Write the page; text from elsewhere is escaped, and nothing on it is fetched or run."""
    figures = overview.figures
    html = render_page(
        "t2i_core.data.account",
        "report.html.j2",
        overview=overview,
        manifest=overview.manifest,
        counts=overview.manifest.counts,
        stored_bytes=sum(file.size for file in overview.manifest.files if file.path.endswith(".tar")),
        shown=_shown(overview),
        sides=_length_chart({"width": figures.widths, "height": figures.heights}, "px", "pictures"),
        aspects=_aspect_chart(figures.aspects),
        captions=_length_chart({"captions": figures.caption_lengths}, "characters", "captions"),
        missing=shortfalls(overview.manifest.counts),
        unlisted=unlisted_counts(overview.manifest.counts),
        copies=_copies(overview.manifest.counts),
        reasons=[_reason_row(reason, number) for reason, number in overview.rejected.items()],
        hosts=[_host_row(entry) for entry in overview.hosts[:NUM_HOSTS]],
        num_hosts_left=max(0, overview.num_hosts - NUM_HOSTS),
        licenses=overview.licenses[:NUM_LICENSES],
        num_licenses_left=max(0, len(overview.licenses) - NUM_LICENSES),
        num_licensed=sum(number for _, number in overview.licenses),
        caption_sources=sorted(figures.caption_sources.items(), key=lambda item: (-item[1], item[0]))[:NUM_LICENSES],
    )
    return html.encode("utf-8", "replace")


def _shown(overview: Overview) -> list[Shown]:
    """Take the pictures out of their shards."""
    picks = overview.figures.picks
    wanted = {
        overview.places[shard_id] / f"{shard_name(shard_id)}.tar": {
            pick.key for pick in picks if pick.shard_id == shard_id
        }
        for shard_id in sorted({pick.shard_id for pick in picks})
    }
    uris = thumbnails(wanted, MAX_PICTURE_CHARS)
    return [_one_shown(pick, uris[pick.key]) for pick in picks if pick.key in uris]


def _one_shown(pick: Pick, uri: str) -> Shown:
    long = len(pick.caption) > MAX_CAPTION_CHARS
    return Shown(uri, pick.key, pick.caption[:MAX_CAPTION_CHARS] + ("…" if long else ""), pick.url[:MAX_CAPTION_CHARS])


@dataclass(frozen=True, slots=True)
class Copies:
    """Kept pictures that show what another one shows.

    Attributes:
        rows: of each kind its name, what it means, and how many there are.
        share: of all kept pictures, 0 to 1.
    """

    rows: list[tuple[str, str, int]]
    share: float

    @property
    def warning(self) -> str:
        """What to know when they are many, "" when they are not."""
        if self.share < MANY_COPIES:
            return ""
        told = f"{100 * self.share:.0f} % of the pictures are, or look like, another one"
        return f"{told}: there is less to learn from them than their number says."


def _copies(counts: Mapping[str, int]) -> Copies:
    numbers = [(kind, counts.get(f"{MARKED_PREFIX}{kind}", 0)) for kind in DuplicateKind]
    rows = [(str(kind), _KIND_MEANINGS[kind], number) for kind, number in numbers if number]
    return Copies(rows, sum(number for _, number in numbers) / (counts["kept"] or 1))


def _length_chart(histograms: Mapping[str, Histogram], x_unit: str, unit: str) -> Markup:
    edges = next(iter(histograms.values())).edges
    bins = [_between(int(low), int(high) - 1, x_unit) for low, high in pairwise(edges)]
    ticks = {float(np.searchsorted(edges, 2**n)): f"{2**n:,}" for n in range(17) if 2**n >= edges[0]}
    series = {name: histogram.counts.tolist() for name, histogram in histograms.items()}
    return bar_chart(series, bins, ticks, "", unit)


def _between(low: int, high: int, unit: str) -> str:
    return f"{low:,} {unit}" if low == high else f"{low:,} to {high:,} {unit}"


def _aspect_chart(histogram: Histogram) -> Markup:
    bins = [_aspect(2.0 ** (step / ASPECT_STEPS)) for step in ASPECT_BINS.tolist()]
    ticks = {octave * ASPECT_STEPS - ASPECT_BINS[0] + 0.5: text for text, octave in _ASPECT_TICKS.items()}
    return bar_chart({"pictures": histogram.counts.tolist()}, bins, ticks, "", "pictures")


def _aspect(ratio: float) -> str:
    return f"about {ratio:.2f}:1" if ratio >= 1 else f"about 1:{1 / ratio:.2f}"


def _reason_row(reason: str, number: int) -> ReasonRow:
    return ReasonRow(reason, RejectReason(reason).meaning, number, RejectReason(reason).is_refusal)


def _host_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give a host's account with what it was rejected for in words."""
    rejected = sorted(entry["rejected"].items(), key=lambda item: (-item[1], item[0]))
    refused = sum(number for reason, number in rejected if RejectReason(reason).is_refusal)
    return {**entry, "refused": refused, "why": _listed(rejected)}


def _listed(counts: Sequence[tuple[str, int]]) -> str:
    shown: Iterable[str] = (f"{name} {number:,}" for name, number in counts[:NUM_REASONS])
    return ", ".join(shown) + (f" and {len(counts) - NUM_REASONS} more" if len(counts) > NUM_REASONS else "")
