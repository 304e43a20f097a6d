"""The address that a saved page notes of itself, and how much of the page is looked at to find it."""

import re

import pytest

from t2i_core.data.pages import saved_base

PAGE = "https://a.example/page"


@pytest.mark.parametrize(
    ("head", "address"),
    [
        (f"<!-- saved from url=(0022){PAGE} -->", PAGE),
        (f"<!--saved from url=(0022){PAGE}--><p>-->", PAGE),
        (f"<!-- other --><!--\n saved from url=(0022){PAGE}\n-->", PAGE),
        (f"<!-- <!-- saved from url=(0022){PAGE} -->", PAGE),
        (f"<!-- saved from url=(0022){PAGE} and more -->", ""),
        (f"<!-- saved from url=(0022){PAGE}", ""),
        (f"<!-- saved from url=(22){PAGE} -->", ""),
        ("<p>plain", ""),
    ],
)
def test_the_comment_of_a_saved_page(head: str, address: str) -> None:
    assert saved_base._noted_address(head) == address


class Counted:
    """A pattern that counts the characters it was given."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.num_chars = 0
        self._pattern = pattern

    def fullmatch(self, text: str) -> re.Match[str] | None:
        self.num_chars += len(text)
        return self._pattern.fullmatch(text)


@pytest.mark.parametrize(
    "filling", ["<!--saved from url=(0000)x", "<!--saved from url=(0000)x y-->", "<!-- -->", "<!--", "<!--x -- >"]
)
def test_twice_the_comments_are_at_most_twice_the_work(monkeypatch: pytest.MonkeyPatch, filling: str) -> None:
    def work(head: str) -> int:
        counted = Counted(saved_base._SAVED_FROM)
        with monkeypatch.context() as patch:
            patch.setattr(saved_base, "_SAVED_FROM", counted)
            assert saved_base._noted_address(head + "<!--saved from url=(0000)y-->") == "y"
        return counted.num_chars

    once, twice = (work(filling * repeats) for repeats in (500, 1000))
    assert twice <= min(2 * once, len(filling) * 1000 + 100)
