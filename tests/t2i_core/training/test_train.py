import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.batches import split
from t2i_core.data.batches.split import load_split
from t2i_core.errors import CheckpointError, ConfigError, DataError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.manifest import read_manifest
from t2i_core.generation.asked import image_seed
from t2i_core.generation.config import GenerateConfig
from t2i_core.generation.generate import generate
from t2i_core.generation.generator import load_generator
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.samples.scenes import make_scene, render_scene
from t2i_core.systems.stage import Batch
from t2i_core.training.checkpoint import latest_checkpoint, list_checkpoints
from t2i_core.training.claim import claim_run
from t2i_core.training.config import TrainConfig, train_key
from t2i_core.training.device import Compute
from t2i_core.training.preset import load_preset, preset_names
from t2i_core.training.step import Run, train
from t2i_core.training.supervisor import supervise_training

CPU = Compute(device="cpu", precision="float32")
IMAGES = 480
TIMED = ("perf/images_per_second", "perf/seconds")


def config(preset: str = "diffusion-smoke", **changes: object) -> TrainConfig:
    return TrainConfig.parse({"preset": preset, "max_images": IMAGES, "log_every": 5} | changes)


@pytest.fixture(scope="session")
def finished(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    train(captions_dir, config(), run_dir, compute=CPU)
    return run_dir


def start(captions_dir: Path, run_dir: Path) -> subprocess.Popen[bytes]:
    note = run_dir.with_suffix(".json")
    note.write_text(config(checkpoint_seconds=0.01, precision="float32").model_dump_json())
    command = [sys.executable, "-m", "t2i_core.training", "--captions-dir", str(captions_dir)]
    command += ["--output-dir", str(run_dir), "--config", str(note)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def wait_for_checkpoint(process: subprocess.Popen[bytes], run_dir: Path) -> None:
    while not list_checkpoints(run_dir):
        assert process.poll() is None, process.stderr.read().decode()  # type: ignore[union-attr]
        time.sleep(0.02)


def metrics(run_dir: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows]


def assert_same_run(a: Path, b: Path) -> None:
    for name in ("model", "ema", "optimizer"):
        left, right = (load_file(list_checkpoints(run)[-1] / f"{name}.safetensors") for run in (a, b))
        assert left.keys() == right.keys()
        assert all(left[key].equal(right[key]) for key in left), name
    assert metrics(a) == metrics(b)


@pytest.fixture(scope="session")
def whole_in_process(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "undisturbed"
    process = start(captions_dir, run_dir)
    assert process.wait() == 0
    return run_dir


def test_pictures_that_are_streamed_train_the_same_weights_bit_for_bit(captions_dir, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(split, "MAX_MEMORY_SHARE", 0.0)
    moved = tmp_path / "moved"
    shutil.copytree(captions_dir.parent / "dataset", moved)

    train(captions_dir, config(workers=2, shards=str(moved)), tmp_path / "streamed", compute=CPU)

    assert_same_run(finished, tmp_path / "streamed")


def test_pictures_of_several_shapes_train_the_same_from_memory_and_streamed(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    for i in range(48):
        size = [(32, 32), (96, 32), (32, 64)][i % 3]
        picture = Image.effect_mandelbrot(size, (-3, -2.5, 2, 2.5), 100).convert("RGB")
        picture.putpixel((0, 0), (i, 0, 0))
        picture.save(tmp_path / f"pictures/{i:02d}.png")
        (tmp_path / f"pictures/{i:02d}.txt").write_text(f"color {i}")
    options = IngestConfig(image_size=32, encode_format="png", min_image_size=8, resize_mode="keep_ratio")
    ingest(str(tmp_path / "pictures"), options, tmp_path / "dataset")
    choices = CaptionConfig(validation_share=0, test_share=0, drop_duplicates=False, drop_placeholders=False)
    caption(tmp_path / "dataset", choices, tmp_path / "captions")
    shapes = config(set=("shapes.side=32", "shapes.step=16", "shapes.max_ratio=3"))
    assert shapes.resolve().shapes.num == 3

    train(tmp_path / "captions", shapes, tmp_path / "kept", compute=CPU)
    monkeypatch.setattr(split, "MAX_MEMORY_SHARE", 0.0)
    train(tmp_path / "captions", shapes.with_changes(workers=2), tmp_path / "streamed", compute=CPU)

    assert_same_run(tmp_path / "kept", tmp_path / "streamed")


def test_shapes_that_a_network_cannot_take_are_refused():
    with pytest.raises(ConfigError, match="takes sides that are multiples of 16"):
        config(set=("shapes.side=64", "shapes.step=8")).resolve()
    with pytest.raises(ConfigError, match="takes squares of one size"):
        config("clip-smoke", set=("shapes.side=64", "shapes.step=8")).resolve()


def test_where_the_data_lies_decides_nothing_and_which_part_is_read_does(captions_dir):
    keys = [
        train_key(captions_dir, config(shards=shards))
        for shards in ("", "s3://bucket/dataset", "s3://bucket/dataset/shards/0000?.tar", "/a/shards/0000?.tar")
    ]

    assert keys[0] == keys[1] != keys[2] == keys[3]


def test_several_datasets_are_trained_on_in_the_proportions_of_their_weights(captions_dir, tmp_path):
    first = captions_dir.parent / "dataset"
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        render_scene(make_scene(0, 500 + i), 32).save(tmp_path / f"pictures/{i:02d}.png")
        (tmp_path / f"pictures/{i:02d}.txt").write_text("another scene")
    options = IngestConfig(image_size=32, encode_format="png", min_image_size=8)
    ingest(str(tmp_path / "pictures"), options, tmp_path / "others")
    others = (str(tmp_path / "others"),)
    joined = caption(first, CaptionConfig(), tmp_path / "captions", joined_with=others).path
    plain, weighted = (config("cnn-smoke", max_images=32, weights=weights) for weights in ((), "dataset=1,others=3"))
    alike, mixed = train_key(joined, plain), train_key(joined, weighted)

    assert alike != mixed == train_key(joined, config("cnn-smoke", max_images=32, weights=("others=6", "dataset=2")))
    run = read_manifest(train(joined, weighted, tmp_path / "run", compute=CPU).path)
    assert run.key == mixed and run.key.config["weights"] == {"dataset": "1/4", "others": "3/4"}
    with pytest.raises(ConfigError, match="of one dataset: leave out --weights"):
        train_key(captions_dir, weighted)


def test_weights_that_do_not_fit_on_the_disk_are_told_as_such(tmp_path):
    # A limit on the size of files stands in for a full disk; it holds for the process, which is therefore another one.
    code = (
        "import resource, sys, torch; from pathlib import Path;"
        "from t2i_core.systems.weights import save_tensors;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "save_tensors(Path(sys.argv[1]), {'a': torch.zeros(5000)})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1].startswith(f"OSError: [Errno {errno.EFBIG}]")


def test_a_system_without_noise_refuses_what_it_would_ignore(captions_dir, tmp_path):
    train(captions_dir, config("cnn-smoke", max_images=32), tmp_path / "cnn", compute=CPU)

    with pytest.raises(ConfigError, match="cnn is a direct run, which draws without --guidance-scale and --steps"):
        generate(tmp_path / "cnn", ["a red circle"], tmp_path / "out", GenerateConfig(guidance_scale=3, steps=9))
    with pytest.raises(ConfigError, match="without --sampler and --negative-prompt"):
        generate(tmp_path / "cnn", ["a"], tmp_path / "out", GenerateConfig(sampler="heun", negative_prompt="a"))
    with pytest.raises(ConfigError, match="without --steps: it would change nothing"):
        evaluate(tmp_path / "cnn", EvaluateConfig(steps=9), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_killed_run_resumes_to_the_same_bits(captions_dir, whole_in_process, tmp_path):
    run_dir = tmp_path / "killed"
    process = start(captions_dir, run_dir)
    wait_for_checkpoint(process, run_dir)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    step = latest_checkpoint(run_dir).state["step"]
    assert 0 < step < IMAGES // load_preset("diffusion-smoke").batch_size

    assert start(captions_dir, run_dir).wait() == 0

    assert_same_run(run_dir, whole_in_process)


def test_sigterm_writes_a_checkpoint_exits_75_and_resumes(captions_dir, whole_in_process, tmp_path):
    run_dir = tmp_path / "stopped"
    process = start(captions_dir, run_dir)
    wait_for_checkpoint(process, run_dir)
    process.send_signal(signal.SIGTERM)

    _, message = process.communicate()

    assert process.returncode == 75
    assert "run the same command again" in message.decode().splitlines()[-1]
    assert start(captions_dir, run_dir).wait() == 0
    assert_same_run(run_dir, whole_in_process)


@pytest.mark.parametrize("name", ["cnn-smoke", "clip-smoke"])
def test_the_other_systems_learn_and_finish(captions_dir, tmp_path, name):
    ref = train(captions_dir, config(name), tmp_path / "run", compute=CPU)

    losses = [row["train/loss"] for row in metrics(tmp_path / "run") if "train/loss" in row]

    assert ref.counts["images"] == IMAGES
    assert losses[-1] < 0.9 * losses[0]


def test_diffusion_learns(captions_dir, tmp_path):
    train(captions_dir, config(max_images=4 * IMAGES), tmp_path / "run", compute=CPU)

    losses = [row["train/loss"] for row in metrics(tmp_path / "run") if "train/loss" in row]

    assert losses[-1] < 0.5 * losses[0]


def test_diffusion_logs_every_noise_band_and_draws_samples(finished):
    rows = [row for row in metrics(finished) if "train/loss" in row]

    assert {f"train/loss_band_{b}" for b in range(5)} <= rows[-1].keys()
    assert len(list((finished / "samples").glob("*.png"))) == 5


def test_the_same_call_on_a_finished_run_is_a_hit(captions_dir, finished):
    assert train(captions_dir, config(), finished, compute=CPU).hit


def test_a_folder_of_another_run_is_refused_with_the_difference(captions_dir, finished):
    with pytest.raises(ConfigError, match="seed was 0, now 1"):
        train(captions_dir, config(seed=1), finished, compute=CPU)

    assert read_manifest(finished, "run").counts["images"] == IMAGES


def test_a_recipe_of_ones_own_is_trained_from_wherever_it_lies(captions_dir, tmp_path, monkeypatch):
    (tmp_path / "mine.json").write_text('{"from": "cnn-smoke", "batch_size": 8, "max_images": 16}')
    monkeypatch.chdir(tmp_path)
    own = TrainConfig(preset="mine.json", set=("optim.learning_rate=0.5",))

    ref = supervise_training(captions_dir, own, tmp_path / "run")

    noted = json.loads((tmp_path / "run" / "config.json").read_text())
    assert ref.counts["steps"] == 2
    assert (noted["preset"], noted["train"]["preset"]) == ("mine", "mine")
    assert (noted["recipe"]["batch_size"], noted["recipe"]["optim"]["learning_rate"]) == (8, 0.5)
    assert str(tmp_path) not in json.dumps(noted)


def test_an_unknown_preset_is_refused_with_the_names(captions_dir, tmp_path):
    with pytest.raises(ConfigError, match="diffusion-demo"):
        train(captions_dir, config("nope"), tmp_path / "run")


def test_every_preset_loads_and_has_a_budget():
    assert {"cnn-demo", "clip-demo", "diffusion-demo"} <= set(preset_names())
    for name in preset_names():
        preset = load_preset(name)
        assert preset.max_minutes or preset.max_images


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(finished, tmp_path):
    newest, older = tmp_path / "checkpoints" / "step_00000020", tmp_path / "checkpoints" / "step_00000010"
    for path in (newest, older):
        path.parent.mkdir(exist_ok=True)
        path.mkdir()
        for file in list_checkpoints(finished)[-1].iterdir():
            (path / file.name).write_bytes(file.read_bytes())
    (newest / "ema.safetensors").write_bytes(b"torn")

    assert latest_checkpoint(tmp_path).path == older

    (older / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"ema\.safetensors does not match"):
        latest_checkpoint(tmp_path)


def test_a_run_whose_checkpoint_lost_a_file_is_made_again(captions_dir, tmp_path):
    short = config("cnn-smoke", max_images=32)
    first = train(captions_dir, short, tmp_path / "run", compute=CPU)
    weights = list_checkpoints(first.path)[-1] / "ema.safetensors"
    before = weights.read_bytes()
    weights.unlink()

    again = train(captions_dir, short, first.path, compute=CPU)

    assert not again.hit
    assert weights.read_bytes() == before


def test_pictures_do_not_depend_on_what_is_drawn_beside_them(finished):
    generator = load_generator(finished, CPU)
    prompts = ["a red circle on a gray background", "two blue squares on a pink background"]
    seeds = [image_seed(0, prompt, 0) for prompt in prompts]

    together = generator.generate(prompts, seeds, GenerateConfig())
    alone = generator.generate(prompts[1:], seeds[1:], GenerateConfig())

    assert (together[1] == alone[0]).all()
    assert (together[0] != together[1]).any()


def test_generate_writes_pictures_prompt_by_prompt(finished, tmp_path):
    words = " ".join(load_split(finished / read_manifest(finished).sources["captions"], "train").captions[:1])

    records = generate(finished, [words, ""], tmp_path / "out", GenerateConfig(num_images=2, steps=2))

    lines = [json.loads(line) for line in (tmp_path / "out" / "images.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["00000.png", "00001.png", "00002.png", "00003.png"]
    assert [(r.prompt, r.index) for r in records] == [(words, 0), (words, 1), ("", 0), ("", 1)]
    assert all((tmp_path / "out" / line["file"]).is_file() for line in lines)


def test_sampler_and_negative_prompt_change_the_pictures_and_are_noted(finished, tmp_path):
    prompt = "a red circle on a gray background"

    def drawn(name: str, **settings: object) -> tuple[bytes, dict[str, object]]:
        generate(finished, [prompt], tmp_path / name, GenerateConfig.parse({"steps": 4} | settings))
        line = json.loads((tmp_path / name / "images.jsonl").read_text())
        with Image.open(tmp_path / name / "00000.png") as picture:
            return picture.tobytes(), line

    own, line = drawn("own")
    assert (line["sampler"], line["negative_prompt"]) == (None, "")
    assert drawn("same", sampler="dpmpp_2m", guidance_scale=2)[0] == own
    for name, settings in {"ddim": {"sampler": "ddim"}, "not": {"negative_prompt": "a blue square"}}.items():
        picture, line = drawn(name, **settings)
        assert picture != own
        assert line.items() >= settings.items()
    # Guidance away from the prompt itself leaves the prompt alone, whatever its scale.
    assert drawn("itself", negative_prompt=prompt)[0] == drawn("plain", guidance_scale=1)[0]


def test_what_guidance_cannot_do_is_refused(finished, tmp_path):
    with pytest.raises(ConfigError, match="--negative-prompt changes nothing without guidance"):
        generate(finished, ["a"], tmp_path / "out", GenerateConfig(negative_prompt="a", guidance_scale=1))
    with pytest.raises(ConfigError, match="never learned: zebra"):
        generate(finished, ["a"], tmp_path / "out", GenerateConfig(negative_prompt="zebra"))
    for config_class in (GenerateConfig, EvaluateConfig):
        with pytest.raises(ConfigError, match=r"guidance_scale: .*greater than 0"):
            config_class.parse({"guidance_scale": 0})


def test_a_grid_has_a_row_a_prompt(finished, tmp_path):
    records = generate(
        finished, ["a red circle", ""], tmp_path / "out", GenerateConfig(num_images=3, steps=1, grid=True)
    )

    with Image.open(tmp_path / "out" / "grid.png") as grid:
        assert grid.size == (3 * 32, 2 * 32)
        for i, record in enumerate(records):
            with Image.open(tmp_path / "out" / record.file) as picture:
                cell = grid.crop((i % 3 * 32, i // 3 * 32, i % 3 * 32 + 32, i // 3 * 32 + 32))
                assert cell.tobytes() == picture.tobytes()


def test_a_grid_too_large_to_be_seen_is_refused_before_anything_is_drawn(finished, tmp_path):
    with pytest.raises(ConfigError, match=r"a picture of 102,400,000 pixels, and may have 64,000,000"):
        generate(finished, ["a"] * 10, tmp_path / "out", GenerateConfig(num_images=10_000, grid=True))
    assert not (tmp_path / "out").exists()


def test_unknown_words_are_refused_by_name_before_anything_is_written(finished, tmp_path):
    with pytest.raises(ConfigError, match="zebra"):
        generate(finished, ["a zebra"], tmp_path / "out", GenerateConfig())

    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_is_refused(captions_dir, tmp_path):
    with pytest.raises(ConfigError, match="holds a captions, not a run"):
        load_generator(captions_dir)
    with pytest.raises(ConfigError, match="no such folder"):
        load_generator(tmp_path / "nothing")


def test_a_run_of_an_older_version_is_refused_in_a_sentence(finished, captions_dir, tmp_path):
    old = tmp_path / "run"
    shutil.copytree(finished, old)
    for name in ("manifest.json", "step.json"):
        note = json.loads((old / name).read_text())
        note.get("key", note)["version"] = 1
        (old / name).write_text(json.dumps(note))

    with pytest.raises(ConfigError, match="was trained by version 1 of training"):
        load_generator(old)
    with pytest.raises(ConfigError, match="step was train v1, now train v3"):
        train(captions_dir, config(), old, compute=CPU)


def test_a_sample_is_trained_on_alike_in_a_batch_of_any_size(captions_dir, tmp_path):
    def batch(first: int, size: int) -> Batch:
        run_config = config("diffusion-smoke", set=[f"batch_size={size}"])
        claim_run(captions_dir, run_config, tmp_path / f"{first}-{size}", "refuse")
        trainer = Run(captions_dir, run_config, tmp_path / f"{first}-{size}", lambda progress: None, CPU).trainer
        trainer.position.images = first
        return trainer.next_batch()

    whole, part = batch(0, 64), batch(40, 8)

    for mine, others in (
        (whole.target, part.target),
        (whole.condition.keep["text"], part.condition.keep["text"]),
        (whole.chance.normal("eps", (3, 32, 32)), part.chance.normal("eps", (3, 32, 32))),
        (whole.chance.spread("time"), part.chance.spread("time")),
    ):
        assert torch.equal(mine[40:48], others)
    assert not whole.condition.keep["text"].all()


def test_a_run_whose_folder_is_deleted_ends_with_a_sentence_and_writes_nothing_more(captions_dir, tmp_path):
    run_dir = tmp_path / "run"

    with pytest.raises(DataError, match=r"run was deleted or moved while it was trained, at step 1: .* same command"):
        train(captions_dir, config(), run_dir, compute=CPU, on_progress=lambda _progress: shutil.rmtree(run_dir))

    assert not run_dir.exists()


def test_a_torn_checkpoint_is_refused(finished, captions_dir, tmp_path):
    run_dir = tmp_path / "run"
    train(captions_dir, config("cnn-smoke", max_images=32), run_dir, compute=CPU)
    weights = list_checkpoints(run_dir)[-1] / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(CheckpointError, match=r"ema\.safetensors"):
        load_generator(run_dir)
