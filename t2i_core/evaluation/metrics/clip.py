"""CLIP score and R-precision, shown only of a CLIP that passed its gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from t2i_core.evaluation.judges.clip_gate import ClipGate, RealPair, check_clip
from t2i_core.evaluation.judges.clip_score import (
    ClipIdentity,
    ClipScorer,
    cosine_x100,
    hessel,
    r_precision,
    with_prefix,
)
from t2i_core.evaluation.judges.statistics import Estimate, mean_by_prompt, share_by_prompt, skill
from t2i_core.evaluation.metrics.benchmark import Benchmark, scene_of
from t2i_core.evaluation.metrics.evidence import Evidence, RealPictures, Resampling
from t2i_core.evaluation.metrics.section import (
    Block,
    Chart,
    Column,
    Figure,
    Gate,
    Level,
    Mark,
    Row,
    Section,
    Table,
    Text,
)
from t2i_core.samples.scenes import Scene, caption_scene

Floats = npt.NDArray[np.float64]
Pictures = npt.NDArray[np.uint8]

# Texts that a picture is ranked among, and distinct real pairs that a gate needs.
NUM_CANDIDATES, MIN_PAIRS = 100, 10
SUMMARY_TITLES = {
    "skill": "Skill: 0 = ignores the prompt, 1 = as good as real pictures",
    "r_precision": "R-precision",
    "cosine": "Mean cosine",
    "cosine_x100": "CLIP score, 100 × max(cos, 0)",
    "hessel": "CLIP score, Hessel: 2.5 × max(cos, 0), prefix “A photo depicts ”",
}


def measure(evidence: Evidence) -> Section:
    """Score the model's pictures, if there is a CLIP and enough to try it on."""
    if evidence.scorer is None:
        return Section(title="CLIP", key="clip", not_scored=["CLIP score and R-precision: no CLIP was given."])
    config = evidence.config
    pairs = real_pairs(evidence.test, config.num_real)
    if len(pairs) < MIN_PAIRS:
        reason = f"CLIP score: {len(pairs)} distinct real test pictures are too few to check a CLIP with."
        return Section(title="CLIP", key="clip", not_scored=[reason])
    scores = score_clip(
        evidence.scorer,
        evidence.benchmark,
        evidence.drawn["model"].pictures,
        pairs,
        min_auc=config.clip_min_auc,
        min_recall_lift=config.clip_min_recall_lift,
        **evidence.resampling,
    )
    return section_of(scores)


def section_of(scores: "ClipScores") -> Section:
    """Lay out the scores; what its gate does not carry is withheld with the reason."""
    gate = scores.gate
    notes = []
    if not gate.passed:
        notes.append(f"CLIP score and R-precision: withheld, because {gate.reason}.")
    if scores.num_truncated:
        notes.append(f"{scores.num_truncated} texts were longer than the CLIP reads and were cut.")
    level: Level = "bad" if not gate.passed else "warn" if gate.failures else "good"
    return Section(
        title="CLIP",
        key="clip",
        figures=[_skill(scores)],
        gates=[Gate("CLIP gate", level)],
        blocks=[_identity(scores), *_findings(scores), _checks(gate)],
        data=scores.as_dict(),
        by_picture={"model": [[{"cosine": round(float(c), 6)} for c in row] for row in scores.cosines]},
        not_scored=notes,
    )


def _skill(scores: "ClipScores") -> Figure:
    skill = scores.summary.get("skill")
    if scores.gate.why_no_headline:
        return Figure("CLIP skill", None, scores.gate.why_no_headline, "warn")
    if skill is None:
        return Figure("CLIP skill", None, "real and shuffled pairs cannot be told apart", "warn")
    return Figure("CLIP skill", skill, "0 ignores the prompt, 1 is as good as real")


def _identity(scores: "ClipScores") -> Text:
    clip = scores.identity
    activation = ", QuickGELU" if clip.quick_gelu else ""
    return Text(
        f"`{clip.spec}`, {clip.image_size} px, {clip.context_length} tokens, weights `{clip.weights_sha256[:16]}`"
        f"{activation}. {scores.num_truncated} texts cut."
    )


