"""Parts of GLIDE, unCLIP and Imagen at their published sizes, counted without memory for their weights.

`pytest -s -n0 tests/t2i_core/training/test_paper_sizes.py` prints the table. Counted is what the published
hyperparameters give in the papers' own code; where it differs from what a paper prints, the print is rounded or counts
something else.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from t2i_core.models.adm_unet import ADMUNet
from t2i_core.models.config import ADMConfig, Sizes, TextTransformerConfig
from t2i_core.models.text_transformer import TextTransformer
from t2i_core.systems.build import build_stage
from t2i_core.systems.config import DiffusionConfig
from t2i_core.systems.diffusion import DiffusionStage
from t2i_core.training.preset import load_preset


def base(width: int, text_width: int, *, in_channels: int = 3, out_channels: int = 6) -> ADMConfig:
    """Give ADM for 64 pixels, as GLIDE, unCLIP and Imagen have it."""
    return ADMConfig(
        in_channels=in_channels,
        out_channels=out_channels,
        width=width,
        multiples=(1, 2, 3, 4),
        num_blocks=3,
        attention=(False, True, True, True),
        head_width=64,
        text_width=text_width,
        embedding_width=text_width,
        dropout=0.1,
    )


def upsampler(width: int, text_width: int) -> ADMConfig:
    """Give ADM for 256 pixels, which sees the small picture beside its own."""
    return ADMConfig(
        in_channels=6,
        out_channels=6,
        width=width,
        multiples=(1, 1, 2, 2, 4, 4),
        num_blocks=2,
        attention=(False, False, False, True, True, True),
        head_width=64,
        text_width=text_width,
        embedding_width=text_width,
    )


def plain(config: ADMConfig) -> ADMConfig:
    """Leave text and attention out."""
    none = (False,) * len(config.multiples)
    return config.with_changes(attention=none, middle_attention=False, text_width=0, embedding_width=0)


def text(width: int, num_layers: int, context_length: int = 128) -> TextTransformerConfig:
    return TextTransformerConfig(
        vocab_size=50258, context_length=context_length, width=width, num_layers=num_layers, num_heads=width // 64
    )


@dataclass(frozen=True, slots=True)
class Part:
    """Millions of weights that the published hyperparameters give, and that the paper prints."""

    name: str
    configs: tuple[ADMConfig | TextTransformerConfig, ...]
    counted: float
    printed: float

    def networks(self) -> list[nn.Module]:
        """Build them."""
        return [ADMUNet(c) if isinstance(c, ADMConfig) else TextTransformer(c) for c in self.configs]


# Those without a recipe of their own.
PARTS = (
    Part("GLIDE filtered base", (base(192, 512), text(512, 16)), 385.0, 300),
    Part("GLIDE filtered inpainting base", (base(192, 512, in_channels=7), text(512, 16)), 385.0, 300),
    Part("GLIDE filtered upsampler", (upsampler(192, 512), text(512, 16)), 398.4, 300),
    Part("unCLIP decoder", (base(512, 2048), text(2048, 24, 256)), 3554, 3500),
    Part("unCLIP upsampler to 256", (plain(base(320, 0, in_channels=6)),), 729.7, 700),
    Part("unCLIP upsampler to 1024", (plain(upsampler(192, 0)),), 282.1, 300),
    Part("Imagen base", (base(512, 4096, out_channels=3).with_changes(embedding_width=0),), 2379, 2000),
)


# Of which Imagen's networks are counted without what makes one embedding of the pooled caption and the level of noise.
UNCOUNTED = ("pooled", "level", "embedding")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_has_the_weights_that_its_paper_gives_it(part: Part) -> None:
    with torch.device("meta"):
        ours = sum(map(weights, part.networks()))

    check(part.name, ours, part.counted, part.printed)


@pytest.mark.parametrize(
    ("preset", "counted", "printed"),
    [
        ("glide-base-paper", (2242, 1312), (2300, 1200)),
        ("glide-cfg-paper", (2242, 1312), (2300, 1200)),
        ("glide-inpaint-paper", (2242, 1312), (2300, 1200)),
        ("glide-upsampler-paper", (1288, 253), (1500, 0)),
        ("glide-inpaint-upsampler-paper", (1288, 253), (1500, 0)),
    ],
)
def test_a_recipe_of_the_papers_size_has_its_weights(
    preset: str, counted: tuple[float, float], printed: tuple[float, float]
) -> None:
    config = load_preset(preset).system
    assert isinstance(config, DiffusionConfig)
    with torch.device("meta"):
        stage = DiffusionStage(config, Sizes(vocab_size=50258, context_length=128, image_size=config.side), {})

    parts = [weights(getattr(stage.network, name)) for name in ("unet", "text")]
    for name, *figures in zip(("visual", "text"), parts, counted, printed, strict=True):
        check(f"{preset}, {name}", *figures)
    check(preset, sum(parts), sum(counted), sum(printed))


@pytest.mark.parametrize(
    ("preset", "counted", "printed"),
    [
        ("unclip-prior-paper", 1324, 1000),
        ("unclip-decoder-paper", 3554 + 10.5, 3500),
        ("unclip-up1-paper", 729.7, 700),
        ("unclip-up2-paper", 282.1, 300),
    ],
)
def test_a_recipe_of_unclip_has_the_weights_of_its_paper(preset: str, counted: float, printed: float) -> None:
    check(preset, weights(of_unclip(preset)), counted, printed)


def test_the_blocks_of_the_priors_are_those_of_their_paper() -> None:
    for preset, counted in (("unclip-prior-paper", 1208), ("unclip-ar-prior-paper", 2005)):
        named = of_unclip(preset).named_parameters()

        check(f"{preset}, blocks", sum(p.numel() for name, p in named if ".blocks." in name) / 1e6, counted, 1000)


def of_unclip(preset: str) -> nn.Module:
    """Build a stage beside a CLIP of 1,024 dimensions and captions of 256 tokens."""
    config = load_preset(preset).system
    side = getattr(config, "side", 64)
    with torch.device("meta"):
        sizes = Sizes(vocab_size=50258, context_length=256, image_size=side, embedding_width=1024)
        return build_stage(config, sizes)


@pytest.mark.parametrize(
    ("preset", "counted", "printed"),
    # The last one is the one before without keys and values of its own places, 8.4 million.
    [("imagen-base-paper", 2379, 2000), ("imagen-sr1-paper", 490, 600), ("imagen-sr2-paper", 481.6, 400)],
)
def test_a_recipe_of_imagens_size_has_its_weights(preset: str, counted: float, printed: float) -> None:
    config = load_preset(preset).system
    assert isinstance(config, DiffusionConfig)
    sizes = Sizes(vocab_size=50258, context_length=128, image_size=config.side, feature_width=4096)
    with torch.device("meta"):
        unet = DiffusionStage(config, sizes, {}).network.unet
    assert isinstance(unet, nn.Module)
    apart = sum(weights(part) for name, part in unet.named_children() if name in UNCOUNTED)

    check(preset, weights(unet) - apart, counted, printed)


def check(name: str, ours: float, counted: float, printed: float) -> None:
    told = f"printed {printed:6.0f} M ({ours / printed - 1:+.1%})" if printed else "not printed"
    print(f"\n{name:38s} {ours:8.1f} M, counted {counted:8.1f} M ({ours / counted - 1:+.2%}), {told}")
    assert ours == pytest.approx(counted, rel=0.01)


def weights(network: nn.Module) -> float:
    """Count the weights of a network, in millions."""
    return sum(p.numel() for p in network.parameters()) / 1e6
