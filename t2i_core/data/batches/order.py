"""Which sample comes when: a function of seed and position."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from t2i_core.canonical import digest_of


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    entropy = int(digest_of({"stream": "order", "seed": seed, "epoch": epoch})[:16], 16)
    return np.random.Generator(np.random.Philox(entropy)).permutation(num_samples)


def sample_at(seed: int, position: int, num_samples: int) -> int:
    """Say which sample is number `position` of a run: every epoch is a new permutation of all samples."""
    epoch, offset = divmod(position, num_samples)
    return int(_order(seed, epoch, num_samples)[offset])
