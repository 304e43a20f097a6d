"""What the built-in site shows: numbered pictures with captions and attributes, and the bytes of the broken ones."""

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from PIL import Image

from t2i_core.canonical import canonical_json
from t2i_core.samples.emoji import find_emoji_font
from t2i_core.samples.scenes import caption_scene, make_scene, pick_wording, render_scene
from t2i_core.samples.site import SiteConfig
from t2i_core.samples.wordings import WIDE, told

HUGE_SIDE = 16_000
MESSY_EVERY = 37


@dataclass(frozen=True, slots=True)
class Description:
    """What a page says about a picture: its caption, and the `data-*` attributes of its `<img>`."""

    caption: str
    data: Mapping[str, str]


class PictureSource(Protocol):
    """Pictures that are made on demand, each a pure function of its index."""

    @property
    def num_pictures(self) -> int:
        """How many good pictures there are."""

    def describe(self, index: int) -> Description:
        """Say what picture `index` shows."""

    def draw(self, index: int, image_size: int) -> Image.Image:
        """Draw picture `index`, RGB, `image_size` pixels a side."""


class ScenePictures:
    """Procedural scenes; their list never ends."""

    def __init__(self, config: SiteConfig) -> None:
        self._seed, self._is_wide = config.seed, config.language == "wide"
        self.num_pictures = config.num_pictures

    def describe(self, index: int) -> Description:
        """Say what scene `index` shows."""
        scene = make_scene(self._seed, index)
        if self._is_wide:
            caption = told(scene, WIDE, f"{self._seed}:{index}")
        else:
            caption = caption_scene(scene, pick_wording(self._seed, index))
        return Description(caption, {"scene": scene.model_dump_json(), "group": scene.combination})

    def draw(self, index: int, image_size: int) -> Image.Image:
        """Draw scene `index`."""
        return render_scene(make_scene(self._seed, index), image_size)


class EmojiPictures:
    """The emoji of the system's color font; indices wrap around."""

    def __init__(self, config: SiteConfig) -> None:
        self._font = find_emoji_font()
        self._emoji = self._font.drawable(config.seed, config.num_pictures)
        self.num_pictures = len(self._emoji)

    def describe(self, index: int) -> Description:
        """Name emoji `index`; variants of one drawing form a group."""
        emoji = self._emoji[index % self.num_pictures]
        return Description(emoji.caption, {"emoji": canonical_json(emoji.model_dump()), "group": emoji.family})

    def draw(self, index: int, image_size: int) -> Image.Image:
        """Draw emoji `index`."""
        return self._font.draw(self._emoji[index % self.num_pictures], image_size)


def open_source(config: SiteConfig) -> PictureSource:
    """Make the pictures that a config asks for.

    Raises:
        ConfigError: emoji are asked for and the system has no color font.
    """
    return ScenePictures(config) if config.source == "scenes" else EmojiPictures(config)


def mess_up(caption: str, index: int) -> str:
    """Write every few captions the way careless pages do; cleaning gives the caption back."""
    if index % MESSY_EVERY:
        return caption
    match index // MESSY_EVERY % 5:
        case 0:
            return f"  {caption.replace(' ', '  ', 2)}\n"
        case 1:
            return caption.replace(" ", "&nbsp;", 1)
        case 2:
            return f"<b>{caption}</b>"
        case 3:
            return f"{caption} https://example.org/{index}"
        case _:
            return caption.replace(" ", " \u200b", 1)


def encode_png(picture: Image.Image) -> bytes:
    """Write a picture as PNG, fast rather than small."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@cache
def tiny_png() -> bytes:
    """Write a picture of one pixel, as trackers do."""
    return encode_png(Image.new("RGB", (1, 1), "gray"))


@cache
def huge_png() -> bytes:
    """Write a black picture of `HUGE_SIDE` x `HUGE_SIDE` pixels: some 30 KB that decode to 256 million pixels."""
    row = bytes(1 + HUGE_SIDE // 8)
    packer = zlib.compressobj(1)
    pixels = b"".join([packer.compress(row * 100) for _ in range(HUGE_SIDE // 100)]) + packer.flush()
    header = struct.pack(">IIBBBBB", HUGE_SIDE, HUGE_SIDE, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(name, data) for name, data in chunks)


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
