"""The main job through a real Prefect server, at its tiniest: what is done is not done again, what is gone is."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.settings import PREFECT_API_URL
from rich.console import Console

from flows.config import PipelineConfig, PipelineRequest
from flows.pipeline import pipeline
from flows.recipe import ingest_source, run_pipeline
from flows.shell.summary import pictures_per_second, print_summary, training_figures
from flows.steps import CoreSteps
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.progress import Progress
from t2i_core.samples.site import SiteConfig
from tasks.runtime import LISTENER


def tiny(**changes: Any) -> PipelineConfig:
    """Make one training of a few steps on a few pictures."""
    smoke = PipelineConfig.preset("demo-smoke")
    return smoke.with_changes(
        site=smoke.site.with_changes(num_pictures=150, slow_seconds=0.1),
        ingest=smoke.ingest.with_changes(samples_per_shard=100),
        runs={"diffusion": smoke.runs["diffusion"].with_changes(max_images=32)},
        systems={"whole": {"base": "diffusion"}},
        evaluate=smoke.evaluate.with_changes(judged=["whole"], scorer="", prompts_per_task=1, num_train=20),
        **changes,
    )


def run(workspace: Path, config: PipelineConfig) -> State[dict[str, StepRef]]:
    path = workspace / "pipeline.json"
    path.write_text(config.model_dump_json())
    return pipeline(workspace / "work", PipelineRequest(config_file=str(path)), return_state=True)


def hits(state: State[dict[str, StepRef]]) -> dict[str, bool]:
    return {name: ref.hit for name, ref in state.result().items()}


@pytest.fixture(scope="module")
def seen() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def first(prefect_server: None, workspace: Path, seen: list[Progress]) -> State[dict[str, StepRef]]:
    token = LISTENER.set(seen.append)
    try:
        return run(workspace, tiny())
    finally:
        LISTENER.reset(token)


def test_the_whole_job_runs_and_says_that_some_pictures_were_rejected(first: State[dict[str, StepRef]]) -> None:
    assert first.name == "Completed"
    assert tags(first) == {"rejects"}
    assert hits(first) == dict.fromkeys(["dataset", "captions", "runs/diffusion", "systems/whole", "evaluation"], False)


def test_every_step_leaves_its_folder(first: State[dict[str, StepRef]], workspace: Path) -> None:
    for name, ref in first.result().items():
        assert read_manifest(workspace / "work" / name).digest == ref.digest
    assert (workspace / "work" / "evaluation" / "report.html").stat().st_size > 1000
    counts = read_manifest(workspace / "work" / "dataset", "dataset").counts
    assert counts["kept"] + counts["rejected"] == counts["seen"]
    assert pictures_per_second(workspace / "work" / "dataset") > 0
    assert training_figures(workspace / "work" / "runs" / "diffusion")[0] == 32


def test_progress_reaches_whoever_listens(first: State[dict[str, StepRef]], seen: list[Progress]) -> None:
    steps = {progress.step.split()[0] for progress in seen}
    assert {"ingest", "caption", "train", "evaluate"} <= steps


def tags(state: State[dict[str, StepRef]]) -> set[str]:
    """Give the tags of a flow run."""
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id
    with get_client(sync_client=True) as client:
        return set(client.read_flow_run(flow_run_id).tags)


def artifacts(state: State[dict[str, StepRef]]) -> dict[str | None, str]:
    """Give the artifacts of a flow run by key."""
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        return {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=wanted)}


def test_the_artifacts_are_there(first: State[dict[str, StepRef]]) -> None:
    found = artifacts(first)
    assert {
        "ingest-report",
        "caption-report",
        "train-diffusion",
        "compose",
        "evaluate-report",
        "lineage",
        "outcome",
    } <= found.keys()
    assert "data:image/jpeg;base64," in found["evaluate-report"]
    assert all(kind in found["lineage"] for kind in ("evaluation", "system", "run", "captions", "dataset"))


def test_a_second_run_does_nothing(first: State[dict[str, StepRef]], workspace: Path) -> None:
    again = run(workspace, tiny())
    assert again.name == "Completed"
    assert tags(again) == {"rejects", "hit"}
    assert all(hits(again).values())
    assert {name: ref.digest for name, ref in again.result().items()} == {
        name: ref.digest for name, ref in first.result().items()
    }


def test_the_same_job_without_prefect_finds_all_its_folders(first: State[dict[str, StepRef]], workspace: Path) -> None:
    refs = run_pipeline(CoreSteps(), tiny(), workspace / "work")
    assert all(ref.hit for ref in refs.values())


@pytest.mark.parametrize("options", [["--no-prefect"], []], ids=["core", "flow"])
def test_who_finds_all_folders_does_not_wait_for_pytorch(
    first: State[dict[str, StepRef]], workspace: Path, options: list[str]
) -> None:
    """It alone takes four seconds."""
    code = (
        "import sys; from flows.cli import run; sys.stdout = sys.stderr; code = run(sys.argv[1:]);"
        "print(code, *sorted({'torch', 'open_clip', 'scipy', 'pandas'} & sys.modules.keys()), file=sys.__stdout__)"
    )
    job = ["pipeline", "--config", str(workspace / "pipeline.json"), "--output-dir", str(workspace / "work")]
    server = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()}
    done = subprocess.run([sys.executable, "-c", code, *job, *options], stdout=subprocess.PIPE, text=True, env=server)

    assert done.stdout.split() == ["0"]


def test_features_are_made_before_the_run_that_reads_them_by_a_run_before_it(tmp_path: Path) -> None:
    config, smoke = tiny(), PipelineConfig.preset("imagen-smoke")
    few = {"max_images": 32}
    runs = {"encoder": smoke.runs["encoder"].with_changes(**few), "base": smoke.runs["base"].with_changes(**few)}
    asked = config.model_dump() | {"runs": runs, "features": smoke.features, "systems": {"whole": {"base": "base"}}}

    refs = run_pipeline(CoreSteps(), PipelineConfig.parse(asked), tmp_path / "work")

    made = read_manifest(tmp_path / "work/features/words", "features")
    assert made.key.inputs["encoder"] == refs["runs/encoder"].digest
    assert read_manifest(tmp_path / "work/runs/base").key.inputs["features"] == refs["features/words"].digest
    assert (tmp_path / "work/evaluation/report.html").stat().st_size > 1000


def test_a_deleted_output_is_made_again_and_nothing_else(first: State[dict[str, StepRef]], workspace: Path) -> None:
    (workspace / "work" / "evaluation" / "report.html").unlink()
    repaired = run(workspace, tiny())
    before = dict.fromkeys(["dataset", "captions", "runs/diffusion", "systems/whole"], True)
    assert hits(repaired) == before | {"evaluation": False}
    assert (workspace / "work" / "evaluation" / "report.html").is_file()


def test_more_than_two_are_each_evaluated_by_a_task_and_compared(
    first: State[dict[str, StepRef]], workspace: Path, tmp_path: Path
) -> None:
    shutil.copytree(workspace / "work", tmp_path / "work")
    same = {"base": "diffusion"}
    judging = tiny().evaluate.with_changes(judged=["whole", "diffusion", "other"], studies=["seen"])
    config = tiny().with_changes(systems={"whole": same, "other": same}, evaluate=judging)
    evaluations = [f"evaluations/{name}" for name in judging.judged]

    made = run(tmp_path, config)

    done = dict.fromkeys(["dataset", "captions", "runs/diffusion", "systems/whole"], True)
    assert hits(made) == done | dict.fromkeys(["systems/other", *evaluations, "comparison"], False)
    assert read_manifest(tmp_path / "work/comparison").key.config["rows"] == ["whole", "diffusion", "other"]
    assert {"compare-report", "evaluate-report"} <= artifacts(made).keys()
    console = Console(width=200, record=True, file=io.StringIO())
    print_summary(console, tmp_path / "work", judging.result)
    told = console.export_text()
    assert "Strict accuracy, seen" in told and "comparison/report.html" in told

    # A report is no part of what identifies an evaluation, so that what was made of it is still right.
    (tmp_path / "work/evaluations/diffusion/report.html").unlink()
    again = hits(run(tmp_path, config))
    assert again == dict.fromkeys(again, True) | {"evaluations/diffusion": False}


@pytest.mark.slow
def test_another_caption_rule_fetches_nothing(first: State[dict[str, StepRef]], workspace: Path) -> None:
    changed = tiny(caption=tiny().caption.with_changes(max_words=20))
    assert hits(run(workspace, changed)) == {
        "dataset": True,
        "captions": False,
        "runs/diffusion": False,
        "systems/whole": False,
        "evaluation": False,
    }


def test_a_site_that_changes_is_looked_at_again_where_it_was(tmp_path: Path) -> None:
    smoke = PipelineConfig.preset("demo-smoke")
    ingest = smoke.ingest.with_changes(image_size=16, encode_format="png", retries=0)

    def look(night: int, dataset: Path = tmp_path / "dataset") -> StepRef:
        site = SiteConfig(num_pictures=40, image_size=16, slow_seconds=0, night=night)
        return ingest_source(CoreSteps(), smoke.with_changes(site=site, ingest=ingest), dataset, refresh=True)

    assert not look(0).hit
    looked = look(1)
    assert (looked.counts["refresh:added"], looked.counts["refresh:changed"], looked.counts["refresh:removed"]) == (
        2,
        2,
        2,
    )
    assert look(1).hit
    assert look(0, tmp_path / "other").digest != read_manifest(tmp_path / "dataset").digest


def test_a_wrong_request_fails_the_run_at_once(prefect_server: None, tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text(json.dumps({"sauce": 1}))
    state = pipeline(tmp_path, PipelineRequest(config_file=str(tmp_path / "pipeline.json")), return_state=True)
    assert state.is_failed()
    assert "sauce" in str(state.message)
