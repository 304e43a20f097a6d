"""Reports as self-contained pages: a template of some room inside the page that all of them share."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render_page(package: str, template: str, **values: Any) -> str:
    """Write a page.

    Args:
        package: holds the template, such as "t2i_core.captioning".
        template: its file name; it extends `page.html.j2`.
        values: what the template shows; text in them is escaped.
    """
    loader = ChoiceLoader([PackageLoader(package, ""), PackageLoader(__package__, "")])
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {"count": "{:,}".format, "size": describe_bytes}
    return templates.get_template(template).render(**values)


def describe_bytes(size: float) -> str:
    """Write a number of bytes for a person: 512 B, 1.2 kB, 34 MB."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.1f} {units[0]}" if units[0] != "B" and size < 10 else f"{size:,.0f} {units[0]}"
