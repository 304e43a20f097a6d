"""Does the model copy its training pictures? Distances to the nearest one, calibrated by held-out real pictures.

No absolute threshold says "copy": in a small closed world near-coincidences are common. So the same distances are
measured for real pictures that training never saw, and only what is closer than those counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pictures = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SIDE = 16
PERCENTILE = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Distances to the nearest training picture: root-mean-square difference, 0..255, at 16 x 16 pixels.

    Attributes:
        generated: (N,) distance of every generated picture.
        nearest: (N,) index of its nearest training picture.
        held_out: (M,) the same distance for held-out real pictures.
        num_train: training pictures searched.
    """

    generated: Floats
    nearest: npt.NDArray[np.int64]
    held_out: Floats
    num_train: int

    @property
    def threshold(self) -> float:
        """Distance that only 1 % of held-out real pictures stay under."""
        return float(np.percentile(self.held_out, PERCENTILE))

    @property
    def num_closer(self) -> int:
        """Generated pictures that are closer to training than 99 % of held-out real ones."""
        return int((self.generated < self.threshold).sum())

    def as_dict(self) -> dict[str, Any]:
        """Give the findings as plain data."""
        return {
            "distance": f"RMS difference 0..255 at {SIDE}x{SIDE} pixels",
            "num_train": self.num_train,
            "num_generated": len(self.generated),
            "num_held_out": len(self.held_out),
            "median_generated": round(float(np.median(self.generated)), 4),
            "median_held_out": round(float(np.median(self.held_out)), 4),
            "threshold": round(self.threshold, 4),
            "num_closer_than_threshold": self.num_closer,
            "share_closer_than_threshold": round(self.num_closer / len(self.generated), 6),
        }


def find_neighbours(generated: Pictures, held_out: Iterable[Pictures], train: Iterable[Pictures]) -> Neighbours:
    """Find the nearest training picture of each generated and each held-out picture.

    Args:
        generated: (N, H, W, 3) uint8, N > 0.
        held_out: parts of M > 0 pictures, (part, H, W, 3) uint8.
        train: parts of T > 0 pictures, likewise.
    """
    base = np.concatenate([_thumbnails(part) for part in train])
    near, index = _nearest(_thumbnails(generated), base)
    calibration, _ = _nearest(np.concatenate([_thumbnails(part) for part in held_out]), base)
    return Neighbours(near, index, calibration, len(base))


def recall_at_1(generated: Pictures, own: Pictures, found: Neighbours) -> npt.NDArray[np.bool_]:
    """Ask of each generated picture whether, among all training pictures, its prompt's own one is the nearest.

    Args:
        generated: (N, H, W, 3) uint8.
        own: (N, H, W, 3) uint8, the training picture of each prompt.
        found: the nearest training pictures of the generated ones.
    """
    distance = np.sqrt(((_thumbnails(generated) - _thumbnails(own)) ** 2).mean(axis=1))
    return np.asarray(distance <= found.generated + 1e-3)


def _thumbnails(pictures: Pictures) -> Floats:
    small = [Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BOX) for p in pictures]
    return np.stack([np.asarray(picture, dtype=np.float32).ravel() for picture in small])


def _nearest(queries: Floats, base: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    squares = (queries**2).sum(axis=1)[:, None] + (base**2).sum(axis=1)[None] - 2 * queries @ base.T
    index = squares.argmin(axis=1)
    exact = np.sqrt(((queries - base[index]) ** 2).mean(axis=1))
    return exact, index
