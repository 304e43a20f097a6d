"""Features that a folder of other captions has already: what one caption gives does not depend on the others."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn.functional import pad

from t2i_core.encoders.encoder import Features, FrozenEncoder
from t2i_core.encoding.store import StoredFeatures
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.hits import missing_outputs
from t2i_core.folders.manifest import StepKey, read_manifest


def open_earlier(folder: Path, key: StepKey) -> StoredFeatures | None:
    """Open a folder, if it has features that the same encoder has made in the same way.

    Args:
        folder: whatever there is; what is gone, damaged or something else only costs the time of encoding.
        key: of the features to make.
    """
    try:
        manifest = read_manifest(folder, "features")
        made, wanted = ((each.version, each.config, each.inputs["encoder"]) for each in (manifest.key, key))
        if made != wanted or missing_outputs(folder, manifest):
            return None
        return StoredFeatures(folder, manifest.counts["shards"])
    except (ConfigError, DataError):
        return None


def encoded(captions: Sequence[str], encoder: FrozenEncoder, earlier: StoredFeatures | None) -> Features:
    """Give the features of captions, those that are there as they are, and the others from the encoder."""
    if earlier is None:
        return encoder.encode(captions)
    numbers = earlier.look_up(captions)
    known, new = (found.nonzero().flatten() for found in (numbers >= 0, numbers < 0))
    parts = []
    if len(known):
        parts.append((*earlier.tokens(numbers[known]), earlier.pooled(numbers[known])))
    if len(new):
        made = encoder.encode([captions[place] for place in new.tolist()])
        parts.append((made.tokens, made.mask, made.pooled))
    longest = max(mask.shape[1] for _, mask, _ in parts)
    order = torch.cat([known, new]).argsort()
    return Features(
        tokens=torch.cat([pad(tokens, (0, 0, 0, longest - tokens.shape[1])) for tokens, _, _ in parts])[order],
        mask=torch.cat([pad(mask, (0, longest - mask.shape[1])) for _, mask, _ in parts])[order],
        pooled=torch.cat([pooled for _, _, pooled in parts])[order],
    )
