"""The rules that clean a caption: ordered, named, and each idempotent, so that cleaning twice changes nothing more.

A rule is a pure function of text. `clean` applies a list of them again and again until none changes the text, because
one rule can uncover work for an earlier one (an unescaped `&lt;b&gt;` is a tag). Captions come from anywhere, so no
rule takes more than a fixed time for each character.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import ftfy

from t2i_core.data.text import unescape

MAX_PASSES = 50
# Longer text is no caption, and cleaning it would only take time.
MAX_RAW_CHARACTERS = 4096
# Repairing takes time that grows with the square of a text, so it gets no more than this at once.
MAX_REPAIRED_CHARS = 128
# As in Unicode's stream-safe format: no writing stacks more marks on a letter, and sorting them takes time.
MAX_MARKS = 30
HTML_TAG = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|br|center|cite|code|div|em|font|h[1-6]|hr|i|img|li|mark|ol|p|pre|q|s"
    r"|script|small|span|strike|strong|style|sub|sup|table|tbody|td|th|tr|tt|u|ul)(?:[\s/][^<>]*)?>",
    re.IGNORECASE,
)
COMMENT_START, COMMENT_END = "<!--", "-->"
# Some datasets put a word in brackets in place of a name: "<person> at the beach".
BRACKETED_WORD = re.compile(r"<(\w+)>")
URL = re.compile(r"(?:\b(?:https?|ftp)://|\bwww\.)\S*", re.IGNORECASE)
QUOTES = str.maketrans(
    {**dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'), **dict.fromkeys("\u2018\u2019\u201a\u201b", "'")}
)
DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"))
# Joiners between letters carry meaning in Persian and Hindi, and hold emoji together.
JOINERS = "\u200c\u200d"


@dataclass(frozen=True, slots=True)
class CaptionRule:
    """One step of cleaning.

    Attributes:
        name: how configs and reports call it.
        purpose: one line for a person.
        apply: the function; `apply(apply(text)) == apply(text)`.
    """

    name: str
    purpose: str
    apply: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A cleaned caption.

    Attributes:
        text: what is left.
        changed_by: the names of the rules that changed it.
        failed: the name of the rule that could not deal with it, "" when all could.
    """

    text: str
    changed_by: frozenset[str]
    failed: str = ""


def clean(text: str, rules: Sequence[CaptionRule]) -> Cleaned:
    """Apply rules in order, over and over until the text stays the same."""
    changed_by: set[str] = set()
    for _ in range(MAX_PASSES):
        before = text
        for rule in rules:
            try:
                after = rule.apply(text)
            except Exception:
                # One text that a rule or its library did not foresee is one caption less, and no reason to stop.
                return Cleaned("", frozenset(changed_by), rule.name)
            if after != text:
                changed_by.add(rule.name)
                text = after
        if text == before:
            break
    return Cleaned(text, frozenset(changed_by))


def _settled(function: Callable[[str], str]) -> Callable[[str], str]:
    def settle(text: str) -> str:
        for _ in range(MAX_PASSES):
            after = function(text)
            if after == text:
                break
            text = after
        return text

    return settle


def _fix_mojibake(text: str) -> str:
    return text if text.isascii() else "".join(ftfy.fix_encoding(piece) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """Cut a text into pieces of bounded length, behind a space where there is one."""
    start = 0
    while len(text) - start > MAX_REPAIRED_CHARS:
        end = start + MAX_REPAIRED_CHARS
        end = text.rfind(" ", start, end) + 1 or end
        yield text[start:end]
        start = end
    yield text[start:]


def _strip_html(text: str) -> str:
    return BRACKETED_WORD.sub(r"\1", HTML_TAG.sub(" ", _without_comments(text)))


def _without_comments(text: str) -> str:
    pieces, start = [], 0
    while (opening := text.find(COMMENT_START, start)) >= 0:
        closing = text.find(COMMENT_END, opening + len(COMMENT_START))
        if closing < 0:
            break
        pieces.append(text[start:opening])
        start = closing + len(COMMENT_END)
    return " ".join([*pieces, text[start:]])


def _compose(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", "".join(_without_heaps(text)))


def _without_heaps(text: str) -> Iterator[str]:
    """Leave out the marks on a letter that come after the first `MAX_MARKS`."""
    num_marks = 0
    for char in text:
        num_marks = num_marks + 1 if unicodedata.combining(char) else 0
        if num_marks <= MAX_MARKS:
            yield char


def _strip_controls(text: str) -> str:
    return text if text.isprintable() else "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    match unicodedata.category(char):
        case "Cc":
            return " " if char.isspace() else ""
        case "Cf":
            return char if char in JOINERS else ""
        case "Cs" | "Co":
            return ""
    return char


def _trim_punctuation(text: str) -> str:
    return text.lstrip(" .,;:|_\u2026").rstrip(" .,;:|_-\u2026")


RULES: tuple[CaptionRule, ...] = (
    CaptionRule("fix_mojibake", "repair text decoded with the wrong encoding", _settled(_fix_mojibake)),
    CaptionRule("unescape_html", "turn &amp; and its kind into characters", _settled(unescape)),
    CaptionRule("strip_html", "remove tags and comments, keep their text", _settled(_strip_html)),
    CaptionRule("strip_urls", "remove web addresses", _settled(lambda text: URL.sub(" ", text))),
    CaptionRule("strip_controls", "remove control, direction and zero-width characters", _strip_controls),
    CaptionRule("unicode_nfc", "write each accented letter one way", _compose),
    CaptionRule("unify_quotes", "write quotation marks and apostrophes one way", lambda text: text.translate(QUOTES)),
    CaptionRule("unify_dashes", "write dashes and hyphens one way", lambda text: text.translate(DASHES)),
    CaptionRule("collapse_whitespace", "write any run of space as one space", lambda text: " ".join(text.split())),
    CaptionRule("trim_punctuation", "remove separators left at the ends", _trim_punctuation),
)
RULES_BY_NAME = {rule.name: rule for rule in RULES}
