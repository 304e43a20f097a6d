"""Loss on pictures that are not trained on, with the same noise each time: what is learned beyond the others."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from t2i_core.data.batches.read import Encode, Rows
from t2i_core.data.batches.split import EmptySplitError, OpenSplit
from t2i_core.systems.config import FieldName
from t2i_core.systems.stage import Batch, Stage
from t2i_core.training.config import VALIDATION_SAMPLES, TrainConfig
from t2i_core.training.curve import WITHOUT_TEXT
from t2i_core.training.device import Compute
from t2i_core.training.loop import Sums, batch_of
from t2i_core.training.preset import Preset

# Pictures trained on for one that is looked at here. Looking costs about a third of training on it: 2 % of the time.
INTERVAL = 16
SEED = 0


class Validation:
    """Some samples of the validation split.

    Args:
        batches: to look at; their size is that of the training where there are enough samples, because losses that
            compare the samples of a batch are comparable only at one size.
        preset: of the training.
        compute: where to work.

    Attributes:
        every: steps after which it is time to look.
    """

    def __init__(self, batches: Sequence[Rows], preset: Preset, compute: Compute) -> None:
        self._rows, self._part, self._compute = batches, preset.micro_batch_size, compute
        self._has_null = "text" in preset.system.nulls
        self.every = math.ceil(INTERVAL * sum(map(len, batches)) / preset.batch_size)

    def losses(self, stage: Stage) -> dict[str, float]:
        """Give the means of a stage's figures: its loss, in all and by noise band."""
        return self._means(stage, {})

    def losses_without_text(self, stage: Stage) -> dict[str, float]:
        """Give the loss of the same pictures with the same noise, but without captions, where those can be dropped."""
        return {WITHOUT_TEXT: self._means(stage, {"text": 1.0})["loss"]} if self._has_null else {}

    def _means(self, stage: Stage, dropped: Mapping[FieldName, float]) -> dict[str, float]:
        sums = Sums()
        with torch.no_grad(), self._compute.autocast():
            for batch in self._batches():
                whole = replace(batch, condition=batch.condition.dropped(dropped, batch.chance))
                for part in whole.parts(self._part):
                    sums.add(stage.loss(part).figures)
        # Of losses that are no numbers there is no mean.
        return {"loss": math.nan} | sums.means()

    def _batches(self) -> Iterator[Batch]:
        first = 0
        for rows in self._rows:
            yield batch_of(rows, first, SEED, self._compute.device)
            first += len(rows)


def load_validation(
    captions_dir: Path,
    config: TrainConfig,
    preset: Preset,
    encode: Encode,
    complete: Callable[[Rows], Rows],
    compute: Compute,
) -> Validation | None:
    """Load some samples of the validation split; None where it is empty.

    Args:
        captions_dir: a finished captions folder, of which the training split was opened.
        config: says where its dataset lies.
        preset: says which shapes and how many pictures a batch has.
        encode: makes token ids of captions.
        complete: adds to samples what is stored of them elsewhere.
        compute: where to work.

    Raises:
        ConfigError, DataError, TransientError: as for the training split.
    """
    try:
        data = OpenSplit(captions_dir, "validation", config.shards, preset.shapes)
    except EmptySplitError:
        return None
    size = min(preset.batch_size, data.num_samples)
    num_batches = max(1, min(VALIDATION_SAMPLES, data.num_samples) // size)
    batches = [complete(rows) for rows in data.some(num_batches, size, SEED, encode)]
    return Validation(batches, preset, compute)
