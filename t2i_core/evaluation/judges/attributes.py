"""Which attributes of a scene are right in a picture, each by itself, and how often they would be right by chance."""

from collections.abc import Sequence
from functools import cache
from itertools import combinations, permutations, product

import numpy as np

from t2i_core.evaluation.judges.composition import Extraction
from t2i_core.evaluation.judges.verdict import holds
from t2i_core.samples.scenes import BACKGROUNDS, COLORS, RELATIONS, SHAPES, Scene

Kind = tuple[str | None, str | None]

ATTRIBUTES = ("color", "shape", "background", "relation")


def attributes_right(extraction: Extraction, scene: Scene) -> dict[str, float]:
    """Give how much of each attribute is right, 0 to 1; "relation" only where one is asked for.

    The largest things, as many as were asked for, are taken for the objects in the order that makes most colors and
    shapes right; where several orders do, each counts alike. So a relation is judged even if a color is wrong.
    """
    wanted = _kinds_of(scene)
    things = extraction.objects[: len(wanted)]
    missing = len(wanted) - len(things)
    seen: list[Kind] = [thing.kind for thing in things] + [(None, None)] * missing
    right = _kinds_right(seen, wanted) | {"background": float(extraction.background == scene.background)}
    if scene.relation:
        placed = [holds(scene.relation, *(things[i] for i in order)) for order in _orders(seen, wanted) if not missing]
        right["relation"] = float(np.mean(placed)) if placed else 0.0
    return right


def chance_of(scene: Scene) -> dict[str, float]:
    """Give how much `attributes_right` would find in pictures of other scenes of the task, all equally likely."""
    chance = _chance_of_kinds(_kinds_of(scene)) | {"background": 1 / len(BACKGROUNDS)}
    return chance | ({"relation": 1 / len(RELATIONS)} if scene.relation else {})


def _kinds_of(scene: Scene) -> tuple[Kind, ...]:
    return tuple((item.color, item.shape) for item in scene.objects)


def _orders(seen: Sequence[Kind], wanted: Sequence[Kind]) -> list[tuple[int, ...]]:
    """List the orders of what is seen that fit best."""
    hits = {order: sum(_agreeing(seen, wanted, order)) for order in permutations(range(len(wanted)))}
    return [order for order, number in hits.items() if number == max(hits.values())]


def _agreeing(seen: Sequence[Kind], wanted: Sequence[Kind], order: Sequence[int]) -> tuple[int, int]:
    """Count colors and shapes that are right in an order."""
    pairs = [(seen[i], kind) for i, kind in zip(order, wanted, strict=True)]
    return sum(a[0] == b[0] for a, b in pairs), sum(a[1] == b[1] for a, b in pairs)


def _kinds_right(seen: Sequence[Kind], wanted: Sequence[Kind]) -> dict[str, float]:
    colors, shapes = np.mean([_agreeing(seen, wanted, order) for order in _orders(seen, wanted)], axis=0) / len(wanted)
    return {"color": float(colors), "shape": float(shapes)}


@cache
def _chance_of_kinds(wanted: tuple[Kind, ...]) -> dict[str, float]:
    drawn = list(combinations(product(COLORS, SHAPES), len(wanted)))
    found = [_kinds_right(kinds, wanted) for kinds in drawn]
    return {name: float(np.mean([right[name] for right in found])) for name in ("color", "shape")}
