"""What the built-in site shows: numbered pictures with captions and attributes, and the bytes of the broken ones."""

import io
import struct
import zlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from t2i_core.canonical import canonical_json
from t2i_core.data.picture import ImageOptions
from t2i_core.data.pictures.decoders import Decoders
from t2i_core.data.reject import Rejection
from t2i_core.errors import DataError
from t2i_core.samples.emoji import find_emoji_font
from t2i_core.samples.icon_sets import read_icon_set
from t2i_core.samples.scenes import caption_scene, make_scene, pick_wording, render_scene
from t2i_core.samples.site import SiteConfig, SourceName
from t2i_core.samples.styles import styled_pictures
from t2i_core.samples.wordings import WIDE, told

HUGE_SIDE = 16_000
MESSY_EVERY = 37


@dataclass(frozen=True, slots=True)
class Description:
    """What a page says about a picture: its caption, and the `data-*` attributes of its `<img>`."""

    caption: str
    data: Mapping[str, str]


class PictureSource(AbstractAsyncContextManager["PictureSource"]):
    """Pictures that are made on demand, each a pure function of its index; those that need no more are always open.

    Attributes:
        num_pictures: how many good pictures there are; indices of some sources wrap around.
    """

    num_pictures: int

    @abstractmethod
    def describe(self, index: int) -> Description:
        """Say what picture `index` shows."""

    @abstractmethod
    async def draw(self, index: int, image_size: int) -> Image.Image:
        """Draw picture `index`, RGB, `image_size` pixels a side."""

    async def __aexit__(self, *error: object) -> None:
        """Let go of what drawing took."""


class ScenePictures(PictureSource):
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

    async def draw(self, index: int, image_size: int) -> Image.Image:
        """Draw scene `index`."""
        return render_scene(make_scene(self._seed, index), image_size)


class EmojiPictures(PictureSource):
    """The emoji of the system's color font; indices wrap around."""

    def __init__(self, config: SiteConfig) -> None:
        self._font = find_emoji_font()
        self._emoji = self._font.drawable(config.seed, config.num_pictures)
        self.num_pictures = len(self._emoji)

    def describe(self, index: int) -> Description:
        """Name emoji `index`; variants of one drawing form a group."""
        emoji = self._emoji[index % self.num_pictures]
        return Description(emoji.caption, {"emoji": canonical_json(emoji.model_dump()), "group": emoji.family})

    async def draw(self, index: int, image_size: int) -> Image.Image:
        """Draw emoji `index`."""
        return self._font.draw(self._emoji[index % self.num_pictures], image_size)


class StylePictures(PictureSource):
    """Emoji of several icon sets; indices wrap around. Processes that decode strangers' pictures draw them."""

    def __init__(self, config: SiteConfig) -> None:
        icon_sets = [read_icon_set(Path(folder)) for folder in config.icons]
        self._pictures = styled_pictures(icon_sets, config.seed, config.num_pictures)
        self.num_pictures = len(self._pictures)
        self._side = config.image_size
        self._decoders = Decoders(ImageOptions(image_size=self._side, resize_mode="border", encode_format="png"))

    def describe(self, index: int) -> Description:
        """Say what picture `index` shows in which style, whose it is, and which split it belongs to."""
        picture = self._pictures[index % self.num_pictures]
        said = {
            "concept": picture.concept.name,
            "style": picture.icons.style,
            "split": picture.split,
            "emoji": canonical_json(picture.concept.model_dump()),
            "license": picture.icons.license,
            "author": picture.icons.author,
            "group": picture.caption,
        }
        return Description(picture.caption, said)

    async def draw(self, index: int, image_size: int) -> Image.Image:
        """Draw picture `index`.

        Raises:
            DataError: its drawing cannot be drawn.
        """
        picture = self._pictures[index % self.num_pictures]
        drawn = await self._decoders.process(picture.svg.encode())
        if isinstance(drawn, Rejection):
            raise DataError(f"{picture.caption}: {drawn.message}.")
        image = Image.open(io.BytesIO(drawn.data), formats=("PNG",))
        return image if image_size == self._side else image.resize((image_size, image_size), Image.Resampling.BOX)

    async def __aexit__(self, *error: object) -> None:
        await self._decoders.__aexit__(*error)


SOURCES: Mapping[SourceName, Callable[[SiteConfig], PictureSource]] = {
    "scenes": ScenePictures,
    "emoji": EmojiPictures,
    "emoji-styles": StylePictures,
}


def open_source(config: SiteConfig) -> PictureSource:
    """Make the pictures that a config asks for.

    Raises:
        ConfigError: emoji are asked for and the system has no color font, or icon sets that are none.
    """
    return SOURCES[config.source](config)


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
