"""What SVG drawings say about themselves, in old and new RDF, and what hostile ones do not get to do."""

import pytest

from t2i_core.data.sources.drawing_metadata import DrawingMetadata, read_drawing_metadata

NOTHING = DrawingMetadata()
OLD, NEW = "http://web.resource.org/cc/", "http://creativecommons.org/ns#"


def rdf(inside: str, cc: str = OLD, work: str = "cc:Work") -> str:
    names = (
        f'xmlns:cc="{cc}" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    )
    return f'<metadata><rdf:RDF {names}><{work} rdf:about="">{inside}</{work}></rdf:RDF></metadata>'


def svg(inside: str, start: str = "", root: str = 'svg xmlns="http://www.w3.org/2000/svg"') -> bytes:
    return f"<?xml version='1.0'?>{start}<{root} viewBox='0 0 4 2'>{inside}</svg>".encode()


WHOLE = """
  <dc:title> Red
     apple </dc:title>
  <dc:description></dc:description>
  <dc:subject><rdf:Bag><rdf:li>fruit</rdf:li><rdf:li></rdf:li><rdf:li>food</rdf:li><rdf:li>fruit</rdf:li></rdf:Bag></dc:subject>
  <dc:publisher><cc:Agent><dc:title>A library</dc:title></cc:Agent></dc:publisher>
  <dc:creator><cc:Agent><dc:title>Ada L.</dc:title></cc:Agent></dc:creator>
  <cc:license rdf:resource="http://web.resource.org/cc/PublicDomain"/>
"""
SAID = DrawingMetadata(
    "Red apple",
    "http://web.resource.org/cc/PublicDomain",
    {"title": "Red apple", "artist": "Ada L.", "keywords": ["fruit", "food"]},
)


@pytest.mark.parametrize("cc", [OLD, NEW])
@pytest.mark.parametrize("root", ['svg xmlns="http://www.w3.org/2000/svg"', "svg"])
@pytest.mark.parametrize("work", ["cc:Work", "rdf:Description"])
def test_title_artist_keywords_and_license_are_read(cc: str, root: str, work: str) -> None:
    assert read_drawing_metadata(svg(rdf(WHOLE, cc, work), root=root)) == SAID
    # An old encoding, and what breaks off behind the metadata.
    assert read_drawing_metadata(svg(rdf(WHOLE), root=root).decode().encode("utf-16")) == SAID
    assert read_drawing_metadata(svg(rdf(WHOLE) + "<path d='", root=root)[:-6]) == SAID


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<title>By its own title</title><path/>", {"title": "By its own title"}),
        ("<g><title>Of a part</title></g>", {}),
        ("<title>own</title>" + rdf("<dc:title>stated</dc:title>"), {"title": "stated"}),
        (rdf("<dc:creator>A, B</dc:creator><dc:creator>C</dc:creator>"), {"artist": "A, B, C"}),
        (rdf("<dc:subject>one, two ,,</dc:subject>"), {"keywords": ["one", "two"]}),
        (rdf("<dc:description>of it</dc:description>"), {"description": "of it"}),
        (rdf("<cc:license>free</cc:license>"), {}),
        # Of something else: an agent's title, a thing outside the metadata, and a second block.
        (rdf("<dc:rights><cc:Agent><dc:title>x</dc:title></cc:Agent></dc:rights>"), {}),
        (f"<g>{rdf(WHOLE)}</g>", {}),
        (rdf("<dc:title>one</dc:title>") + rdf("<dc:title>two</dc:title>"), {"title": "one"}),
    ],
)
def test_only_what_is_said_of_the_whole_drawing_counts(inside: str, expected: dict[str, object]) -> None:
    assert read_drawing_metadata(svg(inside)).attributes == expected


def test_a_license_may_be_a_text() -> None:
    assert read_drawing_metadata(svg(rdf("<cc:license> CC  BY </cc:license>"))).license == "CC BY"


LAYERS = "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in zip("abcdefghi", "bcdefghij", strict=True))
BOMB = f"<!DOCTYPE svg [<!ENTITY a 'ha'>{LAYERS}]>"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not XML",
        b"\xff\xfe\x00",
        svg(rdf("<dc:title>&j;</dc:title>"), BOMB),
        svg(rdf("<dc:title>&a;</dc:title>"), "<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>"),
        svg(rdf("<dc:title>&a;</dc:title>")),
        svg(rdf(WHOLE)).replace(b"'1.0'", b"'1.0' encoding='no-such'"),
        svg(rdf(WHOLE)).replace(b"</dc:title>", b"", 1),
        svg(rdf(WHOLE), root="html"),
    ],
)
def test_what_is_hostile_or_broken_says_nothing(body: bytes) -> None:
    assert read_drawing_metadata(body) == NOTHING


def test_a_plain_document_type_is_no_harm() -> None:
    start = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.0//EN" "http://www.w3.org/TR/2001/REC-SVG-20010904/DTD/svg10.dtd">'
    assert read_drawing_metadata(svg(rdf(WHOLE), start)) == SAID


def test_what_is_said_stays_small() -> None:
    deep = svg("<g>" * 300_000)[:1_000_000]
    long = svg(rdf(f"<dc:title>{'a ' * 490_000}</dc:title>"))
    many = svg(rdf("<dc:subject>" + "<rdf:li>a</rdf:li>" * 50_000 + "</dc:subject>"))
    assert read_drawing_metadata(deep) == NOTHING
    assert len(read_drawing_metadata(long).title) <= 65_536
    assert read_drawing_metadata(many).attributes["keywords"] == ["a"]
