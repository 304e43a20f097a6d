"""What may lie in each kind of folder that a step makes: known names, regular files, sizes that such files have.

A folder may come from anywhere, so it is looked through before anything in it is read, moved or written. The folder
itself may be a link that a person made; inside it there are none.
"""

import os
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Literal

from t2i_core.door import kind_of, open_folder
from t2i_core.errors import ConfigError, DataError

Kind = Literal["dataset", "captions", "features", "run", "system", "evaluation", "comparison"]
STEP_KINDS: dict[str, Kind] = {
    "ingest": "dataset",
    "caption": "captions",
    "features": "features",
    "train": "run",
    "compose": "system",
    "evaluate": "evaluation",
    "compare": "comparison",
}

_KIB, _MIB, _GIB = 2**10, 2**20, 2**30
MAX_MANIFEST_BYTES = 64 * _MIB
MAX_NOTE_BYTES = 16 * _MIB
MAX_TABLE_BYTES = 16 * _GIB
MAX_SHARD_BYTES = 64 * _GIB
# JSON that is read whole grows up to twentyfold in memory.
MAX_STATS_BYTES = 64 * _MIB
MAX_LOG_BYTES = 256 * _MIB
MAX_ENTRIES = 10_000_000

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

# Beside every kind of folder: what its step notes, and what file systems, sharing sites and people leave anywhere.
_ANYWHERE = r"\.DS_Store|Thumbs\.db|desktop\.ini|\._[^/]*|\.nfs[0-9a-f]+"
_COMMON = {
    r"manifest\.json": MAX_MANIFEST_BYTES,
    r"step\.json": MAX_NOTE_BYTES,
    r"report\.(html|json|md)": MAX_LOG_BYTES,
    r"README\.md|LICENSE[^/]*|\.gitattributes|\.gitignore": MAX_LOG_BYTES,
    rf"([^/]+/)*({_ANYWHERE})": MAX_LOG_BYTES,
    # Who writes a folder that somebody wants inside this one.
    r"\.[^/]+\.lock": _KIB,
    # What was under way when a program was killed: a name, and eight letters that make it another.
    r"(?!\.rewrite/)([^/]+/)*\.[^/]+\.[a-z0-9_]{8}": MAX_SHARD_BYTES,
}
# New forms of a dataset's files lie in a folder like it until all of them take their places.
REWRITE_DIR = ".rewrite"
PARTIAL_DIR = ".rewrite.partial"
# Earlier versions of a dataset, each a folder like it, and what a refresh makes until it takes its place.
VERSIONS_DIR, REFRESH_DIR = "versions", "_refresh"
_REWRITE = r"(\.rewrite(\.partial)?/)?"
_STAGE = rf"({REFRESH_DIR}/)?{_REWRITE}({VERSIONS_DIR}/[0-9]{{1,9}}/)?{_REWRITE}"
# What is finished there holds nothing that was under way.
_UNDER_WAY = _STAGE.replace(r"(\.partial)?", r"\.partial")


@dataclass(frozen=True, slots=True)
class Layout:
    """Names that a kind of folder may hold.

    Attributes:
        folders: below it, as one pattern over their relative paths.
        files: bytes that a file has at most, by a pattern over its relative path.
    """

    folders: re.Pattern[str]
    files: tuple[tuple[re.Pattern[str], int], ...]

    def max_bytes(self, name: str) -> int | None:
        """Give the most bytes that a file of this name has, None for a name that is not known."""
        return next((limit for pattern, limit in self.files if pattern.fullmatch(name)), None)


def _layout(folders: str, files: dict[str, int]) -> Layout:
    return Layout(re.compile(folders), tuple((re.compile(name), limit) for name, limit in (files | _COMMON).items()))


