"""Small pictures for a page, taken out of shards that were written a moment ago without reading all of them."""

import base64
import io
from collections.abc import Mapping, Set
from pathlib import Path

from t2i_core.data.shards.tar_reader import iter_members, read_member
from t2i_core.door import open_file
from t2i_core.errors import DataError

THUMBNAIL_SIDE = 128
# A picture that is stored this small is shown as it is.
SMALL_BYTES = 12_000
MAX_PIXELS = 16_000_000
MAX_PICTURE_BYTES = 64 * 1024 * 1024
_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def read_pictures(tar_path: Path, keys: Set[str]) -> dict[str, tuple[str, bytes]]:
    """Read the pictures of some samples: format and bytes by key; those that are not there are left out."""
    found: dict[str, tuple[str, bytes]] = {}
    try:
        with open_file(tar_path, levels=1) as tar:
            for member in iter_members(tar):
                key, _, suffix = member.name.partition(".")
                if key in keys and suffix in _TYPES and member.is_file and member.size <= MAX_PICTURE_BYTES:
                    found[key] = (suffix, read_member(tar, member))
                    if len(found) == len(keys):
                        break
    except (OSError, ValueError, DataError):
        # A damaged shard is for `verify` to tell; a page shows what there is.
        pass
    return found


def picture_uri(suffix: str, body: bytes) -> str:
    """Give a picture as a data URI, made smaller where it is not small; "" for one that cannot be shown."""
    if len(body) <= SMALL_BYTES:
        return _uri(_TYPES[suffix], body)
    # What is small is shown without it.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(body), formats=("JPEG", "PNG", "WEBP")) as picture:
            picture.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            if picture.width * picture.height > MAX_PIXELS:
                return ""
            small = picture.convert("RGB")
    except (OSError, ValueError):
        return ""
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return _uri("image/jpeg", buffer.getvalue())


def _uri(media_type: str, body: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(body).decode()}"


def thumbnails(wanted: Mapping[Path, Set[str]], max_chars: int) -> dict[str, str]:
    """Give the pictures of some samples as data URIs, by key.

    Args:
        wanted: the keys of the samples, by the tar they are in.
        max_chars: for all URIs together; what is beyond is left out.
    """
    shown: dict[str, str] = {}
    for tar_path, keys in wanted.items():
        for key, (suffix, body) in read_pictures(tar_path, keys).items():
            uri = picture_uri(suffix, body)
            if uri and len(uri) <= max_chars:
                shown[key] = uri
                max_chars -= len(uri)
    return shown
