"""Whatever the system says about a disk ends in a sentence that says what to do."""

import errno
import inspect
import os
from pathlib import Path

import pytest

from t2i_core.captioning.step import caption
from t2i_core.data.bounded.disk import explain, tells_disk_errors
from t2i_core.encoding.step import features
from t2i_core.errors import ConfigError, TransientError
from t2i_core.evaluation.step import evaluate
from t2i_core.generation.generate import generate
from t2i_core.training.step import train
from t2i_core.training.supervisor import supervise_training

OUT = Path("work/out")


def error(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path) if path else OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_worth_another_try(number: int) -> None:
    told = explain(error(number, "work/out/shards/00000.tar"), OUT)

    assert isinstance(told, TransientError)
    assert str(told).startswith("no space left to write work/out. Free some space")


@pytest.mark.parametrize(
    ("number", "path", "sentence"),
    [
        (errno.EACCES, "work/out/a", "cannot write work/out: permission denied. Change its permissions"),
        (errno.EACCES, "work", "cannot write work/out: permission denied. Change its permissions"),
        (errno.EROFS, None, "cannot write work/out: read-only file system. Its file system can only be read"),
        (errno.EACCES, "lists/urls.csv", "cannot use lists/urls.csv: permission denied. Change its permissions"),
        (errno.EACCES, "work/.out.x1/step.json", "cannot write work/out: permission denied."),
        (errno.EIO, "work/in/a.tar", "cannot use work/in/a.tar: input/output error. The disk does not answer well"),
    ],
)
def test_the_file_at_fault_is_named(number: int, path: str | None, sentence: str) -> None:
    told = explain(error(number, path), OUT)

    assert isinstance(told, ConfigError)
    assert str(told).startswith(sentence)


def test_a_step_tells_of_its_own_folder() -> None:
    @tells_disk_errors
    def step(source: str, output_dir: Path) -> None:
        raise error(errno.ENOSPC)

    with pytest.raises(TransientError, match="no space left to write work/out"):
        step("x", output_dir=OUT)


@pytest.mark.parametrize("step", [caption, features, train, supervise_training, evaluate, generate])
def test_every_step_that_writes_a_folder_tells(step: object) -> None:
    inner = inspect.unwrap(step)  # type: ignore[arg-type]
    assert inner is not step
    assert "output_dir" in inspect.signature(inner).parameters
