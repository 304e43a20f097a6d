"""unCLIP as a system: a prior imagines what a decoder draws, an upsampler enlarges it, and another CLIP judges it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from t2i_core.composition.step import compose
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoding.step import features
from t2i_core.errors import ConfigError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.step import evaluate
from t2i_core.generation.asked import refuse_ignored
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.edits.config import EditConfig, EditRequest
from t2i_core.generation.edits.edit import edit
from t2i_core.generation.edits.imagined import Imagination
from t2i_core.generation.eye import Remembered
from t2i_core.generation.generator import Generator, load_generator
from t2i_core.lineage.ancestors import outdated, trace
from t2i_core.samples.scenes import make_scene, render_scene
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import train

CPU = Compute(device="cpu", precision="float32")
PROMPTS = ["a red circle on a gray background", "a blue square on a teal background"]
RUNS = {
    "prior": ("unclip-prior-smoke", ["system.num_steps=3"], True),
    "ar_prior": ("unclip-ar-prior-smoke", [], True),
    # Fast, so that what it draws depends on what it is given by more than a gray level.
    "decoder": ("unclip-decoder-smoke", ["system.num_steps=3", "optim.learning_rate=0.01"], True),
    "up": ("unclip-up1-smoke", [], False),
}


@pytest.fixture(scope="module")
def work(scenes_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP, its embeddings and the runs on them."""
    root = tmp_path_factory.mktemp("unclip")
    eye = train(scenes_dir, TrainConfig(preset="clip-smoke", max_images=160), root / "eye", compute=CPU).path
    made = features(scenes_dir, eye, FeaturesConfig(pictures=True), root / "embeddings").path
    for name, (preset, changes, stands) in RUNS.items():
        asked = {"preset": preset, "set": changes, "uses": [f"embeddings={made}"] * stands, "max_images": 320}
        train(scenes_dir, TrainConfig.parse(asked), root / name, compute=CPU)
    compose({"base": root / "decoder", "prior": root / "prior", "upsampler": root / "up"}, root / "system")
    compose({"base": root / "decoder", "prior": root / "ar_prior"}, root / "ar_system")
    return root


@pytest.fixture(scope="module")
def generator(work: Path) -> Generator:
    return load_generator(work / "system", CPU)


def test_the_prior_imagines_what_is_drawn(generator: Generator) -> None:
    config = DrawConfig()
    drawn = generator.generate(PROMPTS, [1, 2], config)
    images = generator.imagined(PROMPTS, [1, 2], config)

    assert drawn.shape == (2, 32, 32, 3) and generator.has_prior
    assert images.shape == (2, 32) and torch.allclose(images.norm(dim=1), torch.ones(2))
    assert np.array_equal(generator.generate(PROMPTS[1:], [2], config)[0], drawn[1])
    other = DrawConfig.parse({"set": ["prior.guidance_scale=8"]})
    assert not torch.allclose(generator.imagined(PROMPTS, [1, 2], other), images, atol=1e-4)
    assert not np.array_equal(generator.generate(PROMPTS, [1, 2], other), drawn)


def test_either_prior_may_take_the_role_and_a_decoder_draws_without_one(work: Path, generator: Generator) -> None:
    numbered, alone = load_generator(work / "ar_system", CPU), load_generator(work / "decoder", CPU)

    pictures = [each.generate(PROMPTS[:1], [1], DrawConfig()) for each in (numbered, alone)]

    assert [picture.shape for picture in pictures] == [(1, 16, 16, 3)] * 2
    assert not np.array_equal(*pictures) and not alone.has_prior
    with pytest.raises(ConfigError, match="no prior"):
        alone.imagined(PROMPTS, [1, 2], DrawConfig())


def test_settings_that_a_stage_would_ignore_are_refused(work: Path) -> None:
    refuse_ignored(work / "system", DrawConfig.parse({"set": ["prior.steps=4", "upsampler.steps=2"]}))
    for setting in ("upsampler.guidance_scale=3", "prior.clip_guidance_scale=2"):
        with pytest.raises(ConfigError, match="would change nothing"):
            refuse_ignored(work / "system", DrawConfig.parse({"set": [setting]}))


