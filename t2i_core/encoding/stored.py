"""What encoders made of some captions and pictures before, as a training finds it: open, fresh and whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2i_core.data.batches.feed import Feed
from t2i_core.data.batches.read import Rows
from t2i_core.encoding.embeddings import EmbeddedFeed, StoredEmbeddings
from t2i_core.encoding.origin import AGAIN, require_fresh
from t2i_core.encoding.store import StoredFeatures
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.hits import missing_outputs
from t2i_core.folders.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Stored:
    """What there is.

    Attributes:
        features: read in place of captions.
        embeddings: read beside captions and pictures.
    """

    features: StoredFeatures | None = None
    embeddings: StoredEmbeddings | None = None

    def with_rows(self, rows: Rows) -> Rows:
        """Give samples with what is stored of them."""
        return self.embeddings.with_rows(rows) if self.embeddings else rows

    def looked_up(self, feed: Feed) -> Feed:
        """Give a feed of samples with what is stored of them."""
        return EmbeddedFeed(feed, self.embeddings) if self.embeddings else feed


def open_stored(folders: Mapping[str, Path], captions_dir: Path) -> Stored:
    """Open what was made of some captions.

    Args:
        folders: finished features folders, by the field of `Stored`.
        captions_dir: a finished captions folder.

    Raises:
        ConfigError: one is of other captions, or of another encoder than the one that is there now; or it has no
            embeddings of pictures where they are wanted.
        DataError: one is damaged.
    """
    manifests = {role: _whole(folder, captions_dir) for role, folder in folders.items()}
    features, embeddings = manifests.get("features"), manifests.get("embeddings")
    if embeddings and "pictures" not in embeddings.counts:
        raise ConfigError(f"{folders['embeddings']} has no embeddings of pictures: make it with --pictures.")
    return Stored(
        features=StoredFeatures(folders["features"], features.counts["shards"]) if features else None,
        embeddings=StoredEmbeddings(folders["embeddings"], embeddings) if embeddings else None,
    )


def _whole(features_dir: Path, captions_dir: Path) -> Manifest:
    manifest = require_fresh(features_dir, captions_dir)
    if gone := missing_outputs(features_dir, manifest):
        raise DataError(f"{features_dir} is damaged: {gone[0]} is missing or has another size. {AGAIN}")
    return manifest
