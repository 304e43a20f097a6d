"""Options of drawing, asked for as a person does: what is neutral changes no bit, what is strong does what it says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from t2i_core.errors import ConfigError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.manifest import read_manifest
from t2i_core.generation.config import DrawConfig, GenerateConfig
from t2i_core.generation.edits.config import EditConfig, EditRequest
from t2i_core.generation.edits.edit import edit
from t2i_core.generation.generate import generate
from t2i_core.generation.generator import Generator, load_generator
from t2i_core.generation.model import Model
from t2i_core.samples.scenes import make_scene, render_scene
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import train

CPU = Compute(device="cpu", precision="float32")
PROMPT = "a red circle on a gray background"
Draw = Callable[..., Tensor]


@pytest.fixture(scope="module")
def weaker(tmp_path_factory: pytest.TempPathFactory, scenes_dir: Path) -> Path:
    """The run "plain", trained for a third as long."""
    config = TrainConfig.parse({"preset": "diffusion-smoke", "max_images": 32})
    return train(scenes_dir, config, tmp_path_factory.mktemp("weaker") / "run", compute=CPU).path


@pytest.fixture(scope="module")
def generator(system_runs: dict[str, Path]) -> Generator:
    return load_generator(system_runs["plain"], CPU)


@pytest.fixture(scope="module")
def draw(generator: Generator) -> Draw:
    """Draw with a run, as numbers that are not rounded yet."""
    return drawing(generator)


def drawing(generator: Generator) -> Draw:
    def drawn(**settings: Any) -> Tensor:
        return generator._draw([PROMPT] * 2, [3, 4], DrawConfig.parse({"steps": 3, "guidance_scale": 4} | settings))

    return drawn


DDIM = {"sampler": "ddim"}


@pytest.mark.parametrize(
    ("beside", "neutral", "strong"),
    [
        ({}, {"guidance_interval": "0,1"}, {"guidance_interval": "0.97,1"}),
        ({}, {"guidance_rescale": 0}, {"guidance_rescale": 1}),
        ({}, {"apg_parallel": 1}, {"apg_parallel": 0}),
        ({}, {"apg_momentum": 0}, {"apg_momentum": -0.9}),
        ({}, {"apg_radius": 0}, {"apg_radius": 0.01}),
        (DDIM, {"eta": 0}, {"eta": 1}),
        ({}, {"time_shift": 1}, {"time_shift": 0.2}),
    ],
)
def test_an_option_changes_nothing_at_its_neutral_value_and_pictures_at_a_strong_one(
    draw: Draw, beside: dict[str, Any], neutral: dict[str, Any], strong: dict[str, Any]
) -> None:
    without = draw(**beside)

    assert torch.equal(draw(**beside, **neutral), without)
    assert not torch.allclose(draw(**beside, **strong), without, atol=1e-3)


def test_what_a_run_knows_as_well_as_itself_leads_it_nowhere(draw: Draw, system_runs: dict[str, Path]) -> None:
    assert torch.equal(draw(autoguide=str(system_runs["plain"])), draw(guidance_scale=1))


def test_in_one_step_each_option_is_its_closed_form(draw: Draw, weaker: Path) -> None:
    """One step ends on the guided estimate at t = 1, from which those with a caption and without follow."""
    one = {"steps": 1}
    x_0 = draw(**one, guidance_scale=1)
    away = draw(**one, guidance_scale=2) - x_0
    plain = x_0 + 3 * away
    ratio = (x_0.flatten(1).std(1) / plain.flatten(1).std(1))[:, None, None, None]
    along = (away * x_0).sum((1, 2, 3), keepdim=True) / x_0.square().sum((1, 2, 3), keepdim=True) * x_0
    length = away.square().sum((1, 2, 3), keepdim=True).sqrt()
    other = drawing(load_generator(weaker, CPU))(**one, guidance_scale=1)

    for settings, expected in (
        ({}, plain),
        ({"guidance_interval": "0,0.9"}, x_0),
        ({"guidance_rescale": 0.5}, plain * (1 + 0.5 * (ratio - 1))),
        ({"apg_parallel": 0.25}, x_0 + 3 * (away - 0.75 * along)),
        ({"apg_radius": 0.01}, x_0 + 3 * away * 0.01 / length),
        ({"autoguide": str(weaker)}, other + 4 * (x_0 - other)),
    ):
        assert torch.allclose(draw(**one, **settings), expected, atol=1e-4), settings
    assert float(length.min()) > 0.05 and not torch.allclose(other, x_0, atol=1e-2)


def test_ddim_with_all_noise_is_ddpm(draw: Draw) -> None:
    assert torch.allclose(draw(sampler="ddim", eta=1), draw(sampler="ddpm"), atol=1e-5)


def test_pictures_with_options_are_the_same_alone_and_among_many(generator: Generator, weaker: Path) -> None:
    config = DrawConfig.parse(
        {"steps": 2, "sampler": "ddim", "eta": 0.5, "autoguide": str(weaker), "apg_momentum": -0.5, "apg_parallel": 0}
    )
    many = generator.generate([PROMPT] * 9, range(9), config)

    assert all((generator.generate([PROMPT], [i], config)[0] == many[i]).all() for i in (0, 8))


def test_records_say_what_pictures_were_drawn_with(system_runs: dict[str, Path], weaker: Path, tmp_path: Path) -> None:
    options = {"steps": 1, "guidance_rescale": 0.5, "guidance_interval": "0.1,1", "autoguide": str(weaker)}
    generate(system_runs["plain"], [PROMPT], tmp_path / "drawn", GenerateConfig.parse(options))

    line = json.loads((tmp_path / "drawn/images.jsonl").read_text())
    assert line.items() >= options.items()
    assert line["led_away_from"] == {"autoguide": read_manifest(weaker).digest}
    assert line["eta"] is None and line["run"] == read_manifest(system_runs["plain"]).digest


def test_an_evaluation_says_what_its_pictures_were_drawn_with(
    system_runs: dict[str, Path], weaker: Path, tmp_path: Path
) -> None:
    brief = {"prompts_per_task": 1, "images_per_prompt": 1, "num_train": 0, "num_real": 10, "bootstrap_resamples": 100}
    options = {"steps": 1, "sampler": "ddim", "eta": 0.25, "autoguide": str(weaker), "studies": ["guidance"]}
    out = tmp_path / "evaluation"
    evaluate(system_runs["plain"], EvaluateConfig.parse(brief | options), out)

    manifest, page = read_manifest(out), (out / "report.html").read_text()
    assert manifest.key.inputs["autoguide"] == read_manifest(weaker).digest
    assert (out / manifest.sources["autoguide"]).resolve() == weaker.resolve()
    assert manifest.key.config.items() >= {"eta": 0.25, "sampler": "ddim"}.items()
    for name, value in (("eta", "0.25"), ("sampler", "ddim"), ("sampling steps", "1"), ("autoguide", str(weaker))):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in page
    assert f"--autoguide {manifest.sources['autoguide']}" in page
    rows = json.loads((out / "metrics.json").read_text())["guidance"]["rows"]
    assert set(rows) == {"none", "classifier-free, 3", "away from a weaker run, 3"}


def test_a_setting_that_is_not_asked_for_leaves_keys_as_they_were() -> None:
    assert (
        "time_shift" not in EvaluateConfig().model_dump() and "time_shift" in EvaluateConfig(time_shift=2).model_dump()
    )


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("plain", {"eta": 0.5}, "--eta is of the sampler ddim, and dpmpp_2m has none"),
        ("plain", {"eta": 0.5, "sampler": "heun"}, "heun has none"),
        ("plain", {"guidance_scale": 1, "apg_parallel": 0}, "--apg-parallel changes nothing without guidance"),
        ("base", {"guidance_rescale": 1, "autoguide": "plain"}, "--autoguide and --guidance-rescale changes? nothing"),
        ("plain", {"autoguide": "plain", "negative_prompt": "red"}, "leave out --autoguide or --negative-prompt"),
        ("plain", {"autoguide": "scenes"}, "holds a captions, not a run"),
        ("plain", {"autoguide": "direct"}, "one is a diffusion run and the other a direct run"),
        ("plain", {"autoguide": "base"}, "different ways to noise"),
        ("base", {"guidance_scale": 2, "autoguide": "inpaint"}, "one was trained to fill in"),
        ("direct", {"apg_radius": 1}, "draws without --apg-radius"),
        ("direct", {"time_shift": 2}, "draws without --time-shift"),
        ("plain", {"clip_guidance_scale": 2}, "there is no CLIP to be guided by"),
        ("system", {"set": ["upsampler.clip_guidance_scale=2"]}, "it sees pictures of the base"),
        ("system", {"set": ["inpaint.steps=2"]}, "the inpaint draws with the settings of the base"),
        ("system", {"set": ["upsampler.eta=1", "upsampler.sampler=heun"]}, "heun has none"),
    ],
)
def test_what_would_change_nothing_or_does_not_fit_is_refused(
    system_runs: dict[str, Path], scenes_dir: Path, tmp_path: Path, name: str, options: dict[str, Any], told: str
) -> None:
    folders = system_runs | {"scenes": scenes_dir}
    if "autoguide" in options:
        options = options | {"autoguide": str(folders[options["autoguide"]])}
    with pytest.raises(ConfigError, match=told):
        generate(folders[name], [PROMPT], tmp_path / "out", GenerateConfig.parse(options))

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        *({"guidance_interval": text} for text in ("0.5", "0.8,0.2", "-1,1", "0,2", "a,b", "nan,1")),
        *(
            {"guidance_rescale": 2},
            {"apg_parallel": -1},
            {"apg_momentum": 1},
            {"apg_radius": -1},
            {"eta": 1.5},
            {"time_shift": 0},
        ),
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        DrawConfig.parse(options)


def test_a_weaker_base_says_nothing_of_who_fills_in(system_runs: dict[str, Path], tmp_path: Path) -> None:
    render_scene(make_scene(7, 0), 32).save(tmp_path / "picture.png")
    config = EditConfig.parse(
        {"box": ["0,0,16,16"], "steps": 2, "guidance_scale": 2, "autoguide": str(system_runs["base"])}
    )
    request = EditRequest(
        run_dir=system_runs["system"],
        kind="inpaint",
        picture=tmp_path / "picture.png",
        prompts=(PROMPT,),
        output_dir=tmp_path / "out",
        config=config,
    )
    with pytest.raises(ConfigError, match="the inpaint of this system fills in"):
        edit(request)

    assert len(edit(request.with_changes(run_dir=system_runs["untrained"]))) == 1


def test_a_model_draws_with_the_weights_that_are_asked_for(system_runs: dict[str, Path]) -> None:
    model = Model(system_runs["plain"])

    with pytest.raises(ConfigError, match=r"no average of decay 0\.123"):
        model(PROMPT, steps=1, ema=0.123)
    assert model(PROMPT, steps=1)[0].size == (32, 32)
