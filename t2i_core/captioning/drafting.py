"""The rules that write a caption from all that a source says of a picture: caption, file name, artist and keywords.

They come once, in the order of `source_rules`, before the rules that clean text (`rules.py`). A title that hundreds of
pictures share, or the name of a collection, says nothing about a picture; its file's name often does.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from t2i_core.captioning.rules import MAX_RAW_CHARACTERS, Cleaned

if TYPE_CHECKING:
    from t2i_core.captioning.samples import Sample

# Fewer letters of an artist's name may be the beginning of any word.
MIN_CUT_LETTERS = 4
_WORD = re.compile(r"[^\W\d_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class DraftOptions:
    """What the rules are told.

    Attributes:
        max_repeats: pictures that may share a caption.
        collection_names: patterns of captions that name a collection; `*` stands for anything.
        junk_keywords: patterns of keywords that say nothing.
    """

    max_repeats: int
    collection_names: tuple[str, ...]
    junk_keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Described:
    """What a source says of a picture beside its caption.

    Attributes:
        file_name: without folder and ending.
        artist: "" when nobody is named.
        keywords: as they are.
        repeats: pictures of the dataset that share its caption.
    """

    file_name: str
    artist: str
    keywords: tuple[str, ...]
    repeats: int


@dataclass(frozen=True, slots=True)
class SourceRule:
    """One step of writing a caption.

    Attributes:
        name: how configs and reports call it.
        purpose: one line for a person.
        apply: gives the caption that a rule makes of the one before it; "" for none.
    """

    name: str
    purpose: str
    apply: Callable[[str, Described, DraftOptions], str]


class Drafts:
    """Writes the captions of a dataset by rules, each counted by what it changes.

    Args:
        samples: all of the dataset, whose captions are counted.
        rules: in their order.
        options: what the rules are told.
    """

    def __init__(self, samples: "Iterable[Sample]", rules: Sequence[SourceRule], options: DraftOptions) -> None:
        self._rules = rules
        self._options = options
        self._repeats = Counter(sample.caption for sample in samples) if rules else Counter[str]()

    def draft(self, sample: "Sample") -> Cleaned:
        """Give the caption to clean; without rules the one that was found."""
        text, changed_by = sample.caption[:MAX_RAW_CHARACTERS], set[str]()
        if not self._rules:
            return Cleaned(text, frozenset())
        described = self._described(sample)
        for rule in self._rules:
            after = rule.apply(text, described, self._options)
            if after != text:
                changed_by.add(rule.name)
            text = after
        return Cleaned(text, frozenset(changed_by))

    def _described(self, sample: "Sample") -> Described:
        attributes = _object(sample.attributes)
        artist, keywords = attributes.get("artist"), attributes.get("keywords")
        listed = keywords.split(",") if isinstance(keywords, str) else keywords
        return Described(
            file_name=PurePosixPath(_path_of(sample.url)).stem,
            artist=artist if isinstance(artist, str) else "",
            keywords=tuple(word for word in listed if isinstance(word, str)) if isinstance(listed, list) else (),
            repeats=self._repeats[sample.caption],
        )


def _object(attributes: str) -> dict[str, Any]:
    try:
        found = json.loads(attributes)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _path_of(url: str) -> str:
    """Give the path of a URL, or of a file of a folder, which is one as it stands."""
    try:
        return unquote(urlsplit(url).path) if "://" in url else url
    except ValueError:
        return ""


def _drop_repeated(text: str, described: Described, options: DraftOptions) -> str:
    return text if described.repeats <= options.max_repeats else ""


def _drop_collections(text: str, _: Described, options: DraftOptions) -> str:
    return "" if _matches(text, options.collection_names) else text


def _name_from_file(text: str, described: Described, _: DraftOptions) -> str:
    return text if text.strip() else _spelled(described.file_name, described.artist)


def _spell_names(text: str, described: Described, _: DraftOptions) -> str:
    return _spelled(text, described.artist) if "_" in text and len(text.split()) == 1 else text


def _spelled(name: str, artist: str) -> str:
    """Write the name of a file in words, without those of the artist."""
    authors = set(_words(artist))
    return " ".join(word for word in _words(name) if not _is_of(word, authors))


def _words(text: str) -> list[str]:
    """Give the words of a name without numbers, in small letters: DangerSign_03 is two."""
    return [word.lower() for word in _WORD.findall(_HUMP.sub(" ", text))]


def _is_of(word: str, authors: Iterable[str]) -> bool:
    """Tell whether a word is one of an artist's name, perhaps cut off as long file names are."""
    return any(author == word or (len(word) >= MIN_CUT_LETTERS and author.startswith(word)) for author in authors)


def _add_keywords(text: str, described: Described, options: DraftOptions) -> str:
    """Put keywords behind a caption that neither stand in it nor name the artist; without a caption there are none."""
    if not text.strip():
        return text
    known, added = {*_words(text), *_words(described.artist)}, list[str]()
    for keyword in described.keywords:
        plain = " ".join(keyword.replace("_", " ").split())
        words = set(_words(plain))
        if words - known and not _matches(plain, options.junk_keywords):
            added.append(plain)
            known |= words
    return ", ".join([text.strip(), *added])


def _matches(text: str, patterns: Iterable[str]) -> bool:
    plain = " ".join(text.split()).lower()
    return any(fnmatchcase(plain, pattern.lower()) for pattern in patterns)


SOURCE_RULES: tuple[SourceRule, ...] = (
    SourceRule("drop_repeated", "leave out captions that more pictures share than max_repeats", _drop_repeated),
    SourceRule("drop_collections", "leave out captions that name a collection (collection_names)", _drop_collections),
    SourceRule(
        "name_from_file", "where there is none, take the file's name without numbers and artist", _name_from_file
    ),
    SourceRule("spell_names", "write captions like red_apple_02 in words, without numbers and artist", _spell_names),
    SourceRule(
        "add_keywords", "add keywords, but not junk_keywords, the artist and what is said already", _add_keywords
    ),
)
SOURCE_RULES_BY_NAME = {rule.name: rule for rule in SOURCE_RULES}
