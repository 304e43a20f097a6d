"""Icon sets of strangers, and which pairs of thing and style are held out of training."""

import io
import json
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selectolax.lexbor import LexborHTMLParser

from t2i_core.errors import ConfigError
from t2i_core.samples.icon_sets import IconSet, plain_code_points, read_icon_set
from t2i_core.samples.site import SiteConfig, serve_site
from t2i_core.samples.styles import StyledPicture, held_out, styled_pictures


@pytest.fixture(scope="module")
def icon_sets(icon_folders: list[Path]) -> list[IconSet]:
    return [read_icon_set(folder) for folder in icon_folders]


def write_set(folder: Path, icons: Any, chars: Any, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "icons.json").write_text(json.dumps({"prefix": "some-emoji-set", "icons": icons} | more))
    (folder / "chars.json").write_text(json.dumps(chars))
    (folder / "info.json").write_text(json.dumps({"license": {"title": "My own"}}))
    return folder


def test_an_icon_set_tells_its_style_license_and_author(icon_folders: list[Path], icon_sets: list[IconSet]) -> None:
    assert [icons.style for icons in icon_sets] == ["plain", "wide", "flat", "line"]
    assert {icons.license for icons in icon_sets} == {"CC0-1.0"}
    assert icon_sets[0].author == "who drew plain-emoji"
    assert len(icon_sets[0].drawings) == 40
    inner = read_icon_set(icon_folders[0] / "package")
    assert (inner.digest, inner.drawings) == (icon_sets[0].digest, icon_sets[0].drawings)
    assert len({icons.digest for icons in icon_sets}) == 4


def test_aliases_are_other_names_and_never_turned(tmp_path: Path) -> None:
    icons = {"a": {"body": "<path/>"}, "b": {"body": "<g/>", "left": -1, "width": 3}}
    aliases = {"c": {"parent": "b"}, "d": {"parent": "c"}, "e": {"parent": "a", "hFlip": True}, "f": {"parent": "f"}}
    chars = {"1f600": "a", "1f3f3-fe0f-200d-1f308": "d", "1f601": "e", "1f602": "f", "1f603": "none"}
    found = read_icon_set(write_set(tmp_path / "set", icons, chars, aliases=aliases))
    assert set(found.drawings) == {"1F600", "1F3F3 200D 1F308"}
    assert 'viewBox="-1 0 3 16"' in found.drawings["1F3F3 200D 1F308"]
    assert (found.style, found.license) == ("some set", "My own")
    assert plain_code_points("1F3F3 FE0F") == plain_code_points("1f3f3-fe0f") == "1F3F3"


@pytest.mark.parametrize(
    "icons",
    [[], {"a": {}}, {"a": {"body": 1}}, {"a": {"body": "", "width": -1}}, {"a": {"body": "", "width": "Infinity"}}],
)
def test_a_folder_that_is_no_icon_set_is_a_sentence(tmp_path: Path, icons: Any) -> None:
    with pytest.raises(ConfigError, match=r"icons\.json is no file of an icon set.*npm pack"):
        read_icon_set(write_set(tmp_path / "set", icons, {}))


def test_a_missing_folder_and_a_link_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no icon set: it has no icons\.json.*npm pack"):
        read_icon_set(tmp_path)
    whole = write_set(tmp_path / "set", {}, {})
    (tmp_path / "linked").mkdir()
    for name in ("icons.json", "chars.json", "info.json"):
        (tmp_path / "linked" / name).symlink_to(whole / name)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_icon_set(tmp_path / "linked")


