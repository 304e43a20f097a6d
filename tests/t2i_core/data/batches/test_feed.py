import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.batches import order
from t2i_core.data.batches import split as splits
from t2i_core.data.batches.feed import Feed, StreamedFeed, worker_errors
from t2i_core.data.batches.read import Rows
from t2i_core.data.batches.shapes import ANY_SHAPE, Shapes
from t2i_core.data.batches.split import OpenSplit, load_split
from t2i_core.data.batches.tokenizer import load_tokenizer
from t2i_core.errors import ConfigError, DataError, ShardError, TransientError
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene

ROOT = Path(__file__).parents[4]
# More workers than cores are asked for on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch, tmp_path):
    monkeypatch.setattr(order, "MIN_BLOCK_SAMPLES", 15)
    monkeypatch.setattr(order, "MIN_BLOCK_SHARDS", 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def streamed(monkeypatch):
    """Pictures do not fit in memory."""
    monkeypatch.setattr(splits, "MAX_MEMORY_SHARE", 0.0)


@contextmanager
def feeding(captions_dir: Path, location: str = "", shapes: Shapes = ANY_SHAPE, **options: object) -> Iterator[Feed]:
    feed = OpenSplit(captions_dir, "train", [location], shapes).feed(3, **options)  # type: ignore[arg-type]
    try:
        yield feed
    finally:
        feed.close()


def keys(captions_dir: Path, first: int, stop: int, size: int = 7, **options: object) -> list[str]:
    """Give the keys at some positions, read in batches."""
    with feeding(captions_dir, **options) as feed:
        return [key for place in range(first, stop, size) for key in feed.take(place, min(size, stop - place)).keys]


def equal(one: Rows, other: Rows) -> bool:
    tensors = ("pixels", "token_ids", "token_mask", "original", "crop")
    lists = ("keys", "uids", "captions")
    same = all(getattr(one, name).equal(getattr(other, name)) for name in tensors)
    return same and all(getattr(one, name) == getattr(other, name) for name in lists)


def test_a_sample_is_picture_caption_tokens_and_names_together(many_shards, streamed):
    with feeding(many_shards, workers=0) as feed:
        rows = feed.take(0, 60)

    assert len(set(rows.keys)) == len(rows) == 60
    for key, text, pixels, original in zip(rows.keys, rows.captions, rows.pixels, rows.original, strict=True):
        # Six pictures a shard, and keys of one digit behind the shard's number.
        scene = make_scene(0, int(key[:-1]) * 6 + int(key[-1]))
        assert text == caption_scene(scene)
        assert (pixels.numpy() == np.asarray(render_scene(scene, 16))).all()
        assert original.tolist() == [16, 16]
    assert (load_tokenizer(many_shards).encode(rows.captions)[0] == rows.token_ids.numpy()).all()


def test_pictures_in_memory_and_streamed_ones_come_in_the_same_order(many_shards, monkeypatch):
    with feeding(many_shards) as feed:
        kept = [feed.take(place, 8) for place in range(0, 160, 8)]
        assert not isinstance(feed, StreamedFeed)
    monkeypatch.setattr(splits, "MAX_MEMORY_SHARE", 0.0)

    with feeding(many_shards, workers=0) as feed:
        assert isinstance(feed, StreamedFeed)
        assert all(equal(feed.take(8 * number, 8), rows) for number, rows in enumerate(kept))


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_order_is_the_same_whatever_the_number_of_workers(many_shards, streamed, workers):
    expected = keys(many_shards, 0, 150, workers=0)

    assert sorted(expected[:60]) == sorted(expected[60:120]) == sorted(set(expected))
    assert keys(many_shards, 0, 150, workers=workers) == expected


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_order_is_the_same_whatever_the_number_of_ranks(many_shards, streamed, ranks):
    batch, share = 8, 8 // ranks
    expected = keys(many_shards, 0, 120, batch, workers=0)
    read: dict[int, list[str]] = {}
    for rank in range(ranks):
        with feeding(many_shards, workers=1, stride=batch) as feed:
            for place in range(rank * share, 120, batch):
                read[place] = feed.take(place, share).keys

    assert [key for place in sorted(read) for key in read[place]] == expected


RUN = """
import sys, tempfile
from pathlib import Path
from t2i_core.data.batches import order, split as splits
splits.MAX_MEMORY_SHARE, order.MIN_BLOCK_SAMPLES, order.MIN_BLOCK_SHARDS = 0.0, 15, 2
tempfile.tempdir = sys.argv[2]
feed = splits.OpenSplit(Path(sys.argv[1]), "train").feed(3, workers=2)
for place in range(0, 10**6, 7):
    print(*feed.take(place, 7).keys, flush=True)
"""


@pytest.mark.parametrize("workers", [0, 1, 8])
def test_a_killed_run_goes_on_with_another_number_of_workers_as_if_nothing_had_been(
    many_shards, streamed, tmp_path, workers
):
    command = [sys.executable, "-c", RUN, str(many_shards), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout
        before = [run.stdout.readline().split() for _ in range(11)]
        run.send_signal(signal.SIGKILL)
    seen = [key for batch in before for key in batch]
    assert len(seen) == 77 and run.returncode == -signal.SIGKILL

    assert seen + keys(many_shards, 77, 150, 5, workers=workers) == keys(many_shards, 0, 150, workers=0)


def test_what_a_killed_run_left_is_removed_by_the_next(many_shards, streamed, tmp_path):
    left, in_use = tmp_path / "t2i-shards-left", tmp_path / "t2i-shards-other"
    for folder in (left, in_use):
        folder.mkdir()
        (folder / "in-use").touch()
    command = ["flock", str(in_use / "in-use"), "sh", "-c", "echo; read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdin
        other.stdout.readline()
        with feeding(many_shards, workers=0):
            pass
        other.stdin.close()

    assert [path.name for path in tmp_path.glob("t2i-shards-*")] == ["t2i-shards-other"]


def test_no_more_shards_are_near_than_those_of_a_few_blocks(many_shards, streamed, tmp_path):
    most = 0
    with feeding(many_shards, workers=2) as feed:
        for place in range(0, 240, 6):
            feed.take(place, 6)
            most = max(most, len(list(tmp_path.glob("t2i-shards-*/*.arrow"))))

    # Blocks have three shards here: of this one, the next, and two that a worker may still read.
    assert 3 <= most < 10
    assert not list(tmp_path.glob("t2i-shards-*"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_refused_by_name_with_its_losses(captions_dir, streamed, workers):
    tar = captions_dir.parent / "dataset" / "shards" / "00001.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])

    with pytest.raises(ShardError, match=r"00001\.tar") as caught:
        keys(captions_dir, 0, 30, workers=workers)

    assert 0 < caught.value.num_lost <= 10


def test_a_picture_of_another_size_is_refused_by_name(captions_dir, streamed):
    with feeding(captions_dir, workers=0) as feed:
        feed._reader._side = 17  # type: ignore[attr-defined]

        with pytest.raises(ConfigError, match="16x16, others 17x17"):
            feed.take(0, 5)


def test_captions_are_encoded_by_whoever_reads_them(many_shards, streamed):
    with feeding(many_shards, workers=2, encode=lambda captions: ([[len(c)] for c in captions], [[True]] * 5)) as feed:
        rows = feed.take(0, 5)

    assert rows.token_ids.tolist() == [[len(caption)] for caption in rows.captions]


def test_a_sample_without_a_picture_is_told(captions_dir, streamed):
    from t2i_core.data.batches import indexed

    rows = indexed.ShardRows(0, 0, 30, (30,))
    stem = captions_dir.parent / "dataset/shards/00000"

    with pytest.raises(DataError, match="20 captioned samples have no picture"):
        indexed.write_index(captions_dir.parent / "index", stem, captions_dir, "train", rows)


@pytest.mark.parametrize(
    ("pattern", "shards"),
    [("0000[2-4].tar", {"2", "3", "4"}), ("{00007..00009}.tar", {"7", "8", "9"}), ("*1.tar", {"1"})],
)
def test_a_pattern_chooses_shards(many_shards, pattern, shards):
    found = keys(many_shards, 0, 6 * len(shards), location=f"{many_shards.parent}/dataset/shards/{pattern}")

    assert {key[-2] for key in found} == shards and len(set(found)) == 6 * len(shards)


def test_a_pattern_of_no_shard_is_refused(many_shards):
    with pytest.raises(ConfigError, match="names none of the shards"):
        OpenSplit(many_shards, "train", [f"{many_shards.parent}/dataset/shards/x*.tar"])


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a server that speaks S3, and give its address; fsspec is told of it as a user would."""
    moto_server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def test_shards_are_read_from_an_s3_store(many_shards, streamed, monkeypatch, tmp_path):
    expected = keys(many_shards, 0, 90, workers=0)
    with s3_server(monkeypatch):
        import s3fs

        store = s3fs.S3FileSystem()
        store.mkdir("bucket")
        store.put(f"{many_shards.parent}/dataset", "bucket/sets/dataset", recursive=True)
        captions = tmp_path / "captions"
        shutil.copytree(many_shards, captions)
        location = "s3://bucket/sets/dataset"

        assert keys(captions, 0, 90, location=location, workers=2) == expected
        assert keys(captions, 30, 90, location=location, workers=0) == expected[30:]
        some = keys(captions, 0, 12, location=f"{location}/shards/{{00003..00004}}.tar", workers=0)
        assert {key[-2] for key in some} == {"3", "4"}
        store.pipe("bucket/sets/dataset/shards/00003.tar", b"something else")
        with pytest.raises(ShardError, match=r"00003\.tar is not what was written"):
            keys(captions, 0, 60, location=location, workers=2)
    assert not list(tmp_path.glob("t2i-shards-*"))


def test_a_store_with_another_data_set_is_refused(many_shards, monkeypatch):
    import fsspec

    store = fsspec.filesystem("memory")
    text = (many_shards.parent / "dataset/manifest.json").read_bytes()
    store.pipe("/sets/other/manifest.json", text.replace(b'"image_size": 16', b'"image_size": 32'))

    with pytest.raises(ConfigError, match="has changed since"):
        OpenSplit(many_shards, "train", ["memory://sets/other"])
    with pytest.raises(ConfigError, match="cannot read memory://sets/none"):
        OpenSplit(many_shards, "train", ["memory://sets/none"])


KILLED = """
import os, signal, sys, tempfile, time
from pathlib import Path
from t2i_core.data.batches import feed as feeds, split as splits
splits.MAX_MEMORY_SHARE, tempfile.tempdir = 0.0, sys.argv[2]
feed = splits.OpenSplit(Path(sys.argv[1]), "train").feed(3, workers=1)
own = Path("/proc/self/cmdline").read_bytes()
with feeds.worker_errors():
    try:
        feed.take(0, 5)
        # What reads tables has a command of its own; the worker is forked, and has that of this process.
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            if Path(f"/proc/{child}/cmdline").read_bytes() == own:
                os.kill(int(child), signal.SIGKILL)
        for place in range(5, 500, 5):
            feed.take(place, 5)
            time.sleep(0.1)
    finally:
        feed.close()
"""


def test_a_worker_that_is_killed_is_told_in_a_sentence(many_shards, tmp_path):
    command = [sys.executable, "-c", KILLED, str(many_shards), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert run.returncode == 1
    assert "\nt2i_core.errors.TransientError: a process that decodes pictures ended" in run.stderr


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_line_that_a_killed_worker_breaks_is_told_in_a_sentence(error: Exception) -> None:
    with pytest.raises(TransientError, match="a process that decodes pictures ended"), worker_errors():
        raise error


def children() -> set[int]:
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    return {int(child) for child in listed.split()}


def test_workers_end_with_the_feed(many_shards, streamed):
    feed = OpenSplit(many_shards, "train").feed(3, workers=2)
    feed.take(0, 5)
    before = children()
    feed.close()

    assert len(before - children()) == 2


@pytest.fixture(scope="module")
def many_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty plain pictures of three shapes, some larger, as `--resize-mode keep_ratio` keeps them."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "pictures").mkdir()
    for i in range(60):
        size = [(64, 64), (96, 48), (40, 80)][i % 3]
        picture = Image.effect_mandelbrot(size, (-3, -2.5, 2, 2.5), 100).convert("RGB")
        picture.putpixel((0, 0), (i, 0, 0))
        picture.save(folder / "pictures" / f"{i:03d}.png")
        (folder / "pictures" / f"{i:03d}.txt").write_text(f"picture {i}")
    options = IngestConfig(
        image_size=32, encode_format="png", samples_per_shard=6, min_image_size=8, resize_mode="keep_ratio"
    )
    ingest(str(folder / "pictures"), options, folder / "dataset")
    choices = CaptionConfig(validation_share=0, test_share=0, drop_duplicates=False, drop_placeholders=False)
    caption(folder / "dataset", choices, folder / "captions")
    return folder / "captions"


SHAPES = Shapes(side=32, step=8)


def test_pictures_of_one_shape_come_together_and_are_cut_as_is_told(many_shapes, streamed):
    with feeding(many_shapes, shapes=SHAPES, group=4, workers=0) as feed:
        batches = [feed.take(place, 4) for place in range(0, 240, 4)]

    seen = Counter(key for rows in batches for key in rows.keys)
    assert len(seen) == 60 and set(seen.values()) == {4}
    sides = {
        tuple(original): (rows.pixels.shape[1:3], tuple(crop))
        for rows in batches
        for original, crop in zip(rows.original.tolist(), rows.crop.tolist(), strict=True)
    }
    assert sides == {
        (64, 64): ((32, 32), (0, 0)),
        # Stored as 32 x 64, shrunk to 24 x 48, and cut in the middle.
        (48, 96): ((24, 40), (0, 4)),
        (80, 40): ((40, 24), (4, 0)),
    }


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_shapes_come_in_the_same_order_whatever_reads_them(many_shapes, workers, monkeypatch):
    options = {"shapes": SHAPES, "group": 4}
    with feeding(many_shapes, **options) as feed:
        kept = [feed.take(place, 4) for place in range(0, 200, 4)]
    monkeypatch.setattr(splits, "MAX_MEMORY_SHARE", 0.0)

    with feeding(many_shapes, workers=workers, **options) as feed:
        assert all(equal(feed.take(4 * number, 4), kept[number]) for number in range(20, 50))


def test_pictures_of_any_shape_are_cut_to_squares(many_shapes):
    with feeding(many_shapes, shapes=Shapes(side=24)) as feed:
        rows = feed.take(0, 60)

    assert rows.pixels.shape == (60, 24, 24, 3) and len(set(rows.keys)) == 60
    with pytest.raises(ConfigError, match=r"Add --set shapes\.side=N"):
        OpenSplit(many_shapes, "train").feed(0)


def test_evaluations_see_squares_of_the_shorter_side(many_shapes):
    split = load_split(many_shapes, "train")

    assert split.image_size == 32 and split.pictures([0, 1, 2]).shape == (3, 32, 32, 3)
