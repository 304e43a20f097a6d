"""Icon sets as Iconify publishes them: folders of SVG drawings with names, code points, author and license.

Nothing of them is part of this package. Who wants one fetches it, such as by `npm pack @iconify-json/twemoji`, unpacks
it and names its folder; what stands in it is read as anybody's, and drawn elsewhere.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from t2i_core.door import read_file
from t2i_core.errors import ConfigError, DataError

# Several times what the largest sets of today have.
MAX_FILE_BYTES = 100_000_000
MAX_ALIASES = 5
DRAWINGS, CODE_POINTS, ABOUT = "icons.json", "chars.json", "info.json"
HOW_TO_GET = "Fetch one, such as by `npm pack @iconify-json/twemoji`, unpack it, and give its folder."

Name = Annotated[str, Field(max_length=200)]
Length = Annotated[float, Field(gt=0, le=100_000)]
Place = Annotated[float, Field(ge=-100_000, le=100_000)]
T = TypeVar("T")


class _Written(BaseModel):
    """What another program wrote, with more in it than is read here."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Icon(_Written):
    body: str
    left: Place | None = None
    top: Place | None = None
    width: Length | None = None
    height: Length | None = None


class _Alias(BaseModel):
    """Another name of an icon; one that turns or moves it, which it would say besides, is not read."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    parent: Name
    hidden: bool = False


class _Drawings(_Written):
    prefix: Name
    icons: dict[str, _Icon]
    aliases: dict[str, object] = {}
    left: Place = 0
    top: Place = 0
    width: Length = 16
    height: Length = 16


class _Author(_Written):
    name: Name = ""


class _License(_Written):
    title: Name = ""
    spdx: Name = ""


class _About(_Written):
    author: _Author = _Author()
    license: _License = _License()


@dataclass(frozen=True, slots=True, eq=False)
class IconSet:
    """Drawings in one style.

    Attributes:
        style: what the style is called: the set's name without "emoji".
        license: its SPDX name where it has one, "" where none is told.
        author: who drew them.
        drawings: SVG by code points, such as "1F44D 200D 1F3FF"; U+FE0F, which sets write or not, is left out.
        digest: sha256 of the files, in hexadecimal.
    """

    style: str
    license: str
    author: str
    drawings: Mapping[str, str]
    digest: str


def plain_code_points(text: str) -> str:
    """Write code points the way `IconSet.drawings` does, whether "1f3f3-fe0f" or "1F3F3 FE0F"."""
    return " ".join(point for point in text.upper().replace("-", " ").split() if point != "FE0F")


def read_icon_set(folder: Path) -> IconSet:
    """Read an unpacked icon set: its folder, or the one that npm packs it in.

    Raises:
        ConfigError: it is none, or its files do not hold what such files hold.
    """
    inner = folder / "package"
    home = inner if inner.is_dir() else folder
    bodies = {name: _read(home / name) for name in (DRAWINGS, CODE_POINTS, ABOUT)}
    drawn = _parsed(home / DRAWINGS, _Drawings, bodies[DRAWINGS])
    names = _parsed(home / CODE_POINTS, dict[str, str], bodies[CODE_POINTS])
    about = _parsed(home / ABOUT, _About, bodies[ABOUT])
    found = {plain_code_points(points): _icon(drawn, name) for points, name in sorted(names.items())}
    return IconSet(
        style=" ".join(word for word in drawn.prefix.split("-") if word != "emoji"),
        license=about.license.spdx or about.license.title,
        author=about.author.name,
        drawings={points: _svg(drawn, icon) for points, icon in found.items() if icon},
        digest=hashlib.sha256(b"".join(hashlib.sha256(body).digest() for body in bodies.values())).hexdigest(),
    )


def _read(path: Path) -> bytes:
    try:
        return read_file(path, MAX_FILE_BYTES)
    except FileNotFoundError as err:
        raise ConfigError(f"{path.parent} is no icon set: it has no {path.name}. {HOW_TO_GET}") from err
    except (OSError, DataError) as err:
        raise ConfigError(f"{path} cannot be read: {err}. {HOW_TO_GET}") from err


def _parsed(path: Path, kind: type[T], body: bytes) -> T:
    try:
        return TypeAdapter(kind).validate_json(body)
    except ValidationError as err:
        first = err.errors()[0]
        place = " ".join(map(str, first["loc"]))[:200]
        raise ConfigError(f"{path} is no file of an icon set: {place} {first['msg']}. {HOW_TO_GET}") from err


def _icon(drawn: _Drawings, name: str) -> _Icon | None:
    """Find an icon by any of its names."""
    for _ in range(MAX_ALIASES):
        if icon := drawn.icons.get(name):
            return icon
        try:
            name = _Alias.model_validate(drawn.aliases.get(name)).parent
        except ValidationError:
            return None
    return None


def _svg(drawn: _Drawings, icon: _Icon) -> str:
    sides = ((getattr(icon, side), getattr(drawn, side)) for side in ("left", "top", "width", "height"))
    box = " ".join(f"{whole if own is None else own:g}" for own, whole in sides)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} viewBox="{box}">{icon.body}</svg>'
