"""SVG drawings as pixels, by resvg of the extra `svg`: read as hostile text first, and written anew from what was read.

What would run, look for files, or draw differently on another machine is refused by name: scripts, pages, pictures and
letters inside, references to anything outside, entities. Time and memory are those of the worker that decodes.
"""

import io
import re
from dataclasses import replace
from importlib.util import find_spec
from xml.etree.ElementTree import Element, ParseError, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser
from PIL import Image

from t2i_core.data.picture import ImageOptions
from t2i_core.data.pictures.fit import drawn_size
from t2i_core.data.pictures.modes import TRANSPARENT, visible_box
from t2i_core.data.reject import Rejection, RejectReason

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_REFUSED = {
    "script": "a script",
    "foreignObject": "a page inside",
    "image": "a picture inside",
    "feImage": "a picture inside",
    "text": "letters, which look as the fonts of a machine do",
}
_OUTSIDE = re.compile(r"""url\(\s*['"]?\s*(?!['"#\s])|@import""", re.IGNORECASE)
_LENGTH = re.compile(r"\s*(\d+\.?\d*|\.\d+)([a-z]*)\s*")
# Pixels of the units of length, as CSS counts them.
_UNITS = {"": 1.0, "px": 1.0, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4, "pt": 96 / 72, "pc": 16.0}
# Codes of expat: no element found, unclosed token, unclosed CDATA section. All mean that the end is missing.
_BROKEN_OFF = frozenset({3, 5, 20})
# Longest side, in pixels, of the drawing in which is looked where a drawing shows anything.
_LOOKED_AT = 512


def draw_svg(body: bytes, options: ImageOptions) -> bytes | Rejection:
    """Draw an SVG as large as it is to be stored, transparent where it draws nothing.

    Args:
        body: the file, in UTF-8.
        options: the resize mode, the size and the limits.

    Returns:
        A PNG, cut to what can be seen if that was asked for, or why it is not drawn.

    Raises:
        ValueError: it is not UTF-8, or resvg cannot draw it.
    """
    if find_spec("resvg_py") is None:
        return _refused("SVG, which the extra `svg` of t2i draws")
    root = _read(body)
    if isinstance(root, Rejection):
        return root
    size = _natural_size(root)
    if size is None:
        return _refused("SVG without a size")
    root.attrib.setdefault("viewBox", f"0 0 {size[0]} {size[1]}")
    if options.crop_transparent:
        window = _window(root, size, options)
        if window is None:
            return Rejection(RejectReason.BLANK, TRANSPARENT)
        root, size = window
    width, height = drawn_size(size, options)
    if width * height > options.max_pixels:
        return Rejection(RejectReason.TOO_MANY_PIXELS)
    return _drawn(root, width, height)


def _drawn(root: Element, width: int, height: int) -> bytes:
    from resvg_py import svg_to_bytes

    root.attrib |= {"width": str(width), "height": str(height)}
    return bytes(svg_to_bytes(svg_string=tostring(root, "unicode"), skip_system_fonts=True))


def _window(
    root: Element, size: tuple[float, float], options: ImageOptions
) -> tuple[Element, tuple[float, float]] | None:
    """Put a drawing behind a window that leaves out what is transparent around it; None where nothing is left.

    Returns:
        The window, and the width and height that it has in the drawing's own pixels.
    """
    looked_at = replace(options, resize_mode="border", image_size=_LOOKED_AT)
    width, height = drawn_size(size, looked_at)
    with Image.open(io.BytesIO(_drawn(root, width, height)), formats=("PNG",)) as image:
        box = visible_box(image)
    if box is None:
        return None
    left, top, right, bottom = box
    # They say nothing of the outermost drawing, and would move one that is inside another.
    for place in ("x", "y"):
        root.attrib.pop(place, None)
    window = root.makeelement(f"{_NAMESPACE}svg", {"viewBox": f"{left} {top} {right - left} {bottom - top}"})
    window.append(root)
    return window, ((right - left) * size[0] / width, (bottom - top) * size[1] / height)


def _refused(detail: str) -> Rejection:
    return Rejection(RejectReason.UNSUPPORTED_FORMAT, detail)


def _read(body: bytes) -> Element | Rejection:
    """Read the elements, if all are harmless.

    Raises:
        ValueError: it is not UTF-8.
    """
    # Whatever encoding it names, it is read as the text that is drawn.
    parser = DefusedXMLParser(encoding="utf-8")
    try:
        parser.feed(body.decode("utf-8-sig").encode())
        root: Element = parser.close()
    except ParseError as err:
        return Rejection(RejectReason.TRUNCATED if err.code in _BROKEN_OFF else RejectReason.DECODE_ERROR)
    except DefusedXmlException:
        return _refused("SVG with entities")
    if root.tag != f"{_NAMESPACE}svg":
        return Rejection(RejectReason.NOT_AN_IMAGE)
    harm = next(filter(None, map(_harm, root.iter())), "")
    return _refused(f"SVG with {harm}") if harm else root


def _harm(element: Element) -> str:
    """Name what an element does that is not drawing, "" for nothing; what is no SVG is not drawn anyway."""
    if not element.tag.startswith(_NAMESPACE):
        return ""
    name = element.tag.removeprefix(_NAMESPACE)
    if name in _REFUSED and not _is_passed_over(name, element):
        return _REFUSED[name]
    links = [] if name == "a" else [value for key, value in element.items() if key.rpartition("}")[2] == "href"]
    style = [element.text or ""] if name == "style" else []
    leads_out = any(not link.lstrip().startswith("#") for link in links)
    return (
        "a reference to the outside"
        if leads_out or any(map(_OUTSIDE.search, [*element.attrib.values(), *style]))
        else ""
    )


def _is_passed_over(name: str, element: Element) -> bool:
    """Tell whether it is a page for one program alone, as drawings of Adobe Illustrator have beside what all draw."""
    return name == "foreignObject" and bool(element.get("requiredExtensions"))


def _natural_size(root: Element) -> tuple[float, float] | None:
    """Give width and height as the drawing names them: in pixels, else in its own units, else in those of paper."""
    named = [_LENGTH.fullmatch(root.get(side, "")) for side in ("width", "height")]
    known = [(float(found[1]), found[2]) for found in named if found and found[2] in _UNITS]
    lengths = [length for length, unit in known if unit in ("", "px")]
    if len(lengths) < 2:
        lengths = [float(part) for part in root.get("viewBox", "").replace(",", " ").split()][2:]
    if not lengths:
        lengths = [length * _UNITS[unit] for length, unit in known]
    if len(lengths) != 2 or not all(length > 0 for length in lengths):
        return None
    return lengths[0], lengths[1]
