"""What a picture costs, and that nothing but its prompt and seed decides it."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.diffusion.chance import Chance
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.generator import LARGE_ON_CPU, SMALL_ON_CPU, Generator
from t2i_core.generation.prompts import TokenizedPrompts
from t2i_core.models.config import Sizes
from t2i_core.systems.build import build_stage
from t2i_core.systems.condition import Condition
from t2i_core.systems.config import DiffusionConfig, UNetNetworkConfig
from t2i_core.systems.stage import Drawer, DrawSettings
from t2i_core.training.device import Compute, Precision

SIDE = 16
TOKENIZER = Tokenizer.train(["a red circle", "two blue squares"], vocab_size=20, context_length=8)
PROMPTS = ["a red circle", "two blue squares", "a blue circle"] * 7


class Clouds:
    """Draws noise, and notes how many pictures it was asked for at a time."""

    side, low_level = SIDE, 0.0

    def __init__(self, drift: float = 0) -> None:
        self.sizes, self.drift = list[int](), drift

    def draw(self, condition: Condition, shape: Sequence[int], chance: Chance, settings: DrawSettings) -> Tensor:
        self.sizes.append(len(chance.samples))
        return chance.normal("eps", shape) + self.drift * len(chance.samples)


def generator(drawer: Drawer, precision: Precision = "float32") -> Generator:
    compute = Compute(device="cpu", precision=precision)
    return Generator({"base": drawer}, {"base": TokenizedPrompts(TOKENIZER)}, compute)


@pytest.fixture(scope="module")
def stage() -> Drawer:
    """A diffusion stage in which no layer starts at zero."""
    torch.manual_seed(0)
    sizes = Sizes(vocab_size=TOKENIZER.vocab_size, context_length=8, image_size=SIDE)
    unet = UNetNetworkConfig(text_layers=1, channels=(16, 32), text_width=32, embedding_width=32, head_width=16)
    made = build_stage(DiffusionConfig(network=unet, num_steps=3), sizes).eval()
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    assert isinstance(made, Drawer)
    return made


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("settings", [{}, {"sampler": "ddpm", "guidance_scale": 1}, {"negative_prompt": "red"}])
def test_a_picture_is_the_same_bits_alone_among_many_and_in_any_order(
    stage: Drawer, precision: Precision, settings: dict[str, object]
) -> None:
    draws, config = generator(stage, precision), DrawConfig.parse(settings)
    seeds = list(range(len(PROMPTS)))
    many = draws.generate(PROMPTS, seeds, config)
    order = np.random.default_rng(0).permutation(len(PROMPTS))

    shuffled = draws.generate([PROMPTS[i] for i in order], [seeds[i] for i in order], config)

    assert (shuffled == many[order]).all()
    for i in (0, 5, 20):
        assert (generator(stage, precision).generate([PROMPTS[i]], [i], config)[0] == many[i]).all()
    assert len({picture.tobytes() for picture in many}) == len(many)


def test_one_picture_is_drawn_alone_and_many_in_large_batches() -> None:
    clouds = Clouds()
    draws = generator(clouds)

    draws.generate(["a red circle"], [0], DrawConfig())
    assert sum(clouds.sizes) == 1

    clouds.sizes.clear()
    draws.generate(PROMPTS[:20], range(20), DrawConfig())
    tried = [*[SMALL_ON_CPU] * (LARGE_ON_CPU // SMALL_ON_CPU), LARGE_ON_CPU]
    assert clouds.sizes == [*tried, 8, 8, 1, 1, 1, 1]

    clouds.sizes.clear()
    draws.generate(PROMPTS[:16], range(16), DrawConfig())
    assert clouds.sizes == [8, 8]


def test_where_large_batches_give_other_bits_all_are_small() -> None:
    clouds = Clouds(drift=1e-3)
    draws = generator(clouds)

    many = draws.generate(PROMPTS, range(len(PROMPTS)), DrawConfig())

    assert set(clouds.sizes[-21:]) == {SMALL_ON_CPU}
    assert (draws.generate(PROMPTS[:1], [0], DrawConfig())[0] == many[0]).all()


def test_no_prompt_is_no_picture() -> None:
    assert generator(Clouds()).generate([], [], DrawConfig()).shape == (0, SIDE, SIDE, 3)
