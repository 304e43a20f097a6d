"""Tells a text that only names a file, as programs put beside a picture, from one that somebody wrote about it."""

import re
from pathlib import PurePosixPath

_ENDING = re.compile(r"\.(jpe?g|png|gif|webp|bmp|tiff?|svgz?|avif|heic|ico|jp2|jxl)$", re.IGNORECASE)
# What cameras, scanners, telephones and editors call a picture, with or without a number.
_COUNTER = re.compile(
    r"\W*(img|image|images|imagen|bild|pict?|photo|foto|dsc[nf]?|dscf|pxl|mvi|scan|thumb|thumbnail|untitled"
    r"|unnamed|screen ?shot|figure|fig|file|graphic|placeholder|icon|logo)[\d\W_]*(at)?[\d\W_]*(wa\d+|edit|copy)?\W*",
    re.IGNORECASE,
)
_HASH = re.compile(r"[0-9a-f]{8}-?[0-9a-f-]{8,}", re.IGNORECASE)
_MAX_WORDS = 4
_MAX_CHARS = 300


def is_file_name(text: str, url: str = "") -> bool:
    """Tell whether a text says nothing but a file's name, a path, or "image" with a number or without.

    Args:
        text: such as an `alt`.
        url: of the picture, whose own name describes it no better: "bucket-fill-2" for .../bucket-fill-2.png.
    """
    text = text.strip()
    if len(text) > _MAX_CHARS:
        return False
    words = text.split()
    if _ENDING.search(text) or text.endswith("..>"):
        return len(words) <= _MAX_WORDS
    if _COUNTER.fullmatch(text) or _HASH.fullmatch(text):
        return True
    if len(words) != 1:
        return False
    return "://" in text or text.count("/") > 1 or (text == _stem(url) and not text.isalnum())


def _stem(url: str) -> str:
    return PurePosixPath(url.split("?")[0].split("#")[0]).stem
