"""Attacks planted in each kind of folder, and every reader and writer of it: refused soon, nothing outside touched."""

import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from t2i_core.data.caption import CaptionConfig, caption
from t2i_core.data.dataset import finish_rewrite
from t2i_core.data.ingest import IngestConfig, ingest
from t2i_core.data.purge import purge
from t2i_core.data.purge_request import PurgeRequest
from t2i_core.data.verify import verify
from t2i_core.errors import DataError, T2IError

CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=4)
REQUEST = PurgeRequest.parse(urls=["1.png"])
SECONDS = 20


@contextmanager
def time_limit() -> Iterator[None]:
    """Fail, and do not hang, where something waits for a pipe or reads without end."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder of each kind."""
    root = tmp_path_factory.mktemp("made")
    (root / "pictures").mkdir()
    for number in range(6):
        picture, image = io.BytesIO(), Image.new("RGB", (16, 16), (number * 40, 0, 0))
        image.paste("white", (0, 0, 8, 8))
        image.save(picture, "PNG")
        (root / f"pictures/{number}.png").write_bytes(picture.getvalue())
        (root / f"pictures/{number}.txt").write_text(f"picture number {number}")
    ingest(str(root / "pictures"), CONFIG, root / "work/dataset")
    everything = CaptionConfig(validation_share=0, test_share=0)
    caption(root / "work/dataset", everything, root / "work/captions")
    return root


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    """A copy of these folders, with a folder outside that nothing may change."""
    shutil.copytree(made, tmp_path / "world")
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home/.ssh/authorized_keys").write_text("the victim's own\n")
    return tmp_path / "world"


def outside(world: Path) -> dict[str, bytes]:
    """Give everything that lies outside the folders under attack."""
    paths = sorted((world.parent / "home").rglob("*"))
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in paths}


DATASET_READERS: dict[str, Callable[[Path], object]] = {
    "verify": lambda world: verify(world / "work/dataset"),
    "repair": lambda world: verify(world / "work/dataset", repair=True),
    "purge": lambda world: purge(world / "work/dataset", REQUEST),
    "finish_rewrite": lambda world: finish_rewrite(world / "work/dataset"),
    "ingest": lambda world: ingest(str(world / "pictures"), CONFIG, world / "work/dataset"),
    "replace": lambda world: ingest(
        str(world / "pictures"), CONFIG.with_changes(image_size=8), world / "work/dataset", on_conflict="replace"
    ),
}


@pytest.mark.parametrize("reader", DATASET_READERS)
def test_a_rewrite_never_leaves_the_data_set_through_a_link(reader: str, world: Path) -> None:
    """Files that wait in `.rewrite` for a `shards` folder that is a link were written wherever it leads."""
    dataset = world / "work/dataset"
    (dataset / ".rewrite/shards").mkdir(parents=True)
    (dataset / ".rewrite/shards/authorized_keys").write_text("the attacker's\n")
    (dataset / ".rewrite/shards/00000.tar").write_text("the attacker's\n")
    (dataset / "shards").rename(world.parent / "old")
    (dataset / "shards").symlink_to(world.parent / "home/.ssh")
    before = outside(world)

    with time_limit(), pytest.raises(DataError, match="shards is a link"):
        DATASET_READERS[reader](world)
    assert outside(world) == before


@pytest.mark.parametrize(
    "name", ["authorized_keys", "shards/x.pth", "deep/er/file", ".bashrc", "shards/.00000.journal"]
)
def test_only_known_names_are_moved_to_their_places(name: str, world: Path) -> None:
    waiting = world / "work/dataset/.rewrite" / name
    waiting.parent.mkdir(parents=True)
    waiting.write_text("x")

    for reader in ("verify", "purge"):
        with pytest.raises(DataError, match="does not belong"):
            DATASET_READERS[reader](world)
    assert waiting.read_text() == "x"


def test_a_rewrite_that_becomes_a_link_after_it_was_looked_at_is_not_followed(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = world / "work/dataset"
    (dataset / ".rewrite/shards").mkdir(parents=True)
    (dataset / ".rewrite/shards/00000.tar").write_text("the attacker's\n")
    before = outside(world)

    def swapped(folder: Path, *_: object) -> None:
        (folder / "shards").rename(world.parent / "old")
        (folder / "shards").symlink_to(world.parent / "home/.ssh")

    # Somebody else is quicker than the command, between its look and its move.
    monkeypatch.setattr("t2i_core.data.dataset.inspect_folder", swapped)
    with pytest.raises(DataError, match="shards is a link"):
        finish_rewrite(dataset)
    assert outside(world) == before


def test_a_replaced_data_set_that_is_a_link_is_not_purged(world: Path) -> None:
    shutil.copytree(world / "work/dataset", world.parent / "home/dataset")
    (world / "work/dataset.previous").symlink_to(world.parent / "home/dataset")
    before = outside(world)

    result = purge(world / "work/dataset", REQUEST)

    assert (result.num_rows, result.previous, result.unread) == (1, None, world / "work/dataset.previous")
    assert outside(world) == before


def copies(dataset: Path) -> list[Path]:
    return sorted(path for path in dataset.rglob("*") if path.is_file())


@pytest.mark.parametrize("attack", ["link", "pipe", "huge"])
@pytest.mark.parametrize("name", ["purged_deny_list.txt", "purged.jsonl", "step.json", "shards/00000.tar.damaged"])
def test_names_that_are_not_there_yet_are_no_way_in(attack: str, name: str, world: Path) -> None:
    plant(attack, world / "work/dataset" / name, world.parent / "home/.ssh/authorized_keys")
    before = outside(world)

    for reader in DATASET_READERS.values():
        if reader is DATASET_READERS["finish_rewrite"]:
            continue
        with time_limit(), pytest.raises(T2IError, match=r"link|pipe|bytes"):
            reader(world)
    assert outside(world) == before


def plant(attack: str, path: Path, victim: Path) -> None:
    """Put an attack in the place of a file."""
    path.unlink(missing_ok=True)
    if attack == "link":
        path.symlink_to(victim)
    elif attack == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(2**43)
