import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2i_core.data.dataset.verify import verify
from t2i_core.errors import ConfigError
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.progress import Progress

CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=4, allow_private=("localhost",), retries=0)
MakePng = Callable[..., bytes]


def shard_bytes(dataset_dir: Path) -> dict[str, bytes]:
    paths = [*dataset_dir.glob("shards/*.tar"), *dataset_dir.glob("shards/*.parquet")]
    return {path.name: path.read_bytes() for path in sorted(paths)}


def flip(path: Path, offset: int) -> None:
    body = bytearray(path.read_bytes())
    body[offset] ^= 0xFF
    path.write_bytes(bytes(body))


@pytest.fixture
def pictures(site: Any, make_png: MakePng, tmp_path: Path) -> str:
    """A list of ten pictures and one that is missing: three shards."""
    site.content |= {f"/{n}.png": make_png((n * 20, 0, 0)) for n in range(10)}
    path = tmp_path / "list.csv"
    names = [*(f"/{n}.png" for n in range(10)), "/missing.png"]
    path.write_text("url,caption\n" + "".join(f"{site.url(name)},caption of {name}\n" for name in names))
    return str(path)


@pytest.fixture
def dataset(pictures: str, tmp_path: Path) -> Path:
    ingest(pictures, CONFIG, tmp_path / "ds")
    return tmp_path / "ds"


def test_a_data_set_as_it_was_written_is_sound(dataset: Path) -> None:
    told: list[Progress] = []
    result = verify(dataset, on_progress=told.append)
    assert (result.num_shards, result.num_samples, result.damaged, result.num_lost) == (3, 10, (), 0)
    assert [(report.done, report.total, report.unit) for report in told] == [(n, 3, "shards") for n in (1, 2, 3)]


def test_a_flipped_byte_loses_exactly_its_sample(dataset: Path) -> None:
    tar = dataset / "shards/00001.tar"
    flip(tar, tar.read_bytes().index(b"caption of /5.png", tar.read_bytes().index(b"00011.txt")))
    (damage,) = verify(dataset).damaged
    assert (damage.shard, damage.lost, damage.num_lost, damage.num_samples) == ("00001", ("000011",), 1, 4)
    assert damage.problems == ("00001.tar has other bytes than were written",)


def test_a_cut_tar_loses_what_came_after(dataset: Path) -> None:
    tar = dataset / "shards/00000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.read_bytes().index(b"000002.json") + 512])
    (damage,) = verify(dataset).damaged
    assert (damage.lost, damage.num_lost) == (("000002", "000003"), 2)
    assert "00000.tar" in damage.problems[0]
    assert "breaks off" in damage.problems[0] or "damaged" in damage.problems[0]


def test_a_sample_without_its_picture_is_lost_even_when_the_checksum_fits(dataset: Path) -> None:
    tar = dataset / "shards/00000.tar"
    body = tar.read_bytes().replace(b"000001.png", b"000001.pnx")
    tar.write_bytes(body)
    (damage,) = verify(dataset).damaged
    assert "000001" in damage.lost


@pytest.mark.parametrize("damage_table", [lambda path: flip(path, 200), lambda path: path.unlink()])
def test_without_the_table_all_samples_are_lost(dataset: Path, damage_table: Callable[[Path], None]) -> None:
    damage_table(dataset / "shards/00002.parquet")
    (damage,) = verify(dataset).damaged
    assert (damage.lost, damage.num_lost, damage.num_samples) == (("000020", "000021"), 2, 2)


def test_a_shard_that_is_gone_is_counted_by_its_statistics(dataset: Path) -> None:
    (dataset / "shards/00001.tar").unlink()
    (dataset / "shards/00001.parquet").unlink()
    (damage,) = verify(dataset).damaged
    assert (damage.num_lost, damage.lost) == (4, ())
    assert damage.problems == ("00001.tar is gone", "00001.parquet is gone")


def test_damaged_statistics_lose_no_sample(dataset: Path) -> None:
    (dataset / "shards/00001_stats.json").write_text("{}")
    (damage,) = verify(dataset).damaged
    assert (damage.shard, damage.num_lost, damage.num_samples) == ("00001", 0, 4)


def test_any_flipped_byte_is_found_and_never_crashes(dataset: Path) -> None:
    chance = random.Random(0)
    for ending in (".tar", ".parquet", "_stats.json"):
        path = dataset / f"shards/00000{ending}"
        whole = path.read_bytes()
        for offset in [*range(0, min(len(whole), 512), 37), *chance.sample(range(len(whole)), 25)]:
            flip(path, offset)
            assert [damage.shard for damage in verify(dataset).damaged] == ["00000"], (ending, offset)
            path.write_bytes(whole)
    assert not verify(dataset).damaged


def test_repair_refills_only_the_damaged_shards_with_the_same_bytes(site: Any, pictures: str, dataset: Path) -> None:
    before = shard_bytes(dataset)
    flip(dataset / "shards/00001.tar", 700)
    damaged = (dataset / "shards/00001.tar").read_bytes()
    site.requests.clear()
    (damage,) = verify(dataset, repair=True).damaged
    assert damage.moved_to == ("00001_stats.json.damaged", "00001.parquet.damaged", "00001.tar.damaged")
    assert (dataset / "shards/00001.tar.damaged").read_bytes() == damaged
    assert not verify(dataset, repair=True).damaged[0].moved_to
    ref = ingest(pictures, CONFIG, dataset)
    assert not ref.hit
    rules = {"/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"}
    assert {name for name in site.requests if name not in rules} == {f"/{n}.png" for n in (4, 5, 6, 7)}
    assert shard_bytes(dataset) == before
    assert not verify(dataset).damaged
    flip(dataset / "shards/00001.tar", 700)
    assert "00001.tar.damaged1" in verify(dataset, repair=True).damaged[0].moved_to


def test_what_is_not_a_finished_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        verify(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"no manifest\.json"):
        verify(tmp_path)
