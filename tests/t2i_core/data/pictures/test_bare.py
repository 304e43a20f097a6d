"""Which pictures are stored as their own bytes, and that nothing that nobody asked for comes along."""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from t2i_core.data.picture import EncodeFormat, ImageOptions, Picture
from t2i_core.data.pictures.bare import is_bare
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.shards.reader import iter_samples
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

SIZE = 48
PILLOW: dict[EncodeFormat, str] = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


def noise(width: int = SIZE, height: int = SIZE) -> Image.Image:
    """Smooth enough for every format, and unlike after a second lossy coding."""
    levels = np.random.default_rng(7).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)


def encoded(fmt: EncodeFormat, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or noise()).save(buffer, PILLOW[fmt], **{"quality": 70, "compress_level": 1} | options)
    return buffer.getvalue()


def stored(body: bytes, fmt: EncodeFormat, boxes: str = "", **changes: Any) -> Picture:
    asked: dict[str, Any] = {"image_size": SIZE, "encode_format": fmt, "skip_reencode": True} | changes
    result = process_picture(body, ImageOptions(**asked), boxes)
    assert isinstance(result, Picture), result
    return result


def is_kept(body: bytes, fmt: EncodeFormat, boxes: str = "", **changes: Any) -> bool:
    """Tell whether a picture is stored as it is; one that is not must be stored as it would be without the option."""
    found = stored(body, fmt, boxes, **changes)
    again = stored(body, fmt, boxes, **changes | {"skip_reencode": False})
    assert found.data == body or found == again
    return found.data == body


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """Put chunks before the pixels."""
    body = encoded("png")
    place = body.index(b"IDAT") - 4
    added = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return body[:place] + added + body[place:]


def jpeg_with(marker: int, data: bytes) -> bytes:
    """Put a segment behind the first."""
    body = encoded("jpg")
    return body[:20] + bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data + body[20:]


@pytest.mark.parametrize(
    ("fmt", "options"),
    [
        ("jpg", {}),
        ("jpg", {"progressive": True}),
        ("jpg", {"subsampling": 0, "optimize": True}),
        ("jpg", {"restart_marker_blocks": 2}),
        ("jpg", {"keep_rgb": True}),
        ("png", {}),
        ("webp", {}),
        ("webp", {"lossless": True}),
    ],
)
def test_what_is_as_asked_stays_byte_for_byte(fmt: EncodeFormat, options: dict[str, Any]) -> None:
    body = encoded(fmt, **options)
    for mode in ("center_crop", "border", "keep_ratio", "keep_ratio_largest", "no"):
        assert is_kept(body, fmt, resize_mode=mode), mode
    plain, kept = stored(body, fmt, skip_reencode=False), stored(body, fmt)
    assert (kept.sha256, kept.phash, kept.width) == (hashlib.sha256(body).hexdigest(), plain.phash, SIZE)
    assert kept.sha256 == hashlib.sha256(kept.data).hexdigest() and plain.data != body
    assert is_kept(body, fmt, image_size=SIZE * 2, resize_only_if_bigger=True)


@pytest.mark.parametrize("fmt", ["jpg", "png", "webp"])
def test_what_must_change_is_encoded(fmt: EncodeFormat) -> None:
    body = encoded(fmt)
    assert not is_kept(body, fmt, image_size=SIZE - 1) and not is_kept(body, fmt, image_size=SIZE * 2)
    assert not is_kept(body, fmt, "[[0, 0, 0.5, 0.5]]") and is_kept(body, fmt, "[]")
    assert not is_kept(encoded(fmt, noise(SIZE, SIZE + 8)), fmt)
    assert not any(is_kept(body, other) for other in PILLOW if other != fmt)
    assert not is_kept(body + b"behind the end", fmt)
    exif = Image.Exif()
    exif[0x0112] = 3
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for told in ({"exif": exif}, {"icc_profile": profile}):
        assert not is_kept(encoded(fmt, **told), fmt), told
    assert fmt == "png" or not is_kept(encoded(fmt, xmp=b"<x:xmpmeta/>"), fmt)
    if fmt == "jpg":
        assert not any(is_kept(encoded(fmt, noise().convert(mode)), fmt) for mode in ("L", "CMYK"))
    else:
        clear = noise()
        clear.putalpha(100)
        assert not is_kept(encoded(fmt, clear), fmt)
        film = [noise(), noise().rotate(90)]
        assert not is_kept(encoded(fmt, film[0], save_all=True, append_images=film[1:]), fmt)


