"""Captions written from all that a source says of pictures: each rule by hand, and together on a small dataset."""

import json
from typing import Any

import pytest

from t2i_core.captioning.config import CaptionConfig, caption_key
from t2i_core.captioning.drafting import SOURCE_RULES, SOURCE_RULES_BY_NAME, Described, DraftOptions, Drafts
from t2i_core.captioning.rules import MAX_RAW_CHARACTERS
from t2i_core.captioning.samples import Sample
from t2i_core.errors import ConfigError

OPTIONS = DraftOptions(max_repeats=2, collection_names=("Part of *", "* theme"), junk_keywords=("icon*", "signs and *"))


def described(**said: Any) -> Described:
    return Described(**{"file_name": "", "artist": "", "keywords": (), "repeats": 1} | said)


@pytest.mark.parametrize(
    ("rule", "text", "said", "expected"),
    [
        ("drop_repeated", "a card", {"repeats": 2}, "a card"),
        ("drop_repeated", "a card", {"repeats": 3}, ""),
        ("drop_collections", "part  of the\nflat icons", {}, ""),
        ("drop_collections", "Lemon theme", {}, ""),
        ("drop_collections", "a theme park", {}, "a theme park"),
        ("name_from_file", "a title", {"file_name": "red_apple"}, "a title"),
        ("name_from_file", " ", {"file_name": "red_apple-02"}, "red apple"),
        ("name_from_file", "", {"file_name": "DangerSign3b"}, "danger sign b"),
        ("name_from_file", "", {"file_name": "clouds_jon_phillips_08", "artist": "Jon Phillips"}, "clouds"),
        # Cut off as long names are; three letters may begin any word.
        ("name_from_file", "", {"file_name": "lion_architetto_franc", "artist": "Architetto Francesco"}, "lion"),
        ("name_from_file", "", {"file_name": "all_dan_day", "artist": "Danny Allen"}, "all dan day"),
        ("name_from_file", "", {"file_name": "zazou_12", "artist": "zazou (z@example.org)"}, ""),
        ("name_from_file", "", {"file_name": "дом_2"}, "дом"),
        ("spell_names", "02_crescent_zazou", {"artist": "Zazou"}, "crescent"),
        ("spell_names", "a moon_phase", {}, "a moon_phase"),
        ("spell_names", "T-shirt", {}, "T-shirt"),
        ("add_keywords", "a pear", {"keywords": ("fruit", "Icons", "signs_and_symbols", "", "12")}, "a pear, fruit"),
        ("add_keywords", "Pear", {"keywords": ("pear", "green pear", "pear_tree")}, "Pear, green pear, pear tree"),
        ("add_keywords", "a pear", {"keywords": ("Ada_Lind", "fruit"), "artist": "Ada Lind"}, "a pear, fruit"),
        ("add_keywords", "", {"keywords": ("fruit",)}, ""),
    ],
)  # fmt: skip
def test_rules_known_by_hand(rule: str, text: str, said: dict[str, Any], expected: str) -> None:
    apply = SOURCE_RULES_BY_NAME[rule].apply
    once = apply(text, described(**said), OPTIONS)
    assert once == expected
    assert apply(once, described(**said), OPTIONS) == once or rule == "name_from_file"


def sample(number: int, caption: str, url: str, **attributes: Any) -> Sample:
    return Sample(str(number), 0, str(number), caption, json.dumps(attributes), "", url=url)


SAMPLES = [
    sample(1, "card", "games/ace_of_hearts_ada.png", artist="Ada", keywords=["card", "icons"]),
    sample(2, "card", "games/king.png", keywords="card, game"),
    sample(3, "card", "https://example.org/a/black%20queen.svg?x=1", artist=3, keywords={"no": "list"}),
    sample(4, "Red apple", "food/apple.png", artist="Ada", keywords=["fruit", 3, None]),
    sample(5, "Lemon theme", "1234.png"),
]


def test_all_rules_in_their_order() -> None:
    drafts = Drafts(SAMPLES, SOURCE_RULES, OPTIONS)
    found = [drafts.draft(one) for one in SAMPLES]
    expected = ["ace of hearts, card", "king, card, game", "black queen", "Red apple, fruit", ""]
    assert [draft.text for draft in found] == expected
    named = {"drop_repeated", "name_from_file"}
    assert [set(draft.changed_by) for draft in found] == [
        named | {"add_keywords"},
        named | {"add_keywords"},
        named,
        {"add_keywords"},
        {"drop_collections"},
    ]


def test_without_rules_captions_stay_as_they_were_found() -> None:
    drafts = Drafts(SAMPLES, (), OPTIONS)
    assert [drafts.draft(one).text for one in SAMPLES] == [one.caption for one in SAMPLES]
    assert len(drafts.draft(sample(9, "a" * 9999, "a.png")).text) == MAX_RAW_CHARACTERS


@pytest.mark.parametrize("attributes", ["", "[]", "{", "[" * 100_000, '{"artist": ["a"], "keywords": 3}'])
@pytest.mark.parametrize("url", ["", "http://[", "/", "a/..", "\0"])
def test_whatever_is_said_is_taken(attributes: str, url: str) -> None:
    odd = Sample("1", 0, "1", "", attributes, "", url=url)
    assert Drafts([odd], SOURCE_RULES, OPTIONS).draft(odd).text == ""


def test_patterns_take_no_time_on_texts_made_for_them() -> None:
    slow = DraftOptions(1, ("*a*a*a*a*a*a*a*b",) * 20, ())
    assert SOURCE_RULES_BY_NAME["drop_collections"].apply("a" * MAX_RAW_CHARACTERS, described(), slow) != ""


def test_the_recipe_for_openclipart() -> None:
    config = CaptionConfig.preset("openclipart")
    rules = [SOURCE_RULES_BY_NAME[name] for name in config.source_rules]
    flat = "Part of the Flat Icon Collection (Wed Aug 25 23:29:46 2004)"
    rows = [
        sample(
            1, flat, "computer/math_prod.png", artist="Danny Allen", keywords=["hash", "computer", "icons", "theme"]
        ),
        sample(2, "HASH(0x930ff9c)", "a/spain_asturias_01.png", keywords=["HASH(0x930ff9c)", "0x930ff9c", "flag"]),
        sample(3, "Crawfish (B and W)", "a/crawfish1.png", keywords=["food", "unsorted", "animal"]),
        sample(4, "Clipart by Nicu Buculei - book_01", "b/telephone.png", artist="Nicu Buculei", keywords=["office"]),
    ]
    drafts = Drafts(rows, rules, config.drafting())
    assert [drafts.draft(row).text for row in rows] == [
        "math prod, computer",
        "spain asturias, flag",
        "Crawfish (B and W), food, animal",
        "telephone, office",
    ]
    assert CaptionConfig.preset("openclipart", {"max_repeats": 9}).max_repeats == 9
    with pytest.raises(ConfigError, match="openclipart"):
        CaptionConfig.preset("openclipar")


def test_options_that_came_later_leave_other_keys_as_they_were() -> None:
    plain = caption_key({}, CaptionConfig()).config
    assert not {"given_splits", "source_rules", "max_repeats", "collection_names", "junk_keywords"} & plain.keys()
    assert caption_key({}, CaptionConfig(max_repeats=6)).config["max_repeats"] == 6
    for wrong in (("no_such",), ("spell_names", "spell_names")):
        with pytest.raises(ConfigError, match="name_from_file"):
            CaptionConfig.parse({"source_rules": wrong})
