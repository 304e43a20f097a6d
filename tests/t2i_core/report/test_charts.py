"""Charts are well-formed, escape what they are given, and keep pictures as they are."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from t2i_core.report.charts import bar_chart, histogram, interval_chart, line_chart, png_uri


def svg(markup):
    return ElementTree.fromstring(str(markup).split("<p class")[0])


def test_a_line_goes_from_corner_to_corner():
    root = svg(line_chart({"loss": ([0, 100], [1, 0])}, "images"))
    (line,) = root.findall(".//polyline")
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in line.attrib["points"].split())
    assert x0 < x1 and y0 < y1


def test_long_lines_are_thinned_and_bad_values_left_out():
    y = [1.0] * 5000 + [float("nan")]
    (line,) = svg(line_chart({"loss": (range(5001), y)}, "images")).findall(".//polyline")
    assert len(line.attrib["points"].split()) == 300


def test_names_are_escaped():
    for chart in (line_chart({"<b>&": ([1, 2], [1, 2])}, "<i>"), histogram({"<b>&": np.array([1.0, 2.0])}, "<i>")):
        assert "<b>" not in chart and "<i>" not in str(chart).split("</svg>")[0]
        assert "&lt;b&gt;&amp;" in chart


def test_nothing_to_draw_is_nothing():
    assert line_chart({"loss": ([], [])}, "images") == ""
    assert histogram({"cosine": np.array([np.nan])}, "cosine") == ""


def test_a_picture_keeps_its_pixels_and_only_a_large_one_is_made_smaller():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)

    def shown(uri):
        kind, _, body = uri.partition(";base64,")
        assert kind == "data:image/png"
        with Image.open(io.BytesIO(base64.b64decode(body)), formats=("PNG",)) as picture:
            return np.asarray(picture)

    assert (shown(png_uri(noise[:64, :128])) == noise[:64, :128]).all()
    assert shown(png_uri(noise)).shape == (128, 128, 3)
    assert (shown(png_uri(noise, max_side=300)) == noise).all()


def test_bars_are_as_high_as_their_counts():
    bins = [f"bin {i}" for i in range(6)]
    chart = bar_chart({"<width>": [0, 4, 0, 2, 0, 0], "height": [0, 0, 1, 0, 0, 0]}, bins, {1: "1", 4: "4"}, "", "&")
    bars = svg(chart).findall(".//rect")
    titles = [bar[0].text for bar in bars]

    assert titles == ["bin 1; &: 4", "bin 3; &: 2", "bin 2; &: 1"]
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] == 2 * heights[1] == 4 * heights[2]
    assert [text.text for text in svg(chart).findall(".//text")] == ["4", "0", "1", "4"]
    assert "&lt;width&gt;" in chart


def test_empty_ends_are_left_out_but_a_single_bar_does_not_fill_the_chart():
    def drawn(*used):
        counts = [int(i in used) for i in range(40)]
        return svg(bar_chart({"n": counts}, [""] * 40, {i + 0.5: str(i) for i in range(40)}, "", "n"))

    def ends(root):
        numbers = [int(text.text) for text in root.findall(".//text")[2:]]
        return numbers[0], numbers[-1]

    assert ends(drawn(10, 35)) == (10, 34)
    assert ends(drawn(0)) == (0, 12) and ends(drawn(20)) == (14, 26) and ends(drawn(39)) == (33, 39)
    (bar,) = drawn(20).findall(".//rect")
    assert float(bar.attrib["width"]) < 40


def test_no_counts_are_no_chart():
    assert bar_chart({"width": [0, 0]}, ["a", "b"], {}, "", "pictures") == ""


@pytest.mark.parametrize(("lowest", "below_zero"), [(0.0, False), (0.2, False), (-0.2, True)])
def test_an_axis_goes_below_zero_for_what_is_below_zero(lowest: float, below_zero: bool) -> None:
    chart = interval_chart({"a": [(0.0, 0.5, lowest, 0.9), (1.0, 0.6, 0.4, 1.0)]}, {0.0: "first", 1.0: "second"})
    numbers = [float(text) for text in re.findall(r">(-?[0-9.]+)</text>", str(chart))]
    assert (min(numbers) < 0) is below_zero
