"""A finished run is the start of another: its averaged weights and nothing else, and lineage follows."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2i_core.errors import CheckpointError, ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.lineage.ancestors import trace
from t2i_core.training.checkpoint import latest_checkpoint, list_checkpoints, save_checkpoint
from t2i_core.training.claim import claim_run
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import Run, train
from t2i_core.training.supervisor import supervise_training

CPU = Compute(device="cpu", precision="float32")


def config(preset: str = "cnn-smoke", **changes: object) -> TrainConfig:
    return TrainConfig.parse({"preset": preset, "max_images": 32} | changes)


@pytest.fixture(scope="module")
def first(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "first"
    train(captions_dir, config(), run_dir, compute=CPU)
    return run_dir


def test_a_run_starts_with_the_averaged_weights_of_another(captions_dir: Path, first: Path, tmp_path: Path) -> None:
    second = config(init_from=str(first), seed=1)
    claim_run(captions_dir, second, tmp_path / "run", "refuse")

    trainer = Run(captions_dir, second, tmp_path / "run", lambda progress: None, CPU).trainer

    averaged = load_file(list_checkpoints(first)[-1] / "ema.safetensors")
    for module in (trainer.stage, trainer.ema.module):
        assert all(tensor.equal(averaged[name]) for name, tensor in module.state_dict().items())
    assert (trainer.position.step, trainer.position.images) == (0, 0)


def test_key_manifest_and_lineage_tell_of_the_start(captions_dir: Path, first: Path, tmp_path: Path) -> None:
    ref = train(captions_dir, config(init_from=str(first)), tmp_path / "second", compute=CPU)

    manifest = read_manifest(tmp_path / "second", "run")
    assert manifest.key.inputs["init"] == read_manifest(first).digest
    assert [a.folder.resolve() for a in trace(ref.path) if a.manifest.kind == "run"] == [ref.path, first.resolve()]
    assert str(first) not in (tmp_path / "second" / "config.json").read_text()
    assert train(captions_dir, config(init_from=str(first)), tmp_path / "second", compute=CPU).hit
    with pytest.raises(ConfigError, match="input init was"):
        train(captions_dir, config(), tmp_path / "second", compute=CPU)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"set": ["system.text_width=64"]}, r"its weight .* is of shape \[.*\], here it is of shape \["),
        ({"preset": "clip-smoke"}, "here it is missing|is missing, here it is"),
        ({"init_from": "nowhere"}, "no such folder: nowhere"),
    ],
)
def test_weights_of_other_shapes_are_refused(
    captions_dir: Path, first: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(captions_dir, config().with_changes(**{"init_from": str(first)} | changes), tmp_path / "run", compute=CPU)
    assert latest_checkpoint(tmp_path / "run") is None


def test_words_keep_their_vectors_in_another_order_and_new_ones_start_afresh(
    captions_dir: Path, first: Path, tmp_path: Path
) -> None:
    """The run that is the start had red and blue the other way round, and a word that nobody uses for green."""
    run_dir = tmp_path / "first"
    shutil.copytree(first, run_dir)
    words = json.loads((run_dir / "tokenizer.json").read_text())
    ours = dict(words["model"]["vocab"])
    theirs = ours | {"red": ours["blue"], "blue": ours["red"], "greenish": ours["green"], "more": len(ours)}
    del theirs["green"]
    words["model"]["vocab"] = theirs
    (run_dir / "tokenizer.json").write_text(json.dumps(words))
    last = list_checkpoints(run_dir)[-1]
    tensors = {name: load_file(last / f"{name}.safetensors") for name in ("model", "ema", "optimizer")}
    name = next(name for name in tensors["ema"] if name.endswith("tokens.weight"))
    tensors["ema"][name] = torch.cat([tensors["ema"][name], torch.full((1, tensors["ema"][name].shape[1]), 9.0)])
    state = json.loads((last / "state.json").read_text())
    save_checkpoint(run_dir, 3, tensors, {each: state[each] for each in state if each != "files"})

    second = config(init_from=str(run_dir), seed=1)
    claim_run(captions_dir, second, tmp_path / "run", "refuse")
    run = Run(captions_dir, second, tmp_path / "run", lambda progress: None, CPU)

    weights, before = run.trainer.stage.state_dict(), tensors["ema"]
    for word, place in ours.items():
        assert weights[name][place].equal(before[name][theirs.get(word, ours["green"])]) == (word != "green"), word
    assert all(weights[each].equal(before[each]) for each in before if each != name)
    assert run.new == {f"{name}, 1 new words": weights[name].shape[1]}


def test_damaged_weights_are_refused(captions_dir: Path, first: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "first"
    shutil.copytree(first, run_dir)
    weights = list_checkpoints(run_dir)[-1] / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")

    with pytest.raises(CheckpointError, match="does not match its sha256"):
        train(captions_dir, config(init_from=str(run_dir)), tmp_path / "run", compute=CPU)


def test_channels_of_another_meaning_are_refused_though_they_are_as_many(captions_dir: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "fills"
    train(captions_dir, config("diffusion-smoke", set=["system.inpaints=true"]), run_dir, compute=CPU)
    enlarges = ["system.low_side=8", "system.low_noise=0.5"]
    second = config("diffusion-smoke", set=enlarges, init_from=str(run_dir))

    with pytest.raises(ConfigError, match="its channel 4 is known, here it is low"):
        train(captions_dir, second, tmp_path / "second", compute=CPU)


@pytest.fixture
def narrow(captions_dir: Path, tmp_path: Path) -> Path:
    """A finished run whose network read two channels of a picture, of patches of four by four."""
    run_dir = tmp_path / "narrow"
    train(captions_dir, config("diffusion-smoke"), run_dir, compute=CPU)
    last = list_checkpoints(run_dir)[-1]
    tensors = {name: load_file(last / f"{name}.safetensors") for name in ("model", "ema", "optimizer")}
    stem = next(name for name in tensors["ema"] if name.endswith("stem.weight"))
    tensors["ema"][stem] = tensors["ema"][stem][:, :32]
    state = json.loads((last / "state.json").read_text())
    save_checkpoint(run_dir, 3, tensors, {name: state[name] for name in state if name != "files"})
    return run_dir


def test_channels_that_the_start_did_not_read_begin_at_zero_and_are_listed(
    captions_dir: Path, narrow: Path, tmp_path: Path
) -> None:
    wider = config("diffusion-smoke", init_from=str(narrow), seed=1)
    claim_run(captions_dir, wider, tmp_path / "run", "refuse")
    trainer = Run(captions_dir, wider, tmp_path / "run", lambda progress: None, CPU).trainer

    averaged = load_file(list_checkpoints(narrow)[-1] / "ema.safetensors")
    weights = trainer.stage.state_dict()
    stem = next(name for name in averaged if name.endswith("stem.weight"))
    assert weights[stem][:, :32].equal(averaged[stem])
    assert weights[stem].shape[1] == 48 and not weights[stem][:, 32:].any()
    assert all(weights[name].equal(averaged[name]) for name in averaged if name != stem)

    batch = trainer.next_batch()
    batch.target[:, 2] = 0
    first = trainer.stage.loss(batch).figures["loss"]
    layer = trainer.stage.get_submodule(stem.removesuffix(".weight"))
    layer.register_forward_pre_hook(lambda _layer, inputs: (torch.cat([inputs[0][:, :32], inputs[0][:, 32:] * 9], 1),))
    assert trainer.stage.loss(batch).figures["loss"].equal(first)

    ref = train(captions_dir, wider, tmp_path / "run", compute=CPU)
    assert json.loads((ref.path / "config.json").read_text())["new"] == [f"{stem}[:, 32:]"]
    assert ref.counts["new_parameters"] == 16 * weights[stem].shape[0] * 9
    learned = load_file(list_checkpoints(ref.path)[-1] / "model.safetensors")
    assert learned[stem][:, 32:].any()


def test_a_refused_start_leaves_everything_as_it_was(captions_dir: Path, first: Path, tmp_path: Path) -> None:
    wrong = config(init_from=str(first), set=["system.text_width=64"])
    with pytest.raises(ConfigError, match="cannot be the start"):
        supervise_training(captions_dir, wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()

    shutil.copytree(first, tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot be the start"):
        supervise_training(captions_dir, wrong, tmp_path / "other", on_conflict="replace")
    assert read_manifest(tmp_path / "other") == read_manifest(first)
    assert not (tmp_path / "other.previous").exists()
