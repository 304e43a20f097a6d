"""Images/s of a training step at the demo's size, beside the machine's matrix rate and a peer of like size.

Run `pip install -e ".[benchmark]"` once, then `python tests/benchmarks/train_step.py [--preset NAME] [--rounds N]`.
All are measured in turn, round by round, in one process; medians are printed, with the ratio taken inside each round.
"""

import argparse
import os
import sys
import time
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from t2i_core.data.batches.read import Rows
from t2i_core.diffusion.loss import squared_errors
from t2i_core.diffusion.schedule import over
from t2i_core.models.config import Sizes
from t2i_core.systems.build import build_stage
from t2i_core.systems.stage import Batch, Losses, Stage
from t2i_core.training.device import choose_compute, matmul_rate, synchronize
from t2i_core.training.loop import Trainer
from t2i_core.training.preset import Preset, load_preset
from t2i_core.training.supervisor import KEEP_MEMORY

NUM_PICTURES, SIDE, NUM_TOKENS, VOCABULARY = 2048, 64, 13, 48
STEPS = 6


class NoisePictures:
    """Stands in for a feed: random pictures in memory, with captions of one length."""

    def __init__(self) -> None:
        ids = torch.randint(3, VOCABULARY, (NUM_PICTURES, 24), generator=torch.Generator().manual_seed(0))
        pixels = np.random.default_rng(0).integers(0, 256, (NUM_PICTURES, SIDE, SIDE, 3), dtype=np.uint8)
        self._rows = Rows(
            pixels=torch.from_numpy(pixels),
            captions=[""] * NUM_PICTURES,
            token_ids=ids,
            token_mask=(torch.arange(24).expand(NUM_PICTURES, 24) < NUM_TOKENS).contiguous(),
            keys=[""] * NUM_PICTURES,
            uids=[""] * NUM_PICTURES,
            original=torch.zeros(NUM_PICTURES, 2, dtype=torch.int64),
            crop=torch.zeros(NUM_PICTURES, 2, dtype=torch.int64),
        )

    def take(self, position: int, size: int) -> Rows:
        return self._rows.at(np.arange(position, position + size) % NUM_PICTURES)

    def close(self) -> None:
        pass


class Peer(Stage):
    """diffusers' text-conditioned U-Net of like size, with a token table, as a stage of ours."""

    def __init__(self, text_width: int = 128) -> None:
        super().__init__()
        from diffusers import UNet2DConditionModel

        self.tokens = nn.Embedding(VOCABULARY, text_width)
        self.unet = UNet2DConditionModel(
            sample_size=SIDE,
            in_channels=3,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=(32, 64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=text_width,
            attention_head_dim=8,
            norm_num_groups=8,
        )

    def loss(self, batch: Batch) -> Losses:
        u, eps = batch.chance.spread("time"), batch.chance.normal("eps", batch.target.shape[1:])
        t, text = over(u, eps), batch.condition.text
        assert text is not None
        x_t = (1 - t) * batch.target + t * eps
        out = self.unet(x_t, u * 1000, self.tokens(text.ids), encoder_attention_mask=text.mask).sample
        each = squared_errors(out, batch.target)
        return Losses(total=each.mean(), figures={"loss": each.detach()})


def make_trainer(stage: Stage, preset: Preset, compute: object) -> Trainer:
    endless = preset.with_changes(max_images=10**12, max_minutes=0)
    return Trainer(stage, NoisePictures(), endless, 0, compute)  # type: ignore[arg-type]


def flops_per_image(trainer: Trainer) -> float:
    """Count multiply-adds as two, forward and backward, by PyTorch's own counter."""
    with FlopCounterMode(display=False) as counter:
        trainer.step()
    return counter.get_total_flops() / trainer.preset.batch_size


def images_per_second(trainer: Trainer, device: str) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(STEPS):
        trainer.step()
    synchronize(device)
    return STEPS * trainer.preset.batch_size / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="diffusion-demo")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if not KEEP_MEMORY.keys() <= os.environ.keys():  # which is read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], KEEP_MEMORY | dict(os.environ))
    preset, compute = load_preset(args.preset), choose_compute()
    sizes = Sizes(vocab_size=VOCABULARY, context_length=24, image_size=SIDE)
    ours = make_trainer(build_stage(preset.system, sizes), preset, compute)
    peer = make_trainer(Peer(), preset, compute)
    dtype = torch.bfloat16 if compute.precision == "bfloat16" else torch.float32
    flops = flops_per_image(ours)
    peer.step()
    rows = []
    for _ in range(args.rounds):
        rate = matmul_rate(compute.device, dtype)
        mine, theirs = images_per_second(ours, compute.device), images_per_second(peer, compute.device)
        rows.append((rate, mine, theirs, mine * flops / 1e9 / rate, mine / theirs))
    rate, mine, theirs, share, ratio = (median(column) for column in zip(*rows, strict=True))
    count = lambda stage: sum(p.numel() for p in stage.parameters()) / 1e6  # noqa: E731
    print(f"device {compute.device} {compute.name}, {compute.precision}, batch {preset.batch_size}, {SIDE} px")
    print(f"matrix product        {rate:10.0f} GFLOP/s")
    print(
        f"{args.preset:20s}  {mine:10.1f} images/s, {count(ours.stage):.1f} M parameters, {flops / 1e9:.2f} GFLOP each"
    )
    print(f"share of matrix rate  {share:10.0%}")
    print(f"diffusers U-Net       {theirs:10.1f} images/s, {count(peer.stage):.1f} M parameters")
    print(f"ours / diffusers      {ratio:10.1f} x")


if __name__ == "__main__":
    main()
