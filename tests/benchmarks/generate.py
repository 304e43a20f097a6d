"""Seconds of processor time that drawing takes: one picture, 32 of them, and 32 in one batch as a yardstick.

Run `python tests/benchmarks/generate.py [--preset NAME] [--precision float32] [--rounds N]`. Weights are fresh ones,
which draw nothing but cost as much; all are measured in turn, round by round, and medians are printed.
"""

import argparse
import resource
from collections.abc import Callable
from statistics import median

import torch

from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.diffusion.chance import Chance
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.generator import Generator
from t2i_core.generation.prompts import TokenizedPrompts
from t2i_core.models.config import Sizes
from t2i_core.samples.scenes import caption_scene, make_scene
from t2i_core.systems.build import build_stage
from t2i_core.systems.condition import Condition, Text
from t2i_core.systems.stage import Drawer, DrawSettings
from t2i_core.training.device import choose_compute, compute_on
from t2i_core.training.preset import load_preset

SIDE, NUM_TOKENS, MANY = 64, 24, 32
PROMPTS = [caption_scene(make_scene(0, i)) for i in range(MANY)]


def processor_seconds(work: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="diffusion-demo")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    compute = choose_compute() if args.precision == "auto" else compute_on("cpu", args.precision)
    tokenizer = Tokenizer.train(PROMPTS, vocab_size=64, context_length=NUM_TOKENS)
    sizes = Sizes(vocab_size=tokenizer.vocab_size, context_length=NUM_TOKENS, image_size=SIDE)
    stage = build_stage(load_preset(args.preset).system, sizes).to(compute.device).eval()
    stage = stage.to(memory_format=torch.channels_last)
    assert isinstance(stage, Drawer)
    draws = Generator({"base": stage}, {"base": TokenizedPrompts(tokenizer)}, compute)
    config, seeds = DrawConfig(), list(range(MANY))

    def at_once() -> None:
        ids, mask = map(torch.from_numpy, tokenizer.encode(PROMPTS))
        with torch.no_grad(), compute.autocast():
            stage.draw(Condition(text=Text(ids=ids, mask=mask)), (3, SIDE, SIDE), Chance(0, torch.arange(MANY)), how)

    how = DrawSettings()
    ways: dict[str, Callable[[], object]] = {
        "one picture": lambda: draws.generate(PROMPTS[:1], seeds[:1], config),
        f"{MANY} pictures": lambda: draws.generate(PROMPTS, seeds, config),
        f"{MANY} in one batch": at_once,
    }
    first = {name: processor_seconds(work) for name, work in ways.items()}
    rows = [[processor_seconds(work) for work in ways.values()] for _ in range(args.rounds)]
    print(f"{args.preset}, {compute.name}, {compute.precision}, {torch.get_num_threads()} threads, {SIDE} px")
    for name, column in zip(ways, zip(*rows, strict=True), strict=True):
        print(f"{name:20s} {median(column):8.3f} s of processor time ({first[name]:.3f} s the first time)")


if __name__ == "__main__":
    main()
