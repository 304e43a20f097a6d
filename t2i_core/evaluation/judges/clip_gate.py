"""May this CLIP judge? Before its score is shown, a CLIP must prove on real pictures that it sees what matters.

Recall in both directions and the split between real and shuffled pairs decide whether the score is shown or withheld.
Hard negatives (colors swapped, relation flipped, count changed) decide what the score is labelled blind to: CLIPs tend
to read a caption as a bag of words (ARO, Yuksekgonul et al. 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from t2i_core.evaluation.judges.clip_score import ClipScorer
from t2i_core.evaluation.judges.statistics import Estimate, auc, wilson
from t2i_core.samples.scenes import COLORS, OPPOSITE, Scene, SceneObject, Shape, caption_scene

Floats = npt.NDArray[np.float64]

# A hard negative must be told from the truth at least this often (lower end of the interval), else: blind.
SIGHTED_ABOVE = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class RealPair:
    """A real picture, (H, W, 3) uint8, with its caption and, where known, its specification."""

    image: npt.NDArray[np.uint8]
    caption: str
    scene: Scene | None = None


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One check of a CLIP.

    Attributes:
        name: what was checked.
        value: the measured share, with Wilson's interval (the AUC has none).
        chance: what guessing gives.
        needed: the least value with which the score is shown, or None when the check only labels.
        passed: whether the value is enough.
    """

    name: str
    value: Estimate
    chance: float
    needed: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class ClipGate:
    """What the gate found.

    Attributes:
        checks: every check made.
        blind_to: what the score cannot judge ("binding", "relations", "counts").
        num_real: distinct real pairs it rests on.
    """

    checks: tuple[GateCheck, ...]
    blind_to: tuple[str, ...]
    num_real: int

    @property
    def passed(self) -> bool:
        """Whether the score may be shown."""
        return all(c.passed for c in self.checks if c.needed is not None)

    @property
    def reason(self) -> str:
        """Why the score is withheld, or ""."""
        failed = [c for c in self.checks if c.needed is not None and not c.passed]
        return "; ".join(f"{c.name} is {c.value.value:.2f}, {c.needed:.2f} is needed" for c in failed)

    @property
    def failures(self) -> tuple[GateCheck, ...]:
        """Every check that failed, those included that only label the score."""
        return tuple(c for c in self.checks if not c.passed)

    @property
    def why_no_headline(self) -> str:
        """Why the score may not stand on top of a report, or "": a CLIP that fails any check does not see enough."""
        if self.reason:
            return self.reason
        failed = ", ".join(f"{c.name} ({c.value.value:.2f}, chance {c.chance:.2f})" for c in self.failures)
        return f"this CLIP failed {failed}" if failed else ""


def check_clip(
    scorer: ClipScorer, pairs: Sequence[RealPair], *, min_auc: float, min_recall_lift: float, seed: int
) -> ClipGate:
    """Check a CLIP on real pictures it was not trained on.

    Args:
        scorer: the CLIP.
        pairs: real pairs, all distinct by caption and specification; at least two.
        min_auc: least AUC of real against shuffled pairs with which the score is shown.
        min_recall_lift: least recall@1 as a multiple of chance (never more than 0.5 is asked).
        seed: of the shuffling.
    """
    image_vectors = scorer.embed_images(np.stack([p.image for p in pairs]))
    text_vectors = scorer.embed_texts([p.caption for p in pairs])
    similarities = image_vectors @ text_vectors.T
    checks = [*_recalls(similarities, min_recall_lift), _real_against_shuffled(similarities, min_auc, seed)]
    scenes = [(vector, p.scene) for vector, p in zip(image_vectors, pairs, strict=True) if p.scene is not None]
    checks += _zero_shot(scorer, scenes)
    hard = _hard_negatives(scorer, scenes)
    blind = tuple(name.removeprefix("told from wrong ") for name, c in hard.items() if not c.passed)
    return ClipGate((*checks, *hard.values()), blind, len(pairs))


def _recalls(similarities: Floats, lift: float) -> list[GateCheck]:
    num = len(similarities)
    needed = round(min(0.5, lift / num), 4)
    own = np.arange(num)
    checks = []
    for name, table in (("image to text recall@1", similarities), ("text to image recall@1", similarities.T)):
        # Ties count against: a CLIP that gives every pair the same score recalls nothing.
        rivals = np.where(np.eye(num, dtype=bool), -np.inf, table)
        share = wilson(float((table[own, own] > rivals.max(axis=1)).sum()), num)
        checks.append(GateCheck(name, share, 1 / num, needed, share.value >= needed))
    return checks


