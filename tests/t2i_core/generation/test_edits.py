"""Edits by barely trained runs: what is known stays to the byte, and the ends of each kind are what they must be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_core.errors import ConfigError
from t2i_core.generation.config import GenerateConfig
from t2i_core.generation.edits.canvas import Mask, Pixels, psnrs
from t2i_core.generation.edits.config import EditConfig, EditRequest
from t2i_core.generation.edits.edit import edit
from t2i_core.generation.generate import generate
from t2i_core.generation.generator import Generator, load_generator
from t2i_core.generation.given import Given
from t2i_core.samples.scenes import make_scene, render_scene
from t2i_core.training.device import Compute

CPU = Compute(device="cpu", precision="float32")
PROMPT = "a red circle on a gray background"
RESAMPLED = {"resamples": 3, "jump_length": 1}


@pytest.fixture(scope="module")
def generators(system_runs: dict[str, Path]) -> dict[str, Generator]:
    return {name: load_generator(system_runs[name], CPU) for name in ("plain", "system", "untrained")}


def scene(side: int, number: int = 0) -> Pixels:
    return np.asarray(render_scene(make_scene(7, number), side))


def random_mask(rng: np.random.Generator, side: int) -> Mask:
    """Boxes, single pixels, half of it: whatever a person may paint."""
    mask = rng.random((side, side)) < rng.choice([0.02, 0.5])
    left, top, width, height = rng.integers(0, side, 4)
    mask[top : top + height, left : left + width] = True
    return np.asarray(mask)


@pytest.mark.parametrize("name", ["plain", "system", "untrained"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m"])
def test_known_pixels_keep_their_bytes(generators: dict[str, Generator], name: str, sampler: str) -> None:
    generator, rng = generators[name], np.random.default_rng(3)
    side = generator.image_size
    config = EditConfig.parse({"sampler": sampler, "steps": 2})
    num_masks = 64 if sampler == "ddim" else 8
    for number in range(num_masks):
        picture, mask = scene(side, number), random_mask(rng, side)
        (drawn,) = generator.generate([PROMPT], [number], config, Given(picture[None], redraw=mask))

        assert np.array_equal(drawn[~mask], picture[~mask])
        assert mask.sum() < 9 or not np.array_equal(drawn[mask], picture[mask])


@pytest.mark.parametrize("name", ["plain", "system", "untrained"])
def test_a_mask_of_all_is_plain_drawing_and_a_mask_of_none_the_picture(
    generators: dict[str, Generator], name: str
) -> None:
    generator = generators[name]
    side, config = generator.image_size, EditConfig.parse({"steps": 3})
    given = scene(side)[None]
    plain = generator.generate([PROMPT], [5], config)
    everything = generator.generate([PROMPT], [5], config, Given(given, redraw=np.ones((side, side), bool)))
    nothing = generator.generate([PROMPT], [5], config, Given(given, redraw=np.zeros((side, side), bool)))

    assert np.array_equal(nothing, given)
    # A system draws with the run that was trained to fill in, which is another one.
    assert np.array_equal(everything, plain) == (name != "system")


@pytest.mark.parametrize("name", ["plain", "untrained"])
def test_strength_goes_from_the_picture_to_plain_drawing(generators: dict[str, Generator], name: str) -> None:
    generator = generators[name]
    config, seeds = EditConfig.parse({"steps": 10, "sampler": "ddim"}), list(range(8))
    pictures = np.stack([scene(generator.image_size, number) for number in seeds])
    prompts = [PROMPT] * len(seeds)
    at = {
        strength: generator.generate(prompts, seeds, config, Given(pictures, strength=strength))
        for strength in (0.2, 0.4, 0.6, 0.8, 1.0)
    }
    distances = [np.abs(drawn.astype(int) - pictures).mean() for drawn in at.values()]

    assert np.array_equal(at[1.0], generator.generate(prompts, seeds, config))
    assert distances == sorted(distances) and len(set(distances)) == len(distances)


@pytest.mark.parametrize("name", ["plain", "system", "untrained"])
@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp_2m"])
def test_resampling_draws_otherwise_and_keeps_known_pixels(
    generators: dict[str, Generator], name: str, sampler: str
) -> None:
    generator, mask = generators[name], random_mask(np.random.default_rng(4), generators[name].image_size)
    pictures, config = scene(len(mask))[None].repeat(9, axis=0), EditConfig.parse({"sampler": sampler, "steps": 3})
    seeds = list(range(9))
    drawn = {
        rounds: generator.generate([PROMPT] * 9, seeds, config, Given(pictures, redraw=mask, resamples=rounds))
        for rounds in (1, 3)
    }
    plain, alone = (
        generator.generate([PROMPT], [8], config, Given(pictures[:1], redraw=mask, **more)) for more in ({}, RESAMPLED)
    )

    assert np.array_equal(plain[0], drawn[1][8]) and np.array_equal(alone[0], drawn[3][8])
    assert np.array_equal(drawn[3][:, ~mask], pictures[:, ~mask])
    assert not np.array_equal(drawn[3], drawn[1])


@pytest.mark.parametrize("kind", ["inpaint", "outpaint", "iterative"])
def test_what_fills_in_may_go_over_its_steps_again(system_runs: dict[str, Path], tmp_path: Path, kind: str) -> None:
    where: dict[str, Any] = {"margins": "0,0,16,0"} if kind == "outpaint" else {"box": ("0,0,16,32",)}
    for name, more in (("none", {}), ("one", {"resamples": 1}), ("three", {"resamples": 3, "jump_length": 1})):
        edit(request(system_runs, "plain", kind, tmp_path / name, **where, **more))
    none, one, three = (pictures_in(tmp_path / name)[0] for name in ("none", "one", "three"))

    assert np.array_equal(one, none) and not np.array_equal(three, none)


def request(system_runs: dict[str, Path], name: str, kind: str, output_dir: Path, **more: Any) -> EditRequest:
    config = {key: more.pop(key) for key in list(more) if key in EditConfig.model_fields}
    picture = more.pop("picture", None)
    if picture is None:
        picture = output_dir.parent / "picture.png"
        Image.fromarray(scene(more.pop("side", 32))).save(picture)
    return EditRequest.parse(
        {"run_dir": system_runs[name], "kind": kind, "picture": picture, "prompts": more.pop("prompts", (PROMPT,))}
        | {"output_dir": output_dir, "config": {"steps": 2} | config}
    )


def pictures_in(folder: Path) -> list[Pixels]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("0*.png"))]


def test_inpaint_writes_pictures_a_record_and_a_strip(system_runs: dict[str, Path], tmp_path: Path) -> None:
    images = edit(request(system_runs, "system", "inpaint", tmp_path / "out", box=("0,0,16,32",), num_images=2))

    first, second = pictures_in(tmp_path / "out")
    assert np.array_equal(first[:, 16:], scene(32)[:, 16:]) and np.array_equal(second[:, 16:], scene(32)[:, 16:])
    assert not np.array_equal(first, second)
    assert Image.open(tmp_path / "out" / "strip.png").size == (4 * 32, 32)
    lines = [json.loads(line) for line in (tmp_path / "out" / "images.jsonl").read_text().splitlines()]
    assert lines == [image.model_dump(mode="json") for image in images]
    assert lines[0]["prompts"] == [PROMPT] and lines[0]["settings"]["box"] == ["0,0,16,32"]


def test_a_mask_file_says_what_a_box_says(system_runs: dict[str, Path], tmp_path: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[:, :16] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    edit(request(system_runs, "system", "inpaint", tmp_path / "a", box=("0,0,16,32",)))
    edit(request(system_runs, "system", "inpaint", tmp_path / "b", mask=(str(tmp_path / "mask.png"),)))

    assert np.array_equal(pictures_in(tmp_path / "a"), pictures_in(tmp_path / "b"))


def test_edits_in_turn_leave_what_no_mask_touches(system_runs: dict[str, Path], tmp_path: Path) -> None:
    boxes, prompts = ("0,0,8,8", "4,4,8,8", "20,20,12,12"), (PROMPT, "a blue square on a pink background", PROMPT)
    edit(request(system_runs, "system", "iterative", tmp_path / "out", box=boxes, prompts=prompts))

    (result,) = pictures_in(tmp_path / "out")
    touched = np.zeros((32, 32), bool)
    touched[:8, :8] = touched[4:12, 4:12] = touched[20:, 20:] = True
    assert np.array_equal(result[~touched], scene(32)[~touched])
    assert not np.array_equal(result[20:, 20:], scene(32)[20:, 20:])


def test_outpaint_draws_around_a_picture(system_runs: dict[str, Path], tmp_path: Path) -> None:
    edit(request(system_runs, "system", "outpaint", tmp_path / "out", margins="16,0,16,32"))

    (result,) = pictures_in(tmp_path / "out")
    assert result.shape == (64, 64, 3) and np.array_equal(result[:32, 16:48], scene(32))


def test_image_to_image_of_no_strength_is_the_picture(system_runs: dict[str, Path], tmp_path: Path) -> None:
    edit(request(system_runs, "plain", "image-to-image", tmp_path / "out", strength=0.0, side=32))

    assert np.array_equal(pictures_in(tmp_path / "out")[0], scene(32))


def test_image_to_image_of_full_strength_is_what_generate_draws(system_runs: dict[str, Path], tmp_path: Path) -> None:
    edit(request(system_runs, "plain", "image-to-image", tmp_path / "out", strength=1.0, side=32, num_images=2))
    generate(system_runs["plain"], [PROMPT], tmp_path / "plain", GenerateConfig.parse({"steps": 2, "num_images": 2}))

    assert np.array_equal(pictures_in(tmp_path / "out"), pictures_in(tmp_path / "plain"))


@pytest.mark.parametrize("side", [16, 32])
def test_upscale_doubles_pictures_of_any_size(system_runs: dict[str, Path], tmp_path: Path, side: int) -> None:
    settings = {"steps": None, "set": ("upsampler.steps=2",)}
    edit(request(system_runs, "untrained", "upscale", tmp_path / "out", side=side, prompts=(), **settings))

    assert pictures_in(tmp_path / "out")[0].shape == (2 * side, 2 * side, 3)


def test_invert_finds_the_noise_of_a_picture(system_runs: dict[str, Path], tmp_path: Path) -> None:
    few = edit(request(system_runs, "plain", "invert", tmp_path / "few", side=32, steps=10, iterations=1))
    many = edit(request(system_runs, "plain", "invert", tmp_path / "many", side=32, steps=10, iterations=8))

    # How near it comes is a matter of how well the run denoises; this one hardly does.
    assert many[0].figures["psnr"] > few[0].figures["psnr"] > 8
    assert many[0].figures["psnr"] == pytest.approx(psnrs(pictures_in(tmp_path / "many")[0][None], scene(32)[None])[0])


def test_psnr_is_the_closed_form() -> None:
    black = np.zeros((3, 4, 4, 3), np.uint8)
    others = black + np.array([0, 255, 51], np.uint8)[:, None, None, None]

    assert psnrs(others, black).tolist() == pytest.approx([99, 0, 20 * np.log10(5)])


@pytest.mark.parametrize(
    ("name", "kind", "more", "told"),
    [
        ("plain", "inpaint", {"side": 32}, "say what to draw anew"),
        ("plain", "inpaint", {"side": 32, "box": ("0,0,80,8",)}, "reaches beyond the picture of 32 x 32"),
        ("plain", "inpaint", {"side": 32, "box": ("0,0,8,8", "8,8,8,8")}, "1 prompts and 2 masks"),
        ("plain", "inpaint", {"side": 32, "box": ("0,0,8,8",), "strength": 0.5}, "does not read --strength"),
        ("plain", "inpaint", {"side": 24, "box": ("0,0,8,8",)}, "multiples of 16"),
        ("plain", "inpaint", {"side": 32, "box": ("0,0,8,8",), "prompts": ()}, "needs --prompt"),
        ("plain", "inpaint", {"side": 32, "box": ("0,0,8,8",), "prompts": ("a dragon",)}, "never learned: dragon"),
        (
            "plain",
            "inpaint",
            {"side": 32, "box": ("0,0,8,8",), "steps": 1, "resamples": 2},
            "1 of 1 steps",
        ),
        ("plain", "image-to-image", {"side": 32, "resamples": 2}, "does not read --resamples"),
        ("plain", "outpaint", {"side": 32}, "needs --margins"),
        ("plain", "upscale", {"side": 32, "steps": None}, "there is no upsampler"),
        ("untrained", "upscale", {"side": 16}, "whose settings are such as --set upsampler.steps=8: leave out --steps"),
        ("plain", "invert", {"side": 32, "guidance_scale": 3.0}, "without guidance"),
        ("plain", "invert", {"side": 32, "sampler": "heun"}, "goes back by DDIM .*: leave out --sampler"),
        ("system", "invert", {"side": 32}, "has no one noise"),
        ("direct", "inpaint", {"side": 32, "box": ("0,0,8,8",), "steps": None}, "cannot change pictures"),
        ("plain", "inpaint", {"picture": "nowhere.png", "box": ("0,0,8,8",)}, "cannot read the picture nowhere.png"),
        ("base", "image-to-image", {"side": 16, "clip_guidance_scale": 2.0}, "no CLIP to be guided by"),
    ],
)
def test_what_cannot_be_is_refused(
    system_runs: dict[str, Path], tmp_path: Path, name: str, kind: str, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        edit(request(system_runs, name, kind, tmp_path / "out", **more))

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"box": ("1,2,3",)},
        {"box": ("0,0,0,4",)},
        {"margins": "0,0,0,0"},
        {"margins": "a,b,c,d"},
        {"strength": 2},
        {"resamples": 0},
        {"jump_length": 2},
        {"jump_length": 2, "resamples": 1},
    ],
)
def test_a_config_that_means_nothing_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        EditConfig.parse(config)


def test_a_hostile_picture_is_refused_in_a_sentence(system_runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "evil.png").write_bytes(b"%!PS-Adobe-3.0\n" * 10)

    with pytest.raises(ConfigError, match="cannot read the picture"):
        edit(
            request(system_runs, "plain", "inpaint", tmp_path / "out", picture=tmp_path / "evil.png", box=("0,0,8,8",))
        )
