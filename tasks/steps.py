"""The steps as Prefect tasks, in the shape that the recipes in `flows` call.

A task is imported when it is called, so that a flow without networks does not wait for PyTorch.
"""

from collections.abc import Sequence
from functools import partial

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from t2i_core.captioning.config import CaptionRequest
from t2i_core.comparison.config import CompareRequest
from t2i_core.composition.config import ComposeRequest
from t2i_core.encoding.config import FeaturesRequest
from t2i_core.errors import TrainingError
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.folders.manifest import StepRef
from t2i_core.ingestion.config import IngestRequest
from t2i_core.training.config import TrainRequest
from t2i_core.training.supervisor import attempted, side_by_side
from tasks.runtime import reference


class TaskSteps:
    """The steps as tasks; works inside a flow only.

    Args:
        num_at_once: trainings or evaluations side by side, where several are asked for.
    """

    def __init__(self, num_at_once: int = 1) -> None:
        self._num_at_once = num_at_once

    def ingest(self, request: IngestRequest) -> StepRef:
        """Fetch the pictures of a source into a dataset folder; the task is the shard."""
        from tasks.shards import ingest_in_shards

        return ingest_in_shards(request)

    def caption(self, request: CaptionRequest) -> StepRef:
        """Turn a dataset's captions into a captions folder."""
        from tasks.caption import caption

        return reference(caption(request))

    def features(self, request: FeaturesRequest) -> StepRef:
        """Encode captions with a frozen encoder into a features folder."""
        from tasks.features import features

        return reference(features(request))

    def train(self, request: TrainRequest) -> StepRef:
        """Train one model into a run folder, on the calling thread."""
        from tasks.train import train

        return reference(train(request))

    def train_all(self, requests: Sequence[TrainRequest]) -> list[StepRef | TrainingError]:
        """Train several, some side by side; where all have to end, each writes a checkpoint and stops."""
        if self._num_at_once == 1:
            return [attempted(partial(self.train, request)) for request in requests]
        from tasks.train import train

        with self._runner() as runner, side_by_side(self._num_at_once):
            futures = [runner.submit(train, {"request": request}) for request in requests]
            return [attempted(partial(_referred, future)) for future in futures]

    def compose(self, request: ComposeRequest) -> StepRef:
        """Make a system of runs."""
        from tasks.compose import compose

        return reference(compose(request))

    def evaluate(self, request: EvaluateRequest) -> StepRef:
        """Score a run or system into an evaluation folder."""
        from tasks.evaluate import evaluate

        return reference(evaluate(request))

    def evaluate_all(self, requests: Sequence[EvaluateRequest]) -> list[StepRef]:
        """Score several, some side by side; after a failure, finish those that have begun."""
        if self._num_at_once == 1:
            # On the flow's own thread, where a cancel or an interrupt ends the drawing at once.
            return [self.evaluate(request) for request in requests]
        from tasks.evaluate import evaluate

        with self._runner() as runner:
            futures = [runner.submit(evaluate, {"request": request}) for request in requests]
            return [_referred(future) for future in futures]

    def _runner(self) -> "ThreadPoolTaskRunner[State[StepRef]]":
        return ThreadPoolTaskRunner(max_workers=self._num_at_once)

    def compare(self, request: CompareRequest) -> StepRef:
        """Set evaluations side by side in a comparison folder."""
        from tasks.compare import compare

        return reference(compare(request))


def _referred(future: "PrefectFuture[State[StepRef]]") -> StepRef:
    return StepRef.model_validate(future.result())
