"""One step of training: what is dropped, parts of a batch, averages of several lengths."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2i_core.errors import ConfigError
from t2i_core.generation.config import GenerateConfig
from t2i_core.generation.generate import generate
from t2i_core.training.checkpoint import latest_checkpoint, list_checkpoints
from t2i_core.training.claim import claim_run
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.finished import load_stage
from t2i_core.training.loop import Trainer
from t2i_core.training.preset import load_preset
from t2i_core.training.step import Run, train

CPU = Compute(device="cpu", precision="float32")


def config(*changes: str, preset: str = "diffusion-smoke", **others: object) -> TrainConfig:
    return TrainConfig.parse({"preset": preset, "set": changes, "max_images": 64, "log_every": 1} | others)


def trainer(captions_dir: Path, run_dir: Path, *changes: str, preset: str = "diffusion-smoke") -> Trainer:
    wanted = config(*changes, preset=preset)
    claim_run(captions_dir, wanted, run_dir, "refuse")
    return Run(captions_dir, wanted, run_dir, lambda progress: None, CPU).trainer


def logged(run_dir: Path, name: str) -> list[float]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def test_captions_are_dropped_as_often_as_the_recipe_says_and_the_log_says_how_often(
    captions_dir: Path, tmp_path: Path
) -> None:
    train(captions_dir, config("drop.text=0.2", preset="cnn-smoke", max_images=1600), tmp_path / "run", compute=CPU)

    shares = logged(tmp_path / "run", "train/dropped_text")
    assert len(shares) == 100
    assert sum(shares) / 100 == pytest.approx(0.2, abs=3 * (0.2 * 0.8 / 1600) ** 0.5)


def test_what_a_system_has_no_null_for_cannot_be_dropped() -> None:
    with pytest.raises(ConfigError, match="clip system puts nothing in the place of what drop"):
        load_preset("clip-smoke", ["drop.text=0.1"])
    with pytest.raises(ConfigError, match=r"what drop\.image, drop\.low would drop"):
        load_preset("cnn-smoke", ["drop.low=0.1", "drop.image=0.1", "drop.text=0.1"])


@pytest.mark.parametrize("part", [4, 5])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(captions_dir: Path, tmp_path: Path, part: int) -> None:
    found = []
    for name, size in (("whole", 0), ("parts", part)):
        each = trainer(captions_dir, tmp_path / name, f"micro_batch_size={size}")
        sizes = []
        each.stage.network.unet.register_forward_hook(lambda _module, _inputs, out, sizes=sizes: sizes.append(len(out)))  # type: ignore[operator]
        figures = each._gather(each.next_batch())
        found.append(([p.grad for p in each.stage.parameters()], figures, sizes))
    (grads, figures, sizes), (others, other_figures, other_sizes) = found

    assert (sizes, sum(other_sizes), max(other_sizes)) == ([16], 16, part)
    scale = max(float(grad.abs().max()) for grad in grads if grad is not None)
    assert scale > 0
    for mine, other in zip(grads, others, strict=True):
        assert (mine is None) == (other is None)
        assert mine is None or torch.allclose(mine, other, rtol=1e-5, atol=1e-6 * scale)
    for name in figures:
        assert torch.allclose(figures[name], other_figures[name], rtol=1e-6, equal_nan=True)


def test_a_run_in_parts_ends_where_the_whole_one_ends(captions_dir: Path, tmp_path: Path) -> None:
    for name, size in (("whole", 0), ("parts", 4)):
        train(captions_dir, config(f"micro_batch_size={size}"), tmp_path / name, compute=CPU)

    for name in ("train/loss", "train/dropped_text", "validation/loss"):
        whole = logged(tmp_path / "whole", name)
        assert whole == pytest.approx(logged(tmp_path / "parts", name), rel=1e-4)


def test_sam_trains_by_other_gradients_and_logs_the_loss_of_the_weights_themselves(
    captions_dir: Path, tmp_path: Path
) -> None:
    found = []
    for name, rho in (("plain", 0), ("sharp", 0.1)):
        each = trainer(captions_dir, tmp_path / name, f"optim.sam_rho={rho}", preset="clip-smoke")
        before = [p.detach().clone() for p in each.stage.parameters()]
        figures = each._gather_sharply(each.next_batch())
        assert all(p.equal(q) for p, q in zip(each.stage.parameters(), before, strict=True))
        found.append((figures["loss"], [p.grad for p in each.stage.parameters()]))
    (loss, gradients), (other_loss, others) = found

    assert torch.equal(loss, other_loss)
    assert not any(p is not None and q is not None and p.equal(q) for p, q in zip(gradients, others, strict=True))


def test_what_dropout_drops_is_a_matter_of_the_step_alone(captions_dir: Path, tmp_path: Path) -> None:
    found = []
    for name, dropout, seed in (("one", 0.5, 1), ("other", 0.5, 2), ("none", 0, 1)):
        each = trainer(captions_dir, tmp_path / name, f"system.network.dropout={dropout}", preset="glide-base-smoke")
        torch.manual_seed(seed)
        each.step()
        each.step()
        found.append([p.detach() for p in each.stage.parameters()])
    one, other, none = found

    assert all(p.equal(q) for p, q in zip(one, other, strict=True))
    assert not all(p.equal(q) for p, q in zip(one, none, strict=True))


def test_a_loss_that_compares_pictures_cannot_be_parted() -> None:
    with pytest.raises(ConfigError, match="compares the pictures of a step with each other"):
        load_preset("clip-smoke", ["micro_batch_size=4"])


def test_averages_of_several_lengths_are_saved_beside_each_other_and_resumed(
    captions_dir: Path, tmp_path: Path
) -> None:
    several, first, second = "ema.decays=[0.2, 0.9]", "ema.decays=[0.2]", "ema.decays=[0.9]"
    for name, decays in (("several", several), ("first", first), ("second", second)):
        train(captions_dir, config(decays, preset="cnn-smoke"), tmp_path / name, compute=CPU)
    files = {name: list_checkpoints(tmp_path / name)[-1] for name in ("several", "first", "second")}

    assert not (files["first"] / "ema_1.safetensors").exists()
    for mine, other in (("ema", "first"), ("ema_1", "second")):
        ours, theirs = load_file(files["several"] / f"{mine}.safetensors"), load_file(files[other] / "ema.safetensors")
        assert all(ours[name].equal(theirs[name]) for name in theirs)

    for name, decays, wanted in (("several", 0.9, "second"), ("several", 0.2, "first"), ("several", None, "first")):
        drawn, other = load_stage(tmp_path / name, decay=decays).stage, load_stage(tmp_path / wanted).stage
        assert all(p.equal(q) for p, q in zip(drawn.parameters(), other.parameters(), strict=True))
    with pytest.raises(ConfigError, match=r"has no average of decay 0\.5; there is 0\.2, 0\.9"):
        generate(tmp_path / "several", ["a"], tmp_path / "out", GenerateConfig(ema=0.5))

    resumed = trainer(captions_dir, tmp_path / "again", several, preset="cnn-smoke")
    checkpoint = latest_checkpoint(tmp_path / "several")
    assert checkpoint is not None
    resumed.restore(checkpoint)
    saved = load_file(files["several"] / "ema_1.safetensors")
    assert all(tensor.equal(saved[name]) for name, tensor in resumed.ema.modules[1].state_dict().items())


def test_the_same_length_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="the same decay stands there twice"):
        load_preset("cnn-smoke", ["ema.decays=[0.9, 0.9]"])
