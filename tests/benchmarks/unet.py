"""Images/s of the ADM U-Net beside diffusers' U-Net of the same blocks, in training and in sampling.

Usage: python tests/benchmarks/unet.py [--kind toy|glide] [--rounds 5] [--clock wall|cpu] [--profile] [--peer-env DIR]

diffusers is installed into an environment of its own (--peer-env, kept for the next time), which sees this one's
PyTorch. Its network has the same channels, blocks, residual resampling, scale-shift norms, levels that attend, and text
beside their keys and values; where ours folds patches into channels, it gets the folded picture. All take turns, round
by round, in one process; medians are printed, ratios taken inside each round, beside the machine's rate of matrix
products. A training step is forward, backward and AdamW; a sampling step is one of several forwards in a row. With
--clock cpu and OMP_NUM_THREADS=1 the time that this process computed counts, which other programs disturb less; threads
that wait for each other compute too.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from t2i_core.models.adm_unet import ADMUNet
from t2i_core.models.config import ADM_GROUPS, ADMConfig
from t2i_core.training.device import choose_device, synchronize
from t2i_core.training.supervisor import KEEP_MEMORY

ROOT = Path(__file__).parents[2]
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
NUM_TOKENS, MATRIX_SIDE = 24, 2048
# Of each piece of work that is timed.
STEPS = {"train": 1, "sample": 4}


@dataclass(frozen=True, slots=True)
class Kind:
    """A network, and what it is measured on."""

    config: ADMConfig
    side: int
    batch_size: int


KINDS = {
    # The recipe glide-base, without coordinates.
    "toy": Kind(
        ADMConfig(out_channels=6, patch_size=2, num_blocks=1, text_width=128, embedding_width=128),
        side=32,
        batch_size=32,
    ),
    # GLIDE's base as published, an eighth as wide.
    "glide": Kind(
        ADMConfig(
            out_channels=6,
            width=64,
            multiples=(1, 2, 3, 4),
            num_blocks=3,
            attention=(False, True, True, True),
            head_width=64,
            text_width=256,
            embedding_width=256,
        ),
        side=64,
        batch_size=4,
    ),
}


@dataclass(frozen=True, slots=True)
class Given:
    """What a network reads, and what it is to predict."""

    x: Tensor
    t: Tensor
    embedding: Tensor
    tokens: Tensor
    target: Tensor


class Peer(nn.Module):
    """diffusers' U-Net with the same blocks."""

    def __init__(self, config: ADMConfig) -> None:
        super().__init__()
        from diffusers import UNet2DConditionModel

        self.patch_size = config.patch_size
        down = ["SimpleCrossAttnDownBlock2D" if attends else "ResnetDownsampleBlock2D" for attends in config.attention]
        up = ["SimpleCrossAttnUpBlock2D" if attends else "ResnetUpsampleBlock2D" for attends in config.attention]
        self.unet = UNet2DConditionModel(
            in_channels=config.in_channels * config.patch_size**2,
            out_channels=config.out_channels * config.patch_size**2,
            block_out_channels=config.channels,
            layers_per_block=config.num_blocks,
            down_block_types=tuple(down),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn" if config.middle_attention else None,
            up_block_types=tuple(reversed(up)),
            attention_head_dim=config.head_width,
            cross_attention_dim=config.text_width,
            norm_num_groups=ADM_GROUPS,
            resnet_time_scale_shift="scale_shift",
            time_embedding_dim=4 * config.width,
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=config.embedding_width,
        )

    def forward(self, x: Tensor, t: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
        folded = F.pixel_unshuffle(x, self.patch_size)
        out: Tensor = self.unet(folded, 1000 * t, tokens, class_labels=embedding).sample
        return F.pixel_shuffle(out, self.patch_size)


@dataclass(frozen=True, slots=True)
class Contender:
    """A network in one precision and layout, and what its weights are trained with."""

    network: nn.Module
    precision: torch.dtype
    layout: torch.memory_format
    optimizer: torch.optim.Optimizer

    @classmethod
    def make(cls, network: nn.Module, precision: torch.dtype, layout: torch.memory_format, device: str) -> "Contender":
        network = network.to(device).to(memory_format=layout)
        return cls(network, precision, layout, torch.optim.AdamW(network.parameters(), fused=True))

    def train(self, given: Given) -> None:
        with self.precisely(given):
            prediction = self.predict(given)
        (prediction.float() - given.target).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def sample(self, given: Given) -> None:
        """Do some steps as in one drawing, which casts the weights once."""
        with torch.no_grad(), self.precisely(given):
            for _ in range(STEPS["sample"]):
                self.predict(given)

    def predict(self, given: Given) -> Tensor:
        out: Tensor = self.network(
            given.x.contiguous(memory_format=self.layout), given.t, given.embedding, given.tokens
        )
        return out

    def precisely(self, given: Given) -> torch.autocast:
        return torch.autocast(given.x.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", choices=KINDS, default="toy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--peer-env", type=Path, default=Path("workspace/benchmark/diffusers"))
    args = parser.parse_args()
    if find_spec("diffusers") is None or not KEEP_MEMORY.keys() <= os.environ.keys():
        python = sys.executable if find_spec("diffusers") else str(install_peer(args.peer_env, "diffusers"))
        os.execve(python, [python, *sys.argv], KEEP_MEMORY | dict(os.environ) | {"PYTHONPATH": str(ROOT)})
    kind, device = KINDS[args.kind], choose_device()
    given, contenders = make_given(kind, device), make_contenders(kind.config, device)
    ours = contenders["t2i bf16"]
    print(f"{args.kind}: {kind.side} px, batch {kind.batch_size}, {device}, {torch.get_num_threads()} threads")
    for name in ("t2i bf16", "diffusers fp32"):
        count = sum(p.numel() for p in contenders[name].network.parameters())
        print(f"{name.split()[0]:10s} {count / 1e6:6.2f} M weights")
    for work in ("train", "sample"):
        rounds = list(measure(contenders, given, work, args.rounds, lambda: clock_of(args.clock, device)))
        report(work, rounds, count_flops(ours, given, work), kind.batch_size * STEPS[work])
        if args.profile:
            tell_profile(ours, given, work)


def install_peer(folder: Path, package: str, *options: str) -> Path:
    """Give the Python of an environment that has a package beside those of this one."""
    python = folder.resolve() / "bin" / "python"
    if not list(folder.glob(f"lib/*/site-packages/{package.replace('-', '_')}")):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", package, *options], check=True)
    (site,) = folder.glob("lib/*/site-packages")
    paths = [sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))]
    (site / "t2i.pth").write_text("".join(f"{path}\n" for path in dict.fromkeys(paths)))
    return python


