"""Emoji: names known by hand; drawings of whatever color font the system has."""

from pathlib import Path

import pytest

from t2i_core.errors import ConfigError
from t2i_core.samples import emoji
from t2i_core.samples.emoji import Emoji, EmojiFont, find_emoji_font, named_emoji


@pytest.fixture(scope="module")
def font() -> EmojiFont:
    try:
        return find_emoji_font()
    except ConfigError as err:
        pytest.skip(str(err))


@pytest.fixture(scope="module")
def by_text() -> dict[str, Emoji]:
    return {item.text: item for item in named_emoji()}


@pytest.mark.parametrize(
    ("text", "caption", "kind", "family"),
    [
        ("\U0001f44d", "thumbs up", "single", "thumbs up"),
        ("\U0001f44d\U0001f3fe", "thumbs up medium-dark skin tone", "skin tone", "thumbs up"),
        ("\U0001f1eb\U0001f1f7", "flag of France", "flag", "France"),
        ("1\ufe0f\u20e3", "keycap 1", "keycap", "keycap 1"),
        ("\U0001f469\u200d\U0001f680", "woman astronaut", "sequence", "woman astronaut"),
        ("\U0001f469\U0001f3ff\u200d\U0001f9b3", "woman dark skin tone white hair", "skin tone", "woman white hair"),
    ],
)
def test_names_kinds_and_families(by_text: dict[str, Emoji], text: str, caption: str, kind: str, family: str) -> None:
    item = by_text[text]
    assert (item.caption, item.kind, item.family) == (caption, kind, family)


def test_list_is_complete_and_unique(by_text: dict[str, Emoji]) -> None:
    assert len(by_text) == len(named_emoji()) > 3600
    assert len({item.name for item in named_emoji()}) == len(by_text)
    assert all(
        item.name == item.name.strip() and "_" not in item.name and ":" not in item.name for item in by_text.values()
    )


def test_no_font_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "BrokenEmoji.ttf").write_bytes(b"not a font")
    monkeypatch.setattr(emoji, "font_folders", lambda: (tmp_path, tmp_path / "missing"))
    with pytest.raises(ConfigError, match="apt-get install fonts-noto-color-emoji"):
        find_emoji_font.__wrapped__()


def test_most_emoji_can_be_drawn_in_a_seeded_order(font: EmojiFont) -> None:
    drawable = font.drawable(seed=1)
    assert len(drawable) > 2500
    assert font.drawable(seed=1, limit=10) == drawable[:10] != font.drawable(seed=2, limit=10)


def test_unknown_characters_and_sequences_are_left_out(font: EmojiFont) -> None:
    unassigned = Emoji(codepoints="FFFFE", name="nothing", kind="single", version=1)
    side_by_side = Emoji(codepoints="1F600 200D 1F680", name="no such sequence", kind="sequence", version=1)
    assert not font.can_draw(unassigned)
    assert not font.can_draw(side_by_side)


def test_drawings_are_centred_coloured_and_repeatable(font: EmojiFont, by_text: dict[str, Emoji]) -> None:
    heart = by_text["\u2764\ufe0f"]
    picture = font.draw(heart, 64)
    assert picture.mode == "RGB" and picture.size == (64, 64)
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    red, green, blue = picture.getpixel((32, 32))  # type: ignore[misc]
    assert red > 150 and green < 110 and blue < 110
    assert font.draw(heart, 64).tobytes() == picture.tobytes()
    assert font.draw(heart, 200).size == (200, 200)


def test_different_emoji_look_different(font: EmojiFont, by_text: dict[str, Emoji]) -> None:
    texts = ["\U0001f34e", "\U0001f697", "\U0001f431", "\U0001f1eb\U0001f1f7", "\U0001f44d", "\U0001f44d\U0001f3ff"]
    assert len({font.draw(by_text[text], 32).tobytes() for text in texts}) == len(texts)
