"""Which samples are marked as showing the same, compared with what looking at every pair would find."""

import io
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.copies import Copies
from t2i_core.captioning.step import caption
from t2i_core.data.bounded import spill
from t2i_core.data.dataset.duplicates import (
    DUPLICATES_NAME,
    NEAR_BITS,
    NEAR_LEVELS,
    PLACEHOLDER_URLS,
    Duplicate,
    read_duplicates,
    write_duplicates,
)
from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.dataset.verify import verify
from t2i_core.data.mark import DuplicateKind
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.layout import sample_key
from t2i_core.errors import DataError
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.ingestion.config import IngestConfig, IngestRequest
from t2i_core.ingestion.retry import retry_ingest
from t2i_core.ingestion.step import finish_ingest, ingest, ingest_shard, plan_ingest

PER_SHARD = 7
MakePng = Callable[..., bytes]
Row = tuple[int, int, str, str]
"""A digest, a perceptual hash, a URL and a reason."""


def write_tables(folder: Path, rows: list[Row], grids: list[str] | None = None) -> dict[int, Path]:
    """Write rows as the tables of shards of 7, the last of which may be short; without grids as they once were."""
    (folder / "shards").mkdir(parents=True)
    for start in range(0, len(rows), PER_SHARD):
        described = [
            {"sha256": None if why else f"{digest:016x}" + "0" * 48, "phash": None if why else f"{phash:016x}",
             "url": url, "reason": why, "uid": f"uid{start + index}"}
            | ({"color_grid": grids[start + index] or None} if grids else {})
            for index, (digest, phash, url, why) in enumerate(rows[start : start + PER_SHARD])
        ]  # fmt: skip
        schema = pa.schema([(name, pa.string()) for name in described[0]])
        path = folder / f"shards/{start // PER_SHARD:05d}.parquet"
        pq.write_table(pa.Table.from_pylist(described, schema=schema), path)
    return dict.fromkeys(range(-(-len(rows) // PER_SHARD)), folder / "shards")


def key(row: int) -> str:
    return sample_key(*divmod(row, PER_SHARD), PER_SHARD)


def marked(rows: list[Row], grids: list[str] | None = None) -> list[Duplicate]:
    with TemporaryDirectory() as folder:
        write_duplicates(Path(folder), write_tables(Path(folder), rows, grids), PER_SHARD)
        assert sorted(path.name for path in Path(folder).iterdir()) == [DUPLICATES_NAME, "shards"]
        return list(read_duplicates(Path(folder)))


def host_of(url: str) -> str:
    return url.split("/")[2] if "//" in url else ""


def alike(one: str, other: str) -> bool:
    """Compare two grids of colors; what is not known is like anything."""
    pairs = zip(bytes.fromhex(one), bytes.fromhex(other), strict=True) if one and other else ()
    return all(abs(a - b) <= NEAR_LEVELS for a, b in pairs)


def expected(rows: list[Row], grids: list[str]) -> list[Duplicate]:
    """Compare every row with every other."""
    kept = [number for number, row in enumerate(rows) if not row[3]]
    found: dict[int, Duplicate] = {}
    for number in kept:
        same = [other for other in kept if rows[other][0] == rows[number][0]]
        urls = {(host_of(rows[other][2]), rows[other][2]) for other in same if host_of(rows[other][2])}
        hosts = [host for host, _ in urls]
        if any(hosts.count(host) >= PLACEHOLDER_URLS for host in hosts):
            found[number] = Duplicate(key(number), DuplicateKind.PLACEHOLDER, key(same[0]))
        elif same[0] != number:
            found[number] = Duplicate(key(number), DuplicateKind.EXACT, key(same[0]))
    left = [number for number in kept if number not in found and rows[number][1]]
    firsts: list[int] = []
    for number in left:
        like = [other for other in firsts if alike(grids[other], grids[number])]
        same = [other for other in like if rows[other][1] == rows[number][1]]
        close = [other for other in like if (rows[other][1] ^ rows[number][1]).bit_count() <= NEAR_BITS]
        of = min(same or close, default=number)
        if not same:
            firsts.append(number)
        if of != number:
            found[number] = Duplicate(key(number), DuplicateKind.NEAR, key(of))
    return [found[number] for number in sorted(found)]


# Hashes around a few centres, so that there are pairs at every small distance, and chains of them.
CENTRES = st.sampled_from([0x0123456789ABCDEF, 0xFFFF0000FFFF0000, 0x5A5A5A5A5A5A5A5A, 0])
HASHES = st.builds(
    lambda centre, bits: centre ^ sum({1 << bit for bit in bits}), CENTRES, st.lists(st.integers(0, 63), max_size=4)
)
URLS = st.builds(lambda host, number: f"http://{host}.example/{number}", st.sampled_from("ab"), st.integers(0, 12))
ROWS = st.tuples(
    st.integers(1, 12).map(lambda n: n * 0x0F0F0F0F0F0F0F0F % 2**64), HASHES, URLS, st.sampled_from(["", "", "", "dns"])
)


# Just close enough, just too far, and in one field of 48 only.
LEVELS = st.sampled_from([100, 100 - NEAR_LEVELS, 101 + NEAR_LEVELS, 240])
GRIDS = st.just("") | st.builds(
    lambda level, place: (b"\x64" * place + bytes([level]) + b"\x64" * (47 - place)).hex(),
    LEVELS,
    st.sampled_from([0, 29, 47]),
)


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(ROWS, min_size=1, max_size=60), in_memory=st.sampled_from([2, 1 << 16]), data=st.data())
def test_marks_are_those_that_all_pairs_would_give(rows: list[Row], in_memory: int, data: st.DataObject) -> None:
    grids = data.draw(st.none() | st.lists(GRIDS, min_size=len(rows), max_size=len(rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "_ENTRIES_IN_MEMORY", in_memory)
        assert marked(rows, grids) == expected(rows, grids or [""] * len(rows))


@pytest.mark.parametrize("grid", ["64" * 47, "64" * 49, "x" * 96])
def test_colors_that_cannot_be_read_are_told(grid: str) -> None:
    with pytest.raises(DataError, match=r"00000.parquet is damaged \(.*Delete it"):
        marked([(1, 1, "", "")], [grid])


def test_thousands_of_hashes_are_compared_as_if_one_by_one() -> None:
    rng = np.random.default_rng(0)
    hashes = [int(word) for word in rng.integers(1, 2**63, 1500)]
    hashes += [word ^ sum(1 << int(bit) for bit in rng.choice(64, 1 + n % 5, replace=False)) for n, word in
               enumerate(hashes)]  # fmt: skip
    rows = [(number + 1, phash, f"http://a.example/{number}", "") for number, phash in enumerate(hashes)]
    wanted = {
        (max(a, b), min(a, b)) for a, b in combinations(range(3000), 2) if abs(a - b) == 1500 and a % 5 < NEAR_BITS
    }
    assert {(mark.key, mark.of_key) for mark in marked(rows)} == {(key(a), key(b)) for a, b in wanted}


def test_a_placeholder_needs_many_urls_of_one_host_and_is_one_everywhere() -> None:
    def rows(urls: list[str], digest: int = 5) -> list[Row]:
        return [(digest, 1 << digest, url, "") for url in urls]

    many = [f"http://a.example/{n}" for n in range(PLACEHOLDER_URLS)]
    kinds = [mark.kind for mark in marked(rows([*many, "http://b.example/x", "local.png"]))]
    assert kinds == ["placeholder"] * (PLACEHOLDER_URLS + 2)
    for few in (
        many[:-1],
        [many[0]] * PLACEHOLDER_URLS,
        [f"http://{n}.example/" for n in range(PLACEHOLDER_URLS)],
        [f"{n}.png" for n in range(PLACEHOLDER_URLS)],
    ):
        assert [mark.kind for mark in marked(rows(few))] == ["exact"] * (len(few) - 1)


def test_what_was_spilled_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(n % 400, n % 97 << 30, f"http://a.example/{n}", "") for n in range(1000)]
    counts = []
    for name, in_memory in (("a", 1 << 16), ("b", 10)):
        monkeypatch.setattr(spill, "_ENTRIES_IN_MEMORY", in_memory)
        counts.append(write_duplicates(tmp_path / name, write_tables(tmp_path / name, rows), PER_SHARD))
    assert counts[0] == counts[1] == {"marked:exact": 600, "marked:near": 394}
    a, b = (pq.read_table(tmp_path / name / DUPLICATES_NAME) for name in "ab")
    assert a.equals(b)
    assert a["uid"].to_pylist()[-1] == "uid999" and a["key"].to_pylist() == sorted(a["key"].to_pylist())


# ------------------------------------------------------------------------------------------------------ in the dataset

CONFIG = IngestConfig(image_size=32, encode_format="png", samples_per_shard=5, allow_private=("localhost",), retries=0)


def noise(seed: int, **jpeg: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((64, 64)).save(buffer, "JPEG", **jpeg)
    return buffer.getvalue()


@pytest.fixture
def source(site: Any, tmp_path: Path) -> str:
    """Two pictures; the first again as it is and with other compression; twelve placeholders; one late picture."""
    site.content |= {"/0.jpg": noise(0), "/1.jpg": noise(1), "/2.jpg": noise(0), "/3.jpg": noise(0, quality=60)}
    site.content |= {f"/none{n}.jpg": noise(9) for n in range(12)}
    names = ["0", "1", "2", "3", *(f"none{n}" for n in range(12)), "late"]
    path = tmp_path / "list.csv"
    path.write_text("url,caption\n" + "".join(f"{site.url(f'/{name}.jpg')},picture {name}\n" for name in names))
    return str(path)


def summary(dataset_dir: Path) -> list[tuple[str, str, str]]:
    return [(mark.key, str(mark.kind), mark.of_key) for mark in read_duplicates(dataset_dir)]


PLACEHOLDERS = [(key_, "placeholder", "000004") for key_ in
                ("000004", *(f"00001{n}" for n in range(5)), *(f"00002{n}" for n in range(5)), "000030")]  # fmt: skip
FOUND = [("000002", "exact", "000000"), ("000003", "near", "000000"), *PLACEHOLDERS]


def flag(*stripes: str, side: int = 96) -> Image.Image:
    """Three stripes of unlike heights (what is symmetric has waves that only noise turns one way or the other)."""
    image = Image.new("RGB", (96, 96), "white")
    for (top, bottom), color in zip(((9, 29), (29, 57), (57, 80)), stripes, strict=True):
        image.paste(color, (5, top, 86, bottom))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def test_copies_are_near_and_the_same_drawing_in_other_colors_is_not(tmp_path: Path) -> None:
    colors = {"green_red": ("#009246", "white", "#ce2b37"), "red_blue": ("#ae1c28", "white", "#21468b")}
    (tmp_path / "flags").mkdir()
    for name, stripes in colors.items():
        flag(*stripes).save(tmp_path / f"flags/{name}_0.png")
        flag(*stripes).save(tmp_path / f"flags/{name}_1.jpg", quality=50)
        flag(*stripes, side=48).save(tmp_path / f"flags/{name}_2.png")
        flag(*stripes, side=48).save(tmp_path / f"flags/{name}_3.webp", quality=50)
    ingest(str(tmp_path / "flags"), CONFIG, tmp_path / "ds")
    hashes = [
        int(phash, 16)
        for path in sorted((tmp_path / "ds").glob("shards/*.parquet"))
        for phash in pq.read_table(path)["phash"].to_pylist()
    ]
    assert max((a ^ b).bit_count() for a, b in combinations(hashes, 2)) <= NEAR_BITS
    # Five samples a shard, so that the second flag is 000004 to 000012.
    marks = summary(tmp_path / "ds")
    assert [key_ for key_, _, _ in marks] == ["000001", "000002", "000003", "000010", "000011", "000012"]
    assert all(kind == "near" and (key_ >= "000004") == (of >= "000004") for key_, kind, of in marks)


def marks_of(ref: StepRef) -> dict[str, int]:
    return {name: number for name, number in ref.counts.items() if name.startswith("marked:")}


def test_the_marks_are_part_of_the_data_set_whatever_was_first(site: Any, source: str, tmp_path: Path) -> None:
    ref = ingest(source, CONFIG, tmp_path / "ds")
    assert summary(tmp_path / "ds") == FOUND
    assert marks_of(ref) == {"marked:exact": 1, "marked:near": 1, "marked:placeholder": 12}
    assert (ref.counts["kept"], ref.counts["seen"]) == (16, 17)
    assert DUPLICATES_NAME in {file.path for file in read_manifest(tmp_path / "ds").files if file.content}
    plan = plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=tmp_path / "other"))
    for shard_id in (3, 1, 0, 2):
        ingest_shard(plan, shard_id)
    assert finish_ingest(plan).digest == ref.digest
    names = [(tmp_path / name / DUPLICATES_NAME).read_bytes() for name in ("ds", "other")]
    assert names[0] == names[1]
    uids = pq.read_table(tmp_path / "ds" / DUPLICATES_NAME)["uid"].to_pylist()
    rows = [
        row for path in sorted((tmp_path / "ds").glob("shards/*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    assert uids == [{row["key"]: row["uid"] for row in rows}[mark] for mark, _, _ in FOUND]


def test_marks_that_are_gone_are_made_again_and_damage_is_told(source: str, tmp_path: Path) -> None:
    ref = ingest(source, CONFIG, tmp_path / "ds")
    path = tmp_path / "ds" / DUPLICATES_NAME
    body = path.read_bytes()
    path.unlink()
    again = ingest(source, CONFIG, tmp_path / "ds")
    assert (again.hit, again.digest, path.read_bytes()) == (False, ref.digest, body)
    path.write_bytes(b"x" * len(body))
    with pytest.raises(DataError, match=r"duplicates\.parquet cannot be read .* run the ingest again"):
        caption(tmp_path / "ds", CaptionConfig(), tmp_path / "captions")


def test_marks_follow_what_a_purge_a_retry_and_a_repair_change(site: Any, source: str, tmp_path: Path) -> None:
    folder = tmp_path / "ds"
    ingest(source, CONFIG, folder)
    purge(folder, PurgeRequest.parse(urls=[site.url("/0.jpg")]))
    assert summary(folder) == [("000003", "near", "000002"), *PLACEHOLDERS]
    site.content["/late.jpg"] = noise(1)
    ref = retry_ingest(source, CONFIG, folder, {RejectReason.HTTP_4XX})
    after = [("000003", "near", "000002"), *PLACEHOLDERS, ("000031", "exact", "000001")]
    assert summary(folder) == after
    assert marks_of(ref) == {"marked:exact": 1, "marked:near": 1, "marked:placeholder": 12}
    purge(folder, PurgeRequest.parse(urls=[site.url("/3.jpg"), site.url("/late.jpg")]))
    assert marks_of(ingest(source, CONFIG, folder)) == {"marked:placeholder": 12}
    tar = folder / "shards/00003.tar"
    tar.write_bytes(tar.read_bytes()[:-2000])
    assert verify(folder, repair=True).damaged
    assert ingest(source, CONFIG, folder).digest == read_manifest(folder).digest
    assert summary(folder) == PLACEHOLDERS
    assert not list(folder.rglob(".*"))


def reasons(dataset_dir: Path, config: CaptionConfig, output_dir: Path) -> dict[str, str]:
    caption(dataset_dir, config, output_dir)
    rows = pq.read_table(output_dir / "captions.parquet").to_pylist()
    return {row["key"]: row["reason"] for row in rows}


def test_captions_leave_out_what_is_marked_as_far_as_asked(source: str, tmp_path: Path) -> None:
    ingest(source, CONFIG, tmp_path / "ds")
    config = CaptionConfig(validation_share=0, test_share=0)
    found = reasons(tmp_path / "ds", config, tmp_path / "default")
    placeholders = dict.fromkeys([mark for mark, _, _ in PLACEHOLDERS], "placeholder_picture")
    assert found == {"000000": "", "000001": "", "000002": "duplicate_picture", "000003": "", **placeholders}
    near = reasons(tmp_path / "ds", config.with_changes(drop_near_duplicates=True), tmp_path / "near")
    assert near == found | {"000003": "near_duplicate_picture"}
    all_kept = config.with_changes(drop_duplicates=False, drop_placeholders=False)
    assert set(reasons(tmp_path / "ds", all_kept, tmp_path / "all").values()) == {""}
    one = reasons(tmp_path / "ds", config.with_changes(drop_placeholders=False), tmp_path / "one")
    assert one == found | dict.fromkeys(placeholders, "duplicate_picture") | {"000004": ""}
    report = json.loads((tmp_path / "default/report.json").read_bytes())
    assert "placeholder_picture" in json.dumps(report)


def test_a_copy_of_a_copy_is_known_by_the_first() -> None:

    marks = [
        Duplicate("2", DuplicateKind.NEAR, "1"),
        Duplicate("3", DuplicateKind.EXACT, "2"),
        Duplicate("4", DuplicateKind.NEAR, "3"),
    ]
    everything = Copies(marks, set(DuplicateKind))
    assert [everything.first_of(name) for name in "1234"] == ["1", "1", "1", "1"]
    exact = Copies(marks, {DuplicateKind.EXACT})
    assert [exact.first_of(name) for name in "1234"] == ["1", "2", "2", "4"]