LAYOUTS: dict[Kind, Layout] = {
    "dataset": _layout(
        rf"{_STAGE}(\.rewrite(\.partial)?|shards|_parts|{VERSIONS_DIR}(/[0-9]{{1,9}})?)|{REFRESH_DIR}"
        rf"|{_STAGE}_parts/_[^/]+(/[^/]+)*|{REFRESH_DIR}/_planned(/[^/]+)*"
        rf"|{_UNDER_WAY}\.duplicates\.parquet\.work(/[a-z0-9]+)?",
        {
            rf"{_STAGE}(manifest\.json)": MAX_MANIFEST_BYTES,
            rf"{_STAGE}step\.json": MAX_NOTE_BYTES,
            rf"{_STAGE}shards/[0-9]{{5,18}}(\.tar)(\.damaged[0-9]*)?": MAX_SHARD_BYTES,
            rf"{_STAGE}shards/[0-9]{{5,18}}(\.parquet)(\.damaged[0-9]*)?": MAX_TABLE_BYTES,
            rf"{_STAGE}shards/[0-9]{{5,18}}(_stats\.json)(\.damaged[0-9]*)?": MAX_STATS_BYTES,
            rf"{_UNDER_WAY}shards/\.[0-9]{{5,18}}\.(journal|tar\.partial)": MAX_SHARD_BYTES,
            rf"{_STAGE}_parts/([0-9]{{5,18}}(_seen)?\.parquet|pages\.jsonl)": MAX_TABLE_BYTES,
            rf"{_UNDER_WAY}\.duplicates\.parquet\.work/([a-z0-9]+/)?[a-z0-9]+": MAX_SHARD_BYTES,
            rf"{_STAGE}_parts/plan\.json": MAX_LOG_BYTES,
            # What is written down only while a source is planned.
            rf"{_STAGE}_parts/_[^/]+(/[^/]+)*|{REFRESH_DIR}/_planned/.+": MAX_SHARD_BYTES,
            rf"{_STAGE}duplicates\.parquet|{_UNDER_WAY}\.duplicates\.parquet\.partial": MAX_TABLE_BYTES,
            rf"{_STAGE}(hosts|croissant)\.json": MAX_LOG_BYTES,
            rf"{_STAGE}(report\.html|README\.md)": MAX_LOG_BYTES,
            rf"{_STAGE}(purged\.jsonl|purged_deny_list\.txt|versions\.jsonl|opt_outs\.jsonl)": MAX_LOG_BYTES,
            rf"{_STAGE}orphans\.txt": MAX_TABLE_BYTES,
            # Who takes something out of an earlier version.
            rf"({REFRESH_DIR}/)?{VERSIONS_DIR}/\.[0-9]{{1,9}}\.lock": _KIB,
        },
    ),
    "captions": _layout(r"(?!)", {r"captions\.parquet": MAX_TABLE_BYTES, r"tokenizer\.json": 64 * _MIB}),
    "features": _layout(r"(?!)", {r"(pictures_)?[0-9]{5,18}\.safetensors|statistics\.safetensors": MAX_SHARD_BYTES}),
    "run": _layout(
        r"checkpoints|checkpoints/(step_[0-9]{8,}|\.step_[0-9]{8,}\.[a-z0-9_]{8})|samples|open_clip|tensorboard(/.*)?",
        {
            r"config\.json": MAX_NOTE_BYTES,
            r"compute\.json|progress\.json": _MIB,
            r"tokenizer\.json": 64 * _MIB,
            r"metrics\.jsonl": MAX_LOG_BYTES,
            r"train(_[1-9][0-9]?)?\.log": MAX_TABLE_BYTES,
            r"samples/[^/.][^/]*\.png": MAX_LOG_BYTES,
            r"checkpoints/\.?step_[^/]+/\.?state\.json": MAX_NOTE_BYTES,
            r"checkpoints/\.?step_[^/]+/\.?[a-z_0-9]+\.safetensors": MAX_SHARD_BYTES,
            r"open_clip/open_clip_config\.json": _MIB,
            r"open_clip/open_clip_model\.safetensors": MAX_SHARD_BYTES,
            r"tensorboard/.*": MAX_SHARD_BYTES,
        },
    ),
    # All that it is of lies in the folders of its runs.
    "system": _layout(r"(?!)", {}),
    "evaluation": _layout(
        r"images",
        {
            r"(metrics|circumstances)\.json": MAX_LOG_BYTES,
            r"samples\.jsonl": MAX_TABLE_BYTES,
            r"images/[^/.][^/]*\.png": MAX_LOG_BYTES,
        },
    ),
    "comparison": _layout(r"(?!)", {r"metrics\.json|grid\.png": MAX_LOG_BYTES}),
}


