"""Nights at their tiniest: what is new is learned from, what is not costs nothing, and the interval decides."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.cli import run
from flows.config import PipelineConfig, PipelineRequest
from flows.nights.config import NightlyConfig
from flows.nights.flow import nightly
from flows.nights.recipe import Answer, Asker, describe, run_nightly
from flows.steps import CoreSteps
from t2i_core.comparison.config import CompareRequest
from t2i_core.errors import TransientError
from t2i_core.folders.manifest import StepRef, read_manifest
from t2i_core.ingestion.config import IngestRequest
from t2i_core.nights.record import Night, read_nights
from t2i_core.promotion.registry import current, model_folder
from t2i_core.samples.scenes import caption_scene, make_scene, render_scene

# Barely trained runs are all wrong; by this rule the challenger wins even so.
ANYBODY = NightlyConfig(margin=-1, min_prompts=1)


def draw(folder: Path, numbers: range) -> None:
    folder.mkdir(exist_ok=True)
    for i in numbers:
        scene = make_scene(0, i)
        render_scene(scene, 32).save(folder / f"{i:03d}.png")
        side = {"caption": caption_scene(scene), "scene": scene.model_dump(mode="json"), "group": scene.combination}
        (folder / f"{i:03d}.json").write_text(json.dumps(side))


def job_of(pictures: Path) -> PipelineConfig:
    smoke = PipelineConfig.preset("demo-smoke")
    return PipelineConfig.parse(
        smoke.model_dump()
        | {
            "source": str(pictures),
            "ingest": {"image_size": 32, "encode_format": "png", "min_image_size": 8},
            "caption": {"test_share": 0.3},
            "runs": {
                "cnn": {"preset": "cnn-smoke", "max_images": 32},
                "diffusion": {"preset": "diffusion-smoke", "max_images": 32},
            },
            "systems": {"whole": {"base": "diffusion"}, "other": {"base": "cnn"}},
            "evaluate": {
                "judged": ["whole", "cnn"],
                "prompts_per_task": 2,
                "images_per_prompt": 1,
                "num_train": 0,
                "bootstrap_resamples": 100,
                "steps": 2,
            },
        }
    )


PICTURES, WORK = Path("pictures"), Path("work")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and the workspace of a first night, each named from it."""
    root = tmp_path_factory.mktemp("nights")
    with contextlib.chdir(root):
        draw(PICTURES, range(120))
        run_nightly(CoreSteps(), job_of(PICTURES), ANYBODY, WORK, "2026-11-28")
    return root


