"""Does the model copy? How near its pictures are to training, beside real ones that training never saw.

Where prompts are training captions, being near is what is asked: then recall is the figure.
"""

import numpy as np

from t2i_core.evaluation.judges.neighbours import Neighbours, recall_at_1
from t2i_core.evaluation.judges.statistics import Estimate, share_by_prompt, wilson
from t2i_core.evaluation.metrics.evidence import Evidence
from t2i_core.evaluation.metrics.failures import picture_of
from t2i_core.evaluation.metrics.section import (
    Block,
    Figure,
    Group,
    Picture,
    Pictures,
    Section,
    Text,
)

TITLE = "Nearest training pictures"
NUM_CLOSEST = 12
EXPECTED = {
    "scenes": "In a small closed world near-coincidences are expected, so held-out pictures set the scale.",
    "styles": "The same thing in another style may be near, as it is for held-out pictures, which set the scale.",
    "captions": "The prompts are training captions, so being near is what is asked.",
}
# A share of pictures near to training that is surely above this is worth a look; chance is 0.01.
COPYING_WARN = 0.05


def measure(evidence: Evidence) -> Section:
    """Look for copies of training pictures; for training captions, also whether the right one is drawn."""
    if not evidence.has_neighbours:
        reason = "Search for copies of training pictures: switched off, or there is nothing to compare with."
        return Section(title=TITLE, key="copies", not_scored=[reason])
    found = evidence.neighbours
    recall = _recall(evidence, found) if evidence.benchmark.kind == "captions" else None
    return Section(
        title=TITLE,
        key="copies",
        figures=[_closeness(found)] if recall is None else [_recalled(recall)],
        blocks=_blocks(evidence, found),
        data=found.as_dict() | ({"recall_at_1": recall} if recall else {}),
    )


def _recall(evidence: Evidence, found: Neighbours) -> Estimate:
    """Ask how often the nearest training picture is the prompt's own."""
    drawn = evidence.drawn["model"]
    pictures = drawn.pictures.reshape(-1, *drawn.pictures.shape[2:])
    own = np.repeat(np.stack([p.real for p in evidence.benchmark.prompts]), drawn.seeds.shape[1], axis=0)
    hits = recall_at_1(pictures, own, found).reshape(drawn.seeds.shape)
    return share_by_prompt(hits.astype(float).tolist(), **evidence.resampling)


def _recalled(recall: Estimate) -> Figure:
    return Figure("training pictures recalled", recall, "of all training pictures the nearest is the prompt's own")


def _closeness(found: Neighbours) -> Figure:
    share = wilson(found.num_closer, len(found.generated))
    name = "close to training pictures"
    if share.low > COPYING_WARN:
        note = "more than held-out real pictures are: look at the nearest training pictures below"
        return Figure(name, share, note, "warn", "%")
    return Figure(name, share, "closer than 99 % of real pictures that training never saw; chance is 1 %", unit="%")


def _blocks(evidence: Evidence, found: Neighbours) -> list[Block]:
    data, expected = found.as_dict(), EXPECTED[evidence.benchmark.kind]
    lead = (
        f"Left generated, right the nearest of {found.num_train:,} training pictures ({data['distance']}). Median "
        f"distance {data['median_generated']:.1f}, of held-out real pictures {data['median_held_out']:.1f}. {expected}"
    )
    return [Text(lead, quiet=True), Pictures("", [("", "", _closest(evidence, found))])]


def _closest(evidence: Evidence, found: Neighbours) -> list[Group]:
    """Pair the generated pictures that are nearest to training with what they are near to."""
    closest = np.argsort(found.generated, kind="stable")[:NUM_CLOSEST].tolist()
    per_prompt = evidence.drawn["model"].seeds.shape[1]
    nearest = evidence.train.pictures(found.nearest[closest].tolist())
    return [
        Group(
            [picture_of(evidence, "model", *divmod(index, per_prompt)), Picture(pixels, "nearest training picture")],
            caption=f"distance {found.generated[index]:.1f}",
        )
        for index, pixels in zip(closest, nearest, strict=True)
    ]
