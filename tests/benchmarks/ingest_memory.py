"""Peak memory of planning an ingest, for lists of different lengths: it is to be the same for all.

Usage: python tests/benchmarks/ingest_memory.py [--rows 10000 1000000] [--suffix .csv] [--json]

Each list is made and planned in a process of its own, so that each peak is its own. One row in a hundred is a
repetition. A .parquet list has a single row group, which no reader could hold for long lists.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]


def main() -> None:
    options = parse_options()
    if options.list:
        plan(options.list)
        return
    with TemporaryDirectory(dir=options.folder) as folder:
        results = [measure(Path(folder), rows, options.suffix) for rows in options.rows]
    for result in results:
        line = "{rows:>10,} rows {peak_mb:7.1f} MB {seconds:8.1f} s".format(**result)
        print(json.dumps(result) if options.json else line)
    if not options.json:
        print(f"difference {results[-1]['peak_mb'] - results[0]['peak_mb']:12.1f} MB")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000], help="lengths of the lists")
    parser.add_argument("--suffix", choices=[".csv", ".csv.gz", ".json", ".parquet"], default=".csv")
    parser.add_argument("--folder", help="where lists and plans are written; the system's own place for such files")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--list", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(folder: Path, rows: int, suffix: str) -> dict[str, float]:
    path = folder / f"{rows}{suffix}"
    write_list(path, rows)
    command = [sys.executable, __file__, "--list", str(path)]
    child = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    path.unlink()
    return {"rows": rows, **json.loads(child.stdout)}


def plan(path: Path) -> None:
    """Plan one list in this process, and tell its peak in MB (2**20 bytes)."""
    sys.path.insert(0, str(ROOT))
    from t2i_core.data.ingest import IngestConfig, plan_ingest

    started = time.monotonic()
    with TemporaryDirectory(dir=path.parent) as folder:
        plan_ingest(str(path), IngestConfig(), Path(folder) / "dataset")
    seconds = time.monotonic() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mb": peak_mb, "seconds": seconds}))


def write_list(path: Path, rows: int) -> None:
    """Write a list a few thousand rows at a time, so that this process stays small: children inherit its peak."""
    if path.suffix == ".parquet":
        write_parquet(path, rows)
        return
    import gzip

    with gzip.open(path, "wt", 1) if path.suffix == ".gz" else path.open("w") as file:
        file.write("[" if path.suffix == ".json" else "url,caption,license\n")
        for number, (url, caption, name) in enumerate(iter_rows(rows)):
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
        "names = ['url', 'caption', 'license']; columns = list(zip(*b.iter_rows(int(sys.argv[3]))));"
        "table = pa.table(dict(zip(names, map(list, columns))));"
        "pq.write_table(table, sys.argv[2], row_group_size=len(table))"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(path), str(rows)], check=True)


def iter_rows(rows: int) -> Iterator[tuple[str, str, str]]:
    for number in range(rows):
        name = number - 50 if number % 100 == 99 else number
        yield f"https://host{name % 997}.example/pictures/{name}.jpg", f"a picture of the thing number {name}", "CC0"


if __name__ == "__main__":
    main()