def test_what_does_not_fit_is_refused(work: Path, scenes_dir: Path, tmp_path: Path) -> None:
    eye = train(scenes_dir, TrainConfig(preset="clip-smoke", max_images=64, seed=1), tmp_path / "eye", compute=CPU)
    other = features(scenes_dir, eye.path, FeaturesConfig(pictures=True), tmp_path / "embeddings").path
    asked = {"preset": "unclip-prior-smoke", "uses": [f"embeddings={other}"], "max_images": 32}
    train(scenes_dir, TrainConfig.parse(asked), tmp_path / "prior", compute=CPU)
    glide = {"preset": "glide-base-smoke", "set": ["system.side=16"], "max_images": 32}
    train(scenes_dir, TrainConfig.parse(glide), tmp_path / "glide", compute=CPU)
    for base, prior, words in (
        (work / "decoder", tmp_path / "prior", "embeddings are of another CLIP"),
        (tmp_path / "glide", work / "prior", "base reads no embeddings"),
        (work / "decoder", work / "up", "makes no embeddings"),
        (work / "prior", work / "prior", "cannot be the base: it does not draw"),
    ):
        with pytest.raises(ConfigError, match=words):
            compose({"base": base, "prior": prior}, tmp_path / "system")


def test_the_lineage_holds_the_clip_and_this_one_may_not_judge(work: Path, tmp_path: Path) -> None:
    chain = trace(work / "system")

    assert {work / name for name in ("eye", "embeddings", "prior", "decoder", "up")} <= {a.folder for a in chain}
    assert outdated(chain) == []
    for options in ({"clip_dir": work / "eye"}, {}):
        config = EvaluateConfig() if options else EvaluateConfig(clip=str(work / "eye" / "open_clip"))
        with pytest.raises(ConfigError, match="very CLIP that is to score it"):
            evaluate(work / "system", config, tmp_path / "evaluation", **options)
    assert not (tmp_path / "evaluation").exists()


def test_the_study_measures_priors_and_draws_by_other_embeddings(work: Path, tmp_path: Path) -> None:
    brief = {"prompts_per_task": 2, "images_per_prompt": 1, "num_real": 10, "num_train": 40, "steps": 1}
    config = EvaluateConfig.parse(brief | {"studies": ["unclip"], "bootstrap_resamples": 100})
    evaluate(work / "system", config, tmp_path / "evaluation", baseline_dir=work / "ar_system")

    found = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["unclip"]
    assert list(found["priors"]) == ["true pictures", "model", "baseline"]
    for figures in found["priors"].values():
        assert list(figures) == ["retrieval", "cosine", "gap", "spread ratio"]
    assert found["priors"]["true pictures"]["spread ratio"]["value"] == pytest.approx(1, abs=1e-5)
    assert list(found["ablation"]) == ["true embedding", "prior's", "caption's embedding", "caption alone"]
    assert found["ceiling"] and all(set(by) == {"linear probes", "nearest caption"} for by in found["ceiling"].values())
    assert list(found["spread"]["embedding fixed"]) == ["1", "2", "4"]
    page = (tmp_path / "evaluation" / "report.html").read_text()
    for title in ("What the CLIP inside keeps", "Embeddings that are imagined", "drawn by different embeddings"):
        assert title in page


