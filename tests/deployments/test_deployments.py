"""What prefect.yaml promises can be kept: entrypoints import, parameters fit, nothing runs by itself."""

import importlib.util
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_PROFILES_PATH, temporary_settings

from flows.config import PipelineRequest, preset_names
from flows.operations.automations import QUICK_HEARTBEAT_SECONDS, QUICK_TAG, TAG
from flows.operations.pools import QUEUES

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
DEPLOYMENTS = {f"{d['entrypoint'].rsplit('.', 1)[1]}/{d['name']}": d for d in FILE["deployments"]}


@pytest.fixture(params=DEPLOYMENTS)
def deployment(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(DEPLOYMENTS[request.param])


@pytest.fixture
def flow(deployment: dict[str, Any]) -> Flow[..., Any]:
    return load_flow_from_entrypoint(deployment["entrypoint"])


def test_every_flow_and_preset_has_a_deployment() -> None:
    assert {name.split("/")[0] for name in DEPLOYMENTS} == {
        "ingest",
        "caption",
        "features",
        "train",
        "compose",
        "evaluate",
        "compare",
        "pipeline",
        "nightly",
        "promote",
        "rollback",
        "sweep",
        "tune",
        "retry",
        "verify",
        "purge",
    }
    assert {f"pipeline/{preset}" for preset in preset_names()} <= DEPLOYMENTS.keys()
    assert len(DEPLOYMENTS) == len(FILE["deployments"])


def test_the_parameters_fit(flow: Flow[..., Any], deployment: dict[str, Any]) -> None:
    parameters = flow.validate_parameters(deployment["parameters"])
    if flow.name == "train":
        parameters["config"].resolve()
    if flow.name == "tune":
        parameters["config"].check()
    if flow.name in ("pipeline", "nightly"):
        request = parameters["request"]
        assert isinstance(request, PipelineRequest)
        request.resolve()


def test_a_schedule_is_suggested_and_none_is_imposed(deployment: dict[str, Any]) -> None:
    CronSchedule(cron=deployment["suggested_cron"], timezone="UTC")
    assert deployment["schedules"] is None


def test_runs_go_to_the_pool_one_at_a_time_and_pull_nothing(deployment: dict[str, Any]) -> None:
    assert deployment["work_pool"]["name"] == "t2i"
    assert deployment["concurrency_limit"]["limit"] == 1
    assert FILE["pull"] == []


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "deployments" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tags_say_what_the_automations_go_by(deployment: dict[str, Any]) -> None:
    heartbeat = deployment["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]
    assert int(heartbeat) == QUICK_HEARTBEAT_SECONDS
    assert deployment["tags"] == [TAG, QUICK_TAG]


def test_what_is_light_does_not_wait_behind_what_is_heavy(deployment: dict[str, Any]) -> None:
    light = deployment["entrypoint"].split(".")[1] in ("ingest", "caption", "compose", "upkeep")
    assert deployment["work_pool"]["work_queue_name"] == ("light" if light else "heavy")
    assert QUEUES["heavy"] == 1 < QUEUES["light"]


class Guarded(BaseHTTPRequestHandler):
    """Answers like a Prefect server, with or without a password."""

    password = ""

    def do_GET(self) -> None:
        known = not self.password or self.headers.get("Authorization") == self.password
        self.send_response(200 if known else 401)
        self.end_headers()


@pytest.mark.parametrize("password", ["", "t2i:x"])
def test_a_server_that_lets_everybody_in_is_recognised(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guarded, "password", password)
    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert script("deploy").lets_everybody_in(f"http://127.0.0.1:{server.server_port}/api") == (not password)


def test_the_password_is_made_once_and_only_its_user_can_read_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "home" / "profiles.toml"
    with temporary_settings({PREFECT_PROFILES_PATH: path}):
        password = script("auth").make_password()
    assert path.stat().st_mode & 0o777 == 0o600
    (profile,) = tomllib.loads(path.read_text())["profiles"].values()
    assert profile["PREFECT_SERVER_API_AUTH_STRING"] == profile["PREFECT_API_AUTH_STRING"] == password
    assert len(password) > 40 and "*" not in profile["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"]


def test_the_service_has_the_password_made_before_it_starts() -> None:
    lines = (ROOT / "deployments" / "t2i-server.service").read_text().splitlines()
    (make,) = [line for line in lines if line.startswith("ExecStartPre=")]
    assert make.endswith("deployments/auth.py --quiet")
    assert "PREFECT_SERVER_CORS_ALLOWED_ORIGINS=http://127.0.0.1:4200," in (ROOT / "deployments/server.env").read_text()


def test_the_readme_names_every_deployment() -> None:
    text = (ROOT / "deployments" / "README.md").read_text()
    for name in DEPLOYMENTS:
        assert name in text, name


def test_prefect_comes_with_a_fastapi_that_its_server_can_import() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "fastapi<0.151" in dependencies
