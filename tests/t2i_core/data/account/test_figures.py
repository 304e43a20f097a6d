"""The figures of a dataset, checked against rows that are counted by hand."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from t2i_core.data.account import figures
from t2i_core.data.account.figures import ASPECT_BINS, ASPECT_STEPS, DatasetFigures

SIZES = ("width", "height", "original_width", "original_height")


def row(uid: str, *size: int, reason: str = "", caption: str = "a", **more: str) -> dict[str, Any]:
    width, height = size or (None, None)
    text = {"key": uid, "uid": uid, "url": f"http://a.example/{uid}", "reason": reason, "caption": caption}
    known = {"width": 64 if size else None, "height": 48 if size else None}
    return (
        text
        | {"license": "", "caption_source": "img_alt"}
        | known
        | {"original_width": width, "original_height": height}
        | more
    )


def table(*rows: dict[str, Any]) -> pa.Table:
    types = {name: pa.int32() for name in SIZES}
    return pa.Table.from_pylist(list(rows), pa.schema([(name, types.get(name, pa.string())) for name in rows[0]]))


def counted(histogram: figures.Histogram) -> dict[int, int]:
    """Counts by the lower edge of their bin."""
    return {int(edge): int(n) for edge, n in zip(histogram.edges[:-1], histogram.counts, strict=True) if n}


def test_kept_rows_are_counted_in_their_bins() -> None:
    found = DatasetFigures()
    found.add_table(
        0, table(row("1", 640, 480), row("2", 1, 100_000, caption=""), row("3", reason="dns", caption="x" * 9))
    )
    found.add_table(1, table(row("4", 640, 640, caption="ünïcode", license="CC0"), row("5", 64, 64, caption=None)))

    assert counted(found.widths) == {609: 2, 64: 1, 4: 1}
    assert counted(found.heights) == {431: 1, 64: 1, 609: 1, 55109: 1}
    assert counted(found.caption_lengths) == {1: 1, 7: 1}
    assert found.num_captionless == 2
    assert (found.licenses, found.caption_sources) == ({"": 3, "CC0": 1}, {"img_alt": 4})
    assert found.stored_sides == (48, 64)


def test_a_square_is_in_the_middle_bin_of_the_aspect_ratios() -> None:
    found = DatasetFigures()
    found.add_table(
        0, table(row("1", 500, 500), row("2", 1001, 1000), row("3", 200, 100), row("4", 100, 400), row("5", 1, 999))
    )

    bins = {int(ASPECT_BINS[i]): int(n) for i, n in enumerate(found.aspects.counts) if n}
    assert bins == {0: 2, ASPECT_STEPS: 1, -2 * ASPECT_STEPS: 1, int(ASPECT_BINS[0]): 1}


def test_the_same_samples_are_picked_whatever_the_order_and_size_of_the_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "NUM_PICKS", 5)
    rows = [row(f"{n:032x}", 64, 64, reason="dns" if n % 3 == 0 else "") for n in range(60)]
    picks = []
    for seed, size in ((1, 60), (2, 7), (3, 1)):
        random.Random(seed).shuffle(rows)
        found = DatasetFigures()
        for start in range(0, len(rows), size):
            found.add_table(start, table(*rows[start : start + size]))
        picks.append([int(pick.uid, 16) for pick in found.picks])

    assert picks == [[1, 2, 4, 5, 7]] * 3


def test_too_many_different_texts_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MAX_TEXTS", 2)
    found = DatasetFigures()
    for text in ("a", "b", "c", "a", "d"):
        found.add_table(0, table(row("1", 64, 64, license=text)))

    assert found.licenses == {"a": 2, "b": 1, "(others)": 2}


def test_a_data_set_with_nothing_kept_has_empty_figures(tmp_path: Path) -> None:
    found = DatasetFigures()
    found.add_table(0, table(row("1", reason="dns")))
    found.add_times(tmp_path / "none")

    assert (found.picks, found.stored_sides, found.timeframe, found.widths.counts.sum()) == ([], None, None, 0)
