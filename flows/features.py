"""The features flow: captions to features of a frozen encoder."""

from pathlib import Path

from prefect.client.schemas.objects import State

from flows.job import job
from flows.outcome import completed
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoding.config import FeaturesRequest
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.folders.manifest import StepRef
from tasks.steps import TaskSteps

DEFAULTS = FeaturesConfig()


@job("features", "features {output_dir}")
def features(
    captions_dir: Path,
    encoder_dir: Path,
    output_dir: Path,
    config: FeaturesConfig = DEFAULTS,
    on_conflict: OnConflict = "refuse",
    verify_hits: HitCheck = "size",
) -> State[StepRef]:
    """Encode the captions of a folder with a frozen encoder, each distinct one once.

    Args:
        captions_dir: A finished captions folder.
        encoder_dir: A finished clip run, an open_clip folder, or a text encoder in the layout of Hugging Face.
        output_dir: The features folder.
        config: What of the encoder's output is wanted.
        on_conflict: What to do with a folder made with other options: refuse, or replace (kept as NAME.previous).
        verify_hits: How what is there already is looked at: by sizes, by the bytes of a sample, or by all bytes.
    """
    request = FeaturesRequest(
        captions_dir=captions_dir,
        encoder_dir=encoder_dir,
        config=config,
        output_dir=output_dir,
        on_conflict=on_conflict,
    )
    with hits_checked(verify_hits):
        ref = TaskSteps().features(request)
    return completed(ref, {"features": ref})