@pytest.mark.parametrize(("num_concepts", "num_styles"), [(1570, 4), (100, 3), (10, 20), (1, 3), (7, 5)])
def test_a_tenth_is_held_out_and_every_concept_is_seen_in_two_other_styles(num_concepts: int, num_styles: int) -> None:
    found = held_out(num_concepts, num_styles)
    tests = [pair for pair, split in found.items() if split == "test"]
    assert len(tests) == round(0.10 * num_concepts * num_styles)
    assert len(found) == len(tests) + round(0.02 * num_concepts * num_styles)
    assert all(0 <= concept < num_concepts and 0 <= style < num_styles for concept, style in found)
    assert max(Counter(concept for concept, _ in found).values(), default=0) <= num_styles - 2
    by_style = [sum(chosen == style for _, chosen in tests) for style in range(num_styles)]
    assert max(by_style) - min(by_style) <= len(tests) // num_concepts + 1


def test_pictures_are_all_pairs_and_the_same_every_time(icon_sets: list[IconSet]) -> None:
    pictures = styled_pictures(icon_sets, 0, 1000)
    assert len({picture.caption for picture in pictures}) == len(pictures) == 160
    assert Counter(picture.split for picture in pictures) == {"train": 141, "test": 16, "validation": 3}

    def told(all_pictures: tuple[StyledPicture, ...]) -> list[tuple[str, str]]:
        return [(picture.caption, picture.split) for picture in all_pictures]

    assert told(styled_pictures(icon_sets, 0, 1000)) == told(pictures)
    assert told(styled_pictures(icon_sets, 1, 1000)) != told(pictures)
    assert len(styled_pictures(icon_sets, 0, 43)) == 40


def test_what_looks_like_another_emoji_or_is_not_in_every_set_is_left_out(
    icon_sets: list[IconSet], tmp_path: Path
) -> None:
    chars = {points.lower().replace(" ", "-"): f"i{n}" for n, points in enumerate(icon_sets[0].drawings)}
    icons = {f"i{n}": {"body": f"<path d='M0 {min(n, 35)}h1v1z'/>"} for n in range(38)}
    fifth = read_icon_set(write_set(tmp_path / "set", icons, chars))
    # 35, 36 and 37 are alike, and 38 and 39 are not drawn.
    assert len(styled_pictures([*icon_sets, fifth], 0, 1000)) == 36 * 5


def test_too_few_or_the_same_sets_are_refused(icon_sets: list[IconSet]) -> None:
    for chosen in ([], icon_sets[:2], [*icon_sets, icon_sets[0]]):
        with pytest.raises(ConfigError, match="emoji styles need 3 icon sets or more, each another"):
            styled_pictures(chosen, 0, 100)
    with pytest.raises(ConfigError, match="draw no emoji in common, or none was asked for"):
        styled_pictures(icon_sets, 0, 3)


def test_the_site_shows_them_with_everything_known(icon_folders: list[Path], icon_sets: list[IconSet]) -> None:
    pytest.importorskip("resvg_py")
    config = SiteConfig(source="emoji-styles", num_pictures=60, image_size=48, icons=tuple(map(str, icon_folders)))
    expected = {picture.caption: picture for picture in styled_pictures(icon_sets, 0, 60)}
    with serve_site(config) as site:
        assert site.num_pictures == 60
        page = LexborHTMLParser(urllib.request.urlopen(f"{site.url}pages/00000.html").read())
        told = {image.attributes["data-group"]: image.attributes for image in page.css("img")}
        data = urllib.request.urlopen(f"{site.url}pictures/7.png").read()
        small = urllib.request.urlopen(f"{site.url}thumbnails/7.png").read()
    assert told.keys() == expected.keys()
    for caption, picture in expected.items():
        assert told[caption]["data-split"] == picture.split
        assert told[caption]["data-license"] == "CC0-1.0"
        assert caption == f"{told[caption]['data-concept']}, {told[caption]['data-style']} style"
    found = np.asarray(Image.open(io.BytesIO(data)))
    assert found.shape == (48, 48, 3) and (found[45:] == 255).all() and (found[:30] != 255).any()
    assert Image.open(io.BytesIO(small)).size == (24, 24)


def test_a_site_without_icon_sets_says_how_to_get_some() -> None:
    with pytest.raises(ConfigError, match="npm pack"), serve_site(SiteConfig(source="emoji-styles")):
        pass
