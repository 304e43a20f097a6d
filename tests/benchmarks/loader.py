"""The loader beside bare webdataset with the same decoder, and its memory and first batch at two lengths of data.

Usage: python tests/benchmarks/loader.py rate [--rounds 5] [--workers 2] [--samples 4000]
       python tests/benchmarks/loader.py memory [--samples 10000 1000000]

`rate` reads JPEGs of 256 pixels a side, as an ingest stores them, in turn with both; the CPU seconds of all processes
are printed beside the rates, as they depend less on what else the machine does. `memory` reads tiny pictures; each
length is a process of its own, whose peak is told with the largest of its workers'. Shards are copies of a few, each
under its own name.
"""

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from t2i_core.data.batches import split as splits  # noqa: E402
from t2i_core.data.batches.captions import SCHEMA  # noqa: E402
from t2i_core.data.batches.feed import Feed  # noqa: E402
from t2i_core.data.batches.split import OpenSplit  # noqa: E402
from t2i_core.data.batches.tokenizer import Tokenizer  # noqa: E402
from t2i_core.data.shards.tar import TarWriter  # noqa: E402
from t2i_core.folders.manifest import OutputFile, StepKey, describe_file, write_manifest  # noqa: E402

BATCH, SHARD_SAMPLES = 64, 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["rate", "memory", "child"])
    parser.add_argument("--samples", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the data is made; the system's own place for such files")
    options = parser.parse_args()
    if options.what == "child":
        print(json.dumps(peak_of(options.folder, options.workers)))
        return
    with TemporaryDirectory(dir=options.folder) as folder:
        if options.what == "rate":
            compare(Path(folder), (options.samples or [4000])[0], options.rounds, options.workers)
        else:
            grow(Path(folder), options.samples or [10_000, 1_000_000], options.workers)


def compare(folder: Path, samples: int, rounds: int, workers: int) -> None:
    """Print the rates of both, round by round in turn, and the median of their ratios."""
    captions = make_data(folder, samples, side=256, shard_samples=min(samples, 1000))
    splits.MAX_MEMORY_SHARE = 0.0
    ratios = []
    for number in range(rounds):
        both = {"ours": ours, "webdataset": theirs} if number % 2 else {"webdataset": theirs, "ours": ours}
        figures = {name: timed(lambda read=read: read(captions, samples, workers)) for name, read in both.items()}
        for name, (seconds, cpu) in sorted(figures.items()):
            print(f"{name:>10} {samples / seconds:8.0f} pictures/s, {1e6 * cpu / samples:6.0f} us of CPU a picture")
        ratios.append([figures["webdataset"][i] / figures["ours"][i] for i in range(2)])
    by_time, by_cpu = (median(column) for column in zip(*ratios, strict=True))
    print(f"ours / webdataset {by_time:.2f} by time, {by_cpu:.2f} by CPU, {workers} workers")


def timed(read: Callable[[], int]) -> tuple[float, float]:
    """Give the seconds and the CPU seconds of all processes that reading took."""
    started, cpu = time.perf_counter(), cpu_seconds()
    read()
    return time.perf_counter() - started, cpu_seconds() - cpu


def cpu_seconds() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def ours(captions: Path, samples: int, workers: int) -> None:
    feed = OpenSplit(captions, "train").feed(0, workers=workers)
    for position in range(0, samples, BATCH):
        feed.take(position, BATCH)
    feed.close()


def theirs(captions: Path, samples: int, workers: int) -> None:
    """Read with webdataset's own pipeline, shuffled, decoded by the same decoder, tokens left out."""
    import webdataset
    from torch.utils.data import DataLoader

    tars = [str(path) for path in sorted((captions.parent / "dataset/shards").glob("*.tar"))]
    data = webdataset.WebDataset(tars, shardshuffle=len(tars), nodesplitter=None, empty_check=False)
    data = data.shuffle(1000).to_tuple("jpg", "txt").map_tuple(decode_jpeg, bytes.decode).batched(BATCH, partial=True)
    read = 0
    for pixels, _ in DataLoader(data, batch_size=None, num_workers=workers, multiprocessing_context="fork"):
        read += len(pixels)
    assert read == samples


def decode_jpeg(body: bytes) -> Any:
    import torch
    from torchvision.io import ImageReadMode
    from torchvision.io import decode_jpeg as decode

    return decode(torch.frombuffer(bytearray(body), dtype=torch.uint8), mode=ImageReadMode.RGB).permute(1, 2, 0)


def grow(folder: Path, lengths: list[int], workers: int) -> None:
    """Print peak and first batch at each length."""
    peaks = []
    for samples in lengths:
        make_data(folder / str(samples), samples, side=8, shard_samples=SHARD_SAMPLES)
        command = [sys.executable, __file__, "child", "--folder", str(folder / str(samples)), "--workers", str(workers)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
        shutil.rmtree(folder / str(samples))
        peaks.append(found["peak_mb"] + found["worker_mb"])
        line = "{peak_mb:7.1f} MB, a worker {worker_mb:7.1f} MB, first batch after {first:.1f} s, {rate:.0f} pictures/s"
        print(f"{samples:>10,} samples", line.format(**found))
    print(f"difference {peaks[-1] - peaks[0]:.1f} MB")


def peak_of(folder: Path, workers: int) -> dict[str, float]:
    """Read two blocks' worth and a half, and tell this process's peak and its largest child's, in MB (2**20 bytes)."""
    splits.MAX_MEMORY_SHARE = 0.0
    started = time.monotonic()
    feed: Feed = OpenSplit(folder / "captions", "train").feed(0, workers=workers)
    feed.take(0, BATCH)
    first = time.monotonic() - started
    positions = range(BATCH, 100_000, BATCH)
    for position in positions:
        feed.take(position, BATCH)
    rate = len(positions) * BATCH / (time.monotonic() - started - first)
    feed.close()
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"peak_mb": peaks[0], "worker_mb": peaks[1], "first": first, "rate": rate}


def make_data(folder: Path, samples: int, *, side: int, shard_samples: int) -> Path:
    """Make a dataset and its captions; every shard has the same bytes, which lie on the disk once."""
    dataset, captions = folder / "dataset", folder / "captions"
    (dataset / "shards").mkdir(parents=True)
    captions.mkdir()
    rows = [
        (f"{number:09d}", f"{number:032x}", f"a picture of the thing number {number}")
        for number in range(shard_samples)
    ]
    write_shard(dataset / "shards", rows, side)
    files = [describe_file(dataset, path) for path in sorted((dataset / "shards").iterdir())]
    for shard in range(1, samples // shard_samples):
        for file in files[:2]:
            name = f"shards/{shard:05d}{Path(file.path).suffix}"
            os.link(dataset / file.path, dataset / name)
            files.append(OutputFile(path=name, size=file.size, sha256=file.sha256))
    ref = write_step(dataset, "dataset", "ingest", files, {}, {})
    with pq.ParquetWriter(captions / "captions.parquet", SCHEMA, compression="zstd") as writer:
        for shard in range(samples // shard_samples):
            writer.write_table(captions_of(shard, rows))
    Tokenizer.train(["a picture of the thing number"], 32, 16).save(captions / "tokenizer.json")
    files = [describe_file(captions, path) for path in sorted(captions.iterdir())]
    write_step(captions, "captions", "caption", files, {"dataset": ref.digest}, {"dataset": "../dataset"})
    return captions


def write_step(folder: Path, kind: Any, step: str, files: list[OutputFile], inputs: Any, sources: Any) -> Any:
    key = StepKey(step=step, version=1, config={}, inputs=inputs)
    return write_manifest(folder, kind=kind, key=key, sources=sources, counts={}, files=files)


def write_shard(shards: Path, rows: list[tuple[str, str, str]], side: int) -> None:
    random = np.random.default_rng(0)
    bodies = [jpeg(random, side) for _ in range(50)]
    tar = TarWriter(shards / "00000.tar")
    for number, (key, uid, caption) in enumerate(rows):
        metadata = json.dumps({"caption": caption, "key": key, "uid": uid, "url": f"https://host.example/{key}" * 10})
        members = {"jpg": bodies[number % len(bodies)], "json": metadata.encode(), "txt": caption.encode()}
        tar.add({f"{key}.{suffix}": body for suffix, body in members.items()})
    tar.finish()
    tar.close()
    sides = pa.array([side] * len(rows), pa.int32())
    names = ("width", "height", "original_width", "original_height")
    table = {"key": [key for key, _, _ in rows], "status": ["success"] * len(rows), **dict.fromkeys(names, sides)}
    pq.write_table(pa.table(table), shards / "00000.parquet")


def jpeg(random: np.random.Generator, side: int) -> bytes:
    """Draw a picture as smooth and as noisy as a photograph, of some 40 kB at 256 pixels."""
    small = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(small).astype(np.float64) + random.normal(0, 12, (side, side, 3))
    body = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(body, "JPEG", quality=95)
    return body.getvalue()


def captions_of(shard: int, rows: list[tuple[str, str, str]]) -> pa.Table:
    keys, uids, texts = (list(column) for column in zip(*rows, strict=True))
    same = {"split": "train", "status": "kept", "reason": "", "group": "", "attributes": "{}"}
    columns = {"key": keys, "uid": uids, "caption": texts, "caption_raw": texts}
    columns |= {name: [value] * len(rows) for name, value in same.items()}
    columns |= {"shard": [shard] * len(rows), "num_tokens": [8] * len(rows), "truncated": [False] * len(rows)}
    columns |= dict.fromkeys(("width", "height"), [1] * len(rows))
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


if __name__ == "__main__":
    main()
