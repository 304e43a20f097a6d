"""Attacks planted in each kind of folder, and every reader and writer of it: refused soon, nothing outside touched."""

import hashlib
import io
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2i_core.captioning.step import CaptionConfig, caption
from t2i_core.comparison.config import CompareConfig
from t2i_core.comparison.step import compare
from t2i_core.data.batches.split import load_split
from t2i_core.data.batches.tokenizer import load_tokenizer
from t2i_core.data.dataset.folder import finish_rewrite
from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.dataset.verify import verify
from t2i_core.errors import CheckpointError, DataError, T2IError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.layout import require_workspace
from t2i_core.folders.manifest import StepKey, describe_file, read_manifest, write_manifest
from t2i_core.generation.config import GenerateConfig
from t2i_core.generation.generate import generate
from t2i_core.generation.generator import load_generator
from t2i_core.ingestion.step import IngestConfig, ingest
from t2i_core.lineage.ancestors import captions_of, trace, training_samples
from t2i_core.lineage.holders import find_url
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import train
from t2i_core.training.supervisor import supervise_training

CPU = Compute(device="cpu", precision="float32")
TRAINING = TrainConfig(preset="cnn-smoke", max_images=1, precision="float32")
CAPTIONS = CaptionConfig(validation_share=0, test_share=0)
CONFIG = IngestConfig(image_size=32, encode_format="png", samples_per_shard=4)
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
        picture, image = io.BytesIO(), Image.new("RGB", (32, 32), (number * 40, 0, 0))
        image.paste("white", (0, 0, 8, 8))
        image.save(picture, "PNG")
        (root / f"pictures/{number}.png").write_bytes(picture.getvalue())
        (root / f"pictures/{number}.txt").write_text(f"picture number {number}")
    ingest(str(root / "pictures"), CONFIG, root / "work/dataset")
    caption(root / "work/dataset", CAPTIONS, root / "work/captions")
    train(root / "work/captions", TRAINING, root / "work/run", compute=CPU)
    evaluation = root / "work/evaluation"
    for name in ("report.html", "report.md", "metrics.json", "samples.jsonl", "images/00000.png"):
        write_atomically(evaluation / name, b"{}")
    run = read_manifest(root / "work/run")
    key = StepKey(step="evaluate", version=1, config={}, inputs={"run": run.digest})
    files = [describe_file(evaluation, path) for path in evaluation.rglob("*.*")]
    write_manifest(evaluation, kind="evaluation", key=key, sources={"run": "../run"}, counts={}, files=files)
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
    "caption": lambda world: caption(world / "work/dataset", CAPTIONS, world / "work/more"),
    "load_split": lambda world: load_split(world / "work/captions", "train"),
    "lineage": lambda world: list(training_samples(trace(world / "work/dataset"))),
    "find_url": lambda world: find_url(world / "work", "1.png"),
    "ingest": lambda world: ingest(str(world / "pictures"), CONFIG, world / "work/dataset"),
    "replace": lambda world: ingest(
        str(world / "pictures"), CONFIG.with_changes(image_size=16), world / "work/dataset", on_conflict="replace"
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
    monkeypatch.setattr("t2i_core.data.dataset.folder.inspect_folder", swapped)
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


CAPTIONS_READERS: dict[str, Callable[[Path], object]] = {
    "caption": lambda world: caption(world / "work/dataset", CAPTIONS, world / "work/captions"),
    "load_split": lambda world: load_split(world / "work/captions", "train"),
    "load_tokenizer": lambda world: load_tokenizer(world / "work/captions"),
    "train": lambda world: train(world / "work/captions", TRAINING, world / "work/more", compute=CPU),
    "supervise": lambda world: supervise_training(world / "work/captions", TRAINING, world / "work/more"),
    "lineage": lambda world: trace(world / "work/captions"),
    "samples": lambda world: list(training_samples(trace(world / "work/captions"))),
    "find_url": lambda world: find_url(world / "work", "1.png"),
}
RUN_READERS: dict[str, Callable[[Path], object]] = {
    "load_generator": lambda world: load_generator(world / "work/run", CPU),
    "generate": lambda world: generate(world / "work/run", ["picture"], world / "work/drawn", GenerateConfig()),
    "resume": lambda world: train(world / "work/captions", TRAINING, world / "work/run", compute=CPU),
    "supervise": lambda world: supervise_training(world / "work/captions", TRAINING, world / "work/run"),
    "replace": lambda world: train(
        world / "work/captions", TRAINING.with_changes(seed=1), world / "work/run", compute=CPU, on_conflict="replace"
    ),
    "evaluate": lambda world: evaluate(world / "work/run", EvaluateConfig(), world / "work/more"),
    "lineage": lambda world: trace(world / "work/run"),
    "captions_of": lambda world: captions_of(world / "work/run"),
    "find_url": lambda world: find_url(world / "work", "1.png"),
}
EVALUATION_READERS: dict[str, Callable[[Path], object]] = {
    "evaluate": lambda world: evaluate(world / "work/run", EvaluateConfig(), world / "work/evaluation"),
    "compare": lambda world: compare(
        tuple(f"{name}={world / 'work/evaluation'}" for name in ("one", "other")), CompareConfig(), world / "work/more"
    ),
    "lineage": lambda world: trace(world / "work/evaluation"),
    "find_url": lambda world: find_url(world / "work", "1.png"),
}
READERS = {
    "dataset": DATASET_READERS,
    "captions": CAPTIONS_READERS,
    "run": RUN_READERS,
    "evaluation": EVALUATION_READERS,
}


@pytest.mark.parametrize("attack", ["link", "pipe", "huge", "folder"])
@pytest.mark.parametrize("kind", READERS)
def test_no_reader_takes_an_attack_in_the_place_of_anything(kind: str, attack: str, world: Path) -> None:
    """Each file, or folder, of each kind of folder in turn, before each reader and writer of that folder."""
    folder, whole = world / "work" / kind, world.parent / "home/whole"
    shutil.copytree(folder, whole)
    before = outside(world)
    for path in sorted(folder.rglob("*")):
        if path.is_dir() != (attack == "folder"):
            continue
        set_aside = world.parent / "aside"
        path.rename(set_aside)
        victim = whole / path.relative_to(folder)
        path.symlink_to(victim) if attack == "folder" else plant(attack, path, victim)
        for name, reader in READERS[kind].items():
            # Other programs have manifests too: one that is none of ours is passed over, and its folder with it.
            if name == "finish_rewrite" or (name == "find_url" and path.name == "manifest.json"):
                continue
            with time_limit(), pytest.raises(T2IError) as caught:
                reader(world)
            told = str(caught.value)
            assert any(word in told for word in ("link", "pipe", "bytes")), f"{name}: {told}"
        path.unlink()
        set_aside.rename(path)
    assert outside(world) == before


@pytest.mark.parametrize("reader", ["lineage", "find_url"])
@pytest.mark.parametrize("kind", READERS)
def test_the_folders_themselves_are_sound(kind: str, reader: str, world: Path) -> None:
    assert READERS[kind][reader](world)


HUGE = 10**6
ABSURD: dict[str, Callable[[dict[str, Any]], object]] = {
    "channels": lambda config: config["recipe"]["system"]["cnn"].update(channels=[HUGE, HUGE, HUGE]),
    "wide": lambda config: config["recipe"]["system"].update(text_width=65_536, text_layers=64),
    "layers": lambda config: config["recipe"]["system"].update(text_layers=10**9),
    "levels": lambda config: config["recipe"]["system"]["cnn"].update(channels=[8] * HUGE),
    "vocabulary": lambda config: config["sizes"].update(vocab_size=10**12),
    "picture": lambda config: config["sizes"].update(image_size=10**7),
    "context": lambda config: config["sizes"].update(context_length=10**9),
    "more": lambda config: config["sizes"].update(depth=3),
    "less": lambda config: config["sizes"].pop("image_size"),
    "words": lambda config: config["sizes"].update(vocab_size=1_000_000),
}


@pytest.mark.parametrize("claim", ABSURD)
def test_a_model_of_an_absurd_size_is_refused_before_it_is_built(claim: str, world: Path) -> None:
    path = world / "work/run/config.json"
    config = json.loads(path.read_text())
    ABSURD[claim](config)
    path.write_text(json.dumps(config))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with time_limit(), pytest.raises(CheckpointError):
        load_generator(world / "work/run", CPU)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000


def test_weights_that_the_model_does_not_explain_are_not_read(world: Path) -> None:
    path = next(world.glob("work/run/checkpoints/*/optimizer.safetensors"))
    with path.open("r+b") as file:
        file.truncate(2**35)

    for reader in ("load_generator", "generate"):
        with time_limit(), pytest.raises(CheckpointError, match="not made by t2i"):
            RUN_READERS[reader](world)


def weights(header: object, size: int | None = None) -> bytes:
    spelled = json.dumps(header).encode()
    return (len(spelled) if size is None else size).to_bytes(8, "little") + spelled + bytes(64)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"torn",
        weights({}, 2**62),
        weights({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 64]}}),
        weights({"w": {"dtype": "F32", "shape": [16], "data_offsets": [0, 2**50]}}),
        weights({"w": {"dtype": "F32", "shape": [-16], "data_offsets": [0, 64]}}),
        weights({"w": {"dtype": "X9", "shape": [16], "data_offsets": [0, 64]}}),
        weights({"w": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}}),
    ],
)
def test_weights_with_an_absurd_header_are_refused(body: bytes, world: Path) -> None:
    folder = next(world.glob("work/run/checkpoints/*"))
    (folder / "ema.safetensors").write_bytes(body)
    state = json.loads((folder / "state.json").read_text())
    state["files"]["ema.safetensors"] = hashlib.sha256(body).hexdigest()
    (folder / "state.json").write_text(json.dumps(state))

    with time_limit(), pytest.raises(CheckpointError):
        load_generator(world / "work/run", CPU)


