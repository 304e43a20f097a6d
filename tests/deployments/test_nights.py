"""The nights of the drill at their smallest, in this process: the same site, the same promises, by the same code."""

import importlib.util
from pathlib import Path
from typing import Any

from flows.config import PipelineConfig
from flows.nights.config import NightlyConfig
from flows.nights.recipe import run_nightly
from flows.shell.server import free_port
from flows.steps import CoreSteps
from t2i_core.nights.record import read_nights
from t2i_core.samples.nights import HOST
from t2i_core.samples.site import SiteConfig, serve_site

PROMISES_FILE = Path(__file__).parents[2] / "deployments/promises.py"
# The second and the third night's; barely trained runs are all wrong, and by the last rule the challenger wins even so.
RULES = [NightlyConfig(margin=0, min_prompts=1), NightlyConfig(margin=-1, min_prompts=1)]


def promises() -> Any:
    spec = importlib.util.spec_from_file_location("promises", PROMISES_FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def job_of(site: SiteConfig) -> PipelineConfig:
    smoke = PipelineConfig.preset("demo-smoke")
    changes = {
        "source": f"http://{HOST}:{site.port}/",
        "site": site.model_dump(),
        "ingest": smoke.ingest.model_dump() | {"image_size": 32, "samples_per_shard": 50, "retries": 0},
        "runs": {"cnn": {"preset": "cnn-smoke", "max_images": 32}},
        "evaluate": {
            "judged": ["cnn"],
            "prompts_per_task": 2,
            "images_per_prompt": 1,
            "num_train": 0,
            "bootstrap_resamples": 100,
        },
    }
    return PipelineConfig.parse(smoke.model_dump() | changes)


def test_three_nights_keep_what_they_promise(tmp_path: Path) -> None:
    kept, workspace = promises(), tmp_path / "work"
    site = SiteConfig(num_pictures=100, image_size=32, slow_seconds=0, port=free_port())
    job = job_of(site)
    for number, rule in enumerate([RULES[0], *RULES, RULES[1]]):
        with serve_site(kept.night_of(tmp_path, site, number)):
            run_nightly(CoreSteps(), job, rule, workspace, f"2026-11-{25 + number}")

    nights = read_nights(workspace)
    assert [night.outcome for night in nights] == ["first", "leave", "promote"] and nights[-1].quiet == 1
    made = {
        **kept.asked_the_truth(tmp_path, site, 3, job.ingest.retries),
        **kept.forgot_who_opted_out(workspace / "dataset", kept.night_of(tmp_path, site, 2)),
        **kept.followed_the_interval(workspace, RULES),
    }
    assert len(made) == 13
    assert [promise for promise, is_kept in made.items() if not is_kept] == []
