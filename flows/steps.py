"""The steps as a recipe sees them, and as the core does them; `tasks.steps` does them as Prefect tasks.

A recipe written against `Steps` runs either way: same folders, same keys. A step is imported when it is done, so that
nobody waits for PyTorch who does not need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from t2i_core.data.workers.early import started_early
from t2i_core.folders.manifest import StepRef
from t2i_core.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from t2i_core.captioning.config import CaptionRequest
    from t2i_core.comparison.config import CompareRequest
    from t2i_core.composition.config import ComposeRequest
    from t2i_core.encoding.config import FeaturesRequest
    from t2i_core.errors import TrainingError
    from t2i_core.evaluation.config import EvaluateRequest
    from t2i_core.ingestion.config import IngestRequest
    from t2i_core.training.config import TrainRequest


class Steps(Protocol):
    """Ingest, caption, features, train, compose, evaluate, compare: each reads a folder and writes a folder."""

    def ingest(self, request: "IngestRequest") -> StepRef:
        """Fetch the pictures of a source into a dataset folder."""
        ...

    def caption(self, request: "CaptionRequest") -> StepRef:
        """Turn a dataset's captions into a captions folder."""
        ...

    def features(self, request: "FeaturesRequest") -> StepRef:
        """Encode captions with a frozen encoder into a features folder."""
        ...

    def train(self, request: "TrainRequest") -> StepRef:
        """Train one model into a run folder."""
        ...

    def train_all(self, requests: Sequence["TrainRequest"]) -> list["StepRef | TrainingError"]:
        """Train several models; gives in their order the reference of each, or why its training cannot go on."""
        ...

    def compose(self, request: "ComposeRequest") -> StepRef:
        """Make a system folder of runs that draw together."""
        ...

    def evaluate(self, request: "EvaluateRequest") -> StepRef:
        """Score a run or system into an evaluation folder."""
        ...

    def evaluate_all(self, requests: Sequence["EvaluateRequest"]) -> list[StepRef]:
        """Score several runs, or one in several ways; gives the references in their order."""
        ...

    def compare(self, request: "CompareRequest") -> StepRef:
        """Set evaluations side by side in a comparison folder."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSteps:
    """The steps straight from the core, with no Prefect."""

    on_progress: OnProgress = ignore_progress

    def ingest(self, request: "IngestRequest") -> StepRef:
        """See `Steps.ingest`."""
        with started_early(request.source, decodes=not request.refresh):
            # This takes a while to import, as it does what was just started.
            from t2i_core.ingestion.step import ingest

            return ingest(**dict(request), on_progress=self.on_progress)

    def caption(self, request: "CaptionRequest") -> StepRef:
        """See `Steps.caption`."""
        from t2i_core.captioning.step import caption

        return caption(**dict(request), on_progress=self.on_progress)

    def features(self, request: "FeaturesRequest") -> StepRef:
        """See `Steps.features`."""
        from t2i_core.encoding.step import features

        return features(**dict(request), on_progress=self.on_progress)

    def train(self, request: "TrainRequest") -> StepRef:
        """See `Steps.train`."""
        from t2i_core.training.supervisor import supervise_training

        return supervise_training(**dict(request), on_progress=self.on_progress)

    def train_all(self, requests: Sequence["TrainRequest"]) -> list["StepRef | TrainingError"]:
        """See `Steps.train_all`."""
        from t2i_core.training.supervisor import attempted

        return [attempted(partial(self.train, request)) for request in requests]

    def compose(self, request: "ComposeRequest") -> StepRef:
        """See `Steps.compose`."""
        from t2i_core.composition.step import compose

        return compose(**dict(request))

    def evaluate(self, request: "EvaluateRequest") -> StepRef:
        """See `Steps.evaluate`."""
        from t2i_core.evaluation.step import evaluate

        return evaluate(**dict(request), on_progress=self.on_progress)

    def evaluate_all(self, requests: Sequence["EvaluateRequest"]) -> list[StepRef]:
        """See `Steps.evaluate_all`."""
        return [self.evaluate(request) for request in requests]

    def compare(self, request: "CompareRequest") -> StepRef:
        """See `Steps.compare`."""
        from t2i_core.comparison.step import compare

        return compare(**dict(request))
