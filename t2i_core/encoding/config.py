"""What the features step is asked for, and what of it decides what comes out; needs no PyTorch."""

from pathlib import Path

from t2i_core.config import Config
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoders.open import find_encoder
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.manifest import StepKey, read_manifest

# Raise it when an encoder gives other features for the same config.
STEP, VERSION = "features", 2


def features_key(captions_dir: Path, encoder_dir: Path, config: FeaturesConfig) -> StepKey:
    """Give the identity of the features of finished captions; reads the encoder's files whole.

    Raises:
        ConfigError: the folder is not a finished captions folder, or the other one no encoder.
        DataError: a manifest is damaged.
    """
    captions = read_manifest(captions_dir, "captions").digest
    return StepKey(
        step=STEP,
        version=VERSION,
        config=config.record(),
        inputs={"captions": captions, "encoder": find_encoder(encoder_dir).digest},
    )


class FeaturesRequest(Config):
    """What `features` is asked for; the record that commands, flows and tasks pass on.

    Attributes:
        captions_dir: a finished captions folder.
        encoder_dir: a finished clip run, an open_clip folder, or a text encoder in the layout of Hugging Face.
        config: what of the encoder's output is wanted.
        output_dir: the features folder.
        on_conflict: what to do with a folder that holds other work.
        earlier_dir: features of other captions: those that the same encoder has made in the same way are taken from
            there. It does not matter what it is; None for none.
    """

    captions_dir: Path
    encoder_dir: Path
    config: FeaturesConfig
    output_dir: Path
    on_conflict: OnConflict = "refuse"
    earlier_dir: Path | None = None
