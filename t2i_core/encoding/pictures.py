"""All pictures of a captions folder through the image tower of a CLIP, once."""

from collections.abc import Iterator
from pathlib import Path

import torch

from t2i_core.data.batches.captions import SPLITS
from t2i_core.data.batches.split import EmptySplitError, Split, load_split
from t2i_core.data.bounded.side_table import key_digest
from t2i_core.door import is_file
from t2i_core.encoders.encoder import PictureEncoder
from t2i_core.encoding.embeddings import pictures_path, read_pictures, write_pictures
from t2i_core.errors import DataError
from t2i_core.progress import OnProgress, Progress

# Of a file, and those that are decoded together.
MAX_SHARD_PICTURES, PART = 2**14, 256


def embed_pictures(
    captions_dir: Path, encoder: PictureEncoder, folder: Path, step: str, on_progress: OnProgress
) -> dict[str, int]:
    """Embed the pictures of the kept samples of all splits, and count them; files that are there are kept.

    Args:
        captions_dir: a finished captions folder.
        encoder: of pictures.
        folder: gets the files.
        step: whose progress is told.
        on_progress: gets the number of pictures embedded.

    Raises:
        ConfigError: the dataset of the captions is gone, or has changed.
        DataError: a shard is damaged, or the captions are.
    """
    counts = {"pictures": 0, "picture_shards": 0}
    for split in _splits(captions_dir, encoder.side):
        try:
            for first in range(0, len(split), MAX_SHARD_PICTURES):
                keys = split.keys[first : first + MAX_SHARD_PICTURES]
                path = pictures_path(folder, counts["picture_shards"])
                if not _holds(path, keys):
                    numbers = range(first, first + len(keys))
                    parts = [numbers[i : i + PART] for i in range(0, len(numbers), PART)]
                    pixels = (torch.from_numpy(split.pictures(part)) for part in parts)
                    write_pictures(path, keys, torch.cat([encoder.embed(part) for part in pixels]))
                counts["picture_shards"] += 1
                counts["pictures"] += len(keys)
                on_progress(Progress(step=step, done=counts["pictures"], total=None, unit="pictures"))
        finally:
            split.close()
    return counts


def _splits(captions_dir: Path, side: int) -> Iterator[Split]:
    for name in SPLITS:
        try:
            split = load_split(captions_dir, name, side=side)
        except EmptySplitError:
            continue
        yield split


def _holds(path: Path, keys: list[str]) -> bool:
    """Tell whether a run that was stopped has written this very file; half a one is removed."""
    if not is_file(path):
        return False
    try:
        samples, _ = read_pictures(path)
    except DataError:
        path.unlink()
        return False
    return samples.numpy().tobytes() == b"".join(map(key_digest, keys))