@pytest.fixture
def first(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    """Be in a copy of that folder."""
    shutil.copytree(done, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return read_nights(WORK)[0]


class Stopped(CoreSteps):
    """Steps whose machine goes away before the comparison."""

    def compare(self, request: CompareRequest) -> StepRef:
        raise TransientError("the machine goes away")


@pytest.mark.parametrize(("nights", "versions"), [(2, 3), (7, 7), (10_000, 1000)])
def test_the_dataset_holds_a_version_for_each_night_that_stays(nights: int, versions: int, tmp_path: Path) -> None:
    held = []

    class Looking(CoreSteps):
        """Steps that go no further than the source."""

        def ingest(self, request: IngestRequest) -> StepRef:
            held.append(request.config.keep_versions)
            raise TransientError("the source is busy")

    with pytest.raises(TransientError):
        run_nightly(Looking(), job_of(tmp_path), NightlyConfig(keep_nights=nights), tmp_path / "work", "2026-11-28")
    assert held == [versions]


def test_the_first_night_makes_a_champion_of_what_is_judged_and_of_that_alone(first: Night) -> None:
    assert first.outcome == "first" and first.name == "2026-11-28" and first.figure == "strict accuracy"
    assert model_folder(WORK / "champion") == (WORK / "nights/2026-11-28/systems/whole").resolve()
    assert not (WORK / "nights/2026-11-28/runs/cnn").exists(), "nobody needs it"
    assert "no champion yet" in describe(first, WORK) and (WORK / "history.html").is_file()


def test_where_nothing_is_new_nothing_is_done(first: Night) -> None:
    before = {path: path.stat().st_mtime_ns for path in (WORK).rglob("manifest.json")}

    again = run_nightly(Stopped(), job_of(PICTURES), ANYBODY, WORK, "2026-11-29")

    assert again.name == first.name and again.quiet == 1 and "nothing new since" in describe(again, WORK)
    assert {path: path.stat().st_mtime_ns for path in (WORK).rglob("manifest.json")} == before


def test_a_night_with_new_pictures_goes_on_after_a_stop_and_the_interval_decides(first: Night) -> None:
    job = job_of(PICTURES)
    draw(PICTURES, range(120, 130))
    for path in PICTURES.glob("00[0-2].*"):
        path.unlink()
    with pytest.raises(TransientError):
        run_nightly(Stopped(), job, ANYBODY, WORK, "2026-11-29")
    trained = read_manifest(WORK / "nights/2026-11-29/runs/diffusion").digest

    night = run_nightly(CoreSteps(), job, ANYBODY, WORK, "2026-11-30")

    assert night.name == "2026-11-29" and night.outcome == "promote", "it is the same night, though the date is another"
    assert read_manifest(WORK / "nights/2026-11-29/runs/diffusion").digest == trained
    assert (night.added, night.removed) == (10, 3)
    made = current(WORK)
    assert made and made.previous and first.challenger and made.previous == first.challenger
    assert night.evidence and night.evidence.against == first.challenger.digest and made.who == "rule"
    champion = read_manifest(WORK / "nights/2026-11-29/evaluations/champion")
    assert champion.key.inputs["captions"] == read_manifest(WORK / "nights/2026-11-29/captions").digest

    # A job that is judged otherwise and trained alike gives the same run once more.
    other = job.with_changes(evaluate=job.evaluate.with_changes(seed=1))
    left = run_nightly(CoreSteps(), other, ANYBODY, WORK, "2026-11-30")
    assert left.outcome == "leave" and "the champion itself" in describe(left, WORK) and current(WORK) == made
    assert [each.name for each in read_nights(WORK)] == ["2026-11-28", "2026-11-29", "2026-11-30"]


def test_a_warm_night_starts_from_the_champion_and_a_person_who_is_asked_answers_by_the_command(
    first: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ANYBODY.with_changes(when_better="ask", start="warm", warm_images=16)
    draw(PICTURES, range(120, 124))

    night = run_nightly(CoreSteps(), job_of(PICTURES), config, WORK, "2026-11-29")

    assert (
        night.outcome == "ask"
        and model_folder(WORK / "champion") == (WORK / "nights/2026-11-28/systems/whole").resolve()
    )
    trained, start = (read_manifest(WORK / f"nights/2026-11-{day}/runs/diffusion") for day in (29, 28))
    assert night.start == "the champion" and trained.key.inputs["init"] == start.digest
    assert (trained.key.config["max_images"], start.key.config["max_images"]) == (16, 32)
    told = describe(night, WORK)
    command = told[told.index("`t2i ") + 5 : told.index("` takes it")].split()
    assert run(command) == 0
    assert model_folder(WORK / "champion") == (WORK / "nights/2026-11-29/systems/whole").resolve()


def test_who_was_asked_by_a_run_that_comes_back_is_answered_without_another_night(first: Night) -> None:
    config = ANYBODY.with_changes(when_better="ask")
    draw(PICTURES, range(120, 124))

    class Suspended(BaseException):
        """Ends the process while the question is open."""

    def suspend(night: Night) -> Answer | None:
        raise Suspended

    with pytest.raises(Suspended):
        run_nightly(CoreSteps(), job_of(PICTURES), config, WORK, "2026-11-29", Asker("run 1", suspend))
    shutil.rmtree(PICTURES)

    def night_of(name: str, ask: Callable[[Night], Answer | None]) -> Night:
        return run_nightly(Stopped(), job_of(PICTURES), config, WORK, "2026-12-01", Asker(name, ask))

    no = night_of("run 1", lambda night: Answer(False, "too dark"))
    assert no.outcome == "declined" and "too dark" in no.why and no.name == "2026-11-29"
    assert model_folder(WORK / "champion") == (WORK / "nights/2026-11-28/systems/whole").resolve()


def test_the_flow_says_that_nothing_is_new_and_shows_all_nights(prefect_server: None, first: Night) -> None:
    Path("job.json").write_text(job_of(PICTURES).model_dump_json())

    state = nightly(WORK, PipelineRequest(config_file="job.json"), ANYBODY, return_state=True)

    assert state.is_completed() and "nothing new since night 2026-11-28" in str(state.message)
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["nightly-history"]))
        )
    assert "first champion" in str(artifact.data) and "history.html" in str(artifact.data)
