"""Work and processor time of an ingest, its captions and their loading, by the number of shards: both are to be linear.

Usage: python tests/benchmarks/shards.py [--shards 1000 2000 4000]

Every shard holds one tiny picture of a local folder, so that all that is left is what is done for each shard. `again`
makes every shard once more by a call of its own, as the tasks of a cluster do; all are there already. Counted are the
files that this process opens; the seconds are those of its processor, its children's included.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.batches.split import load_split
from t2i_core.folders.manifest import MANIFEST_NAME
from t2i_core.ingestion.config import IngestConfig, IngestRequest
from t2i_core.ingestion.step import finish_ingest, ingest, ingest_shard, plan_ingest

CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=1)
CAPTIONS = CaptionConfig(validation_share=0, test_share=0, drop_duplicates=False, max_same_caption=0)
STEPS = ("plan", "make", "again", "finish", "caption", "load")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, nargs="+", default=[1000, 2000, 4000])
    parser.add_argument("--folder", help="where everything is written; the system's own place for such files")
    options = parser.parse_args()
    sys.addaudithook(count_opens)
    print(f"{'':>14}" + "".join(f"{step:>18}" for step in STEPS))
    for num_shards in options.shards:
        with TemporaryDirectory(dir=options.folder) as folder:
            cells = (f"{opens:>9,} {seconds:>6.2f} s" for opens, seconds in measure(Path(folder), num_shards))
            print(f"{num_shards:>7,} shards" + "".join(cells), flush=True)


opens = 0


def count_opens(event: str, _: tuple[Any, ...]) -> None:
    global opens
    opens += event == "open"


def measure(folder: Path, num_shards: int) -> Iterator[tuple[int, float]]:
    """Give the files opened and the seconds of each of `STEPS`."""
    write_pictures(folder / "pictures", num_shards)
    source, dataset, captions = str(folder / "pictures"), folder / "dataset", folder / "captions"

    def again() -> None:
        (dataset / MANIFEST_NAME).unlink()
        plan = plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=dataset))
        for shard_id in range(num_shards):
            ingest_shard(plan, shard_id)

    yield measured(lambda: plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=dataset)))
    yield measured(lambda: ingest(source, CONFIG, dataset))
    yield measured(again)
    yield measured(lambda: finish_ingest(plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=dataset))))
    yield measured(lambda: caption(dataset, CAPTIONS, captions))
    yield measured(lambda: load_split(captions, "train"))


def write_pictures(folder: Path, number: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in range(number):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{name:06}.png")
        (folder / f"{name:06}.txt").write_text(f"a picture of the thing number {name}")


def measured(step: Callable[[], Any]) -> tuple[int, float]:
    opens_before, seconds_before = opens, processor_seconds()
    step()
    return opens - opens_before, processor_seconds() - seconds_before


def processor_seconds() -> float:
    usages = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
