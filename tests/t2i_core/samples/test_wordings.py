"""The words and sentences of scenes: what training holds, and what is held out."""

import re
from collections import Counter

import pytest

from t2i_core.samples.scenes import BACKGROUNDS, COLORS, RELATIONS, SHAPES, WORDINGS, make_scene
from t2i_core.samples.wordings import HELD_OUT, WIDE, Language, told

SCENES = [make_scene(0, i) for i in range(400)]
RESERVED = {
    *("scarlet", "emerald", "navy", "golden", "violet", "tangerine", "ebony", "ivory"),
    *("disk", "box", "pyramid", "plus sign", "slate", "rose", "turquoise"),
    *("leftward of", "rightward of", "over", "beneath"),
}
PLAIN = "{size}{color} {shape}"
KNOWN = (*COLORS, *SHAPES, *BACKGROUNDS, *RELATIONS)


def words_of(language: Language) -> set[str]:
    return {word for words in language.words.values() for word in words}


def test_the_wide_language_holds_no_reserved_word_and_no_held_out_sentence() -> None:
    captions = [told(make_scene(1, i), WIDE, str(i)) for i in range(4000)]
    text = "\n".join([*captions, *words_of(WIDE), *WIDE.sentences])
    # Nor a part of one: whoever reads "sign" as a cross has not understood "plus sign".
    for word in RESERVED | {"plus", "sign"}:
        assert not re.search(rf"\b{word}", text), word
    held = {s for language in HELD_OUT.values() for s in language.sentences} - set(WIDE.sentences)
    assert len(held) == 4 and not held & set(WORDINGS)
    assert not any(re.match("look|what you see|somebody|.* everywhere", caption) for caption in captions)


def test_all_reserved_words_are_held_out_and_name_each_thing_once() -> None:
    for name in ("new words", "both"):
        assert words_of(HELD_OUT[name]) == RESERVED
        assert set(HELD_OUT[name].words) == set(KNOWN)
    assert not HELD_OUT["new sentences"].words
    assert HELD_OUT["new words"].sentences == WORDINGS[:1]


def test_no_word_names_two_things_and_each_thing_has_several() -> None:
    counts = Counter(word for words in WIDE.words.values() for word in words)
    assert set(counts.values()) == {1}
    assert all(len(WIDE.words[plain]) >= 3 and WIDE.words[plain][0] == plain for plain in KNOWN)
    assert not words_of(WIDE) & words_of(HELD_OUT["both"])


def test_the_wide_language_is_used_whole_and_holds_the_plain_one() -> None:
    captions = [told(scene, WIDE, f"{turn}:{i}") for turn in range(20) for i, scene in enumerate(SCENES)]
    text = "\n".join(captions)
    assert all(word in text for word in words_of(WIDE))
    assert set(WORDINGS) <= set(WIDE.sentences)


@pytest.mark.parametrize("name", [None, *HELD_OUT])
def test_everything_that_a_scene_shows_is_told(name: str | None) -> None:
    language = HELD_OUT[name] if name else WIDE  # type: ignore[index]
    for i, scene in enumerate(SCENES):
        caption = told(scene, language, str(i))
        assert caption == told(scene, language, str(i))
        for plain in [scene.background, *(w for o in scene.objects for w in (o.color, o.shape))]:
            assert any(word in caption for word in language.words.get(plain, (plain,))), (plain, caption)
        if scene.relation:
            assert any(f" {word} " in caption for word in language.words.get(scene.relation, (scene.relation,)))
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption), caption


def test_things_are_said_as_people_say_them() -> None:
    chosen = {"size": "large", "color": "orange", "shape": "cross"}
    single, counted = (
        scene.with_changes(objects=[item.model_dump() | chosen for item in scene.objects])
        for scene in (next(s for s in SCENES if s.task == task) for task in ("single", "counting"))
    )
    after, before = (Language(("{things} there",), things=(form,)) for form in ("{size}{shape} that is {color}", PLAIN))

    number = "two" if len(counted.objects) == 2 else "three"
    assert told(single, after, "") == "a large cross that is orange there"
    assert told(single, before, "") == "a large orange cross there"
    assert told(counted, after, "") == f"{number} large crosses that are orange there"
    assert told(counted, before, "") == f"{number} large orange crosses there"
    assert told(
        single.with_changes(objects=[chosen | {"x": 0.5, "y": 0.5, "radius": 0.2, "size": "medium"}]), before, ""
    ) == ("an orange cross there")
