"""Every way in which a page names a picture, and what one picture named in several ways becomes."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.pages.file_names import is_file_name
from t2i_core.data.pages.jsonld import MAX_DEPTH, MAX_PICTURES
from t2i_core.data.pages.mention import CAPTION_RULES, Mention, settle
from t2i_core.data.pages.page import Page, read_page
from t2i_core.data.pages.unlisted_count import UnlistedCount
from t2i_core.data.unlisted import Unlisted

URL = "http://example.com/dir/page.html"
HERE = "http://example.com/dir"


def page(html: str) -> Page:
    return read_page(html.encode(), URL)


def found(html: str) -> list[tuple[str, str, str]]:
    """Give address, text and rule of each picture."""
    return [(record.url.removeprefix(HERE), record.caption, record.caption_source) for record in page(html).pictures]


def linked(data: Any) -> str:
    return f"<script type='application/ld+json'>{json.dumps(data)}</script>"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<img src=a.png aria-label='a red cat' title=t>", ("/a.png", "a red cat", "aria-label")),
        (
            "<b id=two>cat</b><img src=a.png aria-labelledby='one none two'><i id=one>a <u>red</u></i><i id=one>x</i>",
            ("/a.png", "a red cat", "aria-labelledby"),
        ),
        ("<img src=a.png aria-labelledby=none title=t>", ("/a.png", "t", "title")),
        ("<img src=a.png alt='a cat' aria-label='a red cat'>", ("/a.png", "a cat", "alt")),
        ("<meta property=og:image content=/a.png>", ("http://example.com/a.png", "", "")),
        (
            "<meta name=og:image content=a.png><meta name=og:type content=x><meta name=og:image:alt content='a cat'>",
            ("/a.png", "a cat", "og:image:alt"),
        ),
        (
            "<meta property=og:image:url content=a.png><meta property=og:image:alt content='a cat'>",
            ("/a.png", "a cat", "og:image:alt"),
        ),
        (
            "<meta name=twitter:image:alt content='a cat'><meta name=twitter:image content=a.png>",
            ("/a.png", "a cat", "twitter:image:alt"),
        ),
        ("<link rel=image_src href=a.png>", ("/a.png", "", "")),
        ("<noscript><img src=a.png alt='a cat'></noscript>", ("/a.png", "a cat", "alt")),
    ],
)  # fmt: skip
def test_every_place_that_names_a_picture(html: str, expected: tuple[str, str, str]) -> None:
    assert found(html) == [expected]


def test_open_graph_pictures_keep_their_own_texts() -> None:
    names = [
        ("og:image", "a.png"), ("og:image:secure_url", "https://example.com/a.png"), ("og:image:alt", "first"),
        ("og:title", "a title"), ("og:image", "b.png"), ("og:image", "c.png"), ("og:image:alt", "third"),
    ]  # fmt: skip
    html = "".join(f"<meta property='{name}' content='{content}'>" for name, content in names)
    assert found(html) == [
        ("/a.png", "first", "og:image:alt"),
        ("/b.png", "", ""),
        ("/c.png", "third", "og:image:alt"),
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"@type": "ImageObject", "contentUrl": "a.png", "url": "page.html", "caption": "a cat", "name": "IMG 1"},
            ("/a.png", "a cat", "jsonld:caption"),
        ),
        (
            {"@type": ["http://schema.org/ImageObject"], "url": "a.png", "name": "n", "description": "a cat"},
            ("/a.png", "a cat", "jsonld:description"),
        ),
        ({"@type": "ImageObject", "url": "a.png", "name": "a cat"}, ("/a.png", "a cat", "jsonld:name")),
        ({"@type": "Product", "name": "a red mug", "image": "a.png"}, ("/a.png", "a red mug", "jsonld:subject")),
        ({"@type": "NewsArticle", "headline": "News", "image": ["a.png"]}, ("/a.png", "News", "jsonld:subject")),
        (
            {"@graph": [{"@type": "Article", "headline": "News", "image": {"url": "a.png", "caption": "a cat"}}]},
            ("/a.png", "a cat", "jsonld:caption"),
        ),
        (
            {"@type": "ImageObject", "url": "a.png", "caption": {"@value": "a cat", "@language": "en"}},
            ("/a.png", "a cat", "jsonld:caption"),
        ),
    ],
)
def test_linked_data_names_pictures(data: Any, expected: tuple[str, str, str]) -> None:
    assert found(linked(data)) == [expected]


@pytest.mark.parametrize(
    "data",
    [
        {"@type": "Organization", "name": "x", "logo": {"@type": "ImageObject", "url": "logo.png", "caption": "x"}},
        {"@type": "Person", "name": "x", "url": "http://example.com/"},
        {"@type": "Article", "image": {"@id": "#picture"}},
        {"@type": "ImageObject", "caption": "no address"},
        {"@type": "ImageObject", "url": "data:image/png;base64,AAAA", "caption": "x"},
        {"@type": "ImageObject", "url": 7, "caption": [None]},
        {"@type": None, "image": None},
        [[["image", "a.png"]]],
        "a.png",
    ],
)
def test_linked_data_that_names_no_picture(data: Any) -> None:
    assert found(linked(data)) == []


def test_broken_linked_data_does_not_hide_the_rest() -> None:
    good = linked({"@type": "ImageObject", "url": "a.png", "caption": "a cat"})
    broken = "".join(f"<script type=application/ld+json>{text}</script>" for text in ("{", "", "NaN", "[" * 100_000))
    assert found(f"{broken}{good}") == [("/a.png", "a cat", "jsonld:caption")]
    assert found("<script>" + good.partition(">")[2]) == []


def test_linked_data_is_capped_in_size_depth_and_count() -> None:
    picture = {"@type": "ImageObject", "url": "a.png", "caption": "a cat"}
    deep: Any = picture
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert found(linked(deep)) == []
    assert found(linked(deep[0])) == [("/a.png", "a cat", "jsonld:caption")]
    many = [picture | {"url": f"{number}.png"} for number in range(MAX_PICTURES + 5)]
    assert len(found(linked(many))) == MAX_PICTURES
    assert found(linked(picture | {"text": "x" * 1_000_000})) == []


def test_the_better_text_wins_wherever_it_stands() -> None:
    html = f"""
        <meta property=og:image content=a.png><meta property=og:image:alt content='of the card'>
        {linked({"@type": "Product", "name": "a mug", "image": ["b.png", "c.png"]})}
        <img src=b.png title='a title'><img src=a.png data-group=g1><img src=a.png alt='a red cat'>
        <img src=a.png alt='another text'>"""
    assert found(html) == [
        ("/b.png", "a title", "title"),
        ("/a.png", "a red cat", "alt"),
        ("/c.png", "a mug", "jsonld:subject"),
    ]
    assert page(html).pictures[1].attributes == '{"group":"g1"}'


@given(st.permutations(CAPTION_RULES))
def test_the_order_of_preference_is_that_of_the_rules(rules: list[str]) -> None:
    mentions = [Mention(url="u"), *(Mention(url="u", caption=f"by {rule}", rule=rule) for rule in rules)]
    [record] = settle(mentions, URL).records
    assert (record.caption, record.caption_source) == ("by alt", "alt")
    [record] = settle([mention for mention in mentions if mention.rule != "alt"], URL).records
    assert record.caption_source == "figcaption"


@pytest.mark.parametrize(
    "img",
    [
        "<img src=a.png alt=''>",
        "<img src=a.png alt='a cat' role=presentation>",
        "<img src=a.png alt='a cat' role=None>",
        "<img src=a.png alt='a cat' aria-hidden=true>",
        "<div aria-hidden=TRUE><p><img src=a.png alt='a cat'></p></div>",
    ],
)
def test_decoration_stays_out_unless_another_place_gives_it_a_text(img: str) -> None:
    card = "<meta property=og:image content=a.png>"
    assert found(img) == []
    assert found(card + img + linked({"@type": "WebPage", "image": "a.png"})) == []
    assert found(f"{card}<meta property=og:image:alt content='a cat'>{img}") == [("/a.png", "a cat", "og:image:alt")]
    assert found(f"{img}<img src=a.png alt='a real text'>") == [("/a.png", "a real text", "alt")]
    assert found("<div aria-hidden=false><img src=a.png alt=x role=img></div>") == [("/a.png", "x", "alt")]


def unlisted(html: str) -> list[str]:
    return [rule for _, rule in page(html).settled().unlisted]


CAPTIONED = {
    "HTML": "<figure><a href=b><img src=a.png {}></a><figcaption>a cat</figcaption></figure>",
    "WordPress": "<div class='wp-caption alignleft'><a><img src=a.png {}></a><p class=wp-caption-text>a cat</p></div>",
    "WordPress gallery": "<dl class=gallery-item><dt class=gallery-icon><a><img src=a.png {}></a></dt>"
    "<dd class='wp-caption-text gallery-caption'>a cat</dd></dl>",
    "MediaWiki": "<div class=thumb><div class=thumbinner><a><img src=a.png {}></a>"
    "<div class=thumbcaption>a <b>cat</b></div></div></div>",
    "MediaWiki gallery": "<ul class=gallery><li class=gallerybox><div><div class=thumb><div><a><img src=a.png {}></a>"
    "</div></div><div class=gallerytext>\n<p>a cat</p></div></div></li></ul>",
    "DocBook": "<div class=mediaobject><img src=a.png {}><div class=caption><p>a cat</p></div></div>",
    "DocBook title": "<div class=figure><p class=title><b>a cat</b></p><div class=figure-contents>"
    "<div class=mediaobject><img src=a.png {}></div></div></div>",
    "Sphinx": "<div class=figure><img src=a.png {}><p class=caption><span class=caption-number>Fig. 1 </span>"
    "<span class=caption-text>a cat</span><a class=headerlink>¶</a></p></div>",
    "Bootstrap": "<figure class=figure><img src=a.png {}><p class='figure-caption text-end'>a cat</p></figure>",
    "figCaption": "<div><p><img src=a.png {}></p><p class=figCaption>a cat</p></div>",
    "table": "<table><caption>a cat</caption><tr><td><img src=a.png {}></td></tr></table>",
    "inside": "<span class='caption right'><img src=a.png {}> a cat</span>",
    "described": "<img src=a.png {} aria-describedby=d><p>x<p id=d>a cat",
}


@pytest.mark.parametrize("form", CAPTIONED)
@pytest.mark.parametrize("attributes", ["", "alt=''", "alt='IMG_1234.jpg'", "alt=image1 title=photo"])
def test_the_captions_of_real_pages_are_found(form: str, attributes: str) -> None:
    [(url, text, rule)] = found(CAPTIONED[form].format(attributes))
    assert (url, text) == ("/a.png", "a cat")
    assert rule == {"HTML": "figcaption", "described": "aria-describedby"}.get(form, "caption")


def test_a_caption_belongs_to_the_picture_beside_it() -> None:
    flat = "".join(f"<p><img src={name}.png alt=''></p><p class=caption>{name}</p>" for name in "abc")
    assert found(f"<div>{flat}</div>") == [(f"/{name}.png", name, "caption") for name in "abc"]
    assert found(f"<div class=gallery>{flat}</div>") == [(f"/{name}.png", name, "caption") for name in "abc"]
    far = "<div><img src=a.png alt=''><p>text</p><p class=caption>of a table</p></div>"
    assert found(far) == []
    shared = "<div class=wp-caption><img src=a.png><img src=b.png><p class=wp-caption-text>two cats</p></div>"
    assert [text for _, text, _ in found(shared)] == ["two cats", "two cats"]
    icons = "<table><caption>prices</caption><tr><td><img src=a.png alt=''><td><img src=b.png alt=''></table>"
    assert found(icons) == []
    beside = "<figure><img src=i.png alt=''><img src=a.png alt='a cat'><figcaption>Cats</figcaption></figure>"
    assert found(beside) == [("/a.png", "a cat", "alt")]


@pytest.mark.parametrize("alt", ["IMG_1234.jpg", "image1", "photo", "DSC00123", "../pics/a.png", "Photo 3", "[image]"])
def test_an_alt_that_is_a_file_name_gives_way(alt: str) -> None:
    assert found(f"<img src=a.png alt='{alt}' title='a cat'>") == [("/a.png", "a cat", "title")]
    assert found(f"<img src=a.png alt='{alt}'>") == [("/a.png", "", "")]


@pytest.mark.parametrize(
    "alt", ["7", "photo of a cat", "picture 3", "a photo of file.jpg on a wooden desk", "and/or", "Logo of x"]
)
def test_what_describes_is_no_file_name(alt: str) -> None:
    assert found(f"<img src=a.png alt='{alt}' title=t>") == [("/a.png", alt, "alt")]


def test_the_name_of_the_file_itself_describes_nothing_when_it_is_no_word() -> None:
    assert is_file_name("bucket-fill-2", "http://example.com/bucket-fill-2.png?x=1")
    assert not is_file_name("bucket-fill-2", "http://example.com/other.png")
    assert not is_file_name("apple", "http://example.com/apple.png")


def test_further_texts_of_a_picture_are_kept_with_it() -> None:
    html = """<figure><img src=a.png alt='a cat' title='A  Cat'><figcaption>the cat of the house</figcaption></figure>
              <img src=a.png alt='a pet'><img src=b.png alt='a dog'>"""
    first, second = page(html).pictures
    assert (first.caption, json.loads(first.extra["other_captions"])) == ("a cat", ["a pet", "the cat of the house"])
    assert second.extra == {}


@pytest.mark.parametrize(
    ("html", "rule"),
    [
        ("<img src=a.png alt=''>", "decoration"),
        ("<img src=a.svg alt=''>", "svg"),
        ("<img src=a.png alt='' width=16 height=16px>", "icon"),
        ("<img src=a.gif width=1 height=1>", "tracking_pixel"),
        ("<img src='data:image/gif;base64,R0lG' alt='a cat'>", "data_uri"),
        ("<img alt='a cat'>", "no_address"),
    ],
)
def test_what_is_not_listed_is_counted_by_rule(html: str, rule: str) -> None:
    assert unlisted(html) == [rule]
    assert found(html) == []
    kept = page(html).settled(keep_undescribed=True)
    assert [record.caption for record in kept.records] == [""] * Unlisted(rule).can_be_kept


def test_a_declared_ratio_is_no_tracking_pixel() -> None:
    assert found("<img src=a.png alt='a cat' width=1 height=1>") == [("/a.png", "a cat", "alt")]
    assert found("<img src=a.png width=0 height=0>") == [("/a.png", "", "")]


def test_a_picture_that_some_page_lists_is_not_counted_as_left_out() -> None:
    count = UnlistedCount()
    for html in ("<img src=a.png alt=''><img src=b.png alt=''>", "<img src=a.png alt='a cat'><img src=b.png alt=''>"):
        count.add(page(html).settled())
    count.add(page("<img src=a.png alt=''>").settled())
    assert count.counts() == {"unlisted:decoration": 1}


LISTINGS = {
    "python": "<title>Directory listing for /dir/</title><h1>Directory listing for /dir/</h1><ul>{}</ul>",
    "apache": "<title>Index of /dir</title><h1>Index of /dir</h1><img src=/icons/blank.gif alt='Icon '>"
    "<a href='?C=N;O=D'>Name</a><a href=/>Parent Directory</a><img src=/icons/image2.gif alt='[IMG]'>{}",
    "nginx": "<title>Index of /dir/</title><h1>Index of /dir/</h1><pre><a href='../'>../</a>{}</pre>",
}


@pytest.mark.parametrize("server", LISTINGS)
def test_a_listing_of_files_gives_its_pictures_and_what_is_below(server: str) -> None:
    links = "<a href=a.png>a.png</a><a href='b%20c.JPG'>b c.JPG</a><a href=d.webp>a red cat</a><a href=sub/>sub/</a>"
    read = page(LISTINGS[server].format(links + "<a href=x.zip>x.zip</a><a href=long_n.gif>long..&gt;</a>"))
    settled = read.settled()
    assert [(record.url, record.caption, record.caption_source) for record in settled.records] == [
        (f"{HERE}/d.webp", "a red cat", "link")
    ]
    names = [f"{HERE}/a.png", f"{HERE}/b%20c.JPG", f"{HERE}/long_n.gif"]
    assert settled.unlisted == [(name, "no_text") for name in names]
    assert [link for link in read.links if not link.endswith(".zip")] == [f"{HERE}/sub/"]
    assert len(read.settled(keep_undescribed=True).records) == 4


def test_links_to_pictures_on_other_pages_are_left_alone() -> None:
    assert found("<title>Index of refraction</title><a href=a.png>a red cat</a>") == []


@pytest.mark.parametrize(
    ("href", "src", "url"),
    [
        ("cat.jpg", "cat-300x200.jpg", "/cat.jpg"),
        ("full/cat.png", "thumbs/cat.jpg", "/full/cat.png"),
        ("Cat_1.jpg", "250px-Cat_1.jpg", "/Cat_1.jpg"),
        ("cat.JPG", "tn_cat.jpg", "/cat.JPG"),
        ("dog.jpg", "cat_thumb.jpg", "/cat_thumb.jpg"),
        ("File:cat.jpg", "cat.jpg", "/cat.jpg"),
        ("cat.html", "cat-thumb.jpg", "/cat-thumb.jpg"),
        ("http://other.example/cat.jpg", "cat-thumb.jpg", "/cat-thumb.jpg"),
        ("cat.svg", "cat-thumb.jpg", "/cat-thumb.jpg"),
        ("", "cat.jpg", "/cat.jpg"),
    ],
)
def test_a_thumbnail_gives_way_to_its_original_only_when_names_agree(href: str, src: str, url: str) -> None:
    assert found(f"<a href='{href}'><b><img src='{src}' alt=x></b></a>") == [(url, "x", "alt")]


CC_BY = "https://creativecommons.org/licenses/by/4.0/"
CC_0 = "https://creativecommons.org/publicdomain/zero/1.0/"


@pytest.mark.parametrize(
    ("html", "licenses"),
    [
        ("<img src=a alt=x>", [""]),
        (f"<link rel=license href={CC_BY}><img src=a alt=x><img src=b alt=y>", [CC_BY, CC_BY]),
        (f"<img src=a alt=x><a rel='License noopener' href={CC_BY}>CC BY</a>", [CC_BY]),
        ("<img src=a alt=x><a rel=license href=/rights>Rights</a>", ["http://example.com/rights"]),
        ("<img src=a alt=x><a rel=license href='javascript:x'>Rights</a>", [""]),
        (
            f"<a rel=license href={CC_BY}></a><figure><img src=a><a rel=license href={CC_0}></a></figure><img src=b>",
            [CC_0, CC_BY],
        ),
        (f"<figure><img src=a alt=x><a rel=license href={CC_0}></a></figure><img src=b alt=y>", [CC_0, ""]),
        (f"<img src=a alt=x><a rel=license href={CC_0}></a><a rel=license href={CC_BY}></a>", [""]),
        ("<meta name=DC.rights content='All rights\nreserved'><img src=a alt=x>", ["All rights reserved"]),
        (f"<meta name=dc.rights content=x><meta name=dcterms.license content={CC_0}><img src=a alt=x>", [CC_0]),
        (linked({"@type": "ImageObject", "url": "a", "license": CC_BY}) + "<img src=a><img src=b>", [CC_BY, ""]),
        (linked({"@type": "WebPage", "license": {"@type": "CreativeWork", "url": CC_BY}}) + "<img src=a>", [CC_BY]),
        (linked({"@type": "Article", "license": "/terms", "image": "a"}), ["http://example.com/terms"]),
        (linked({"@type": "ImageObject", "url": "a", "acquireLicensePage": "/b"}), ["http://example.com/b"]),
        (linked({"@type": "ImageObject", "url": "a", "creditText": "Photo: X", "copyrightNotice": "© Y"}), ["© Y"]),
        (linked({"@type": "ImageObject", "url": "a", "creditText": "Photo: X"}), ["Photo: X"]),
        (f"<link rel=license href={CC_BY}>" + linked({"@type": "ImageObject", "url": "a", "license": CC_0}), [CC_0]),
    ],
)  # fmt: skip
def test_the_license_is_that_of_the_picture_else_that_of_the_page(html: str, licenses: list[str]) -> None:
    assert [record.license for record in page(html).pictures] == licenses


def test_a_license_is_bounded() -> None:
    [record] = page(f"<meta name=dc.rights content='{'x' * 5000}'><img src=a alt=x>").pictures
    assert record.license == "x" * 1000


TAGS = st.sampled_from(
    [
        "img",
        "a",
        "figure",
        "figcaption",
        "picture",
        "source",
        "meta",
        "base",
        "link",
        "script",
        "template",
        "div",
        "svg",
    ]
)
NAMES = st.sampled_from(
    ["src", "srcset", "href", "alt", "rel", "id", "name", "property", "content", "type", "aria-labelledby", "data-src",
     "data-x", "role", "title"]
)  # fmt: skip
VALUES = st.text(max_size=30) | st.sampled_from(
    ["og:image", "og:image:alt", "twitter:image", "robots", "license", "image_src", "application/ld+json", "a.jpg",
     "//[", "http://[::1", "http://a:99999/", "a 1x, b 2x",
     '{"@type":"ImageObject","url":"x"}', "dc.rights", "\x85, \x85"]
)  # fmt: skip


@st.composite
def markup(draw: st.DrawFn) -> str:
    parts = []
    for _ in range(draw(st.integers(0, 8))):
        attributes = draw(st.lists(st.tuples(NAMES, VALUES), max_size=4))
        spelled = "".join(f" {name}='{value}'" for name, value in attributes)
        parts.append(
            f"<{draw(TAGS)}{spelled}>{draw(VALUES)}" + draw(st.sampled_from(["", "</figure>", "</a>", "</script>"]))
        )
    return "".join(parts)


@given(st.binary(max_size=300) | markup().map(lambda text: text.encode("utf-8", "surrogatepass")), st.text(max_size=40))
def test_no_page_is_too_broken_to_read(body: bytes, content_type: str) -> None:
    for record in read_page(body, URL, content_type).pictures:
        assert record.url.startswith(("http://", "https://"))
        assert (record.caption == "") == (record.caption_source == "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | VALUES | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["@type", "image", "url", "caption", "license", "@graph", "name"]), inner),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_no_linked_data_is_too_odd_to_read(data: Any) -> None:
    assert all(record.url for record in page(linked(data)).pictures)


def test_what_pictures_share_is_read_once() -> None:
    labels = "".join(f"<figure><figcaption>{'long ' * 20_000}</figcaption>")
    html = labels + "<img src=a aria-labelledby=b>" * 5000 + f"<b id=b>{'text ' * 20_000}</b></figure>"
    [record] = page(html).pictures
    assert record.caption_source == "figcaption"
    assert sys.getsizeof(record.caption) < 100_000
