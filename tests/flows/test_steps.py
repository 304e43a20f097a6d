"""The record of a request holds what its step takes: one that is passed on whole loses nothing on the way."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from t2i_core.captioning.config import CaptionRequest
from t2i_core.captioning.step import caption
from t2i_core.comparison.config import CompareRequest
from t2i_core.comparison.step import compare
from t2i_core.composition.config import ComposeRequest
from t2i_core.composition.step import compose
from t2i_core.config import Config
from t2i_core.encoding.config import FeaturesRequest
from t2i_core.encoding.step import features
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.evaluation.step import evaluate
from t2i_core.ingestion.config import IngestRequest
from t2i_core.ingestion.step import ingest
from t2i_core.training.config import TrainRequest
from t2i_core.training.supervisor import supervise_training

# What a process passes on besides, and no record holds.
OF_THE_PROCESS = {"on_progress", "open_run"}


@pytest.mark.parametrize(
    ("request_type", "step"),
    [
        (IngestRequest, ingest),
        (CaptionRequest, caption),
        (FeaturesRequest, features),
        (TrainRequest, supervise_training),
        (ComposeRequest, compose),
        (EvaluateRequest, evaluate),
        (CompareRequest, compare),
    ],
)
def test_a_request_is_what_its_step_takes(request_type: type[Config], step: Callable[..., Any]) -> None:
    parameters = inspect.signature(step).parameters
    taken = {name: parameter for name, parameter in parameters.items() if name not in OF_THE_PROCESS}

    assert list(request_type.model_fields) == list(taken)
    for name, field in request_type.model_fields.items():
        assert taken[name].annotation == field.annotation
        assert (taken[name].default is inspect.Parameter.empty) == field.is_required()
        assert field.is_required() or taken[name].default == field.default
