"""SVG drawings: what is drawn is known pixel by pixel, and what is hostile is refused by name."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.decoders import Decoders
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.reject import Rejection

pytest.importorskip("resvg_py")

NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
OPTIONS = ImageOptions(image_size=40, resize_mode="border", encode_format="png")


def svg(inside: str, size: str = 'viewBox="0 0 4 2"') -> bytes:
    return f"<?xml version='1.0'?><svg {NAMES} {size}>{inside}</svg>".encode()


HALVES = svg('<path fill="red" d="M0 0h2v2h-2z"/><path fill="blue" d="M2 0h2v2h-2z"/>')


def drawn(body: bytes, options: ImageOptions = OPTIONS) -> Picture:
    result = process_picture(body, options)
    assert isinstance(result, Picture), result
    return result


def pixels(body: bytes, options: ImageOptions = OPTIONS) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(drawn(body, options).data)))


def told(body: bytes, options: ImageOptions = OPTIONS) -> tuple[str, str]:
    result = process_picture(body, options)
    return (str(result.reason), result.detail) if isinstance(result, Rejection) else ("ok", "")


def test_a_drawing_becomes_as_large_as_it_is_stored_whatever_it_says() -> None:
    found = pixels(HALVES)
    assert found.shape == (40, 40, 3)
    assert (found[10:30, :20] == (255, 0, 0)).all() and (found[10:30, 20:] == (0, 0, 255)).all()
    # Border above and below, and what is transparent, are white.
    assert (found[:10] == 255).all() and (found[30:] == 255).all()
    assert (drawn(HALVES).original_format, drawn(HALVES).original_width) == ("SVG", 40)


@pytest.mark.parametrize(
    ("mode", "size", "shape"),
    [
        ("no", 'width="12px" height="6" viewBox="0 0 4 2"', (6, 12)),
        ("no", 'width="12" height="6"', (6, 12)),
        ("no", 'width="3cm" height="50%" viewBox="0 0 4 2"', (2, 4)),
        ("no", 'width="25.4mm" height="36pt"', (48, 96)),
        ("no", 'width="2.54cm" height="1pc"', (16, 96)),
        ("no", 'width="1in" height="8"', (8, 96)),
        ("keep_ratio", 'viewBox="0,0,4,2"', (40, 80)),
        ("keep_ratio_largest", 'viewBox="0 0 4 2"', (20, 40)),
        ("center_crop", 'viewBox="0 0 4 2"', (40, 40)),
    ],
)
def test_size_by_mode(mode: str, size: str, shape: tuple[int, int]) -> None:
    body = svg('<path fill="red" d="M0 0h1v9h-1z"/>', size)
    assert pixels(body, ImageOptions(image_size=40, resize_mode=mode, encode_format="png")).shape[:2] == shape


CROPPED = ImageOptions(image_size=40, resize_mode="border", encode_format="png", crop_transparent=True)


@pytest.mark.parametrize("more", ["", 'x="3" y="7" width="120" height="5cm"'])
def test_a_drawing_is_drawn_anew_where_it_shows_anything(more: str) -> None:
    """A square of 2 by 2 in a corner of 40 by 60 units becomes all of it, with edges as sharp as if drawn alone."""
    corner = '<path fill="red" d="M30 50h1v2h-1z"/><path fill="blue" d="M31 50h1v2h-1z"/>'
    found = pixels(svg(corner, f'viewBox="0 0 40 60" {more}'), CROPPED)
    inside = found[2:-2, 2:-2]
    assert (inside[:, :16] == (255, 0, 0)).all() and (inside[:, -16:] == (0, 0, 255)).all()
    assert pixels(svg(corner, 'viewBox="0 0 40 60"')).reshape(-1, 3).min(axis=1).tolist().count(0) < 10


def test_a_cut_drawing_keeps_its_own_size() -> None:
    whole = ImageOptions(resize_mode="no", encode_format="png", crop_transparent=True)
    found = drawn(svg('<path d="M10 10h20v10h-20z"/>', 'width="100" height="50"'), whole)
    assert abs(found.width - 20) <= 1 and abs(found.height - 10) <= 1


def test_a_drawing_that_shows_nothing_is_blank() -> None:
    assert told(svg('<path fill="none" d="M0 0h2v2z"/>'), CROPPED) == ("blank", "transparent all over")


def test_gradients_go_from_one_color_to_the_other() -> None:
    stops = '<stop stop-color="#000"/><stop offset="1" stop-color="#fff"/>'
    linear = svg(
        f'<linearGradient id="a">{stops}</linearGradient><path fill="url(#a)" d="M0 0h4v4h-4z"/>', 'viewBox="0 0 4 4"'
    )
    row = pixels(linear)[20, :, 0].astype(float)
    assert np.abs(row - (np.arange(40) + 0.5) / 40 * 255).max() <= 1.5
    radial = svg(
        f'<radialGradient id="a">{stops}</radialGradient><path fill="url(#a)" d="M0 0h4v4h-4z"/>', 'viewBox="0 0 4 4"'
    )
    distance = np.hypot(*(np.mgrid[:40, :40] - 19.5)) / 20
    assert np.abs(pixels(radial)[..., 0] - distance.clip(0, 1) * 255).max() <= 2.5


def test_references_inside_are_followed() -> None:
    whole = svg('<path fill="red" d="M0 0h4v2h-4z"/>')
    for name in ("href", "xlink:href"):
        used = svg(f'<defs><path id="a" fill="red" d="M0 0h4v2h-4z"/></defs><use {name}="#a"/>')
        assert drawn(used).data == drawn(whole).data
    linked = svg('<a href="https://example.org/"><path fill="red" d="M0 0h4v2h-4z"/></a>')
    assert drawn(linked).data == drawn(whole).data


def test_what_one_program_alone_reads_is_passed_over() -> None:
    inside = '<path fill="red" d="M0 0h4v2h-4z"/>'
    page = '<foreignObject requiredExtensions="http://ns.adobe.com/a/" width="4" height="2">{}</foreignObject>'
    blue = '<path fill="blue" d="M0 0h4v2h-4z"/>'
    for own in ("", "<p>hi</p>", blue):
        for whole in (f"<switch>{page}<g>{inside}</g></switch>", inside + page):
            assert drawn(svg(whole.format(own))).data == drawn(svg(inside)).data
    assert told(svg(page.format("<script>1</script>"))) == ("unsupported_format", "SVG with a script")


DOCTYPE = b"<!DOCTYPE svg [<!ENTITY a 'aaaa'>]>"


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        (svg("<script>1</script>"), "unsupported_format", "a script"),
        (svg("<foreignObject><p>hi</p></foreignObject>"), "unsupported_format", "a page inside"),
        (svg('<image href="file:///etc/hostname" width="4" height="2"/>'), "unsupported_format", "a picture inside"),
        (svg('<image xlink:href="data:image/png;base64,AAAA"/>'), "unsupported_format", "a picture inside"),
        (svg('<filter><feImage href="#a"/></filter>'), "unsupported_format", "a picture inside"),
        (svg('<text y="1">a</text>'), "unsupported_format", "letters"),
        (svg('<use href="other.svg#a"/>'), "unsupported_format", "a reference to the outside"),
        (svg('<path fill="url( \'http://example.org/#a\')" d="M0 0h4v2z"/>'), "unsupported_format", "outside"),
        (svg('<style>@import "a.css";</style>'), "unsupported_format", "outside"),
        (HALVES.replace(b"<svg", DOCTYPE + b"<svg", 1), "unsupported_format", "entities"),
        (svg("", ""), "unsupported_format", "without a size"),
        (svg("", 'width="3cm" height="50%"'), "unsupported_format", "without a size"),
        (svg("", 'width="3em" height="9em"'), "unsupported_format", "without a size"),
        (svg("", 'viewBox="0 0 0 4"'), "unsupported_format", "without a size"),
        (svg("", 'viewBox="0 0 inf 4"'), "decode_error", ""),
        (svg("", 'viewBox="0 0 4 x"'), "decode_error", ""),
        (HALVES[:-30], "truncated", ""),
        (HALVES.replace(b"<path", b"<path<", 1), "decode_error", ""),
        (HALVES.replace(b"red", b"r\xe9d"), "decode_error", ""),
        (HALVES.replace(b"2000/svg", b"2000/sv"), "not_an_image", ""),
        (b"<!doctype html><html><p>a <svg></svg></html>", "not_an_image", ""),
        (svg("", 'viewBox="0 0 1000 1"'), "bad_aspect", ""),
    ],
)
def test_what_is_not_drawn_has_a_reason(body: bytes, reason: str, detail: str) -> None:
    found = told(body, ImageOptions(image_size=40, resize_mode="border", max_aspect_ratio=30))
    assert found[0] == reason
    assert detail in found[1]


def test_a_huge_drawing_is_refused_before_it_is_drawn() -> None:
    natural = ImageOptions(resize_mode="no")
    assert told(svg("", 'width="100000" height="100000"'), natural)[0] == "too_many_pixels"
    assert told(svg("", 'viewBox="0 0 1000000 1"'), ImageOptions(resize_mode="keep_ratio"))[0] == "too_many_pixels"


def test_a_drawing_without_end_costs_itself_and_nothing_else() -> None:
    """Each layer uses the one before it ten times: a thousand million rectangles in a kilobyte."""
    layers = '<rect id="l0" width="4" height="2"/>' + "".join(
        f'<g id="l{n}">' + f'<use href="#l{n - 1}"/>' * 10 + "</g>" for n in range(1, 10)
    )

    async def both() -> list[Picture | Rejection]:
        async with Decoders(OPTIONS) as decoders:
            return [await decoders.process(svg(layers)), await decoders.process(HALVES)]

    bomb, good = asyncio.run(both())
    assert isinstance(bomb, Rejection) and bomb.reason in ("decoder_failed", "decode_error")
    assert isinstance(good, Picture) and good.data == drawn(HALVES).data
