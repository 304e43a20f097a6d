"""The command in a folder full of traps: none is sprung, and the work is done; and who else may use its server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

MODULES = ("random", "torch", "uvicorn", "sitecustomize", "usercustomize", "multiprocessing", "prefect", "json", "trap")
# Beside the doctor and a flow on an embedded server, and with one start of it, what a web page in the user's browser
# could send to it: a request that no browser asks about first, and the question before any other.
PROGRAM = """
import json, sys
from pathlib import Path
from flows.shell.adhoc import adhoc_run, prepare_environment, require_server
prepare_environment()
from flows.cli import run
from t2i_core.children import module_command
from t2i_core.errors import ConfigError
from t2i_core.progress import ignore_progress
from t2i_core.training.supervisor import supervise

told = {"doctor": run(["doctor", "--quick"])}
try:
    folders = ["--captions-dir", "/nowhere", "--output-dir", "/nowhere", "--config", "/nowhere/config.json"]
    Path("run").mkdir()
    supervise([module_command("t2i_core.training", *folders)], Path("run"))
except ConfigError as err:
    told["trainer"] = str(err)
with adhoc_run(ignore_progress):
    import httpx
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, get_current_settings, temporary_settings
    from flows.ingest import ingest
    from t2i_core.ingestion.config import IngestConfig
    url, evil = PREFECT_API_URL.value(), "https://evil.example"
    simple = {"Origin": evil, "Content-Type": "text/plain"}
    told["simple request"] = httpx.post(f"{url}/flow_runs/filter", content="{}", headers=simple).status_code
    asked = {"Origin": evil, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = httpx.options(f"{url}/flow_runs/filter", headers=asked)
    told["allowed origin"] = answer.headers.get("access-control-allow-origin")
    state = ingest("pictures", Path("dataset"), IngestConfig(image_size=16), return_state=True)
    told["state"] = f"{state.name}: {state.message}"
    try:
        with temporary_settings({PREFECT_API_AUTH_STRING: "t2i:guessed"}):
            require_server(url)
    except ConfigError as err:
        told["stranger"] = str(err)
    with temporary_settings():
        told["logging"] = str(get_current_settings().logging.config_path)
print(json.dumps(told))
"""


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    folder, sprung = tmp_path / "here", tmp_path / "sprung"
    (folder / "pictures").mkdir(parents=True)
    sprung.mkdir()
    Image.linear_gradient("L").save(folder / "pictures" / "a.png")
    (folder / "pictures" / "a.txt").write_text("a gradient")
    trap = "from pathlib import Path\nPath({place!r}).touch()\n"
    for name in MODULES:
        (folder / f"{name}.py").write_text(trap.format(place=str(sprung / name)))
    factory = f"{{'()': pathlib.Path.touch, self: {sprung / 'logging'}}}"
    (folder / "logging.yml").write_text(f"version: 1\nhandlers:\n  console: {factory}\n  api: {{'()': trap.run}}\n")
    elsewhere = {"API_URL": "http://127.0.0.1:9/api", "LOGGING_SETTINGS_PATH": "logging.yml", "PROFILES_PATH": "p.toml"}
    (folder / ".env").write_text("".join(f"PREFECT_{name}={value}\n" for name, value in elsewhere.items()))
    settings = '[{table}api]\nurl = "http://127.0.0.1:9/api"\n[{table}logging]\nconfig_path = "logging.yml"\n'
    (folder / "prefect.toml").write_text(settings.format(table=""))
    (folder / "pyproject.toml").write_text(settings.format(table="tool.prefect."))
    (folder / "p.toml").write_text('active = "x"\n[profiles.x]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n')
    return folder


def test_no_trap_is_sprung_and_no_stranger_let_in(trapped: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        cwd=trapped,
        env=environment | {"PREFECT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert list((tmp_path / "sprung").iterdir()) == []
    assert told["doctor"] == 0
    assert "/nowhere/config.json" in told["trainer"]
    assert told["logging"] == str(tmp_path / "home" / "logging.yml")
    assert told["state"].startswith("Completed"), told["state"]
    assert (trapped / "dataset" / "manifest.json").is_file()
    assert told["simple request"] == 401
    assert "who know its password" in told["stranger"]
    assert told["allowed origin"] is None
