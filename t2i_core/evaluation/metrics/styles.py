"""Things in styles that training never paired: is it the right thing, in the right style, among all the others?

Each picture is held against real pictures of all things that are asked for in all styles, and the most alike counts.
Likeness is measured by plain features, so that no network is judged by one of its kind; their ceiling stands beside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from t2i_core.evaluation.judges.drawings import color_distance, color_histograms, copied, features
from t2i_core.evaluation.judges.statistics import Estimate, mean_by_prompt, share_by_prompt
from t2i_core.evaluation.metrics.benchmark import Pair, pair_of
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.section import Block, Column, Figure, Row, Section, Table, Text

TITLE = "Held-out pairs of thing and style"
ROWS = {"model": "Model", "baseline": "Baseline", "real": "Real pictures drawn anew (ceiling)"}
LEAD = (
    "Of {num} real pictures, {things} things in {styles} styles, the one most like a picture shows the right thing, or "
    "the right style, or both. Likeness is measured by histograms of oriented gradients and of colors; none of it was "
    "learned. By chance both are right in 1 of {num}. Ceiling: the real pictures, drawn anew half a pixel aside. Bars "
    "go from 0 to 1."
)
COLOR_NOTE = (
    "Hellinger distance between histograms of 64 colors, 0 for the same colors and 1 for none in common: to the real "
    "picture, and to those of the same thing in other styles. Nearer: to the real one than to any of those."
)

Aspect = Literal["thing", "style", "both"]
Floats = npt.NDArray[np.float32]


class Candidates:
    """Real pictures of all things that are asked for: (N) pairs with their features and color histograms."""

    def __init__(self, evidence: Evidence) -> None:
        """Gather them from the splits, one a pair."""
        things = {prompt.pair.thing for prompt in evidence.benchmark.prompts if prompt.pair}
        pictures: dict[Pair, Pictures] = {}
        for split in (evidence.test, evidence.train):
            pairs = {n: pair for n, said in enumerate(split.attributes) if (pair := pair_of(said))}
            chosen = [n for n, pair in pairs.items() if pair.thing in things and pair not in pictures]
            pictures |= {pairs[n]: split.pictures([n])[0] for n in chosen}
        self.pairs = list(pictures)
        stacked = np.stack(list(pictures.values()))
        self._features, self._colors = features(stacked), color_histograms(stacked)

    def judge(self, pictures: Pictures, asked: Pair) -> "Found":
        """Hold pictures of one prompt, (K, H, W, 3) uint8, against all of them."""
        nearest = (features(pictures) @ self._features.T).argmax(axis=1)
        colors = color_histograms(pictures)[:, None]
        others = [n for n, pair in enumerate(self.pairs) if pair.thing == asked.thing and pair != asked]
        return Found(
            asked,
            [self.pairs[n] for n in nearest],
            color_distance(colors[:, 0], self._colors[self.pairs.index(asked)]),
            color_distance(colors, self._colors[others]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found about the K pictures of one prompt.

    Attributes:
        asked: what they are to show.
        alike: (K) what each is most alike to.
        to_real: (K) distance of their colors to the real picture's.
        to_others: (K, S) likewise to the same thing in other styles.
    """

    asked: Pair
    alike: Sequence[Pair]
    to_real: Floats
    to_others: Floats

    def right(self, aspect: Aspect) -> list[float]:
        """Say whether each is right: 1.0, or 0.0."""
        same_thing = [pair.thing == self.asked.thing for pair in self.alike]
        same_style = [pair.style == self.asked.style for pair in self.alike]
        if aspect != "both":
            return list(map(float, same_thing if aspect == "thing" else same_style))
        return [float(thing and style) for thing, style in zip(same_thing, same_style, strict=True)]


