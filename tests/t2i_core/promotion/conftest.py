"""Runs that were never trained, and evaluations whose answers are known."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from t2i_core.comparison.judged import Judged, Shot
from t2i_core.evaluation.circumstances import Circumstances
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.folders.manifest import Manifest, StepKey, describe_file, write_manifest
from t2i_core.models.config import Sizes
from t2i_core.training.preset import load_preset

# By task and by what is asked for, whether each picture is right.
Right = Mapping[str, Sequence[Sequence[float]]]
PICTURES = 2


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Make a finished run that says which recipe it is of, and holds a file of weights."""

    def make(name: str, preset: str = "cnn-smoke") -> Path:
        folder = tmp_path / "work" / name
        (folder / "checkpoints/step_00000001").mkdir(parents=True)
        sizes = Sizes(vocab_size=8, context_length=8, image_size=32)
        recipe = load_preset(preset).model_dump(mode="json")
        (folder / "config.json").write_text(json.dumps({"recipe": recipe, "sizes": sizes.model_dump(mode="json")}))
        (folder / "tokenizer.json").write_text("{}")
        (folder / "checkpoints/step_00000001/weights.safetensors").write_text(name)
        files = [describe_file(folder, path) for path in sorted(folder.rglob("*")) if path.is_file()]
        key = StepKey(step="train", version=3, config={"name": name}, inputs={})
        write_manifest(folder, kind="run", key=key, sources={}, counts={"parameters": 1}, files=files)
        return folder

    return make


def judged(
    digest: str, right: Right, *, figure: str = "strict", wordings: int = 1, sections: Mapping[str, object] = {}
) -> Judged:
    """Lay out what an evaluation found, without one: each thing asked for in some wordings, with two pictures each."""
    rows = [
        {
            "prompt_id": f"{task}-{number}-{wording}",
            "task": task,
            "prompt": f"{task} {number} {wording}",
            "seed": picture,
            "file": "",
            "asks_for": f"{task} {number}",
            figure: outcomes[picture],
        }
        for task, groups in right.items()
        for number, outcomes in enumerate(groups)
        for wording in range(wordings)
        for picture in range(len(outcomes))
    ]
    config = EvaluateConfig(bootstrap_resamples=1000).model_dump(mode="json")
    key = StepKey(step="evaluate", version=4, config=config, inputs={"run": digest})
    manifest = Manifest(kind="evaluation", key=key, code_version="0", sources={}, counts={}, files=())
    shots = tuple(Shot.of(row) for row in rows)
    return Judged(digest, Path(digest), manifest, {"sections": sections}, shots, tuple(rows), CIRCUMSTANCES)


CIRCUMSTANCES = Circumstances.model_construct(seconds={}, drawn_with={})
