"""How good are the embeddings that a prior makes of captions?

That they are near to the true one says little: the mean of all that fit a caption is nearest, and no picture has it. So
three things are asked. Do they tell their caption from others, how much nearer are they to a picture of their caption
than to those of others, and do they differ among each other as pictures of one caption do?
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.judges.statistics import Estimate, mean_by_prompt, share_by_prompt
from t2i_core.evaluation.metrics.evidence import Evidence
from t2i_core.evaluation.studies.ceiling import Embedded, Floats
from t2i_core.generation.asked import image_seed
from t2i_core.generation.eye import Eye
from t2i_core.generation.generator import Generator
from t2i_core.samples.scenes import laid_out_anew, render_scene

NUM_CAPTIONS, NUM_SPREAD, NUM_SAMPLES = 100, 24, 8
TRUE = "true pictures"
RETRIEVAL, COSINE, GAP, SPREAD = "retrieval", "cosine", "gap", "spread ratio"


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """Captions that ask for different things, and true embeddings.

    Attributes:
        texts: N captions.
        read: (N, E) float, their embeddings.
        images: (N, E), those of a picture of each.
        others: (M, K, E), those of other pictures of the first M.
    """

    texts: list[str]
    read: Floats
    images: Floats
    others: Floats


def captions_of(evidence: Evidence, test: Embedded, eye: Eye) -> Captions:
    """Choose captions of held-out pictures, and render more pictures of some."""
    order = np.random.default_rng(evidence.config.seed).permutation(len(test.scenes)).tolist()
    first = {test.scenes[row].combination: row for row in reversed(order)}
    rows = list(islice(dict.fromkeys(first[test.scenes[row].combination] for row in order), NUM_CAPTIONS))
    texts = [test.captions[row] for row in rows]
    anew = [
        np.stack(
            [np.asarray(render_scene(scene, eye.side)) for scene in laid_out_anew(test.scenes[row], i, NUM_SAMPLES)]
        )
        for i, row in enumerate(rows[:NUM_SPREAD])
    ]
    others = np.stack([eye.see(pictures).double().numpy() for pictures in anew])
    return Captions(texts, eye.read(texts).double().numpy(), test.images[rows], others)


def measured(
    evidence: Evidence, captions: Captions, generators: Mapping[str, Generator]
) -> dict[str, dict[str, Estimate]]:
    """Measure the priors, by who has one, and true pictures beside them."""
    found = {TRUE: _figures(evidence, captions, captions.images, captions.others)}
    # Of true pictures the nearest one would be the picture itself: another of the same caption is compared with it.
    found[TRUE] |= _nearness(evidence, captions, captions.others[:, 0])
    for who, generator in generators.items():
        images = imagined(generator, captions.texts, 1, evidence.config)[:, 0]
        several = imagined(generator, captions.texts[:NUM_SPREAD], NUM_SAMPLES, evidence.config)
        found[who] = _figures(evidence, captions, images, several)
    return found


def imagined(generator: Generator, texts: list[str], number: int, config: EvaluateConfig) -> Floats:
    """Have a prior make some embeddings of each of N captions: (N, number, E) float."""
    seeds = [image_seed(config.seed, text, i) for text in texts for i in range(number)]
    images = generator.imagined([text for text in texts for _ in range(number)], seeds, config)
    return np.asarray(images.double().cpu().numpy().reshape(len(texts), number, -1))


def _figures(evidence: Evidence, captions: Captions, images: Floats, several: Floats) -> dict[str, Estimate]:
    hits = (images @ captions.read.T).argmax(1) == np.arange(len(images))
    spread, true_spread = (each.var(axis=1, ddof=1).sum(axis=1) for each in (several, captions.others))
    return {
        RETRIEVAL: share_by_prompt([[float(hit)] for hit in hits], **evidence.resampling),
        **_nearness(evidence, captions, images),
        SPREAD: mean_by_prompt(spread / max(float(true_spread.mean()), 1e-12), **evidence.resampling),
    }


def _nearness(evidence: Evidence, captions: Captions, images: Floats) -> dict[str, Estimate]:
    """Compare the cosine of embeddings to pictures of their captions with that to pictures of all others."""
    cosines = images @ captions.images[: len(images)].T
    own, num = cosines.diagonal(), len(images)
    others = (cosines.sum(axis=1) - own) / max(num - 1, 1)
    how = evidence.resampling
    return {COSINE: mean_by_prompt(own.copy(), **how), GAP: mean_by_prompt(own - others, **how)}
