"""What scenes are called: a plain language, a wide one to learn from, and words and sentences that neither has.

What a text encoder knew before shows where a picture is asked for in words that no caption of the training held. So the
wide language has several words for each thing and many sentences, and leaves out those of the held-out ones, which a
test sees to.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from t2i_core.samples.scenes import NUMBERS, Scene, SceneObject, plural, with_articles

HeldOut = Literal["new sentences", "new words", "both"]

_PLAIN_SENTENCES = (
    "{things} on a {background} background",
    "this shows {things} on a {background} background",
    "a picture of {things} on a {background} background",
    "{things}, {background} background",
)
_WIDE_SENTENCES = (
    "an image showing {things} against a {background} backdrop",
    "{things} against {background}",
    "on a {background} background, {things}",
    "{background} backdrop with {things}",
    "a drawing of {things}, its background {background}",
    "{things} in front of a {background} wall",
    "here is {things} on a {background} surface",
    "{things}; the background is {background}",
    "flat art: {things}, all on {background}",
    "a {background} picture with {things} in it",
    "an icon with {things}, {background} behind",
    "a poster, {background}, showing {things}",
)
_NEW_SENTENCES = (
    "look, {things} painted on a {background} sheet",
    "what you see is {things} with nothing but {background} around",
    "somebody has put {things} onto {background} paper",
    "{background} everywhere, and in the middle of it {things}",
)
# Single words: those that hold another one, such as bright red, teach nothing about the words that they add.
_WIDE_WORDS: Mapping[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "ruby", "cherry", "vermilion", "strawberry", "tomato", "cardinal", "brick", "blood"),
    "green": ("green", "jade", "grass", "leaf", "fern", "moss", "clover", "forest", "pea", "shamrock"),
    "blue": ("blue", "azure", "cobalt", "sapphire", "indigo", "cerulean", "ocean", "royal", "ultramarine", "denim"),
    "yellow": ("yellow", "lemon", "canary", "mustard", "banana", "butter", "daffodil", "sunflower", "corn", "sunny"),
    "purple": ("purple", "plum", "grape", "amethyst", "lavender", "lilac", "mauve", "orchid", "eggplant", "mulberry"),
    "orange": ("orange", "pumpkin", "carrot", "apricot", "mandarin", "amber", "peach", "papaya", "persimmon", "ginger"),
    "black": ("black", "jet", "coal", "inky", "raven", "charcoal", "obsidian", "onyx", "soot", "pitch"),
    "white": ("white", "snow", "chalk", "milky", "pearl", "cream", "alabaster", "cotton", "frost", "porcelain"),
    "circle": ("circle", "ball", "dot"),
    "square": ("square", "block", "tile"),
    "triangle": ("triangle", "wedge", "trigon"),
    "cross": ("cross", "cruciform", "crucifix"),
    "gray": ("gray", "grey", "ash", "stone", "concrete", "steel"),
    "pink": ("pink", "blush", "salmon", "pastel", "bubblegum", "flamingo"),
    "teal": ("teal", "cyan", "aquamarine", "petrol", "aqua", "lagoon"),
    "left of": ("left of", "to the left of", "on the left side of"),
    "right of": ("right of", "to the right of", "on the right side of"),
    "above": ("above", "higher than", "on top of"),
    "below": ("below", "under", "underneath", "lower than"),
    "and": ("and", "with", "along with", "as well as"),
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
    "two": ("two", "a pair of", "a couple of"),
    "three": ("three", "a trio of", "3"),
}
_NEW_WORDS: Mapping[str, tuple[str, ...]] = {
    "red": ("scarlet",),
    "green": ("emerald",),
    "blue": ("navy",),
    "yellow": ("golden",),
    "purple": ("violet",),
    "orange": ("tangerine",),
    "black": ("ebony",),
    "white": ("ivory",),
    "circle": ("disk",),
    "square": ("box",),
    "triangle": ("pyramid",),
    "cross": ("plus sign",),
    "gray": ("slate",),
    "pink": ("rose",),
    "teal": ("turquoise",),
    "left of": ("leftward of",),
    "right of": ("rightward of",),
    "above": ("over",),
    "below": ("beneath",),
}


@dataclass(frozen=True, slots=True)
class Language:
    """How scenes are told.

    Attributes:
        sentences: with places for {things} and {background}.
        words: what else each plain word may be called; one that is not named has no other.
        things: of an object, with places for {size}, which is empty or ends with a space, {color} and {shape}.
    """

    sentences: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    things: tuple[str, ...] = ("{size}{color} {shape}",)


WIDE = Language(
    _PLAIN_SENTENCES + _WIDE_SENTENCES,
    _WIDE_WORDS,
    # Mostly as people say it.
    ("{size}{color} {shape}",) * 4 + ("{size}{shape} in {color}", "{size}{shape} that is {color}"),
)
HELD_OUT: Mapping[HeldOut, Language] = {
    "new sentences": Language(_NEW_SENTENCES),
    "new words": Language(_PLAIN_SENTENCES[:1], _NEW_WORDS),
    "both": Language(_NEW_SENTENCES, _NEW_WORDS),
}


def told(scene: Scene, language: Language, chance: str) -> str:
    """Say in words what a scene shows.

    Args:
        scene: to be told.
        language: to choose from.
        chance: names the choice; the same one gives the same words.
    """
    rng = random.Random(f"told:{chance}")

    def word(plain: str) -> str:
        return rng.choice(language.words.get(plain, (plain,)))

    def thing(item: SceneObject, shape: str) -> str:
        size = "" if item.size == "medium" else f"{word(item.size)} "
        return rng.choice(language.things).format(size=size, color=word(item.color), shape=shape)

    if scene.task == "counting":
        several = thing(scene.objects[0], plural(word(scene.objects[0].shape))).replace(" is ", " are ")
        things = f"{word(NUMBERS[len(scene.objects)])} {several}"
    else:
        each = (f"a {thing(item, word(item.shape))}" for item in scene.objects)
        things = f" {word(scene.relation or 'and')} ".join(each)
    sentence = rng.choice(language.sentences).format(things=things, background=word(scene.background))
    return with_articles(sentence)