def measure(evidence: Evidence) -> Section:
    """Look for each picture among the real ones, where pairs were held out."""
    if evidence.benchmark.kind != "styles":
        return Section(title=TITLE)
    candidates = Candidates(evidence)
    real = np.stack([prompt.real for prompt in evidence.benchmark.prompts])
    pictures = {who: drawn.pictures for who, drawn in evidence.drawn.items()} | {"real": copied(real)[:, None]}
    pairs = [prompt.pair or Pair("", "") for prompt in evidence.benchmark.prompts]
    found = {who: [candidates.judge(*each) for each in zip(rows, pairs, strict=True)] for who, rows in pictures.items()}
    scores = {who: _scores(evidence, rows) for who, rows in found.items()}
    return Section(
        title=TITLE,
        key="styles",
        figures=_figures(scores["model"], scores["real"], len(candidates.pairs)),
        blocks=_blocks(evidence, found, scores, candidates),
        data={"num_candidates": len(candidates.pairs), "rows": scores},
        by_picture={who: [_records(row) for row in found[who]] for who in evidence.drawn},
    )


def _scores(evidence: Evidence, rows: Sequence[Found]) -> dict[str, Estimate]:
    how = evidence.resampling
    aspects: tuple[Aspect, ...] = ("thing", "style", "both")
    shares: dict[str, Estimate] = {
        aspect: share_by_prompt([row.right(aspect) for row in rows], **how) for aspect in aspects
    }
    nearer = [(row.to_real < row.to_others.min(axis=1)).astype(float).tolist() for row in rows if row.to_others.size]
    return {
        **shares,
        "color_distance": _mean([row.to_real for row in rows], evidence),
        "color_distance_to_other_styles": _mean([row.to_others for row in rows], evidence),
        "color_nearer": share_by_prompt(nearer, **how),
    }


def _mean(distances: Sequence[Floats], evidence: Evidence) -> Estimate:
    means = np.array([values.mean() for values in distances if values.size], dtype=np.float64)
    return mean_by_prompt(means, **evidence.resampling)


def _records(row: Found) -> list[dict[str, object]]:
    return [
        {
            "most_alike": pair._asdict(),
            "thing_right": bool(thing),
            "style_right": bool(style),
            "color_distance": round(float(distance), 4),
        }
        for pair, thing, style, distance in zip(
            row.alike, row.right("thing"), row.right("style"), row.to_real, strict=True
        )
    ]


def _figures(model: Mapping[str, Estimate], real: Mapping[str, Estimate], num: int) -> list[Figure]:
    among = f"among {num} real pictures; real ones drawn anew reach {real['both'].value:.2f}, chance is {1 / num:.4f}"
    return [
        Figure("thing and style right", model["both"], among, unit="%"),
        Figure("style right", model["style"], "whatever the thing", unit="%"),
    ]


def _blocks(
    evidence: Evidence,
    found: Mapping[str, Sequence[Found]],
    scores: Mapping[str, Mapping[str, Estimate]],
    candidates: Candidates,
) -> list[Block]:
    things, styles = ({pair[n] for pair in candidates.pairs} for n in (0, 1))
    lead = LEAD.format(num=len(candidates.pairs), things=len(things), styles=len(styles))
    columns = [
        Column("Both", "share", "both", "model"),
        Column("Thing", "share", "thing"),
        Column("Style", "share", "style"),
    ]
    rows = [Row(ROWS[who], [each[name] for name in ("both", "thing", "style")]) for who, each in scores.items()]
    rows += [_row_of(evidence, found["model"], style) for style in sorted(styles)]
    names = ("color_distance", "color_distance_to_other_styles", "color_nearer")
    colors = [Column("To the real picture", "figure"), Column("To other styles", "figure"), Column("Nearer", "share")]
    return [
        Text(lead, quiet=True),
        Table("Found among all", "Whose pictures", columns, rows),
        Table(
            "Colors",
            "Whose pictures",
            colors,
            [Row(ROWS[who], [each[name] for name in names]) for who, each in scores.items()],
            note=COLOR_NOTE,
        ),
    ]


def _row_of(evidence: Evidence, rows: Sequence[Found], style: str) -> Row:
    mine = [row for row in rows if row.asked.style == style]
    aspects: tuple[Aspect, ...] = ("both", "thing", "style")
    cells = [share_by_prompt([row.right(aspect) for row in mine], **evidence.resampling) for aspect in aspects]
    return Row(f"Model, {style}", cells, f"{len(mine)} prompts")
