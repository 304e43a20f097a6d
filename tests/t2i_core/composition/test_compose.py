"""A system of real runs: made, refused, drawn with, scored, followed back and forth."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.composition.config import Role, by_role, parts_of
from t2i_core.composition.fit import require_weaker
from t2i_core.composition.step import compose
from t2i_core.data.batches.captions import read_captions
from t2i_core.data.batches.pixels import to_uint8, to_unit
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.diffusion.chance import Chance
from t2i_core.errors import CheckpointError, ConfigError, DataError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.manifest import read_manifest
from t2i_core.generation.asked import refuse_ignored
from t2i_core.generation.config import DrawConfig, GenerateConfig
from t2i_core.generation.edits.upscaling import upscaled
from t2i_core.generation.generate import generate
from t2i_core.generation.generator import load_generator
from t2i_core.generation.model import Model
from t2i_core.lineage.ancestors import captions_of, outdated, trace, trace_picture
from t2i_core.lineage.holders import find_samples
from t2i_core.lineage.whole import verify_whole
from t2i_core.systems.condition import Condition, Text
from t2i_core.systems.stage import Drawer, DrawSettings
from t2i_core.systems.view import noised_low
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.finished import load_stage
from t2i_core.training.step import train

CPU = Compute(device="cpu", precision="float32")
PROMPT = "a red circle on a gray background"
# What a barely trained network takes for the noise would leave nothing but black and white of a picture.
GENTLE = ["system.prediction=x_0", "system.weighting=edges"]
SMALL, LARGE = ["system.side=16"], ["system.side=32", "system.low_side=16"]
# Preset and changes of each run.
RUNS = {
    "base": ("glide-base-smoke", SMALL + GENTLE),
    "upsampler": ("glide-upsampler-smoke", LARGE + GENTLE),
    "clip": ("glide-clip-smoke", SMALL),
    "tiny": ("glide-base-smoke", ["system.side=8", *GENTLE]),
    "middle": ("glide-upsampler-smoke", ["system.side=16", "system.low_side=8", *GENTLE]),
    "large": ("glide-base-smoke", ["system.side=32", *GENTLE]),
    "scorer": ("clip-smoke", []),
    "direct": ("cnn-smoke", []),
}


def trained(captions_dir: Path, run_dir: Path, preset: str, changes: list[str], **more: Any) -> Path:
    config = TrainConfig.parse({"preset": preset, "set": changes, "max_images": 96} | more)
    return train(captions_dir, config, run_dir, compute=CPU).path


@pytest.fixture(scope="module")
def work(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions and runs on them, in one folder."""
    root = tmp_path_factory.mktemp("system") / "work"
    shutil.copytree(captions_dir.parent, root)
    for name, (preset, changes) in RUNS.items():
        trained(root / "captions", root / "runs" / name, preset, changes)
    return root


def runs(work: Path, **names: str) -> dict[Role, Path]:
    return by_role(f"{role}={work / 'runs' / name}" for role, name in names.items())


@pytest.fixture(scope="module")
def system(work: Path) -> Path:
    return compose(runs(work, base="base", upsampler="upsampler", clip="clip"), work / "systems/glide").path


def test_a_system_names_its_runs_and_is_made_once(work: Path, system: Path) -> None:
    manifest = read_manifest(system, "system")

    assert manifest.sources == {name: f"../../runs/{name}" for name in ("base", "upsampler", "clip")}
    assert manifest.key.inputs == {name: read_manifest(work / "runs" / name).digest for name in manifest.sources}
    assert manifest.counts["parameters"] == sum(
        read_manifest(work / "runs" / name).counts["parameters"] for name in manifest.sources
    )
    assert compose(runs(work, upsampler="upsampler", clip="clip", base="base"), system).hit
    with pytest.raises(ConfigError, match="already holds other work"):
        compose(runs(work, base="base"), system)


