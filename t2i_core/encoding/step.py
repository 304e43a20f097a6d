"""The features step: each distinct caption of a folder through a frozen encoder, once."""

from pathlib import Path

from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoding.config import FeaturesRequest, features_key
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import find_hit
from t2i_core.folders.manifest import StepRef
from t2i_core.folders.one_writer import writes_alone
from t2i_core.progress import OnProgress, ignore_progress


@tells_disk_errors
@writes_alone
def features(
    captions_dir: Path,
    encoder_dir: Path,
    config: FeaturesConfig,
    output_dir: Path,
    *,
    on_conflict: OnConflict = "refuse",
    earlier_dir: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> StepRef:
    """Encode the kept captions of all splits, each distinct one once, and if asked for the pictures.

    An unfinished folder goes on file by file.

    Args:
        captions_dir: a finished captions folder.
        encoder_dir: a finished clip run, an open_clip folder, or a text encoder in the layout of Hugging Face.
        config: what of the encoder's output is wanted.
        output_dir: the features folder.
        on_conflict: what to do with a folder that holds other work.
        earlier_dir: features of other captions: those that the same encoder has made in the same way are taken from
            there. It does not matter what it is; None for none.
        on_progress: gets the number of captions encoded.

    Raises:
        ConfigError: a folder is not what it should be, the encoder is not understood, or `output_dir` holds other work.
        DataError: the captions are damaged.
        TransientError: another process is writing `output_dir`.
    """
    key = features_key(captions_dir, encoder_dir, config)
    if hit := find_hit(output_dir, key):
        return hit
    # PyTorch, which a finished folder does not wait for.
    from t2i_core.encoding.making import make_features

    request = FeaturesRequest(
        captions_dir=captions_dir,
        encoder_dir=encoder_dir,
        config=config,
        output_dir=output_dir,
        on_conflict=on_conflict,
        earlier_dir=earlier_dir,
    )
    return make_features(request, key, on_progress)