def _findings(scores: "ClipScores") -> list[Block]:
    gate = scores.gate
    blind = Mark(f"blind to {', '.join(gate.blind_to)}", "bad")
    blocks: list[Block] = [Text("On these, the score says nothing.", blind)] if gate.blind_to else []
    if not gate.passed:
        return [*blocks, Text(f"{gate.reason}.", Mark("score withheld", "bad"))]
    if gate.why_no_headline:
        meaning = "The figures below say how such a CLIP likes the pictures, not how right they are."
        blocks.append(Text(f"{gate.why_no_headline}. {meaning}", Mark("no headline", "warn")))
    titles = SUMMARY_TITLES | {"r_precision": f"R-precision (chance {scores.chance:.3f})"}
    rows = [Row(title, [scores.summary[name]]) for name, title in titles.items() if name in scores.summary]
    samples = {"model": scores.cosines, "real pictures": scores.real, "model, other prompts": scores.shuffled}
    return [
        *blocks,
        Table("Scores", "Figure", [Column("Model", "figure", "score")], rows),
        Chart("Cosine of picture and prompt", "cosine", samples=samples),
    ]


def _checks(gate: ClipGate) -> Table:
    columns = ["Value", "Chance", "Needed for a score", "Outcome"]
    rows = [
        Row(
            check.name,
            [
                f"{check.value.value:.3f}",
                f"{check.chance:.3f}",
                "for a headline only" if check.needed is None else f"{check.needed:.3f}",
                Mark("passed", "good") if check.passed else Mark("failed", "bad"),
            ],
        )
        for check in gate.checks
    ]
    return Table(f"Gate, on {gate.num_real} real test pictures", "Check", [Column(title) for title in columns], rows)