def _real_against_shuffled(similarities: Floats, needed: float, seed: int) -> GateCheck:
    num = len(similarities)
    order = np.random.default_rng(seed).permutation(num)
    others = np.empty(num, dtype=np.int64)
    others[order] = np.roll(order, 1)
    value = auc(np.diagonal(similarities), similarities[np.arange(num), others])
    return GateCheck(
        "AUC of real against shuffled pairs", Estimate(value, value, value, num), 0.5, needed, value >= needed
    )


def _zero_shot(scorer: ClipScorer, scenes: Sequence[tuple[Floats, Scene | None]]) -> list[GateCheck]:
    """Name color, shape and both of single objects among all captions that differ in just that."""
    singles = [(vector, scene) for vector, scene in scenes if scene and scene.task == "single"]
    if not singles:
        return []
    shapes = sorted({scene.objects[0].shape for _, scene in singles})
    kinds = list(product(COLORS, shapes))
    right = {"color": 0, "shape": 0, "color and shape": 0}
    vectors_by_frame: dict[str, Floats] = {}
    for vector, scene in singles:
        captions = [caption_scene(_recolored(scene, [kind])) for kind in kinds]
        if captions[0] not in vectors_by_frame:
            vectors_by_frame[captions[0]] = scorer.embed_texts(captions)
        scores = (vectors_by_frame[captions[0]] @ vector).reshape(len(COLORS), len(shapes))
        color, shape = list(COLORS).index(scene.objects[0].color), shapes.index(scene.objects[0].shape)
        right["color"] += int(np.argmax(scores[:, shape])) == color
        right["shape"] += int(np.argmax(scores[color])) == shape
        right["color and shape"] += int(np.argmax(scores)) == color * len(shapes) + shape
    checks = []
    for name, num_kinds in (("color", len(COLORS)), ("shape", len(shapes)), ("color and shape", len(kinds))):
        share = wilson(right[name], len(singles))
        checks.append(GateCheck(f"zero-shot {name}", share, 1 / num_kinds, None, share.low > 1 / num_kinds))
    return checks


def _hard_negatives(scorer: ClipScorer, scenes: Sequence[tuple[Floats, Scene | None]]) -> dict[str, GateCheck]:
    checks = {}
    for label, wrong_captions in (("binding", swapped), ("relations", flipped), ("counts", miscounted)):
        trials = [(vector, scene, text) for vector, scene in scenes if scene and (text := wrong_captions(scene))]
        if not trials:
            continue
        vectors = np.stack([vector for vector, _, _ in trials])
        right = scorer.embed_texts([caption_scene(scene) for _, scene, _ in trials])
        wrong = scorer.embed_texts([text for _, _, text in trials])
        share = wilson(float(((vectors * right).sum(axis=1) > (vectors * wrong).sum(axis=1)).sum()), len(trials))
        name = f"told from wrong {label}"
        checks[name] = GateCheck(name, share, 0.5, None, share.low > SIGHTED_ABOVE)
    return checks


def swapped(scene: Scene) -> str:
    """Caption the scene with the colors of its two objects swapped; "" where that says the same."""
    if len(scene.objects) != 2 or scene.task == "counting":
        return ""
    a, b = scene.objects
    if a.color == b.color or a.shape == b.shape:
        return ""
    return caption_scene(_recolored(scene, [(b.color, a.shape), (a.color, b.shape)]))


def flipped(scene: Scene) -> str:
    """Caption the scene with the opposite relation; "" where there is none."""
    if scene.relation is None:
        return ""
    return caption_scene(scene.with_changes(relation=OPPOSITE[scene.relation]))


def miscounted(scene: Scene) -> str:
    """Caption a counting scene with one object more or fewer; "" for other scenes."""
    if scene.task != "counting":
        return ""
    objects = scene.objects[:-1] if len(scene.objects) == 3 else (*scene.objects, scene.objects[0])
    return caption_scene(scene.with_changes(objects=[o.model_dump() for o in objects]))


def _recolored(scene: Scene, kinds: Sequence[tuple[str, Shape | str]]) -> Scene:
    objects: list[SceneObject] = []
    for item, (color, shape) in zip(scene.objects, kinds, strict=True):
        objects.append(item.with_changes(color=color, shape=shape))
    return scene.with_changes(objects=[o.model_dump() for o in objects])
