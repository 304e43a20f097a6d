"""Images/s of training Imagen's base at toy size, beside imagen-pytorch's base of about as many weights.

Usage: python tests/benchmarks/imagen.py [--rounds 5] [--clock wall|cpu] [--peer-env DIR]

imagen-pytorch is installed into an environment of its own (--peer-env, kept for the next time), which sees this one's
PyTorch. Both see the same pictures of 32 pixels and features of 24 tokens, 64 at a time, each as its own trainer does:
ours in bfloat16, channels last; the peer in float32 and in bfloat16. They take turns, round by round; medians are
printed, ratios taken inside each round. A step is the loss, its gradient and AdamW. With --clock cpu and
OMP_NUM_THREADS=1 the time that this process computed counts, which other programs disturb less.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from unet import CLOCKS, ROOT, clock_of, install_peer

from t2i_core.diffusion.chance import Chance
from t2i_core.models.config import Sizes
from t2i_core.systems.build import build_stage
from t2i_core.systems.condition import Condition, Text
from t2i_core.systems.stage import Batch
from t2i_core.training.device import choose_device
from t2i_core.training.preset import load_preset
from t2i_core.training.supervisor import KEEP_MEMORY

SIDE, BATCH_SIZE, NUM_TOKENS, FEATURE_WIDTH = 32, 64, 24, 384
# Of the peer, those that its package imports and this project lacks.
NEEDS = ("einops-exts", "ema-pytorch", "pytorch-warmup", "beartype", "einops", "accelerate", "kornia", "--no-deps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--peer-env", type=Path, default=Path("workspace/benchmark/imagen"))
    args = parser.parse_args()
    if find_spec("imagen_pytorch") is None or not KEEP_MEMORY.keys() <= os.environ.keys():
        installed = find_spec("imagen_pytorch") is not None
        python = sys.executable if installed else str(install_peer(args.peer_env, "imagen-pytorch", *NEEDS))
        os.execve(python, [python, *sys.argv], KEEP_MEMORY | dict(os.environ) | {"PYTHONPATH": str(ROOT)})
    device = choose_device()
    torch.manual_seed(0)
    pictures = torch.rand(BATCH_SIZE, 3, SIDE, SIDE, device=device)
    features = torch.randn(BATCH_SIZE, NUM_TOKENS, FEATURE_WIDTH, device=device)
    steps = make_steps(pictures, features, device)
    rounds = []
    for number in range(args.rounds + 1):
        seconds = {}
        for name, step in steps.items():
            start = clock_of(args.clock, device)
            step()
            seconds[name] = clock_of(args.clock, device) - start
        rounds += [seconds] if number else []  # the first warms up
    print(f"{SIDE} px, batch {BATCH_SIZE}, {device}, {torch.get_num_threads()} threads")
    for name in steps:
        speed = median(BATCH_SIZE / seconds[name] for seconds in rounds)
        ratio = median(seconds[name] / seconds["t2i bf16"] for seconds in rounds)
        print(f"{name:24s} {speed:8.1f} images/s {ratio:6.2f} x as long as t2i")


def make_steps(pictures: Tensor, features: Tensor, device: str) -> dict[str, Callable[[], None]]:
    stage = our_base().to(device).to(memory_format=torch.channels_last)
    mask = torch.ones(features.shape[:2], dtype=torch.bool, device=device)
    keep = {"text": torch.arange(BATCH_SIZE, device=device) % 10 > 0}
    condition = Condition(text=Text.of(features, mask), keep=keep)
    chance = Chance(0, torch.arange(BATCH_SIZE, device=device))
    target = (2 * pictures - 1).contiguous(memory_format=torch.channels_last)
    batch = Batch(target=target, condition=condition, chance=chance)

    def ours() -> Tensor:
        return stage.loss(batch).total

    steps = {"t2i bf16": trained(stage, ours, torch.bfloat16, device)}
    for name, precision in (("imagen-pytorch fp32", torch.float32), ("imagen-pytorch bf16", torch.bfloat16)):
        peer = peers_base().to(device)
        steps[name] = trained(
            peer, lambda peer=peer: peer(pictures, text_embeds=features, unet_number=1), precision, device
        )
    return steps


def our_base() -> nn.Module:
    preset = load_preset("glide-base", ["system.network.text=features"])
    sizes = Sizes(vocab_size=64, context_length=NUM_TOKENS, image_size=SIDE, feature_width=FEATURE_WIDTH)
    return told(build_stage(preset.system, sizes), "t2i")


def peers_base() -> nn.Module:
    """Build the peer's base; importing it asks a hub for the width of a T5, which is not used here."""
    import transformers

    transformers.T5Config.from_pretrained = classmethod(lambda cls, *_, **__: cls(d_model=FEATURE_WIDTH))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from imagen_pytorch import Imagen, Unet
    unet = Unet(
        dim=32,
        cond_dim=128,
        dim_mults=(1, 2, 4),
        num_resnet_blocks=1,
        layer_attns=(False, False, True),
        layer_cross_attns=(False, True, True),
        text_embed_dim=FEATURE_WIDTH,
    )
    return told(Imagen(unets=(unet,), image_sizes=SIDE, text_embed_dim=FEATURE_WIDTH, cond_drop_prob=0.1), "peer")


def told(network: nn.Module, name: str) -> nn.Module:
    print(f"{name:6s} {sum(p.numel() for p in network.parameters()) / 1e6:6.2f} M weights")
    return network


def trained(network: nn.Module, loss: Callable[[], Tensor], precision: torch.dtype, device: str) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == torch.bfloat16):
            total = loss()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
