"""Pictures and licenses that a page declares in its head: Open Graph, Twitter cards, `image_src`, Dublin Core."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from selectolax.lexbor import LexborHTMLParser, LexborNode

from t2i_core.data.pages.file_names import is_file_name
from t2i_core.data.pages.markup import Base, absolute, ancestors, attribute, one_line
from t2i_core.data.pages.mention import Mention

MAX_DECLARED = 100
MAX_LICENSE_LINKS = 1000
_OPEN_GRAPH_URLS = ("og:image", "og:image:url", "og:image:secure_url")
_LICENSE_METAS = ("dcterms.license", "dc.rights.license", "dc.rights", "dcterms.rights")


def declared_pictures(tree: LexborHTMLParser, base: Base) -> Iterator[Mention]:
    """Give the pictures that stand for the page, with the texts that describe them; a page's title does not."""
    metas = [(name, attribute(node, "content")) for node in tree.css("meta[content]") if (name := _name(node))]
    yield from islice(_open_graph(metas, base), MAX_DECLARED)
    yield from _twitter(dict(reversed(metas)), base)
    for node in islice(tree.css("link[rel~=image_src][href]"), MAX_DECLARED):
        if url := absolute(base, attribute(node, "href")):
            yield Mention(url=url)


def _name(node: LexborNode) -> str:
    """Give what a `<meta>` is about; many pages write `name` where Open Graph has `property`, and the other way."""
    return (attribute(node, "property") or attribute(node, "name")).lower()


def _open_graph(metas: list[tuple[str, str]], base: Base) -> Iterator[Mention]:
    """Read `og:image`s: each starts a picture, and the lines up to the next one are about it."""
    current: Mention | None = None
    for name, content in metas:
        if name in _OPEN_GRAPH_URLS and (url := absolute(base, content)):
            # `og:image:url` after `og:image` is the same picture under a second address.
            if current is None or name == "og:image":
                if current is not None:
                    yield current
                current = Mention(url=url)
        elif name == "og:image:alt" and content.strip() and current is not None and not current.caption:
            described = not is_file_name(content, current.url)
            current = replace(current, caption=one_line(content), rule="og:image:alt") if described else current
    if current is not None:
        yield current


def _twitter(metas: dict[str, str], base: Base) -> Iterator[Mention]:
    """Read the one picture of a Twitter card, whatever the order of its lines."""
    url = absolute(base, metas.get("twitter:image") or metas.get("twitter:image:src", ""))
    caption = one_line(metas.get("twitter:image:alt", ""))
    if url:
        described = bool(caption) and not is_file_name(caption, url)
        yield Mention(url=url, caption=caption * described, rule="twitter:image:alt" * described)


def declared_license(tree: LexborHTMLParser, base: Base) -> str:
    """Give the license of the whole page: what its `rel=license` links agree on, else what its Dublin Core says.

    A link in a figure is about that figure. When the others name several licenses, each is about some part of the page
    that cannot be told, so there is none for all of it.
    """
    links = islice(tree.css("a[rel~=license][href], link[rel~=license][href]"), MAX_LICENSE_LINKS)
    addresses = {absolute(base, attribute(node, "href")) for node in links if not _is_in_figure(node)} - {""}
    if addresses:
        return addresses.pop() if len(addresses) == 1 else ""
    stated = {_name(node): attribute(node, "content") for node in reversed(tree.css("meta[content]"))}
    return next((stated[name] for name in _LICENSE_METAS if stated.get(name)), "")


def _is_in_figure(node: LexborNode) -> bool:
    return any(parent.tag == "figure" for parent in ancestors(node))
