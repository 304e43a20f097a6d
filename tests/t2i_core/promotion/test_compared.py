"""From two evaluations to the champion by the commands: what is better takes its place, what is worse does not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import run
from t2i_core.comparison.config import CompareConfig
from t2i_core.comparison.step import compare
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.manifest import read_manifest, write_manifest
from t2i_core.lineage.ancestors import trace, training_samples
from t2i_core.promotion.registry import current
from tests.t2i_core.comparison.test_compare import Drawer

CONFIG = EvaluateConfig.parse(
    {"prompts_per_task": 6, "images_per_prompt": 1, "num_train": 0, "bootstrap_resamples": 200}
)


@pytest.fixture
def work(make_run: Callable[..., Path], scenes_dir: Path, tmp_path: Path) -> Path:
    """A run that reads and one that does not, evaluated and compared."""
    work = tmp_path / "work"
    for name in ("right", "blind"):
        folder = make_run(name)
        old = read_manifest(folder)
        key = old.key.with_changes(inputs={"captions": read_manifest(scenes_dir).digest})
        write_manifest(
            folder, kind="run", key=key, sources={"captions": str(scenes_dir)}, counts=old.counts, files=list(old.files)
        )
        drawer = Drawer(name == "right")
        evaluate(folder, CONFIG, work / f"evaluations/{name}", open_run=lambda _, drawer=drawer: drawer)  # type: ignore[misc]
    evaluations = tuple(str(work / "evaluations" / name) for name in ("right", "blind"))
    compare(evaluations, CompareConfig(real=False), work / "comparison")
    return work


def test_the_commands_promote_by_the_rule(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry, by_rule = ["--registry", str(work / "nightly")], ["--comparison", str(work / "comparison")]
    right, blind = str(work / "right"), str(work / "blind")
    assert run(["promote", *registry]) == 2
    assert "there is no champion" in capsys.readouterr().err

    assert run(["promote", blind, *registry, *by_rule]) == 0
    assert run(["promote", right, *registry, *by_rule, "--margin", "1"]) == 1
    assert "left: strict accuracy" in capsys.readouterr().out
    assert run(["promote", right, *registry, *by_rule]) == 0
    assert run(["promote", blind, *registry, *by_rule]) == 1
    assert "; worse." in capsys.readouterr().out

    made = current(work / "nightly")
    assert made and made.who == "rule" and made.evidence
    assert made.evidence.difference.low > 0.5 and made.evidence.comparison == read_manifest(work / "comparison").digest
    assert run(["promote", *registry]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "promote by a person" in first and "../blind" in first and "promote by the rule" in second
    assert run(["rollback", *registry]) == 0
    assert capsys.readouterr().out.startswith(f"{work}/nightly/../blind is the champion of {work}/nightly again")


def test_lineage_says_who_is_in_use(work: Path, capsys: pytest.CaptureFixture[str], scenes_dir: Path) -> None:
    assert run(["promote", str(work / "right"), "--registry", str(work / "nightly")]) == 0
    shutil.copytree(scenes_dir.parent, work / "data")
    url = next(training_samples(trace(work / "right"))).url
    capsys.readouterr()

    assert run(["lineage", str(work / "nightly/champion")]) == 0
    assert capsys.readouterr().out.startswith(f"run {read_manifest(work / 'right').digest:.12} {work / 'right'}")
    assert run(["lineage", str(work), "--url", url, "--json"]) == 0
    named = {row["folder"]: row["name"] for row in json.loads(capsys.readouterr().out)}
    assert named[str(work / "right")] == f"champion of {work}/nightly" and named[str(work / "blind")] == ""
    assert run(["lineage", str(work), "--url", url]) == 0
    assert f"in use: champion of {work}/nightly." in capsys.readouterr().out
