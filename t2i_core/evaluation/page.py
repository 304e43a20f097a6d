"""How sections are drawn, whatever report they stand in: as a page, and as tables of text."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from markupsafe import Markup, escape

from t2i_core.evaluation.metrics.section import Chart, Section, Table, spelt
from t2i_core.report.charts import histogram, line_chart, png_uri
from t2i_core.report.page import render_page


def render_sections(package: str, sections: Mapping[str, Section], **values: Any) -> str:
    """Write `report.html` of a room; what a page shows of a block is said in `blocks.html.j2`.

    Args:
        package: holds the template `report.html.j2`.
        sections: by name; those without blocks have no place there.
        **values: what the template shows besides.
    """
    return render_page(
        package,
        "report.html.j2",
        sections={name: section for name, section in sections.items() if section.blocks},
        draw=draw_chart,
        code=with_code,
        png_uri=png_uri,
        kind=lambda block: type(block).__name__,
        **values,
    )


def draw_chart(chart: Chart) -> Markup:
    """Draw lines or distributions."""
    return line_chart(chart.lines, chart.x_label) if chart.lines else histogram(chart.samples or {}, chart.x_label)


def with_code(text: str) -> Markup:
    """Escape a text, and show as code what stands between backticks."""
    parts = text.split("`")
    codes = (Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts))
    return Markup().join(codes)


def tables_as_text(sections: Iterable[Section]) -> Iterator[str]:
    """Write the short tables of sections as lines of markdown, an empty one before each table."""
    for section in sections:
        for table in section.tables:
            yield ""
            yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield f"| {' | '.join([table.title, *(column.title for column in table.columns)])} |"
    yield "|---" * (len(table.columns) + 1) + "|"
    for row in table.rows:
        cells = [spelt(cell, column.shows) for cell, column in zip(row.cells, table.columns, strict=True)]
        yield f"| {' | '.join([f'**{row.name}**' if row.total else row.name, *cells])} |"