def test_a_system_without_a_prior_is_not_studied(work: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no prior to study"):
        evaluate(work / "decoder", EvaluateConfig(studies=("unclip",)), tmp_path / "evaluation")


def test_embeddings_that_are_known_stand_in_the_place_of_the_prior(generator: Generator) -> None:
    config, seeds = DrawConfig(), [1, 2]
    images = generator.imagined(PROMPTS, seeds, config)
    own, alone = generator.generate(PROMPTS, seeds, config), generator.with_prior(None)
    known = generator.with_prior(Remembered(seeds, images))
    swapped = generator.with_prior(Remembered(seeds, images.flip(0)))

    assert np.array_equal(known.generate(PROMPTS, seeds, config), own)
    assert np.array_equal(known.generate(PROMPTS[1:], seeds[1:], config), own[1:])
    for other in (swapped, alone):
        assert not np.array_equal(other.generate(PROMPTS, seeds, config), own)
    assert not alone.has_prior and generator.has_prior


def scene_file(folder: Path, number: int) -> Path:
    path = folder / f"{number}.png"
    render_scene(make_scene(7, number), 32).save(path)
    return path


def edited(work: Path, tmp_path: Path, kind: str, **options: object) -> np.ndarray:
    prompts = options.pop("prompts", ())
    output = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    picture, config = scene_file(tmp_path, int(options.pop("number", 0))), EditConfig.parse(options)  # type: ignore[call-overload]
    asked = {"run_dir": work / "system", "kind": kind, "picture": picture, "prompts": prompts}
    images = edit(EditRequest.parse(asked | {"output_dir": output, "config": config}))
    return np.stack([np.asarray(Image.open(output / image.file)) for image in images]).astype(int)


def test_variations_spread_with_eta_and_without_are_one_drawing(work: Path, tmp_path: Path) -> None:
    drawn = [edited(work, tmp_path, "variations", eta=eta, num_images=4, steps=8) for eta in (0, 0.3, 1)]
    spreads = [pictures.std(axis=0).mean() for pictures in drawn]

    assert drawn[0].shape == (4, 32, 32, 3)
    assert spreads[0] < spreads[1] < spreads[2]
    # Of its system's upsampler each has noise of its own.
    small = [Taken(work, 0).draw(seed) for seed in (1, 2)]
    assert np.array_equal(*small)


class Taken:
    """A picture taken apart by the decoder alone."""

    def __init__(self, work: Path, number: int) -> None:
        generator = load_generator(work / "decoder", CPU)
        picture = np.asarray(render_scene(make_scene(7, number), 16))
        self.imagination = Imagination(work / "decoder", generator, DrawConfig(steps=8))
        self.latent = self.imagination.latent(picture, 5)

    def draw(self, seed: int) -> np.ndarray:
        return self.imagination.drawn([self.latent], [seed])


def test_both_ends_of_a_way_are_the_pictures_own_drawings_and_exchange_changes_nothing(
    work: Path, tmp_path: Path
) -> None:
    one, other = Taken(work, 0), Taken(work, 1)
    way, back = (
        [start.imagination.drawn([start.latent.towards(end.latent, theta)], [1]) for theta in (0, 0.3, 0.7, 1)]
        for start, end in ((one, other), (other, one))
    )

    assert np.array_equal(way[0], one.draw(1)) and np.array_equal(way[3], other.draw(1))
    for there, here in zip(way, back[::-1], strict=True):
        assert np.abs(there.astype(int) - here).max() <= 1
    whole = edited(work, tmp_path, "interpolate", other=str(scene_file(tmp_path, 1)), num_images=3, steps=4)
    assert whole.shape == (3, 32, 32, 3) and not np.array_equal(whole[0], whole[2])


def test_a_text_diff_begins_with_the_picture_and_needs_two_captions(work: Path, tmp_path: Path) -> None:
    asked = {"source_prompt": PROMPTS[0], "prompts": PROMPTS[1:], "steps": 4}
    drawn = edited(work, tmp_path, "text-diff", num_images=3, **asked)
    own = edited(work, tmp_path, "interpolate", other=str(scene_file(tmp_path, 0)), theta=0, steps=4)

    assert np.array_equal(edited(work, tmp_path, "text-diff", theta=0, **asked)[0], drawn[0])
    assert own.shape[1:] == drawn.shape[1:] and not np.array_equal(drawn[0], drawn[2])
    with pytest.raises(ConfigError, match="same to the CLIP"):
        edited(work, tmp_path, "text-diff", **(asked | {"source_prompt": PROMPTS[1]}))


def test_what_these_edits_lack_or_ignore_is_refused(work: Path, tmp_path: Path) -> None:
    for kind, options, words in (
        ("interpolate", {}, "needs --other"),
        ("text-diff", {"prompts": PROMPTS[:1]}, "needs --source-prompt"),
        ("variations", {"prompts": PROMPTS[:1]}, "leave out --prompt"),
        ("variations", {"sampler": "heun"}, "leave out --sampler"),
        ("variations", {"theta": 0.5}, "does not read --theta"),
        ("interpolate", {"other": "x", "eta": 1.0, "sampler": "ddim"}, "leave out --eta"),
    ):
        with pytest.raises(ConfigError, match=words):
            edited(work, tmp_path, kind, **options)
    with pytest.raises(ConfigError, match="was trained on no embeddings"):
        Imagination(work / "up", load_generator(work / "decoder", CPU), DrawConfig())


def test_a_clip_that_is_gone_is_named(work: Path) -> None:
    shutil.move(work / "eye", work / "moved")
    try:
        with pytest.raises(ConfigError, match="gone"):
            load_generator(work / "system", CPU)
        assert not load_generator(work / "decoder", CPU).has_prior
    finally:
        shutil.move(work / "moved", work / "eye")
