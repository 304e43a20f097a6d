"""Peak memory of an ingest, for lists of different lengths: it is to be the same for all.

Usage: python tests/benchmarks/ingest_memory.py [--rows 10000 1000000] [--step plan|denied|pictures] [--suffix .csv]

`plan` only plans the list; `denied` is a whole ingest of rows that a deny-list rejects without a request; `pictures`
fetches a tiny picture from a server on loopback for every row. Each list is made and ingested in a process of its own,
so that each peak is its own. One row in a hundred is a repetition. A .parquet list has a single row group, which no
reader could hold for long lists. A worker's peak is that of the largest process that decodes.
"""

import argparse
import json
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
HOSTS = 997


def main() -> None:
    options = parse_options()
    if options.list:
        ingest_list(options.list, options.step)
        return
    with TemporaryDirectory(dir=options.folder) as folder:
        results = [measure(Path(folder), rows, options.suffix, options.step) for rows in options.rows]
    for result in results:
        line = "{rows:>10,} rows {peak_mb:7.1f} MB, a worker {worker_mb:7.1f} MB {seconds:8.1f} s".format(**result)
        print(json.dumps(result) if options.json else line)
    if not options.json:
        print(f"difference {results[-1]['peak_mb'] - results[0]['peak_mb']:12.1f} MB")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000], help="lengths of the lists")
    parser.add_argument("--step", choices=["plan", "denied", "pictures"], default="plan", help="what is done")
    parser.add_argument("--suffix", choices=[".csv", ".csv.gz", ".json", ".parquet"], default=".csv")
    parser.add_argument("--folder", help="where lists and plans are written; the system's own place for such files")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--list", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(folder: Path, rows: int, suffix: str, step: str) -> dict[str, float]:
    path = folder / f"{rows}{suffix}"
    with pictures_at(step) as origin:
        write_list(path, rows, origin)
        command = [sys.executable, __file__, "--list", str(path), "--step", step]
        child = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    path.unlink()
    return {"rows": rows, **json.loads(child.stdout)}


@contextmanager
def pictures_at(step: str) -> Iterator[str]:
    """Serve one picture under every name, where pictures are to be fetched; give the address they start with."""
    if step != "pictures":
        yield ""
        return
    sys.path.insert(0, str(ROOT))
    from tests.t2i_core.data.web.fault_server import FaultServer, http

    with FaultServer(1, files={"/picture.png": http(body=tiny_png())}).serving() as server:
        yield server.url(0, "/picture.png?")


def tiny_png() -> bytes:
    """Give a picture of 32 pixels a side, from black to white."""
    header, rows = struct.pack(">IIBBBBB", 32, 32, 8, 0, 0, 0, 0), zlib.compress((b"\0" + bytes(range(0, 256, 8))) * 32)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    spelled = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(spelled)


def ingest_list(path: Path, step: str) -> None:
    """Ingest one list in this process, and tell its peak in MB (2**20 bytes)."""
    sys.path.insert(0, str(ROOT))
    from t2i_core.errors import DataError
    from t2i_core.folders.manifest import read_manifest
    from t2i_core.ingestion.config import IngestRequest
    from t2i_core.ingestion.step import IngestConfig, ingest, plan_ingest

    # The fewest rows that a test measures are several shards.
    config = IngestConfig(allow_private=("localhost",), image_size=16, samples_per_shard=250)
    started = time.monotonic()
    with TemporaryDirectory(dir=path.parent) as folder:
        if step == "plan":
            plan_ingest(IngestRequest(source=str(path), config=IngestConfig(), output_dir=Path(folder) / "dataset"))
        else:
            denied = Path(folder) / "denied.txt"
            denied.write_text("".join(f"host{number}.example\n" for number in range(HOSTS)))
            dataset = Path(folder) / "dataset"
            with suppress(DataError) if step == "denied" else nullcontext():
                ingest(str(path), config.with_changes(deny_list=str(denied)), dataset)
            assert (read_manifest(dataset, "dataset").counts["kept"] > 0) == (step == "pictures")
    seconds = time.monotonic() - started
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"peak_mb": peaks[0], "worker_mb": peaks[1], "seconds": seconds}))


def write_list(path: Path, rows: int, origin: str) -> None:
    """Write a list a few thousand rows at a time, so that this process stays small: children inherit its peak."""
    if path.suffix == ".parquet":
        write_parquet(path, rows)
        return
    import gzip

    with gzip.open(path, "wt", 1) if path.suffix == ".gz" else path.open("w") as file:
        file.write("[" if path.suffix == ".json" else "url,caption,license\n")
        for number, (url, caption, name) in enumerate(iter_rows(rows, origin)):
            if path.suffix == ".json":
                row = json.dumps({"url": url, "caption": caption, "license": name})
                file.write(f"{',' if number else ''}\n{row}")
            else:
                file.write(f"{url},{caption},{name}\n")
        file.write("]" if path.suffix == ".json" else "")


def write_parquet(path: Path, rows: int) -> None:
    """Write in a child, which alone carries the memory that a single row group takes to write."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import ingest_memory as b, pyarrow as pa, pyarrow.parquet as pq;"
        "names = ['url', 'caption', 'license']; columns = list(zip(*b.iter_rows(int(sys.argv[3]), '')));"
        "table = pa.table(dict(zip(names, map(list, columns))));"
        "pq.write_table(table, sys.argv[2], row_group_size=len(table))"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(path), str(rows)], check=True)


def iter_rows(rows: int, origin: str) -> Iterator[tuple[str, str, str]]:
    for number in range(rows):
        name = number - 50 if number % 100 == 99 else number
        url = f"{origin}{name}" if origin else f"https://host{name % HOSTS}.example/pictures/{name}.jpg"
        yield url, f"a picture of the thing number {name}", "CC0"


if __name__ == "__main__":
    main()