def test_no_segment_and_no_chunk_that_is_not_needed_stays() -> None:
    assert not is_kept(encoded("jpg", comment=b"by me"), "jpg")
    for marker in (*range(0xE0, 0xF0), 0xFE):
        assert not is_kept(jpeg_with(marker, b"Told by somebody"), "jpg"), hex(marker)
    thumbnail = b"JFIF\0\1\1\0\0\1\0\1\1\1abc"
    assert not is_kept(jpeg_with(0xE0, thumbnail), "jpg")
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "me")
    assert not is_kept(encoded("png", pnginfo=text), "png")
    for chunk in (
        (b"gAMA", b"\0\0\x86\xa0"),
        (b"tRNS", bytes(6)),
        (b"pHYs", bytes(9)),
        (b"tEXt", b"a\0b"),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
        (b"prVt", b""),
    ):
        assert not is_kept(png_with(chunk), "png"), chunk
    assert is_kept(png_with((b"sRGB", b"\0")), "png")
    assert not is_kept(encoded("png", noise().convert("P")), "png")


def test_sixteen_bits_are_not_eight() -> None:
    rows = b"".join(b"\0" + bytes(range(96)) * 3 for _ in range(SIZE))
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 16, 2, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        body += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    assert not is_kept(body, "png")


@pytest.mark.parametrize("fmt", ["jpg", "png", "webp"])
def test_what_breaks_off_never_stays(fmt: EncodeFormat) -> None:
    body = encoded(fmt)
    for length in range(0, len(body), 211):
        assert not is_bare(body[:length], fmt), length
        for truncated in ("reject", "keep"):
            asked = ImageOptions(image_size=SIZE, encode_format=fmt, truncated=truncated)
            plain = process_picture(body[:length], asked)
            changed = ImageOptions(image_size=SIZE, encode_format=fmt, truncated=truncated, skip_reencode=True)
            assert process_picture(body[:length], changed) == plain
    short = png_with((b"IDAT", zlib.compress(bytes(50))))
    whole = short.index(b"IEND") - 4
    cut = short[: short.rindex(b"IDAT") - 4] + short[whole:]
    assert is_bare(cut, "png") and not is_kept(cut, "png", truncated="keep")


def test_a_file_larger_than_its_pixels_does_not_stay() -> None:
    table = encoded("jpg")[20:89]
    assert table[:2] == b"\xff\xdb"
    body = encoded("jpg")
    assert is_kept(body[:20] + table + body[20:], "jpg")
    assert not is_kept(body[:20] + table * 200 + body[20:], "jpg")


def test_an_ingest_stores_them(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    bodies = {"a.jpg": encoded("jpg"), "b.jpg": encoded("jpg", comment=b"by me"), "c.jpg": b"\xff\xd8\xff"}
    for name, body in bodies.items():
        (folder / name).write_bytes(body)
    ingest(str(folder), IngestConfig(image_size=SIZE, skip_reencode=True), tmp_path / "ds")
    first, second = (sample.picture for sample in iter_samples(tmp_path / "ds/shards/00000.tar"))
    assert first == bodies["a.jpg"] and b"by me" not in second
    table = pq.read_table(tmp_path / "ds/shards/00000.parquet").to_pylist()
    assert table[0]["sha256"] == hashlib.sha256(first).hexdigest() and table[2]["reason"]


@pytest.mark.parametrize("fmt", ["jpg", "png", "webp"])
def test_what_is_encoded_carries_nothing_of_its_source(fmt: EncodeFormat) -> None:
    exif = Image.Exif()
    exif[0x010F] = "marked"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    buffer = io.BytesIO()
    noise().convert("P").save(buffer, "GIF", comment=b"marked")
    sources = [encoded(of, exif=exif, icc_profile=profile, xmp=b"marked", comment=b"marked") for of in PILLOW]
    for body in (*sources, buffer.getvalue()):
        for mode in ("no", "center_crop"):
            data = stored(body, fmt, resize_mode=mode, resampling="bicubic").data
            assert is_bare(data, fmt) and b"marked" not in data
