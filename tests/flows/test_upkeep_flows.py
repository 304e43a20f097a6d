"""Retry, verify and purge as flows: they end as they should, in words, and a purge denies what it removes."""

from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import State

from flows.ingest import ingest
from flows.upkeep.purge import purge
from flows.upkeep.verify import verify
from t2i_core.data.dataset.verify import verify as core_verify
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.progress import Progress
from tasks.runtime import reporting

CONFIG = IngestConfig(image_size=16)


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "pictures").mkdir()
    for name, turns in (("a", 0), ("b", 1)):
        Image.linear_gradient("L").rotate(90 * turns).save(tmp_path / "pictures" / f"{name}.png")
    return str(tmp_path / "pictures")


def logs(state: State[object]) -> str:
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id]))  # type: ignore[list-item]
    with get_client(sync_client=True) as client:
        return "\n".join(line.message for line in client.read_logs(wanted))


def test_damage_fails_the_run_and_repair_lets_the_ingest_refill_it(
    prefect_server: None, source: str, tmp_path: Path
) -> None:
    dataset = tmp_path / "ds"
    assert ingest(source, dataset, CONFIG, return_state=True).is_completed()
    assert verify(dataset, return_state=True).name == "Completed"
    tar = next(dataset.glob("shards/*.tar"))
    tar.write_bytes(tar.read_bytes()[:-1500])

    found = verify(dataset, repair=True, return_state=True)

    assert found.is_failed() and "1 problems" in str(found.message)
    with pytest.raises(DataError):
        found.result()
    assert ingest(source, dataset, CONFIG, return_state=True).is_completed()
    assert not core_verify(dataset).damaged


def test_a_purge_removes_and_denies(prefect_server: None, source: str, tmp_path: Path) -> None:
    dataset, denied = tmp_path / "ds", tmp_path / "denied.txt"
    ingest(source, dataset, CONFIG)
    denied.write_text("other.example")

    done = purge(dataset, urls=("a.png",), deny_list=str(denied), return_state=True)

    assert done.name == "Completed" and str(done.message).startswith("1 rows purged, 1 pictures")
    assert read_manifest(dataset).counts["kept"] == 1
    assert len(denied.read_text().splitlines()) == 2
    purge(dataset, urls=("a.png",), deny_list=str(denied))
    assert len(denied.read_text().splitlines()) == 2


def test_a_slip_ends_in_one_sentence_and_no_traceback(prefect_server: None, tmp_path: Path) -> None:
    failed = ingest(str(tmp_path / "missing.csv"), tmp_path / "ds", return_state=True)

    assert failed.is_failed() and "missing.csv" in str(failed.message)
    with pytest.raises(ConfigError):
        failed.result()
    assert "Traceback" not in logs(failed)


def test_progress_ends_at_all_of_it_under_a_key_that_prefect_takes(prefect_server: None) -> None:
    @flow
    def step() -> None:
        with reporting("train-My_Run 2-progress") as on_progress:
            on_progress(Progress(step="train", done=3, total=4, unit="pictures"))

    step()

    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["train-my-run-2-progress"]))
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    assert artifact.data == 100
    assert "3 of 4 pictures" in str(artifact.description)


def test_progress_of_what_failed_stays_where_it_was(prefect_server: None) -> None:
    @flow
    def step() -> None:
        with suppress(ValueError), reporting("half-progress") as on_progress:
            on_progress(Progress(step="train", done=3, total=4, unit="pictures"))
            raise ValueError

    step()

    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["half-progress"]))
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    assert artifact.data == 75
