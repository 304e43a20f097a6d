"""Small pictures of numbers for reports: line charts and histograms as inline SVG, thumbnails as data URIs."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from PIL import Image

Floats = npt.NDArray[np.float64]
# A place across, a figure, and the low and high end of its interval.
Point = tuple[float, float, float, float]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 420, 190, 46, 24, 8
PALETTE = ("#2f6fde", "#e0752d", "#3a9a5b", "#a348b5", "#7b8794", "#c4a000", "#1d8a99", "#b5484a", "#555e9c", "#8d6e4f")
MAX_POINTS = 300
# Texts below an axis are at least this far apart, in the drawing's own units.
TICK_DISTANCE = 40
MIN_BINS = 13
MAX_SIDE = 128


def line_chart(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str) -> Markup:
    """Draw named lines, each a pair of x and y values; extreme peaks are cut so that the rest can be seen."""
    lines = {name: _thinned(x, y) for name, (x, y) in series.items() if len(x)}
    if not lines:
        return Markup()
    xs, ys = (np.concatenate([line[i] for line in lines.values()]) for i in (0, 1))
    low, high = min(0.0, float(ys.min())), float(np.percentile(ys, 99)) * 1.05 or 1.0
    x_range = (float(xs.min()), float(xs.max()))
    paths = []
    for (name, (x, y)), color in zip(lines.items(), PALETTE, strict=False):
        points = _points(x, np.clip(y, low, high), x_range, (low, high))
        paths.append(
            Markup(
                '<polyline points="{}" fill="none" stroke="{}" stroke-width="1.6"><title>{}</title></polyline>'
            ).format(points, color, name)
        )
    return _framed(Markup().join(paths), (low, high), _ends(x_range), x_label, list(lines))


def histogram(samples: Mapping[str, Floats], x_label: str, num_bins: int = 40) -> Markup:
    """Draw the distributions of several samples as filled outlines, each scaled to unit area."""
    kept = {name: values[np.isfinite(values)].ravel() for name, values in samples.items()}
    kept = {name: values for name, values in kept.items() if len(values)}
    if not kept:
        return Markup()
    pooled = np.concatenate(list(kept.values()))
    edges = np.linspace(pooled.min(), max(float(pooled.max()), float(pooled.min()) + 1e-6), num_bins + 1)
    shares = {name: np.histogram(values, edges)[0] / len(values) for name, values in kept.items()}
    x_range, y_range = (float(edges[0]), float(edges[-1])), (0.0, float(max(s.max() for s in shares.values())) * 1.05)
    x = np.concatenate([[edges[0]], np.repeat(edges[1:-1], 2), [edges[-1]]])
    shapes = []
    for (_, share), color in zip(shares.items(), PALETTE, strict=False):
        outline = np.concatenate([[0], np.repeat(share, 2), [0]])
        points = _points(np.concatenate([[edges[0]], x, [edges[-1]]]), outline, x_range, y_range)
        shapes.append(
            Markup('<polygon points="{}" fill="{}" fill-opacity=".25" stroke="{}"/>').format(points, color, color)
        )
    return _framed(Markup().join(shapes), y_range, _ends(x_range), x_label, list(kept))


def interval_chart(
    series: Mapping[str, Sequence[tuple[float, float, float, float]]], ticks: Mapping[float, str]
) -> Markup:
    """Draw figures with their intervals, each series joined by a line.

    Args:
        series: the points by name.
        ticks: texts below the axis, by their place on it.
    """
    points = [point for rows in series.values() for point in rows]
    if not points:
        return Markup()
    places = [point[0] for point in points]
    x_range = (min(places) - 0.5, max(places) + 0.5)
    low, high = min(p[2] for p in points), max(p[3] for p in points)
    room = 0.08 * (high - low) or 1.0
    # What cannot be negative is not drawn as if it could.
    low, high = low - room if low < 0 else max(0.0, low - room), high + room
    shapes = [
        _with_intervals(name, rows, x_range, (low, high), color)
        for (name, rows), color in zip(series.items(), PALETTE, strict=False)
    ]
    marks = [(_across(place, x_range), "middle", text) for place, text in ticks.items()]
    return _framed(Markup().join(shapes), (low, high), _apart(marks, 62), "", list(series))


def _with_intervals(
    name: str,
    rows: Sequence[Point],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    color: str,
) -> Markup:
    """Draw a line through figures, a dot for each, and its interval as an upright one."""
    if not rows:
        return Markup()
    x, value, low, high = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    dots = _points(x, value, x_range, y_range).split()
    ends = (_points(x, each, x_range, y_range).split() for each in (low, high))
    line = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="1.2" stroke-opacity=".6"/>').format(
        " ".join(dots), color
    )
    marks = Markup().join(
        Markup('<path d="M{} L{}" stroke="{}" stroke-width="2.5" stroke-opacity=".35"/>').format(bottom, top, color)
        + Markup('<circle cx="{}" cy="{}" r="3" fill="{}"><title>{}: {}</title></circle>').format(
            *dot.split(","), color, name, f"{row[1]:.3f} [{row[2]:.3f}, {row[3]:.3f}]"
        )
        for dot, bottom, top, row in zip(dots, *ends, rows, strict=True)
    )
    return line + marks


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[Floats, Floats]:
    """Average neighbouring points so that a line has at most `MAX_POINTS`."""
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[finite], ys[finite]
    if len(xs) <= MAX_POINTS:
        return xs, ys
    groups = np.array_split(np.arange(len(xs)), MAX_POINTS)
    return np.array([xs[g].mean() for g in groups]), np.array([ys[g].mean() for g in groups])


def _points(x: Floats, y: Floats, x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    across = LEFT + (x - x_range[0]) / ((x_range[1] - x_range[0]) or 1) * (WIDTH - LEFT - 8)
    down = HEIGHT - BOTTOM - (y - y_range[0]) / ((y_range[1] - y_range[0]) or 1) * (HEIGHT - BOTTOM - TOP)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))


def bar_chart(
    series: Mapping[str, Sequence[int]], bins: Sequence[str], ticks: Mapping[float, str], x_label: str, unit: str
) -> Markup:
    """Draw counts that were taken in bins; those well before the first and after the last one in use are left out.

    Args:
        series: the counts by name, each a number for each bin; several lie on top of each other.
        bins: what each bin holds, such as "64 to 75 px".
        ticks: texts below the axis, by their place on it, where bin i goes from i to i + 1.
        x_label: what is counted along the axis, "" for none.
        unit: what is counted, plural.
    """
    used = [i for i in range(len(bins)) if any(counts[i] for counts in series.values())]
    if not used:
        return Markup()
    first, end = _widened(used[0], used[-1] + 1, len(bins))
    x_range, y_range = (first, end), (0, max(max(counts) for counts in series.values()))
    bars = (
        _bar(i, counts[i], x_range, y_range[1], color, f"{bins[i]}; {unit}: {counts[i]:,}")
        for counts, color in zip(series.values(), PALETTE, strict=False)
        for i in range(first, end)
        if counts[i]
    )
    marks = [(_across(place, x_range), "middle", text) for place, text in ticks.items() if first <= place <= end]
    return _framed(Markup().join(bars), y_range, _apart(marks), x_label, list(series) if len(series) > 1 else [])


def _widened(first: int, end: int, limit: int) -> tuple[int, int]:
    """Show some empty bins where few are in use, so that a single bar looks like one."""
    missing = max(0, MIN_BINS - (end - first))
    first = max(0, first - missing // 2)
    return first, min(limit, max(end + (missing + 1) // 2, first + MIN_BINS))


def _bar(i: int, count: int, x_range: tuple[float, float], highest: int, color: str, title: str) -> Markup:
    left, right = _across(i, x_range), _across(i + 1, x_range)
    height = max(1.0, count / highest * (HEIGHT - BOTTOM - TOP))
    place = Markup('x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"').format(
        left + 0.5, HEIGHT - BOTTOM - height, max(right - left - 1, 1), height
    )
    return Markup('<rect {} fill="{}" fill-opacity=".6"><title>{}</title></rect>').format(place, color, title)


def _across(value: float, x_range: tuple[float, float]) -> float:
    return LEFT + (value - x_range[0]) / ((x_range[1] - x_range[0]) or 1) * (WIDTH - LEFT - 8)


def _apart(marks: Iterable[tuple[float, str, str]], distance: float = TICK_DISTANCE) -> list[tuple[float, str, str]]:
    """Leave out the texts that would touch the one before."""
    kept: list[tuple[float, str, str]] = []
    for mark in sorted(marks):
        if not kept or mark[0] - kept[-1][0] >= distance:
            kept.append(mark)
    return kept


def _ends(x_range: tuple[float, float]) -> list[tuple[float, str, str]]:
    """Give the texts below both ends of an axis."""
    return [(LEFT, "start", _short(x_range[0])), (WIDTH - 8, "end", _short(x_range[1]))]


def _framed(
    content: Markup,
    y_range: tuple[float, float],
    ticks: Sequence[tuple[float, str, str]],
    x_label: str,
    names: list[str],
) -> Markup:
    """Put axes and a legend around a drawing; ticks are places across, anchors and texts."""
    base = HEIGHT - BOTTOM
    texts = [
        (LEFT - 5, TOP + 8, "end", _short(y_range[1])),
        (LEFT - 5, base, "end", _short(y_range[0])),
        *((x, HEIGHT - 8, anchor, text) for x, anchor, text in ticks),
        ((LEFT + WIDTH) / 2, HEIGHT - 8, "middle", x_label),
    ]
    labels = Markup().join(
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(round(x, 1), y, anchor, text)
        for x, y, anchor, text in texts
        if text
    )
    axes = Markup('<path d="M{0} {1}V{2}H{3}" class="axis"/>').format(LEFT, TOP, base, WIDTH - 8)
    keys = Markup().join(
        Markup('<span class="key"><i style="background:{}"></i>{}</span>').format(color, escape(name))
        for name, color in zip(names, PALETTE, strict=False)
    )
    legend = Markup('<p class="keys">{}</p>').format(keys) if names else Markup()
    title = ", ".join(part for part in (" and ".join(names), x_label) if part) or "numbers"
    return Markup('<svg viewBox="0 0 {} {}" class="chart" role="img" aria-label="Chart: {}">{}{}{}</svg>{}').format(
        WIDTH, HEIGHT, title, axes, content, labels, legend
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2g}" if abs(value) < 10 else f"{value:.3g}"


def png_uri(picture: npt.NDArray[np.uint8], max_side: int = MAX_SIDE) -> str:
    """Write a picture, (H, W, 3) uint8, as a data URI without loss; only one with a longer side is made smaller."""
    image = Image.fromarray(picture)
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    png = io.BytesIO()
    image.save(png, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
