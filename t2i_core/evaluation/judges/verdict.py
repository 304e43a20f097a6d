"""The half of the checker that never sees pixels: is what a picture shows what its prompt asks for?

A picture is *right* when everything in it was recognised and is as told, *unsure* when something was not recognised and
the picture may still be right, and *wrong* when it cannot be right whatever the doubtful things are.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from t2i_core.evaluation.judges.composition import Extraction, Found
from t2i_core.samples.scenes import RADII, Relation, Scene, SceneObject

Outcome = Literal["pass", "fail", "unsure"]

DEAD_ZONE = 0.15
# Radii half-way between the sizes that scenes are drawn with.
SMALL_BELOW = (RADII["small"][1] + RADII["medium"][0]) / 2
LARGE_ABOVE = (RADII["medium"][1] + RADII["large"][0]) / 2
# Share of pictures that the checker could not tell: above the first a score needs a grain of salt, above the second it
# says more about the checker than about the model.
UNSURE_WARN, UNSURE_BAD = 0.05, 0.25


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a picture compares with a scene.

    Attributes:
        atoms: outcome by atom name; only the atoms that the prompt speaks of.
        strict: every atom passes, everything was recognised, and nothing else is in the picture.
        lenient: the named objects are there as told; extra objects (but for counting) and background are ignored.
        unsure: it does not pass, and may still be right: the checker could not tell.
        reason: "" when strict, else the first atom that failed and what was seen.
    """

    atoms: dict[str, Outcome]
    strict: bool
    lenient: bool
    unsure: bool
    reason: str

    @property
    def outcome(self) -> Outcome:
        """The verdict in one word."""
        return "pass" if self.strict else "unsure" if self.unsure else "fail"


def judge(extraction: Extraction, scene: Scene) -> Verdict:
    """Compare what a picture shows with what the prompt of `scene` asks for."""
    checks = _named(extraction, scene)
    lenient = all(checks.values()) and not extraction.refused
    checks["background"] = extraction.background == scene.background
    checks["nothing_else"] = len(extraction.objects) == len(scene.objects)
    strict = extraction.sure and all(checks.values())
    unsure = not strict and could_be_right(extraction, scene)
    atoms: dict[str, Outcome] = {n: "pass" if ok else "unsure" if unsure else "fail" for n, ok in checks.items()}
    return Verdict(atoms, strict, lenient, unsure, "" if strict else _reason(extraction, atoms, unsure))


def _named(extraction: Extraction, scene: Scene) -> dict[str, bool]:
    """Check what the prompt says of its objects, by atom."""
    seen, wanted = extraction.objects, scene.objects
    checks = {
        "shape": _contains((o.shape for o in seen), (o.shape for o in wanted)),
        "color": _contains((o.color for o in seen), (o.color for o in wanted)),
        "binding": _contains((o.kind for o in seen), ((o.color, o.shape) for o in wanted)),
    }
    if scene.task == "counting":
        kind = (wanted[0].color, wanted[0].shape)
        checks["count"] = sum(o.kind == kind for o in seen) == len(wanted)
    if scene.relation:
        first, second = ((o.color, o.shape) for o in wanted)
        checks["relation"] = any(
            holds(scene.relation, a, b) for a in seen if a.kind == first for b in seen if b.kind == second
        )
    if any(o.size != "medium" for o in wanted):
        checks["size"] = all(any(f.kind == (o.color, o.shape) and _has_size(f, o) for f in seen) for o in wanted)
    return checks


def could_be_right(extraction: Extraction, scene: Scene) -> bool:
    """Say whether the doubtful things may be such that the picture is as asked for.

    What has no known shape at all is wrong whatever it is; a speck may be nothing.
    """
    if extraction.refused:
        return True
    if extraction.sure or extraction.background != scene.background:
        return False
    things = [o for o in extraction.objects if o.unsure != "too small"]
    if len(things) != len(scene.objects) or any(o.unsure == "no known shape" for o in things):
        return False
    return any(_may_be(found, scene) for found in permutations(things))


def _may_be(found: Sequence[Found], scene: Scene) -> bool:
    """Say whether things may be the objects of a scene, in this order."""
    pairs = list(zip(found, scene.objects, strict=True))
    if not all(o.shape in f.shapes and f.color in (o.color, None) and _has_size(f, o) for f, o in pairs):
        return False
    return scene.relation is None or holds(scene.relation, *found)


def holds(relation: Relation, first: Found, second: Found) -> bool:
    """Say whether `first` is clearly left of, right of, above or below `second`: dominant axis, outside a dead zone."""
    dx, dy = second.x - first.x, second.y - first.y
    along, across = (dx, dy) if relation in ("left of", "right of") else (dy, dx)
    forward = along if relation in ("left of", "above") else -along
    return forward > DEAD_ZONE and abs(along) > abs(across)


def _contains(seen: Iterable[object], wanted: Iterable[object]) -> bool:
    return Counter(wanted) <= Counter(seen)


def _has_size(found: Found, wanted: SceneObject) -> bool:
    if wanted.size == "small":
        return found.radius < SMALL_BELOW
    return wanted.size != "large" or found.radius > LARGE_ABOVE


def _reason(extraction: Extraction, atoms: dict[str, Outcome], unsure: bool) -> str:
    if extraction.refused:
        return extraction.refused
    doubts = Counter(f"{o}: {o.unsure}" for o in extraction.objects if o.unsure)
    if unsure:
        return f"unsure ({'; '.join(f'{n} × {text}' if n > 1 else text for text, n in doubts.items())})"
    wrong = next((name for name, outcome in atoms.items() if outcome != "pass"), "picture")
    return f"wrong {wrong.replace('_', ' ')}: shows {extraction}"
