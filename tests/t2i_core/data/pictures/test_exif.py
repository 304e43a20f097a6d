"""What is kept of EXIF, and that no block of it, however bad, costs its picture."""

import io
import json
import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.exif import MAX_EXIF_BYTES, MAX_EXIF_CHARS, MAX_TAGS
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.shards.reader import iter_samples
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

MAKE, MODEL, X_RESOLUTION, EXIF, GPS, MAKER_NOTE, COMMENT = 0x010F, 0x0110, 0x011A, 0x8769, 0x8825, 0x927C, 0x9286
ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SIGNED, FLOAT = 2, 3, 4, 5, 7, 10, 11
Entry = tuple[int, int, int, bytes]


def directory(entries: Sequence[Entry], start: int, order: str = "<") -> bytes:
    """Write entries of tag, kind, number of values and their bytes, with what is longer than four bytes behind them."""
    table, behind = struct.pack(order + "H", len(entries)), b""
    first = start + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", first + len(behind))
        behind += value if len(value) > 4 else b""
        table += struct.pack(order + "HHI", tag, kind, count) + place
    return table + bytes(4) + behind


def block(*entries: Entry, order: str = "<") -> bytes:
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8) + directory(entries, 8, order)


def text(tag: int, value: str | bytes) -> Entry:
    data = (value.encode() if isinstance(value, str) else value) + b"\0"
    return tag, ASCII, len(data), data


def rational(tag: int, over: int, under: int) -> Entry:
    return tag, RATIONAL, 1, struct.pack("<II", over, under)


def picture(exif: bytes, fmt: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 40)).save(buffer, fmt, exif=b"Exif\0\0" + exif)
    return buffer.getvalue()


def exif_of(body: bytes) -> dict[str, Any]:
    result = process_picture(body, ImageOptions(image_size=32, extract_exif=True))
    assert isinstance(result, Picture), result
    assert len(result.exif.encode()) <= MAX_EXIF_BYTES
    found: dict[str, Any] = json.loads(result.exif, parse_constant=pytest.fail)
    assert list(found) == sorted(found) and len(found) <= MAX_TAGS
    return found


