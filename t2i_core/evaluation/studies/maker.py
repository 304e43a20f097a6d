"""Who draws what is evaluated."""

from collections.abc import Sequence
from typing import Protocol

from t2i_core.evaluation.metrics.evidence import Pictures
from t2i_core.generation.config import DrawConfig


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
