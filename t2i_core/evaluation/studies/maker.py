"""Who draws what is evaluated."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.metrics.benchmark import Benchmark
from t2i_core.evaluation.metrics.evidence import Drawn, Pictures
from t2i_core.generation.asked import image_seed
from t2i_core.generation.config import DrawConfig
from t2i_core.progress import OnProgress, Progress

BATCH = 32


class PictureMaker(Protocol):
    """Whatever draws pictures from prompts: a finished run or system, or a stand-in whose answers are known."""

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], config: DrawConfig) -> Pictures:
        """Draw one picture, (H, W, 3) uint8, a prompt and seed."""
        ...

    def prompt_words_unknown(self, prompt: str) -> list[str]:
        """List the words of a prompt that the system never learned."""
        ...

    @property
    def drawn_with(self) -> str:
        """Say which device and precision draw."""
        ...

    @property
    def image_size(self) -> int:
        """Side of its pictures, in pixels."""
        ...


def draw(
    maker: PictureMaker, benchmark: Benchmark, config: EvaluateConfig, name: str, on_progress: OnProgress
) -> Drawn:
    """Draw every prompt `images_per_prompt` times; seeds depend on prompt and index alone."""
    texts = [p.text for p in benchmark.prompts for _ in range(config.images_per_prompt)]
    seeds = [image_seed(config.seed, p.text, i) for p in benchmark.prompts for i in range(config.images_per_prompt)]
    batches = []
    for start in range(0, len(texts), BATCH):
        stop = start + BATCH
        batches.append(maker.generate(texts[start:stop], seeds[start:stop], config))
        on_progress(Progress(step=f"evaluate {name}", done=min(stop, len(texts)), total=len(texts), unit="pictures"))
    pictures = np.concatenate(batches)
    shape = (len(benchmark.prompts), config.images_per_prompt)
    return Drawn(pictures.reshape(*shape, *pictures.shape[1:]), np.array(seeds, dtype=np.int64).reshape(shape))
