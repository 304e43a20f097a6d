"""Shards that are there already, ours or any other webdataset of pictures, as a source of a new dataset."""

import re
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from t2i_core.data.bounded.strict_json import parse_json
from t2i_core.data.entry import LINK_ADVICE, entry_kind
from t2i_core.data.picture import READABLE_SUFFIXES
from t2i_core.data.record import SourceRecord
from t2i_core.data.shards.layout import LICENSE_COLUMN, OWN_COLUMNS, SHARDS_DIR
from t2i_core.data.shards.reader import read_rows
from t2i_core.data.shards.tar_reader import Member, TarError, iter_members, read_member
from t2i_core.data.sources.cells import passed_through
from t2i_core.data.sources.folder import identity_of_folder, read_local
from t2i_core.data.sources.orphans import OrphanLog
from t2i_core.data.sources.source import Planning, ReadStored, Source, SourceOptions
from t2i_core.data.text import as_text, attributes_json, clean_text, license_text
from t2i_core.door import open_file
from t2i_core.errors import ConfigError, DataError

MAX_TEXT_BYTES = 1_000_000
_UID = re.compile(r"[0-9a-f]{32}")


class Shards(Source):
    """A folder of shards."""

    is_fetched = False
    has_boxes = True

    @classmethod
    def fits(cls, name: str, options: SourceOptions) -> bool:
        """See `Source.fits`."""
        return Path(name).is_dir() and bool(find_shards(Path(name)))

    def identity(self) -> str:
        """Names, sizes and times stand for the files."""
        return identity_of_folder(self.name)

    def records(self, planning: Planning) -> Generator[SourceRecord]:
        """Give one record a sample."""
        planning.orphans.add_not_read(shards_not_read(Path(self.name)))
        yield from read_shards(Path(self.name), planning.orphans)

    def store(self) -> ReadStored:
        """Read pictures where they lie in the tars."""
        return partial(read_local, Path(self.name))


def find_shards(root: Path) -> list[Path]:
    """Give the tars of a folder, or of the `shards` folder in it, in order of their names; links and pipes too."""
    return sorted(root.glob("*.tar")) or sorted((root / SHARDS_DIR).glob("*.tar"))


def shards_not_read(root: Path) -> Iterator[tuple[str, str]]:
    """Give the names of the tars that are never opened, and what they are: links, and what is no file."""
    for path in find_shards(root):
        kind = "link" if _is_behind_a_link(root, path) else entry_kind(path)
        if kind != "file":
            yield str(path.relative_to(root)), kind


def _is_behind_a_link(root: Path, path: Path) -> bool:
    return path.parent != root and path.parent.is_symlink()


def read_shards(root: Path, orphans: OrphanLog) -> Iterator[SourceRecord]:
    """Read where the pictures of existing shards lie, and what is told about them; no picture is read yet.

    The members of a sample follow each other and share their name up to its first dot. Its first picture counts; its
    caption is its .txt, else what its .json has as `caption`.

    Args:
        root: the folder.
        orphans: is told of samples without a picture.

    Raises:
        ConfigError: a shard is damaged, or there is no picture in any.
    """
    empty, not_read = True, {name for name, _ in shards_not_read(root)}
    for path in find_shards(root):
        name = path.relative_to(root)
        if str(name) in not_read:
            continue
        past = _past_keys(path)
        try:
            for key, members in _samples(path, len(name.parts) - 1):
                if key in past:
                    continue
                record = _record(name, key, members)
                if record is None:
                    orphans.add("samples_without_picture", f"{name}: {key}", "no picture")
                else:
                    empty = False
                    yield record
        except (TarError, OSError, DataError) as err:
            raise ConfigError(f"cannot read shard {path}: {err}.") from err
    if empty:
        told = f" Links left out: {len(not_read):,}; {LINK_ADVICE}." if not_read else ""
        raise ConfigError(f"the shards in {root} hold no pictures.{told}")


def _past_keys(path: Path) -> set[str]:
    """Give the keys of what the table beside a shard calls no sample, as what was one in an earlier version is."""
    try:
        rows = read_rows(path.with_suffix(".parquet"), ["key", "status"])
    except DataError:
        # Shards of other programs have no such table.
        return set()
    return {row["key"] for row in rows if row["status"] != "success"}


def _samples(path: Path, levels: int) -> Iterator[tuple[str, dict[str, Member | str]]]:
    """Give the members of each sample: pictures as where they lie, texts as they are."""
    current, members = "", dict[str, Member | str]()
    with open_file(path, levels=levels) as tar:
        for member in iter_members(tar):
            if not member.is_file:
                continue
            folder, _, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            key, suffix = f"{folder}/{stem}".lstrip("/"), suffix.lower()
            if key != current:
                if members:
                    yield current, members
                current, members = key, {}
            if suffix in READABLE_SUFFIXES:
                members[suffix] = member
            elif suffix in ("json", "txt") and member.size <= MAX_TEXT_BYTES:
                members[suffix] = read_member(tar, member).decode("utf-8", "replace")
    if members:
        yield current, members


def _record(path: Path, key: str, members: dict[str, Member | str]) -> SourceRecord | None:
    picture = next((member for member in members.values() if isinstance(member, Member)), None)
    if picture is None:
        return None
    metadata = _metadata(members.get("json"))
    text = members.get("txt")
    caption = clean_text(text) if isinstance(text, str) and text else as_text(metadata.get("caption"))
    return SourceRecord(
        url=as_text(metadata.get("url")) or f"{path.as_posix()}/{key}",
        caption=caption,
        page_url=as_text(metadata.get("page_url")),
        caption_source=as_text(metadata.get("caption_source")) or ("shard" if caption else ""),
        license=license_text(as_text(metadata.get(LICENSE_COLUMN))),
        attributes=attributes_json(_metadata(metadata.get("attributes"))),
        location=path.as_posix(),
        offset=picture.offset,
        size=picture.size,
        extra=passed_through(metadata, (*OWN_COLUMNS, LICENSE_COLUMN)),
        uid=uid if _UID.fullmatch(uid := as_text(metadata.get("uid"))) else "",
        facts={name: value for name, value in metadata.items() if name in OWN_COLUMNS},
    )


def _metadata(text: Any) -> dict[str, Any]:
    try:
        data = parse_json(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