def test_verify_looks_through_the_runs_of_a_system(work: Path, system: Path, tmp_path: Path) -> None:
    whole = verify_whole(system)
    assert len(whole.folders) == 4 and whole.num_files > 12 and not whole.problems
    shutil.copytree(work / "systems", tmp_path / "systems")
    shutil.copytree(work / "runs", tmp_path / "runs")
    damaged = tmp_path / "runs/upsampler/metrics.jsonl"
    damaged.write_bytes(damaged.read_bytes()[:-1])

    problems = verify_whole(tmp_path / "systems/glide").problems

    assert len(problems) == 1 and "metrics.jsonl has" in problems[0] and "bytes instead of" in problems[0]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"upsampler": "upsampler"}, "has a base run"),
        ({"base": "scorer"}, "cannot be the base: it does not draw"),
        ({"base": "upsampler"}, "cannot be the base: it enlarges pictures"),
        ({"base": "base", "upsampler": "large"}, "cannot be the upsampler: it enlarges no pictures"),
        ({"base": "large", "upsampler": "upsampler"}, "enlarges pictures of 16 pixels, and the base draws 32"),
        ({"base": "base", "second_upsampler": "upsampler"}, "enlarges what an upsampler draws, and there is none"),
        (
            {"base": "tiny", "upsampler": "middle", "second_upsampler": "middle"},
            "enlarges pictures of 8 pixels, and the upsampler draws 16",
        ),
        ({"base": "base", "clip": "scorer"}, "cannot be the clip: it is no CLIP of noised pictures"),
        ({"base": "large", "clip": "clip"}, "its pictures have 16 pixels a side, and the base's 32"),
        ({"base": "direct", "clip": "clip"}, "another way to noise"),
        ({"base": "base", "inpaint": "base"}, "not trained to fill in"),
    ],
)
def test_runs_that_do_not_fit_are_refused(work: Path, tmp_path: Path, names: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compose(runs(work, **names), tmp_path / "system")
    assert not (tmp_path / "system").exists()


def test_a_run_that_learned_other_words_is_refused(work: Path, tmp_path: Path) -> None:
    caption(work / "dataset", CaptionConfig(max_words=9), tmp_path / "captions")
    other = trained(tmp_path / "captions", tmp_path / "other", *RUNS["upsampler"])
    assert (other / "tokenizer.json").read_bytes() != (work / "runs/base/tokenizer.json").read_bytes()

    with pytest.raises(ConfigError, match="it learned other words than"):
        compose(runs(work, base="base") | by_role([f"upsampler={other}"]), tmp_path / "system")
    with pytest.raises(ConfigError, match="they learned other words"):
        require_weaker(work / "runs/upsampler", other)


def test_a_run_is_led_away_from_one_of_its_own_side_and_words(work: Path) -> None:
    require_weaker(work / "runs/base", work / "runs/base")
    with pytest.raises(ConfigError, match="its pictures have 32 pixels a side, and the other's 16"):
        require_weaker(work / "runs/large", work / "runs/base")


def test_words_that_name_no_part_are_refused() -> None:
    for words, told in (
        (["bass=x"], "did you mean 'base'"),
        (["base"], "ROLE=RUN"),
        (["base=a", "base=b"], "has two runs"),
    ):
        with pytest.raises(ConfigError, match=told):
            by_role(words)


def drawn_by(
    run_dir: Path, seeds: list[int], low: torch.Tensor | None = None, stream: str = "low/eps", level: float = 0.1
) -> torch.Tensor:
    """Draw with a run's stage as it is."""
    stage = load_stage(run_dir).stage.eval().to(memory_format=torch.channels_last)
    assert isinstance(stage, Drawer)
    ids, mask = map(torch.from_numpy, Tokenizer.load(run_dir / "tokenizer.json").encode([PROMPT] * len(seeds)))
    chance = Chance(0, torch.tensor(seeds))
    small = None if low is None else noised_low(low, torch.full((len(seeds),), level), chance, stream)
    condition = Condition(text=Text(ids=ids, mask=mask), low=small)
    with torch.no_grad():
        return stage.draw(condition, (3, stage.side, stage.side), chance, DrawSettings())


def test_a_base_draws_and_an_upsampler_enlarges_what_it_drew(work: Path, system: Path) -> None:
    generator = load_generator(system, CPU)
    pictures = generator.generate([PROMPT], [7], DrawConfig())

    small = drawn_by(work / "runs/base", [7])
    large = drawn_by(work / "runs/upsampler", [7], small.clamp(-1, 1))

    assert generator.image_size == 32
    assert small.shape[-1] == 16
    assert load_stage(work / "runs/upsampler").preset.system.low_level == 0.1  # type: ignore[union-attr]
    assert (pictures == to_uint8(large).numpy()).all()


@pytest.fixture(scope="module")
def three(work: Path) -> Path:
    """A system of a base and two upsamplers: 8, 16, 32 pixels."""
    return compose(
        runs(work, base="tiny", upsampler="middle", second_upsampler="upsampler"), work / "systems/three"
    ).path


def test_a_second_upsampler_enlarges_what_the_first_drew_with_noise_of_its_own(work: Path, three: Path) -> None:
    generator = load_generator(three, CPU)
    pictures = generator.generate([PROMPT], [7], DrawConfig())

    small = drawn_by(work / "runs/tiny", [7])
    middle = drawn_by(work / "runs/middle", [7], small.clamp(-1, 1))
    large, correlated = (
        drawn_by(work / "runs/upsampler", [7], middle.clamp(-1, 1), stream) for stream in ("second/low/eps", "low/eps")
    )

    assert (generator.image_size, generator.factor) == (32, 4)
    assert (pictures == to_uint8(large).numpy()).all() and (pictures != to_uint8(correlated).numpy()).any()


def test_pictures_are_enlarged_by_all_upsamplers_and_noise_is_put_on_drawn_ones(work: Path, three: Path) -> None:
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    small = to_uint8(picture).numpy()

    pictures = upscaled(load_generator(three, CPU), small, [PROMPT], [7], DrawConfig())

    middle = drawn_by(work / "runs/middle", [7], to_unit(small), level=0)
    large = drawn_by(work / "runs/upsampler", [7], middle.clamp(-1, 1), "second/low/eps")
    assert (pictures == to_uint8(large).numpy()).all()


def test_the_noise_on_small_pictures_can_be_chosen_up_to_what_was_trained(work: Path, system: Path) -> None:
    def picture(*told: str) -> np.ndarray:
        return load_generator(system, CPU).generate([PROMPT], [7], DrawConfig(set=told))

    small = drawn_by(work / "runs/base", [7]).clamp(-1, 1)
    for told, level in ((["upsampler.low_level=0.2"], 0.2), (["upsampler.low_level=0"], 0.0), ([], 0.1)):
        expected = to_uint8(drawn_by(work / "runs/upsampler", [7], small, level=level)).numpy()
        assert (picture(*told) == expected).all()
    for asked, words in (
        ({"set": ["upsampler.low_level=0.3"]}, r"noise of 0\.2 at most .*--low-level 0\.3 is more than it knows"),
        ({"low_level": 0.1}, "enlarges no pictures: leave out --low-level"),
    ):
        with pytest.raises(ConfigError, match=words):
            refuse_ignored(system, DrawConfig.parse(asked))


def test_a_base_alone_draws_what_its_run_draws(work: Path, tmp_path: Path) -> None:
    alone = compose(runs(work, base="base"), tmp_path / "alone").path
    drawn = [
        load_generator(folder, CPU).generate([PROMPT], [3], DrawConfig()) for folder in (alone, work / "runs/base")
    ]

    assert (drawn[0] == drawn[1]).all()


def test_settings_reach_the_stage_that_they_are_for(work: Path, system: Path, tmp_path: Path) -> None:
    generator = load_generator(system, CPU)

    def picture(**settings: Any) -> bytes:
        return generator.generate([PROMPT], [7], DrawConfig.parse(settings)).tobytes()

    assert picture(steps=6) == picture()
    others = [picture(steps=2), picture(set=["upsampler.steps=2"]), picture(set=["upsampler.guidance_scale=3"])]
    assert len({picture(), *others}) == 4
    for folder, wrong, words in (
        (system, ["base.steps=2"], "options of their own"),
        (system, ["upsampler.stops=2"], "stops"),
        (work / "runs/base", ["upsampler.steps=2"], "has no upsampler"),
    ):
        with pytest.raises(ConfigError, match=words):
            generate(folder, [PROMPT], tmp_path / "out", GenerateConfig.parse({"set": wrong}))


def test_a_picture_of_a_system_is_the_same_bits_alone_and_among_many(system: Path) -> None:
    many = load_generator(system, CPU).generate([PROMPT] * 9, range(9), DrawConfig())
    for i in (0, 8):
        assert (load_generator(system, CPU).generate([PROMPT], [i], DrawConfig())[0] == many[i]).all()


def test_what_it_stands_on_may_move_with_it_and_must_be_the_same(work: Path, system: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(work, moved)
    assert parts_of(moved / "systems/glide")["base"] == (moved / "runs/base").resolve()

    shutil.rmtree(moved / "runs/upsampler")
    with pytest.raises(ConfigError, match=r"the upsampler of .* is gone"):
        load_generator(moved / "systems/glide", CPU)
    shutil.copytree(work / "runs/large", moved / "runs/upsampler")
    with pytest.raises(ConfigError, match="another run by now"):
        load_generator(moved / "systems/glide", CPU)
    assert "was made from an earlier state" in outdated(trace(moved / "systems/glide"))[0]


def test_a_clip_is_loaded_when_its_guidance_is_asked_for(work: Path, system: Path, tmp_path: Path) -> None:
    shutil.copytree(work, tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved/runs/clip/checkpoints")
    whole, lacking = load_generator(system, CPU), load_generator(tmp_path / "moved/systems/glide", CPU)

    drawn = [generator.generate([PROMPT], [7], DrawConfig()) for generator in (whole, lacking)]

    assert (drawn[0] == drawn[1]).all() and lacking.has_clip
    guided = DrawConfig(clip_guidance_scale=2)
    assert (whole.generate([PROMPT], [7], guided) != drawn[0]).any()
    with pytest.raises(CheckpointError, match="has lost its checkpoints"):
        lacking.generate([PROMPT], [7], guided)


def test_a_hostile_system_is_refused(system: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(system, odd)
    manifest = json.loads((odd / "manifest.json").read_text())
    (odd / "manifest.json").write_text(json.dumps(manifest | {"sources": {}}))
    with pytest.raises(DataError, match="without a base"):
        load_generator(odd, CPU)
    (odd / "code.py").write_text("")
    with pytest.raises(DataError, match=r"code\.py does not belong into a system folder"):
        load_generator(odd, CPU)


def test_lineage_goes_through_a_system_both_ways(work: Path, system: Path, tmp_path: Path) -> None:
    found = [ancestor.folder.name for ancestor in trace(system)]
    assert found == ["glide", "base", "captions", "dataset", "clip", "upsampler"]
    assert captions_of(system) == (work / "captions").resolve()
    generate(system, [PROMPT], work / "drawn", GenerateConfig())
    assert [a.folder.name for a in trace_picture(work / "drawn/00000.png")] == found
    with Image.open(work / "drawn/00000.png") as picture:
        assert picture.size == (32, 32)

    uid = next(iter(read_captions(work / "captions", "train", ["uid"])))["uid"]
    second = trained(
        work / "captions", work / "runs/second", "glide-cfg-smoke", SMALL + GENTLE, init_from=str(work / "runs/base")
    )
    holders = find_samples(work, {uid})
    assert {"glide", "base", "upsampler", second.name} <= {holder.folder.name for holder in holders}
    assert all(holder.certain for holder in holders)


def test_a_system_is_scored_like_a_run_and_its_report_tells_of_every_part(work: Path, system: Path) -> None:
    config = EvaluateConfig(prompts_per_task=1, images_per_prompt=1, num_train=0, num_real=10, bootstrap_resamples=100)
    ref = evaluate(system, config, work / "evaluation", baseline_dir=work / "runs/direct")

    manifest = read_manifest(ref.path)
    assert manifest.key.inputs["run"] == read_manifest(system).digest
    page = (ref.path / "report.html").read_text()
    for words in ("Model: base", "Model: upsampler", "run of the upsampler", "system of the model", "systems/glide"):
        assert words in page
    assert evaluate(system, config, ref.path, baseline_dir=work / "runs/direct").hit
    assert system.name in {holder.folder.name for holder in find_samples(work, _uids(work))}


def _uids(work: Path) -> set[str]:
    return {row["uid"] for row in read_captions(work / "captions", "train", ["uid"])}


def test_a_model_is_a_run_or_a_system(system: Path) -> None:
    model = Model(system)
    picture = model(PROMPT, seed=2)[0]

    assert model.image_size == 32
    assert picture.size == (32, 32)
    assert model(PROMPT, seed=2, set=["upsampler.steps=2"])[0].tobytes() != picture.tobytes()