def make_given(kind: Kind, device: str) -> Given:
    torch.manual_seed(0)
    config, batch, side = kind.config, kind.batch_size, kind.side
    shapes = [(config.in_channels, side, side), (), (config.embedding_width,), (NUM_TOKENS, config.text_width)]
    x, t, embedding, tokens = (torch.randn(batch, *shape, device=device) for shape in shapes)
    return Given(x, t.sigmoid(), embedding, tokens, torch.randn(batch, config.out_channels, side, side, device=device))


def make_contenders(config: ADMConfig, device: str) -> dict[str, Contender]:
    """Give our network as it is trained, and diffusers' in the ways that one may run it."""
    plain, last, bf16 = torch.contiguous_format, torch.channels_last, torch.bfloat16
    return {
        "t2i bf16": Contender.make(ADMUNet(config), bf16, last, device),
        "diffusers bf16, channels last": Contender.make(Peer(config), bf16, last, device),
        "diffusers bf16": Contender.make(Peer(config), bf16, plain, device),
        "diffusers fp32": Contender.make(Peer(config), torch.float32, plain, device),
    }


def clock_of(name: str, device: str) -> float:
    synchronize(device)
    return CLOCKS[name]()


def measure(
    contenders: dict[str, Contender], given: Given, work: str, rounds: int, now: Callable[[], float]
) -> Iterator[dict[str, float]]:
    """Give the seconds that each contender and a product of matrices take, round by round."""
    matrix = torch.randn(MATRIX_SIDE, MATRIX_SIDE, device=given.x.device).bfloat16()
    works: dict[str, Callable[[], Any]] = {"matrix": lambda: [matrix @ matrix for _ in range(10)]}
    works |= {name: lambda c=c: getattr(c, work)(given) for name, c in contenders.items()}
    for number in range(rounds + 1):
        seconds = {}
        for name, call in works.items():
            start = now()
            call()
            seconds[name] = now() - start
        if number:  # the first warms up
            yield seconds


def count_flops(contender: Contender, given: Given, work: str) -> float:
    """Count multiply-adds as two, by PyTorch's own counter."""
    with FlopCounterMode(display=False) as counter:
        getattr(contender, work)(given)
    return float(counter.get_total_flops())


def report(work: str, rounds: list[dict[str, float]], flops: float, images: int) -> None:
    rate = median(10 * 2 * MATRIX_SIDE**3 / seconds["matrix"] for seconds in rounds)
    share = median(flops * seconds["matrix"] / (10 * 2 * MATRIX_SIDE**3) / seconds["t2i bf16"] for seconds in rounds)
    print(f"\n{work}: {flops / images / 1e9:.2f} GFLOP an image, bf16 matrix product {rate / 1e9:.0f} GFLOP/s")
    for name in [name for name in rounds[0] if name != "matrix"]:
        speed = median(images / seconds[name] for seconds in rounds)
        ratio = median(seconds[name] / seconds["t2i bf16"] for seconds in rounds)
        told = f"{share:6.0%} of the matrix rate" if name == "t2i bf16" else f"{ratio:6.2f} x is t2i"
        print(f"{name:32s} {speed:8.1f} images/s {told}")


def tell_profile(contender: Contender, given: Given, work: str) -> None:
    with profile() as seen:
        getattr(contender, work)(given)
    print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=50))


if __name__ == "__main__":
    main()
