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
    "there is {things} on {background}",
    "i can see {things}; all else is {background}",
    "draw {things} on a {background} canvas",
    "please draw {things}, background {background}",
    "a card that shows {things} on plain {background}",
    "a minimal design: {things} in a {background} field",
    "clip art of {things}, the ground being {background}",
    "an illustration of {things} on a solid {background} ground",
    "the background is {background}, and there is {things}",
    "a {background} board bearing {things}",
    "a {background} scene containing {things}",
    "{background} ground, {things}",
    "just {things}, with {background} for a background",
    "{things} shown upon a {background} area",
)
_NEW_SENTENCES = (
    "look, {things} painted on a {background} sheet",
    "what you see is {things} with nothing but {background} around",
    "somebody has put {things} onto {background} paper",
    "{background} everywhere, and in the middle of it {things}",
)
# Mostly single words: one that holds another, such as bright red, teaches nothing about the word that it adds.
_WIDE_WORDS: Mapping[str, tuple[str, ...]] = {
    "red": (
        *("red", "crimson", "ruby", "cherry", "vermilion", "strawberry", "tomato", "cardinal"),
        *("brick", "blood", "poppy", "garnet", "cranberry", "carmine", "lobster"),
    ),
    "green": (
        *("green", "jade", "grass", "leaf", "fern", "moss", "clover", "forest"),
        *("pea", "shamrock", "olive", "lime", "pine", "ivy", "malachite", "grassy"),
    ),
    "blue": (
        *("blue", "azure", "cobalt", "sapphire", "cerulean", "ocean", "ultramarine"),
        *("denim", "lapis", "sky", "cornflower", "blueberry", "bluebell", "marine"),
    ),
    "yellow": (
        *("yellow", "lemon", "canary", "mustard", "banana", "butter", "daffodil", "sunflower"),
        *("corn", "sunny", "buttercup", "dandelion", "honey", "saffron", "maize", "custard"),
    ),
    "purple": (
        *("purple", "plum", "grape", "amethyst", "lavender", "lilac", "mauve"),
        *("orchid", "eggplant", "mulberry", "aubergine", "iris", "heather", "wisteria"),
    ),
    "orange": (
        *("orange", "pumpkin", "carrot", "apricot", "mandarin", "amber", "papaya"),
        *("persimmon", "ginger", "clementine", "satsuma", "cantaloupe", "paprika", "squash"),
    ),
    "black": (
        *("black", "jet", "coal", "inky", "raven", "obsidian", "onyx"),
        *("soot", "pitch", "sable", "tar", "licorice", "ink"),
    ),
    "white": (
        *("white", "snow", "chalk", "milky", "pearl", "cream", "alabaster"),
        *("cotton", "frost", "porcelain", "eggshell", "lily", "bone", "snowy"),
    ),
    "circle": ("circle", "ball", "dot", "orb", "spot", "roundel", "sphere", "bubble", "coin", "button", "globe"),
    "square": ("square", "block", "tile", "cube", "rectangle", "quadrangle", "panel", "crate", "quadrilateral"),
    "triangle": ("triangle", "wedge", "trigon", "cone", "delta", "arrowhead", "tent", "teepee"),
    "cross": ("cross", "cruciform", "crucifix", "swiss cross", "greek cross", "crossed shape"),
    "gray": ("gray", "grey", "ash", "stone", "concrete", "steel", "pewter", "granite", "graphite", "smoke", "cement"),
    "pink": ("pink", "blush", "salmon", "bubblegum", "flamingo", "carnation", "peony", "candy", "blossom"),
    "teal": ("teal", "cyan", "aquamarine", "petrol", "aqua", "lagoon", "peacock", "blue-green"),
    "left of": (
        *("left of", "to the left of", "on the left side of", "on the left of"),
        *("at the left of", "just left of", "on the left-hand side of", "west of"),
    ),
    "right of": (
        *("right of", "to the right of", "on the right side of", "on the right of"),
        *("at the right of", "just right of", "on the right-hand side of", "east of"),
    ),
    "above": (
        *("above", "higher than", "further up than", "on top of"),
        *("atop", "higher up than", "directly above", "north of"),
    ),
    "below": (
        *("below", "lower than", "underneath", "under"),
        *("further down than", "lower down than", "directly below", "south of"),
    ),
    "and": ("and", "with", "along with", "as well as", "together with", "accompanied by"),
    "small": ("small", "little", "tiny", "miniature", "petite"),
    "large": ("large", "big", "huge", "giant", "enormous", "massive"),
    "two": ("two", "a pair of", "a couple of", "2", "a set of two"),
    "three": ("three", "a trio of", "3", "a set of three", "a group of three"),
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
