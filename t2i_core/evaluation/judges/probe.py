"""What can be read from features by a linear probe: ridge regression onto classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# A share of nothing would leave no penalty where features never vary.
LEAST_PENALTY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Reads a class from features.

    Attributes:
        classes: names of C classes.
        mean: (D,) of the features that it learned from.
        weights: (D, C).
        shares: (C,) of the classes.
    """

    classes: Sequence[str]
    mean: Floats
    weights: Floats
    shares: Floats

    @classmethod
    def learn(cls, features: npt.ArrayLike, labels: Sequence[str], ridge: float) -> "Probe":
        """Learn classes from features.

        Args:
            features: (N, D) float.
            labels: name of the class of each.
            ridge: penalty, as a share of the mean variance of a dimension; those that never vary do no harm then.
        """
        known, (classes, numbers) = np.asarray(features, np.float64), np.unique(labels, return_inverse=True)
        hot, mean = np.eye(len(classes))[numbers], known.mean(0)
        centered = known - mean
        spread = centered.T @ centered / len(known)
        penalty = max(ridge * spread.diagonal().mean(), LEAST_PENALTY) * np.eye(len(spread))
        weights = np.linalg.solve(spread + penalty, centered.T @ (hot - hot.mean(0)) / len(known))
        return cls(classes.tolist(), mean, weights, hot.mean(0))

    def guess(self, features: npt.ArrayLike) -> list[str]:
        """Name the likeliest class of each of some features (M, D)."""
        scores = (np.asarray(features, np.float64) - self.mean) @ self.weights + self.shares
        return [self.classes[number] for number in scores.argmax(1)]
