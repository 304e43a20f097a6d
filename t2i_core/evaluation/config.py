"""How to judge what a run draws, and what of it decides what comes out; needs no PyTorch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from t2i_core.composition.config import BASE, parts_of
from t2i_core.config import Config
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.manifest import StepKey, read_manifest, sha256_of
from t2i_core.generation.config import DrawConfig, weaker_digests

# Raise it when the same pictures are judged otherwise.
STEP, VERSION = "evaluate", 4
# And these when the checker sees something else in a picture, or when other prompts are asked.
CHECKER_VERSION = "composition-2"
BENCHMARK_VERSION = "prompts-2"

StudyName = Literal["guidance", "upsampler", "edits", "language", "sweeps", "seen", "unclip"]


class EvaluateConfig(DrawConfig):
    """What is asked of a run, and how its pictures are judged."""

    prompts_per_task: int = Field(48, ge=1, le=5000, description="held-out prompts a task")
    images_per_prompt: int = Field(2, ge=1, le=64, description="pictures a prompt, each with a seed of its own")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of the choice of prompts, the pictures and the resampling")
    clip: str = Field(
        "",
        max_length=500,
        description="CLIP to score with: MODEL/TAG or an open_clip folder; empty = the clip run, if any",
    )
    studies: tuple[StudyName, ...] = Field(
        (),
        description="what else to look into by drawing more: guidance (ways of it), upsampler (beside plain "
        "interpolation), edits (objects replaced, image to image, inversion), language (sentences and words "
        "that training never had), sweeps (of guidance, and of noise on small pictures), seen (the same tasks, of "
        "combinations that training held), unclip (what the CLIP inside keeps, how good the prior is)",
    )
    num_real: int = Field(200, ge=10, le=10_000, description="real test pictures that a CLIP's gate is tried on")
    num_train: int = Field(4000, ge=0, le=100_000, description="training pictures searched for copies; 0 = no search")
    bootstrap_resamples: int = Field(2000, ge=100, le=100_000, description="resamples behind each interval")
    clip_min_auc: float = Field(
        0.9, ge=0.5, le=1, description="least AUC of real against shuffled pairs, else withheld"
    )
    clip_min_recall_lift: float = Field(
        10, ge=1, le=1000, description="least recall@1 of the CLIP, in multiples of chance (0.5 is always enough)"
    )


class EvaluateRequest(Config):
    """What `evaluate` is asked for; the record that commands, flows and tasks pass on.

    Attributes:
        run_dir: the finished run or system to score.
        config: what to draw and how to score it.
        output_dir: the evaluation folder.
        baseline_dir: a finished run or system to print beside it, None for none.
        clip_dir: a finished CLIP run that scores, None for none.
        captions_dir: a finished captions folder that is asked of in place of the run's own, None for that one.
        on_conflict: what to do with a folder that holds other work.
    """

    run_dir: Path
    config: EvaluateConfig
    output_dir: Path
    baseline_dir: Path | None = None
    clip_dir: Path | None = None
    captions_dir: Path | None = None
    on_conflict: OnConflict = "refuse"


def evaluate_key(
    run_dir: Path,
    config: EvaluateConfig,
    *,
    baseline_dir: Path | None = None,
    clip_dir: Path | None = None,
    captions_dir: Path | None = None,
) -> StepKey:
    """Say what decides the outcome of an evaluation.

    Raises:
        ConfigError: one of the folders is not a finished run or system.
        DataError: a manifest is damaged.
    """
    model = read_manifest(run_dir, "run", "system").digest
    inputs = {"run": model, "checker": CHECKER_VERSION, "prompts": BENCHMARK_VERSION}
    if baseline_dir is not None:
        inputs["baseline"] = read_manifest(baseline_dir, "run", "system").digest
    if clip_dir is not None:
        inputs["clip"] = read_manifest(clip_dir, "run").digest
    if captions_dir is not None and (asked := read_manifest(captions_dir, "captions").digest) != _learned(run_dir):
        inputs["captions"] = asked
    inputs |= weaker_digests(config)
    weights = Path(config.clip.removeprefix("local-dir:")) / "open_clip_model.safetensors"
    if config.clip and weights.is_file():
        inputs["clip_weights"] = sha256_of(weights.resolve())
    return StepKey(step=STEP, version=VERSION, config=config.model_dump(mode="json"), inputs=inputs)


def _learned(run_dir: Path) -> str:
    """Give the digest of the captions that a run, or the base of a system, was trained on."""
    return read_manifest(parts_of(run_dir)[BASE]).key.inputs.get("captions", "")