def test_a_camera_is_read_from_both_directories_in_every_format() -> None:
    exif = Image.Exif()
    exif[MAKE], exif[X_RESOLUTION], exif[0x0112] = "Maker", 72.5, 1
    exif.get_ifd(EXIF).update({0x829A: 0.004, 0x9003: "2026:01:02 03:04:05", 0xA432: (24.0, 70.0, 2.8, 4.0)})
    expected = {
        "DateTimeOriginal": "2026:01:02 03:04:05", "ExposureTime": 0.004, "LensSpecification": [24.0, 70.0, 2.8, 4.0],
        "Make": "Maker", "Orientation": 1, "XResolution": 72.5,
    }  # fmt: skip
    for fmt in ("JPEG", "PNG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32)).save(buffer, fmt, exif=exif)
        found = exif_of(buffer.getvalue())
        if fmt == "TIFF":
            # Pillow writes the main directory only, and where the pixels lie into it.
            assert found["Make"] == "Maker" and found["XResolution"] == 72.5 and "StripOffsets" not in found
        else:
            assert found == expected, fmt
    big_endian = block(text(MAKE, "abc"), (MODEL, ASCII, 6, b"later\0"), (0x0112, SHORT, 1, b"\0\1"), order=">")
    assert exif_of(picture(big_endian)) == {"Make": "abc", "Model": "later", "Orientation": 1}


def test_where_people_live_and_what_is_no_plain_value_is_left_out() -> None:
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    exif.get_ifd(GPS).update({1: "N", 2: (50.0, 5.0, 1.0), 3: "E", 4: (8.0, 14.0, 2.0), 29: "2026:01:02"})
    assert exif_of(picture(exif.tobytes().removeprefix(b"Exif\0\0"))) == {"Make": "Camera"}
    xmp = "<x:xmpmeta><exif:GPSLatitude>50,5N"
    odd = [
        (2, RATIONAL, 3, struct.pack("<6I", 50, 1, 5, 1, 1, 1)),
        text(0x02BC, xmp),
        text(MAKER_NOTE, "50.1N 8.2E"),
        (COMMENT, UNDEFINED, 12, b"ASCII\0\0\0home"),
        (0x9C9B, 1, 8, "home".encode("utf-16-le")),
        (0x0201, LONG, 1, b"\1\0\0\0"),
        (0x0111, SHORT, 17, bytes(34)),
        (0xFE58, LONG, 1, b"\1\0\0\0"),
        text(MODEL, "kept"),
    ]
    assert exif_of(picture(block(*odd))) == {"Model": "kept"}


def test_texts_are_cleaned_and_cut_and_numbers_are_finite() -> None:
    body = picture(
        block(
            text(MAKE, b" a\xff\xed\xa0\x80b "),
            text(MODEL, "ä" * 3000),
            text(0x010E, ""),
            rational(X_RESOLUTION, 1, 0),
            rational(0x011B, 0, 0),
            (0x8822, FLOAT, 1, struct.pack("<f", float("nan"))),
            (0x8827, FLOAT, 2, struct.pack("<ff", float("-inf"), 0.5)),
            (0x9204, SIGNED, 1, struct.pack("<ii", -1, 4)),
        )
    )
    assert exif_of(body) == {
        "Make": "a\ufffd\ufffd\ufffd\ufffdb", "Model": "ä" * MAX_EXIF_CHARS, "XResolution": None, "YResolution": None,
        "ExposureProgram": None, "ISOSpeedRatings": [None, 0.5], "ExposureBiasValue": -0.25,
    }  # fmt: skip


def test_a_block_is_bounded_whatever_it_claims() -> None:
    named = range(0x0100, 0xFFFF)
    crowd = block(*(text(tag, "x" * 30) for tag in named[:900]))
    assert 0 < len(exif_of(picture(crowd))) <= MAX_TAGS
    many = block(*((tag, SHORT, 1, b"\1\0") for tag in range(0x9000, 0x9000 + 3000)))
    assert 0 < len(exif_of(picture(many))) <= MAX_TAGS
    long = block(*(text(tag, "\U0001f600" * 500) for tag in (0x010D, 0x010E, MAKE, MODEL, 0x0131, 0x013B, 0x8298,
                 0x013C, 0x0151, 0x015B)))  # fmt: skip
    found = exif_of(picture(long))
    assert 7 <= len(found) <= 8
    for claimed in (2**32 - 1, 2**31, 70_000):
        entries = ((MAKE, ASCII, claimed, bytes(8)), (X_RESOLUTION, RATIONAL, claimed, bytes(8)), text(MODEL, "kept"))
        assert exif_of(picture(block(*entries))) == {"Model": "kept"}


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
def test_no_block_costs_its_picture(fmt: str) -> None:
    loop = block((EXIF, LONG, 1, struct.pack("<I", 8)), text(MAKE, "once"))
    assert exif_of(picture(loop, fmt)) == {"Make": "once"}
    for bad in (b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"XX*\0" + bytes(40), b"II*\0" + struct.pack("<I", 0)):
        assert exif_of(picture(bad, fmt)) == {}
    whole = block(text(MAKE, "Camera"), rational(X_RESOLUTION, 72, 1), text(MODEL, "Model"))
    rng = random.Random(fmt)
    for _ in range(100):
        broken = bytearray(whole[: rng.randrange(4, len(whole) + 1)])
        for _ in range(3):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        exif_of(picture(bytes(broken), fmt))


def rows(dataset_dir: Path) -> list[dict[str, Any]]:
    return pq.read_table(dataset_dir / "shards/00000.parquet").to_pylist()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(picture(block(text(MAKE, "Camera"))))
    (folder / "b.jpg").write_bytes(picture(block()))
    (folder / "c.jpg").write_bytes(b"no picture")
    return folder


def test_the_column_is_there_only_when_asked_for_and_outlives_a_purge(photos: Path, tmp_path: Path) -> None:
    config = IngestConfig(image_size=32, reject_blank=False)
    plain, told = ingest(str(photos), config, tmp_path / "plain"), tmp_path / "told"
    assert ingest(str(photos), config.with_changes(extract_exif=True), told).digest != plain.digest
    assert [row["exif"] for row in rows(told)] == ['{"Make":"Camera"}', "{}", None]
    samples = list(iter_samples(told / "shards/00000.tar"))
    assert [sample.metadata["exif"] for sample in samples] == ['{"Make":"Camera"}', "{}"]
    assert [row | {"exif": 0, "sample_crc32": 0} for row in rows(told)] == [
        row | {"exif": 0, "sample_crc32": 0} for row in rows(tmp_path / "plain")
    ]
    assert all("exif" not in row for row in rows(tmp_path / "plain"))
    assert all("exif" not in sample.metadata for sample in iter_samples(tmp_path / "plain/shards/00000.tar"))
    (first, *_) = rows(told)
    purge(told, PurgeRequest.parse(urls=["b.jpg"]))
    assert [row["exif"] for row in rows(told)] == ['{"Make":"Camera"}', None, None]
    assert rows(told)[0] == first
