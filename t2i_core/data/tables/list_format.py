"""What kind of list a file name promises."""

from pathlib import PurePosixPath

LIST_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet")
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
LIST_NAMES = f"{', '.join(LIST_SUFFIXES)} (all but .parquet also with {', '.join(COMPRESSIONS)} after it)"


def list_format(name: str) -> str:
    """Tell what kind of list a file name promises, looking below a compression's suffix; "" for none."""
    path = PurePosixPath(name.lower())
    inner = PurePosixPath(path.stem) if path.suffix in COMPRESSIONS else path
    is_list = inner.suffix in LIST_SUFFIXES and (inner is path or inner.suffix != ".parquet")
    return inner.suffix if is_list else ""