def inspect_folder(folder: Path, kind: Kind | None, listed: Set[str] | None = None) -> None:
    """Refuse a folder that holds anything but what its kind may hold; nothing in it is read.

    Args:
        folder: a folder that a person named, which may be a link to it.
        kind: what it is; None where any name will do.
        listed: names that its manifest lists, which newer versions may have added; None while there is no manifest,
            when other files right in the folder are passed over.

    Raises:
        DataError: it holds a link, a pipe, a device, an unknown name, or a file of an absurd size; names it.
    """
    layout = LAYOUTS[kind] if kind else None
    for name, entry in _entries(folder):
        status = entry.stat(follow_symlinks=False)
        what = kind_of(status.st_mode)
        if what not in ("file", "folder"):
            raise DataError(f"{folder / name} is a {what}: {_REFUSED} Delete it.")
        if layout is None:
            continue
        if what == "folder":
            known = layout.folders.fullmatch(name) is not None
        else:
            limit = layout.max_bytes(name)
            known = limit is not None or _is_told(name, listed)
            if limit is not None and status.st_size > limit:
                raise DataError(f"{folder / name} has {status.st_size:,} bytes, more than {limit:,}: {_REFUSED}")
        if not known:
            raise DataError(f"{folder / name} does not belong into a {kind} folder: {_REFUSED} Move it elsewhere.")


_REFUSED = "such a folder was not made by t2i, or changed since, and nothing was done with it."


def _is_told(name: str, listed: Set[str] | None) -> bool:
    """Tell whether a file of no known name may lie there: one that is listed, or any before there is a list."""
    is_plain = not any(part.startswith(".") for part in name.split("/"))
    return is_plain and (name in listed if listed is not None else "/" not in name)


def _entries(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Give everything at any depth with its relative path, folders before what is in them, through no link.

    Raises:
        DataError: there is more than any step leaves.
    """
    waiting, numbers = [""], count(1)
    while waiting:
        below = waiting.pop()
        levels = below.count("/") + 1 if below else 0
        with open_folder(root / below, levels=levels) as folder, os.scandir(folder) as found:
            for entry in found:
                if next(numbers) > MAX_ENTRIES:
                    raise DataError(f"{root} holds more than {MAX_ENTRIES:,} files: {_REFUSED}")
                name = f"{below}/{entry.name}" if below else entry.name
                yield name, entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)


def require_local(folder: Path) -> None:
    """Refuse the URL of a store where a folder of this machine is needed.

    Raises:
        ConfigError: it is one.
    """
    # pathlib makes one slash of two.
    if _URL.match(str(folder)):
        raise ConfigError(
            f"{folder} is the address of a store: what a step makes is written into a folder of this machine. Give one "
            "for --output-dir, and copy it to the store when it is finished."
        )


def require_workspace(workspace: Path, folders: Iterable[str]) -> None:
    """Refuse a workspace whose folders are links; itself it may be one.

    Args:
        workspace: of a whole job.
        folders: that the job makes in it.

    Raises:
        ConfigError: it is the URL of a store.
        DataError: one of the folders, or one on the way to it, is a link.
    """
    require_local(workspace)
    for name in folders:
        for place in (PurePosixPath(name), *PurePosixPath(name).parents[:-1]):
            if (workspace / place).is_symlink():
                raise DataError(
                    f"{workspace / place} is a link: of a workspace only the whole may lie elsewhere. Nothing was "
                    "done; move the folder here, or link the workspace."
                )
