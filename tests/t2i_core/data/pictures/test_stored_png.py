"""A PNG with stored pixels is the same picture, and a broken one is left as it is."""

import io
import random
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_core.data.picture import ImageOptions
from t2i_core.data.pictures import process, stored_png
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.pictures.stored_png import store_pixels


def png(mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    Image.fromarray(levels).convert(mode).save(buffer, "PNG", **options)
    return buffer.getvalue()


def cut(body: bytes, size: int) -> bytes:
    """Cut the one chunk of pixels into many."""
    start = body.index(b"IDAT") - 4
    end = start + 12 + int.from_bytes(body[start : start + 4])
    packed = body[start + 8 : end - 4]
    kinds = [b"IDAT" + packed[place : place + size] for place in range(0, len(packed), size)]
    chunks = [(len(kind) - 4).to_bytes(4) + kind + zlib.crc32(kind).to_bytes(4) for kind in kinds]
    return b"".join((body[:start], *chunks, body[end:]))


@pytest.mark.parametrize("size", [1, 1000, 100_000])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_nothing_changes_but_how_pixels_are_packed(mode: str, size: int) -> None:
    body = cut(png(mode, dpi=(72, 72)), size)
    stored = store_pixels(body)
    with Image.open(io.BytesIO(body)) as before, Image.open(io.BytesIO(stored)) as after:
        assert before.tobytes() == after.tobytes() and before.info == after.info and before.mode == after.mode
    assert stored.count(b"IDAT") == 1
    # Behind two bytes of zlib's, the first block says how it is packed.
    assert stored[stored.index(b"IDAT") + 6] & 0b110 == 0, "not at all"


def test_what_is_broken_or_large_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    body = png()
    start = body.index(b"IDAT") + 4
    wrong_sum = body[:-17] + bytes([body[-17] ^ 1]) + body[-16:]
    for broken in (b"", body[:8], body[: start + 100], body[:start] + bytes(9) + body[start + 9 :], wrong_sum):
        assert store_pixels(broken) == broken
    monkeypatch.setattr(stored_png, "MAX_BYTES", 1000)
    assert store_pixels(body) == body


def test_damage_has_the_same_consequences(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    files = [cut(png(mode), 500) for mode in ("P", "RGB", "RGBA")]
    damaged = [body[: rng.randrange(len(body))] for body in files * 30]
    for body in files * 60:
        bad = bytearray(body)
        for _ in range(rng.choice((1, 4))):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        damaged.append(bytes(bad))
    options = [ImageOptions(image_size=20), ImageOptions(image_size=20, truncated="keep")]
    found = [process_picture(body, option) for body in damaged for option in options]
    monkeypatch.setattr(process, "store_pixels", lambda body: body)
    assert found == [process_picture(body, option) for body in damaged for option in options]
    assert 50 < sum(hasattr(outcome, "data") for outcome in found) < len(found) - 50
