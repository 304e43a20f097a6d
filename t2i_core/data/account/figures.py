"""What a dataset looks like in figures, added up shard by shard: the memory for it does not grow with the rows.

Columns become Python's lists: what pyarrow computes with, and pandas, which turning its arrays into numpy's would
import, each take longer to import than a hundred thousand rows take to count.
"""

import heapq
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from t2i_core.door import read_file
from t2i_core.folders.layout import MAX_STATS_BYTES

# Pictures shown, and different texts counted by themselves.
NUM_PICKS = 48
MAX_TEXTS = 10_000
OTHER_TEXTS = "(others)"
# Four bins an octave for lengths; bin i of the aspect ratios is about 2 ** (i / 8), so that a square is in the middle.
SIDE_EDGES = np.ceil(2.0 ** (np.arange(2 * 4, 16 * 4 + 1) / 4)).astype(np.int64)
LENGTH_EDGES = np.unique(np.ceil(2.0 ** (np.arange(16 * 4 + 2) / 4)).astype(np.int64))
ASPECT_STEPS = 8
ASPECT_BINS = np.arange(-4 * ASPECT_STEPS, 4 * ASPECT_STEPS + 1)
_ASPECT_EDGES = 2.0 ** ((np.append(ASPECT_BINS, ASPECT_BINS[-1] + 1) - 0.5) / ASPECT_STEPS)
COLUMNS = ("key", "uid", "url", "reason", "caption", "caption_source", "license")
_SIZES = ("width", "height", "original_width", "original_height")


class Histogram:
    """Counts values in fixed bins; what lies beyond the ends is counted in the first and the last one."""

    def __init__(self, edges: npt.NDArray[Any]) -> None:
        self.edges = edges
        self.counts = np.zeros(len(edges) - 1, np.int64)

    def add(self, numbers: Mapping[float, int]) -> None:
        """Add how often each value occurs."""
        places = np.searchsorted(self.edges, list(numbers), "right") - 1
        np.add.at(self.counts, np.clip(places, 0, len(self.counts) - 1), list(numbers.values()))


@dataclass(frozen=True, slots=True, order=True)
class Pick:
    """A kept sample to show; the uid, which is a hash, decides which are."""

    uid: str
    shard_id: int
    key: str
    url: str
    caption: str


@dataclass(slots=True)
class DatasetFigures:
    """Figures of the kept samples of a dataset.

    Attributes:
        widths: of the pictures as they were found, in pixels.
        heights: of the same pictures, in pixels.
        aspects: width over height, as found.
        caption_lengths: in characters, of the samples that have a caption.
        num_captionless: samples without one.
        licenses: samples by what was stated, "" for nothing.
        caption_sources: samples by the rule that gave their caption.
        stored_sides: smallest and largest side of the pictures as stored, in pixels.
        picks: some samples, the same whatever the order of the shards.
        schema: of the shards' tables.
        timeframe: when the first shard was begun and the last one finished, None when that is not known.
    """

    widths: Histogram = field(default_factory=lambda: Histogram(SIDE_EDGES))
    heights: Histogram = field(default_factory=lambda: Histogram(SIDE_EDGES))
    aspects: Histogram = field(default_factory=lambda: Histogram(_ASPECT_EDGES))
    caption_lengths: Histogram = field(default_factory=lambda: Histogram(LENGTH_EDGES))
    num_captionless: int = 0
    licenses: Counter[str] = field(default_factory=Counter)
    caption_sources: Counter[str] = field(default_factory=Counter)
    stored_sides: tuple[int, int] | None = None
    picks: list[Pick] = field(default_factory=list)
    schema: pa.Schema | None = None
    timeframe: tuple[datetime, datetime] | None = None

    def add_table(self, shard_id: int, table: pa.Table) -> None:
        """Add the rows of one shard, of which `columns_of` names the columns that are needed."""
        columns = table.to_pydict()
        indexes = [index for index, reason in enumerate(columns["reason"]) if reason == ""]
        if not indexes:
            return
        kept = {name: [cells[index] for index in indexes] for name, cells in columns.items()}
        self._add_sizes(kept)
        self._add_captions(kept["caption"])
        for name, counter in (("license", self.licenses), ("caption_source", self.caption_sources)):
            if name in kept:
                _add_texts(counter, _numbers(kept[name]))
        self.picks = heapq.nsmallest(NUM_PICKS, [*self.picks, *_picks(shard_id, kept)])

    def _add_sizes(self, kept: Mapping[str, Sequence[Any]]) -> None:
        ends = [side for name in ("width", "height") for side in kept[name] if side is not None]
        ends += self.stored_sides or ()
        self.stored_sides = (min(ends), max(ends))
        self.widths.add(_numbers(kept["original_width"]))
        self.heights.add(_numbers(kept["original_height"]))
        sizes = zip(kept["original_width"], kept["original_height"], strict=True)
        self.aspects.add(_numbers(_aspect(*size) for size in sizes))

    def _add_captions(self, captions: Sequence[str | None]) -> None:
        lengths = _numbers(len(caption or "") for caption in captions)
        self.num_captionless += lengths.pop(0, 0)
        self.caption_lengths.add(lengths)

    def add_times(self, stats_path: Path) -> None:
        """Add when a shard was made, as its statistics say."""
        try:
            stats = json.loads(read_file(stats_path, MAX_STATS_BYTES, levels=1))
            times = [datetime.fromtimestamp(stats[name], UTC) for name in ("start_time", "end_time")]
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return
        times += self.timeframe or ()
        self.timeframe = (min(times), max(times))


def columns_of(schema: pa.Schema) -> list[str]:
    """Name the columns that the figures of a shard are taken from, as far as it has them."""
    return [name for name in (*COLUMNS, *_SIZES) if name in schema.names]


def _numbers(values: Iterable[Any]) -> dict[Any, int]:
    """Say how often each value of a column occurs, nulls left out."""
    return Counter(value for value in values if value is not None)


def _aspect(width: int | None, height: int | None) -> float | None:
    if width is None or height is None:
        return None
    return width / height if height else math.inf


def _add_texts(counter: Counter[str], numbers: Mapping[str, int]) -> None:
    """Add how often each text occurs; when there are too many different ones, new ones are counted together."""
    for text, number in numbers.items():
        counter[text if text in counter or len(counter) < MAX_TEXTS else OTHER_TEXTS] += number


def _picks(shard_id: int, kept: Mapping[str, Sequence[Any]]) -> Iterator[Pick]:
    """Give the samples of a shard that may be among those shown."""
    rows = zip(kept["uid"], kept["key"], kept["url"], kept["caption"], strict=True)
    for uid, key, url, caption in heapq.nsmallest(NUM_PICKS, rows, key=itemgetter(0, 1)):
        yield Pick(uid, shard_id, key, url, caption or "")
