"""Every emoji that a color font of the system can draw, with its name: some 3,800 real pictures, no download."""

import os
import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import emoji as emoji_names
from PIL import Image, ImageDraw, ImageFont

from t2i_core.config import Config
from t2i_core.errors import ConfigError

Kind = Literal["flag", "keycap", "skin tone", "sequence", "single"]

FONT_SUFFIXES = {".ttf", ".otf", ".ttc"}
# Bitmap fonts open only at the sizes they hold: Noto 109, Joypixels 128, Samsung 136, Apple 137 and 160.
FONT_SIZES = (109, 128, 136, 137, 160)
NO_FONT = (
    "no color emoji font found in {folders}. Install one (Debian, Ubuntu: `apt-get install fonts-noto-color-emoji`; "
    "Fedora: `dnf install google-noto-color-emoji-fonts`), or use the scenes."
)
REFERENCE = "\U0001f600"
SKIN_TONE = re.compile(r" ?\b(?:medium-light|medium-dark|light|medium|dark) skin tone\b")


class Emoji(Config):
    """One emoji.

    Attributes:
        codepoints: hexadecimal, such as "1F44D 1F3FF".
        name: English, without underscores.
        kind: how it is built.
        version: of the Emoji standard it came with.
    """

    codepoints: str
    name: str
    kind: Kind
    version: float

    @property
    def text(self) -> str:
        """The characters themselves."""
        return "".join(chr(int(point, 16)) for point in self.codepoints.split())

    @property
    def caption(self) -> str:
        """What to say about the picture: its name; names of flags are bare places, so they get the word."""
        return f"flag of {self.name}" if self.kind == "flag" else self.name

    @property
    def family(self) -> str:
        """The name without skin tones: all variants of one drawing share it."""
        return " ".join(SKIN_TONE.sub("", self.name).split())


def named_emoji() -> tuple[Emoji, ...]:
    """List every fully qualified emoji that has a name, in the order of their code points."""
    qualified = emoji_names.STATUS["fully_qualified"]
    found = [_describe(text, entry) for text, entry in emoji_names.EMOJI_DATA.items() if entry["status"] == qualified]
    return tuple(sorted(found, key=lambda item: item.text))


def _describe(text: str, entry: dict[str, object]) -> Emoji:
    name = str(entry["en"]).strip(":").replace("_", " ")
    codepoints = " ".join(f"{ord(char):04X}" for char in text)
    return Emoji(codepoints=codepoints, name=name, kind=_kind(text), version=float(str(entry["E"])))


def _kind(text: str) -> Kind:
    if "\U0001f1e6" <= text[0] <= "\U0001f1ff" or "\U000e007f" in text:
        return "flag"
    if "\u20e3" in text:
        return "keycap"
    if any("\U0001f3fb" <= char <= "\U0001f3ff" for char in text[1:]):
        return "skin tone"
    return "sequence" if "\u200d" in text else "single"


class EmojiFont:
    """A color font and the emoji it can draw."""

    def __init__(self, font: ImageFont.FreeTypeFont) -> None:
        """Wrap an opened font; `find_emoji_font` opens a usable one."""
        self._font = font
        self._advance = font.getlength(REFERENCE)

    def can_draw(self, emoji: Emoji) -> bool:
        """Tell whether the font has one glyph for the emoji.

        A sequence that the font does not know comes out as several glyphs in a row, an unknown character as a blank.
        """
        _, top, _, bottom = self._font.getbbox(emoji.text)
        return bottom > top and self._font.getlength(emoji.text) < 1.5 * self._advance

    def draw(self, emoji: Emoji, image_size: int) -> Image.Image:
        """Draw an emoji, centred on white, as an RGB picture of `image_size` pixels a side."""
        return _draw(self._font, emoji.text).resize((image_size, image_size), Image.Resampling.LANCZOS)

    def drawable(self, seed: int = 0, limit: int | None = None) -> tuple[Emoji, ...]:
        """List the emoji that the font can draw, shuffled by `seed`, so that any first part is a fair sample."""
        found = [emoji for emoji in named_emoji() if self.can_draw(emoji)]
        random.Random(f"emoji:{seed}").shuffle(found)
        return tuple(found[:limit])


def _draw(font: ImageFont.FreeTypeFont, text: str) -> Image.Image:
    left, top, right, bottom = font.getbbox(text)
    side = round(1.05 * max(right - left, bottom - top))
    canvas = Image.new("RGB", (side, side), "white")
    corner = ((side - right - left) / 2, (side - bottom - top) / 2)
    ImageDraw.Draw(canvas).text(corner, text, font=font, embedded_color=True)
    return canvas


@cache
def find_emoji_font() -> EmojiFont:
    """Open the first font of the system that draws emoji in color.

    Raises:
        ConfigError: there is none; the message says how to get one.
    """
    for path in _font_files():
        font = _open_color_font(path)
        if font:
            return EmojiFont(font)
    raise ConfigError(NO_FONT.format(folders=", ".join(map(str, font_folders()))))


def font_folders() -> tuple[Path, ...]:
    """List where systems keep their fonts."""
    home = Path.home()
    data_home = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    shared = (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    return (
        data_home / "fonts",
        home / ".fonts",
        *(Path(folder) / "fonts" for folder in shared if folder),
        Path("/System/Library/Fonts"),
        Path("/Library/Fonts"),
    )


def _font_files() -> Iterator[Path]:
    for folder in font_folders():
        named = (path for path in folder.rglob("*") if path.suffix.lower() in FONT_SUFFIXES)
        yield from sorted(path for path in named if "emoji" in path.name.lower())


def _open_color_font(path: Path) -> ImageFont.FreeTypeFont | None:
    for size in FONT_SIZES:
        try:
            font = ImageFont.truetype(path, size)
            return font if _is_colorful(_draw(font, REFERENCE)) else None
        except (OSError, ValueError, SystemError):
            continue  # not a font, or a bitmap font without this size
    return None


def _is_colorful(picture: Image.Image) -> bool:
    """Tell color from black outlines: a grinning face is yellow in every color font."""
    return picture.convert("HSV").getchannel("S").getextrema()[1] > 100  # type: ignore[operator]
