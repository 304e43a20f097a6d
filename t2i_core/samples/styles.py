"""The same things drawn in several styles, and which pairs of thing and style are kept from training.

Composition on real drawings with the truth at hand: who has seen an apple in three styles, and other things in the
fourth, is asked for the apple in the fourth. The true picture of every such prompt exists.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from t2i_core.errors import ConfigError
from t2i_core.samples.emoji import Emoji, named_emoji
from t2i_core.samples.icon_sets import HOW_TO_GET, IconSet, plain_code_points

Split = Literal["train", "validation", "test"]

TEST_SHARE, VALIDATION_SHARE = 0.10, 0.02
# Each thing is seen in two styles at least besides the one that is asked for.
MIN_STYLES = 3


@dataclass(frozen=True, slots=True, eq=False)
class StyledPicture:
    """One thing in one style, and which split it belongs to."""

    concept: Emoji
    icons: IconSet
    split: Split

    @property
    def caption(self) -> str:
        """What to say about the picture."""
        return f"{self.concept.caption}, {self.icons.style} style"

    @property
    def svg(self) -> str:
        """The drawing."""
        return self.icons.drawings[plain_code_points(self.concept.codepoints)]


def styled_pictures(icon_sets: Sequence[IconSet], seed: int, limit: int) -> tuple[StyledPicture, ...]:
    """List what all icon sets draw, each thing in all styles, shuffled by `seed`; a limit leaves out whole things.

    Raises:
        ConfigError: there are too few sets, two have the same style, or they draw nothing in common.
    """
    styles = [icons.style for icons in icon_sets]
    if len(styles) < MIN_STYLES or len(set(styles)) < len(styles):
        raise ConfigError(
            f"emoji styles need {MIN_STYLES} icon sets or more, each another; got {', '.join(styles) or 'none'}. "
            f"{HOW_TO_GET}"
        )
    concepts = list(_common(icon_sets))
    random.Random(f"styles:{seed}").shuffle(concepts)
    concepts = concepts[: limit // len(styles)]
    if not concepts:
        raise ConfigError(f"the icon sets {', '.join(styles)} draw no emoji in common, or none was asked for.")
    splits = held_out(len(concepts), len(styles))
    pictures = [
        StyledPicture(concept, icons, splits.get((row, column), "train"))
        for row, concept in enumerate(concepts)
        for column, icons in enumerate(icon_sets)
    ]
    random.Random(f"pairs:{seed}").shuffle(pictures)
    return tuple(pictures)


def _common(icon_sets: Sequence[IconSet]) -> Iterator[Emoji]:
    """Give the emoji that every set draws, in fixed order, without skin tones and without what looks like another.

    Tones are one drawing in other colors, and some sets draw two emoji alike: the one would be the answer to the other.
    """
    known: list[set[str]] = [set() for _ in icon_sets]
    for emoji in named_emoji():
        points = plain_code_points(emoji.codepoints)
        drawn = [icons.drawings.get(points, "") for icons in icon_sets]
        if emoji.family != emoji.name or not all(drawn):
            continue
        if not any(svg in seen for svg, seen in zip(drawn, known, strict=True)):
            yield emoji
        for svg, seen in zip(drawn, known, strict=True):
            seen.add(svg)


def held_out(num_concepts: int, num_styles: int) -> dict[tuple[int, int], Split]:
    """Say which pairs of concept and style, by their numbers, training does not get: a tenth, and some to validate on.

    They are counted off, concept by concept, the styles taking turns: so all styles have about as many, and no
    concept has a second one before each has one.
    """
    num_pairs = num_concepts * num_styles
    num_test, num_validation = round(TEST_SHARE * num_pairs), round(VALIDATION_SHARE * num_pairs)
    found: dict[tuple[int, int], Split] = {}
    for number in range(num_test + num_validation):
        turn, concept = divmod(number, num_concepts)
        found[concept, (concept + turn) % num_styles] = "test" if number < num_test else "validation"
    return found