def real_pairs(test: RealPictures, num: int) -> list[RealPair]:
    """Take real test pictures, distinct by specification or caption, in the split's order."""
    found: dict[str, tuple[int, str, Scene | None]] = {}
    for index, (caption, attributes) in enumerate(zip(test.captions, test.attributes, strict=True)):
        scene = scene_of(attributes)
        name, text = (scene.combination, caption_scene(scene)) if scene else (caption, caption)
        found.setdefault(name, (index, text, scene))
        if len(found) == num:
            break
    pictures = test.pictures([index for index, _, _ in found.values()])
    return [RealPair(picture, text, scene) for picture, (_, text, scene) in zip(pictures, found.values(), strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class ClipScores:
    """The CLIP section.

    Attributes:
        identity: which CLIP.
        gate: whether it may judge, and what it is blind to.
        cosines: (P, K) raw cosine of every picture with its own prompt.
        real: (P,) cosine of the real picture of each prompt.
        shuffled: (P,) mean cosine of a prompt's pictures with the other prompts of its task; NaN where there are none.
        summary: derived figures by name.
        chance: of R-precision by luck.
        num_truncated: texts that were cut.
    """

    identity: ClipIdentity
    gate: ClipGate
    cosines: Floats
    real: Floats
    shuffled: Floats
    summary: dict[str, Estimate]
    chance: float
    num_truncated: int

    def as_dict(self) -> dict[str, Any]:
        """Give the findings by name; the figures are left out when the gate withholds them."""
        return {
            "identity": self.identity,
            "gate": {n: getattr(self.gate, n) for n in ("passed", "reason", "blind_to", "num_real", "checks")},
            "withheld": not self.gate.passed,
            "no_headline": self.gate.why_no_headline,
            "summary": self.summary if self.gate.passed else {},
            "r_precision_chance": round(self.chance, 6),
            "num_truncated": self.num_truncated,
        }


def score_clip(
    scorer: ClipScorer,
    benchmark: Benchmark,
    pictures: Pictures,
    pairs: Sequence[RealPair],
    *,
    min_auc: float,
    min_recall_lift: float,
    **how: Unpack[Resampling],
) -> ClipScores:
    """Pass a CLIP through its gate and score pictures with it.

    Args:
        scorer: the CLIP.
        benchmark: the prompts.
        pictures: (P, K, H, W, 3) uint8 of the model.
        pairs: real held-out pairs for the gate, distinct by caption.
        min_auc: see `check_clip`.
        min_recall_lift: see `check_clip`.
        **how: seed of shuffling and resampling, and resamples.
    """
    gate = check_clip(scorer, pairs, min_auc=min_auc, min_recall_lift=min_recall_lift, seed=how["seed"])
    num_prompts, num_images = pictures.shape[:2]
    texts = [prompt.text for prompt in benchmark.prompts]
    images = scorer.embed_images(pictures.reshape(-1, *pictures.shape[2:]))
    own, prefixed = scorer.embed_texts(texts), scorer.embed_texts([with_prefix(text) for text in texts])
    owner = np.repeat(np.arange(num_prompts), num_images)
    cosines = (images * own[owner]).sum(axis=1).reshape(num_prompts, num_images)
    with_prefixes = (images * prefixed[owner]).sum(axis=1).reshape(num_prompts, num_images)
    real = (scorer.embed_images(np.stack([p.real for p in benchmark.prompts])) * own).sum(axis=1)
    shuffled = _shuffled_cosines(benchmark, (images @ own.T).reshape(num_prompts, num_images, num_prompts))
    hits, chance = _r_precision(scorer, benchmark, images, own, pairs, how["seed"])
    groups = benchmark.groups(range(num_prompts))

    def mean(values: Floats) -> Estimate:
        by_prompt = values.mean(axis=1)
        grouped = np.array([by_prompt[group].mean() for group in groups])
        return mean_by_prompt(grouped, **how)

    summary = {
        "cosine": mean(cosines),
        "cosine_x100": mean(cosine_x100(cosines)),
        "hessel": mean(hessel(with_prefixes)),
    }
    by_prompt = (cosines.mean(axis=1), shuffled, real)
    grouped = [np.array([values[group].mean() for group in groups]) for values in by_prompt]
    paired = ~np.isnan(grouped[1])
    placed = skill(*(values[paired] for values in grouped), **how)
    if placed:
        summary["skill"] = placed
    by_picture = hits.reshape(num_prompts, num_images).astype(float)
    summary["r_precision"] = share_by_prompt([by_picture[group].ravel().tolist() for group in groups], **how)
    return ClipScores(scorer.identity, gate, cosines, real, shuffled, summary, chance, scorer.num_truncated)


def _r_precision(
    scorer: ClipScorer, benchmark: Benchmark, images: Floats, own: Floats, pairs: Sequence[RealPair], seed: int
) -> tuple[npt.NDArray[np.bool_], float]:
    """Rank each picture's own text among texts that ask for something else; `own` is (P, D), `images` (P * K, D)."""
    meanings = [prompt.meaning for prompt in benchmark.prompts]
    others = {p.scene.combination if p.scene else p.caption: p.caption for p in pairs}
    others = {meaning: text for meaning, text in others.items() if meaning not in set(meanings)}
    first = {meaning: row for row, meaning in reversed(list(enumerate(meanings)))}
    rivals = scorer.embed_texts(list(others.values())) if others else own[:0]
    hits = np.zeros(len(images), dtype=bool)
    chance = 1.0
    for p, meaning in enumerate(meanings):
        # The own text in the prompt's own words, all else once and in plain words.
        texts = np.concatenate([own[[p]], own[[row for m, row in first.items() if m != meaning]], rivals])
        mine = np.arange(len(images)) // (len(images) // len(own)) == p
        hits[mine], chance = r_precision(
            images[mine], [0] * int(mine.sum()), texts, num_candidates=NUM_CANDIDATES, seed=seed + p
        )
    return hits, chance


def _shuffled_cosines(benchmark: Benchmark, table: Floats) -> Floats:
    """Average each prompt's pictures against prompts of its task that ask for something else; `table` is (P, K, P)."""
    means = np.full(len(table), np.nan)
    for rows in benchmark.by_task().values():
        for group in benchmark.groups(rows):
            others = [row for row in rows if row not in group]
            if others:
                means[group] = table[group][:, :, others].mean(axis=(1, 2))
    return means
