"""Every stage learns eight pictures by heart within seconds, and what comes of it is theirs and no other's."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoding.step import features
from t2i_core.systems.clip import CLIPStage
from t2i_core.systems.condition import Known, LowRes, mapped
from t2i_core.systems.noised_clip import NoisedCLIPStage
from t2i_core.systems.stage import Batch, Drawer, DrawSettings, Prior, Stage
from t2i_core.systems.view import shrunk
from t2i_core.training.claim import claim_run
from t2i_core.training.config import TrainConfig
from t2i_core.training.device import Compute
from t2i_core.training.step import Run

NUM = 8
SMALL, LARGE = ["system.side=16"], ["system.side=32", "system.low_side=16"]
# Steps on all eight, and what else than the recipe's: the pictures here have 32 pixels.
LEARNING = {
    "cnn-smoke": (250, []),
    "diffusion-smoke": (200, []),
    "glide-base-smoke": (400, SMALL),
    "imagen-base-smoke": (400, SMALL),
    "glide-inpaint-smoke": (250, SMALL),
    "glide-upsampler-smoke": (200, LARGE),
    "glide-upsampler-regressor-smoke": (150, LARGE),
    "unclip-decoder-smoke": (400, SMALL),
    "unclip-up1-smoke": (400, [*LARGE, "system.crop=0"]),
    "unclip-up2-smoke": (400, [*LARGE, "system.crop=0"]),
    # Of eight pictures by a CLIP that never learned to tell them apart.
    "unclip-prior-smoke": (400, ["system.num_steps=16"]),
    "unclip-ar-prior-smoke": (300, []),
    "imagen-sr1-smoke": (400, [*LARGE, "system.low_noise=0.1"]),
    "imagen-sr2-smoke": (400, [*LARGE, "system.crop=0", "system.low_noise=0.1"]),
    "clip-smoke": (100, []),
    # As wide as it takes, and mostly with the little noise that is asked for.
    "glide-clip-smoke": (
        300,
        [
            *SMALL,
            *("system.image.width=64", "system.text.width=64"),
            *("system.time_sampling=logit_normal", "system.time_mean=-2"),
        ],
    ),
}


@pytest.fixture(scope="module")
def embeddings(eight_dir: Path, clip_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("heart") / "embeddings"
    return [f"embeddings={features(eight_dir, clip_dir, FeaturesConfig(pictures=True), folder).path}"]


@pytest.fixture(scope="module")
def words(embeddings: list[str]) -> list[str]:
    """Give the same folder for the features of captions in it."""
    return [use.replace("embeddings=", "features=") for use in embeddings]


def learned(captions_dir: Path, run_dir: Path, name: str, uses: Sequence[str] = ()) -> tuple[Stage, Batch]:
    """Train on the eight, and give the stage of averaged weights and the eight, with other noise."""
    steps, others = LEARNING[name]
    rates = ["optim.learning_rate=0.003", "optim.muon_learning_rate=0", "ema.decays=[0.95]"]
    asked = {"preset": name, "set": [*rates, f"batch_size={NUM}", *others], "uses": uses}
    asked |= {"max_images": NUM * steps}
    config = TrainConfig.parse(asked)
    claim_run(captions_dir, config, run_dir, "refuse")
    run = Run(captions_dir, config, run_dir, lambda progress: None, Compute(device="cpu", precision="float32"))
    while run.trainer.progress < 1:
        run.trainer.step()
    batch = run.trainer.batch(0, NUM, seed=1)
    run.trainer.feed.close()
    return run.trainer.ema.module.eval(), batch


def drawn(stage: Stage, batch: Batch) -> Tensor:
    assert isinstance(stage, Drawer)
    with torch.no_grad():
        return stage.draw(batch.condition, batch.target.shape[1:], batch.chance, DrawSettings()).clamp(-1, 1)


def distances(pictures: Tensor, others: Tensor) -> Tensor:
    """Give the mean squared error of each picture to each other one: (B, B)."""
    return (pictures[:, None] - others[None]).square().flatten(2).mean(2)


def right(similarity: Tensor) -> int:
    """Count the rows whose largest entry is on the diagonal."""
    return int((similarity.argmax(1) == torch.arange(len(similarity))).sum())


def decibels(pictures: Tensor, truths: Tensor) -> Tensor:
    """Give the peak signal-to-noise ratio of each picture, in [-1, 1], to its own truth: (B,)."""
    return 10 * (4 / distances(pictures, truths).diagonal()).log10()


def test_a_cnn_draws_each(eight_dir: Path, tmp_path: Path) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", "cnn-smoke")

    assert float(decibels(drawn(stage, batch), batch.target).min()) > 26


@pytest.mark.parametrize("name", ["diffusion-smoke", "glide-base-smoke"])
def test_what_draws_from_noise_draws_the_one_of_its_caption(eight_dir: Path, tmp_path: Path, name: str) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", name)
    batch = stage.view(batch)

    assert right(-distances(drawn(stage, batch), batch.target)) >= 7


def test_a_decoder_draws_the_one_of_its_embedding_without_a_caption(
    eight_dir: Path, embeddings: list[str], tmp_path: Path
) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", "unclip-decoder-smoke", embeddings)
    batch = stage.view(batch)
    bare = replace(batch, condition=batch.condition.kept("text", torch.zeros(NUM, dtype=torch.bool)))

    assert right(-distances(drawn(stage, bare), batch.target)) >= 7


def test_an_autoregressive_prior_foretells_the_numbers_of_each_from_its_caption(
    eight_dir: Path, embeddings: list[str], tmp_path: Path
) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", "unclip-ar-prior-smoke", embeddings)
    text = batch.condition.text
    assert text is not None and text.embedding is not None
    others = text.followed_by(text).trimmed()
    swapped = mapped(others, lambda tensor: tensor[1 : NUM + 1])
    with torch.no_grad():
        own = stage.loss(batch).figures["accuracy"]
        wrong = stage.loss(replace(batch, condition=replace(batch.condition, text=swapped))).figures["accuracy"]

    assert float(own.min()) > 0.8 and float(wrong.mean()) < float(own.mean()) - 0.2


def test_a_prior_makes_the_embedding_of_each(eight_dir: Path, embeddings: list[str], tmp_path: Path) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", "unclip-prior-smoke", embeddings)
    assert isinstance(stage, Prior) and batch.condition.image is not None
    with torch.no_grad():
        made = stage.imagine(batch.condition, batch.chance, DrawSettings())

    # What all eight have in common, which is most of it with this CLIP, tells nothing.
    mean = batch.condition.image.mean(0)
    assert right((made - mean) @ F.normalize(batch.condition.image - mean, dim=1).T) >= 7


def test_imagens_base_draws_the_one_of_its_captions_features(eight_dir: Path, words: list[str], tmp_path: Path) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", "imagen-base-smoke", words)
    batch = stage.view(batch)

    assert right(-distances(drawn(stage, batch), batch.target)) >= 7


def test_what_fills_in_draws_the_hidden_half_of_each(eight_dir: Path, tmp_path: Path) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", "glide-inpaint-smoke")
    batch = stage.view(batch)
    half = batch.target.shape[-1] // 2
    mask = (torch.arange(2 * half) < half).expand(NUM, 1, 2 * half, 2 * half)
    batch = replace(batch, condition=replace(batch.condition, known=Known(picture=batch.target, mask=mask)))
    picture = drawn(stage, batch)

    assert torch.equal(picture[..., :half], batch.target[..., :half])
    assert float(decibels(picture[..., half:], batch.target[..., half:]).min()) > 13


@pytest.mark.parametrize("name", ["unclip-up1-smoke", "unclip-up2-smoke"])
def test_what_enlarges_pictures_made_worse_makes_them_better(eight_dir: Path, tmp_path: Path, name: str) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", name)
    batch = stage.view(batch)
    assert batch.condition.low is not None
    plain = F.interpolate(batch.condition.low.picture, scale_factor=2.0, mode="bicubic", align_corners=False)

    gain = decibels(drawn(stage, batch), batch.target) - decibels(plain.clamp(-1, 1), batch.target)
    assert float(gain.mean()) > 1.5


@pytest.mark.parametrize(
    "name", ["glide-upsampler-smoke", "glide-upsampler-regressor-smoke", "imagen-sr1-smoke", "imagen-sr2-smoke"]
)
def test_what_enlarges_is_far_above_interpolation(eight_dir: Path, words: list[str], tmp_path: Path, name: str) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", name, words if name.startswith("imagen") else ())
    small = shrunk(batch.target, 2)
    low = LowRes(picture=small, level=torch.zeros(NUM))
    batch = replace(batch, condition=replace(batch.condition, low=low))
    plain = F.interpolate(small, scale_factor=2.0, mode="bicubic", align_corners=False).clamp(-1, 1)

    gain = decibels(drawn(stage, batch), batch.target) - decibels(plain, batch.target)
    assert float(gain.min()) > 3


def test_a_clip_finds_the_caption_of_each(eight_dir: Path, tmp_path: Path) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", "clip-smoke")
    assert isinstance(stage, CLIPStage) and batch.condition.text is not None
    with torch.no_grad():
        captions = stage.clip.encode_text(batch.condition.text.ids, normalize=True)

        assert right(stage(batch.target) @ captions.T) == NUM


def test_a_noised_clip_finds_the_caption_of_each_through_little_noise(eight_dir: Path, tmp_path: Path) -> None:
    stage, batch = learned(eight_dir, tmp_path / "run", "glide-clip-smoke")
    assert isinstance(stage, NoisedCLIPStage)
    t = torch.full((NUM,), 0.1)
    small = shrunk(batch.target, 2)
    alpha, sigma = stage.schedule.scales(0.1)
    noised = alpha * small + sigma * batch.chance.normal("eps", small.shape[1:])
    with torch.no_grad():
        assert right(stage(noised, t) @ stage.captions(batch.condition).T) == NUM
