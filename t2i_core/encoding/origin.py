"""What features come from: noted by whoever reads them, so that other captions are encoded in the same way."""

from pathlib import Path
from typing import TYPE_CHECKING

from t2i_core.config import Config
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoders.open import find_encoder
from t2i_core.encoding.config import VERSION
from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from t2i_core.encoders.encoder import FrozenEncoder

AGAIN = "Run the features step again."


class Origin(Config):
    """What decides the features of a caption.

    Attributes:
        encoder: by what the encoder is known again.
        config: what of its output was wanted.
    """

    encoder: str
    config: FeaturesConfig

    def open(self, folder: Path) -> "FrozenEncoder":
        """Load the encoder.

        Args:
            folder: where it lay.

        Raises:
            ConfigError: it is gone, or another one.
        """
        if not folder.is_dir():
            raise ConfigError(f"the encoder of its captions is gone (looked in {folder}); put it back.")
        found = find_encoder(folder)
        if found.digest != self.encoder:
            raise ConfigError(f"{folder} is not the encoder any more that the captions were encoded with; put it back.")
        return found.open(self.config)


def origin_of(features: Manifest) -> Origin:
    """Say what the features of a folder come from, by its manifest."""
    return Origin(encoder=features.key.inputs["encoder"], config=FeaturesConfig.parse(features.key.config))


def encoder_folder(features_dir: Path) -> Path:
    """Say where the encoder of a finished features folder lay."""
    return (features_dir / read_manifest(features_dir, "features").sources["encoder"]).resolve()


def require_fresh(features_dir: Path, captions_dir: Path) -> Manifest:
    """Refuse features that are not those of captions as they are now, or of an encoder that has changed since.

    Returns:
        The manifest of the features.

    Raises:
        ConfigError: they are stale, or a folder is not finished.
        DataError: a manifest is damaged.
    """
    features = read_manifest(features_dir, "features")
    if features.key.version != VERSION:
        raise ConfigError(f"{features_dir} was made by version {features.key.version} of the features step. {AGAIN}")
    if features.key.inputs["captions"] != read_manifest(captions_dir, "captions").digest:
        raise ConfigError(f"{features_dir} has the features of other captions than {captions_dir}. {AGAIN}")
    encoder = encoder_folder(features_dir)
    # Where the encoder is not at hand, what was made with it is as good as ever.
    if encoder.is_dir() and find_encoder(encoder).digest != features.key.inputs["encoder"]:
        raise ConfigError(f"{encoder} has changed since {features_dir} was made with it. {AGAIN}")
    return features