@pytest.mark.parametrize("name", ["../../../../home/.ssh/authorized_keys", "/etc/passwd", "..", "x.py"])
def test_a_checkpoint_lists_no_other_files(name: str, world: Path) -> None:
    path = next(world.glob("work/run/checkpoints/*/state.json"))
    state = json.loads(path.read_text())
    state["files"][name] = "0"
    path.write_text(json.dumps(state))

    with pytest.raises(CheckpointError, match="not a file of a checkpoint"):
        load_generator(world / "work/run", CPU)


@pytest.mark.parametrize("place", ["dataset", "captions", "runs", "runs/cnn", "evaluation"])
def test_a_workspace_may_be_a_link_but_nothing_in_it(place: str, world: Path) -> None:
    names = ("dataset", "captions", "evaluation", "runs/cnn")
    (world / "linked").symlink_to(world / "work")
    require_workspace(world / "linked", names)
    (world / "other").mkdir()
    (world / "other" / place).parent.mkdir(exist_ok=True)
    (world / "other" / place).symlink_to(world / "work/run")

    with pytest.raises(DataError, match="is a link"):
        require_workspace(world / "other", names)


def test_what_is_written_can_be_read_by_whoever_may_read_other_files(made: Path) -> None:
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in (made / "work").rglob("*") if path.is_file()}
    umask = os.umask(0)
    os.umask(umask)

    assert modes.keys() >= {".safetensors", ".json", ".tar", ".parquet", ".html", ".jsonl", ".png"}
    assert set(modes.values()) == {0o666 & ~umask}


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
