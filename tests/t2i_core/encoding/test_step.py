"""The features step: every kept caption once, found again by its text, and nothing made twice."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoders.encoder import Features, FrozenEncoder
from t2i_core.encoders.open import find_encoder
from t2i_core.encoding import making
from t2i_core.encoding.config import features_key
from t2i_core.encoding.step import features
from t2i_core.encoding.store import StoredFeatures
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import read_manifest
from t2i_core.lineage.ancestors import trace
from t2i_core.progress import Progress

CONFIG = FeaturesConfig()
TEXTS = [f"{number} red circles on a gray background" for number in range(70)]
Make = Callable[..., Path]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "MAX_SHARD_CAPTIONS", 32)


def test_each_kept_caption_of_all_splits_is_there_once(
    make_captions: Make, clip_dir: Path, tmp_path: Path, small_shards: None
) -> None:
    told: list[Progress] = []
    folder = make_captions(["left out", *TEXTS, *TEXTS[:20]], rejected=1)

    ref = features(folder, clip_dir, CONFIG, tmp_path / "features", on_progress=told.append)

    assert (ref.kind, ref.counts["captions"], ref.counts["shards"], ref.counts["cut"]) == ("features", 70, 3, 0)
    assert sorted(path.name for path in ref.path.iterdir()) == [
        *(f"{number:05d}.safetensors" for number in range(3)),
        *("manifest.json", "step.json"),
    ]
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 70, 70)
    stored = StoredFeatures(ref.path, 3)
    found = stored.find(TEXTS[::-1])
    assert sorted(found.tolist()) == list(range(70))
    expected = find_encoder(clip_dir).open(CONFIG).encode(TEXTS[::-1])
    tokens, mask = stored.tokens(found)
    # Bit for bit, so that a model draws with what it was trained on.
    assert tokens.equal(expected.tokens[:, : tokens.shape[1]]) and tokens.dtype == torch.float16
    assert mask.equal(expected.mask[:, : tokens.shape[1]])
    assert stored.pooled(found).equal(expected.pooled)
    assert (stored.width, stored.pooled_width) == (24, 16)
    with pytest.raises(DataError, match="no features of 'left out'"):
        stored.find(["left out"])


def test_key_and_lineage_name_captions_encoder_and_recipe(make_captions: Make, clip_dir: Path, tmp_path: Path) -> None:
    folder = make_captions(TEXTS[:3])

    ref = features(folder, clip_dir, CONFIG, tmp_path / "features")

    manifest = read_manifest(ref.path, "features")
    assert manifest.key.inputs == {"captions": read_manifest(folder).digest, "encoder": find_encoder(clip_dir).digest}
    assert manifest.key.config == CONFIG.record()
    assert (ref.path / manifest.sources["encoder"]).resolve() == clip_dir.resolve()
    assert [ancestor.manifest.kind for ancestor in trace(ref.path)] == ["features", "captions"]
    assert features(folder, clip_dir, CONFIG, tmp_path / "features").hit
    with pytest.raises(ConfigError, match=r"already holds other work .*pooling"):
        features(folder, clip_dir, FeaturesConfig(pooling="mean"), tmp_path / "features")


def test_it_goes_on_with_the_files_that_are_there(
    make_captions: Make, clip_dir: Path, tmp_path: Path, small_shards: None
) -> None:
    folder, output = make_captions(TEXTS), tmp_path / "features"
    whole = features(folder, clip_dir, CONFIG, output)
    paths = sorted(output.glob("*.safetensors"))
    before, times = [path.read_bytes() for path in paths], [path.stat().st_mtime_ns for path in paths]
    # As a kill leaves it: a whole file, half a one, and one that was never begun.
    (output / "manifest.json").unlink()
    paths[1].write_bytes(before[1][:100])
    paths[2].unlink()
    (output / ".captions.distinct").write_bytes(b"left over")

    again = features(folder, clip_dir, CONFIG, output)

    assert [path.read_bytes() for path in paths] == before
    assert paths[0].stat().st_mtime_ns == times[0]
    assert (again.digest, again.counts, again.hit) == (whole.digest, whole.counts, False)


def test_what_was_encoded_before_is_taken_from_there_and_gives_the_same_bytes(
    make_captions: Make, clip_dir: Path, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of other lengths than the new ones, so that both are padded.
    before = make_captions([*TEXTS[:40], "a"]).rename(tmp_path / "before")
    earlier = features(before, clip_dir, CONFIG, tmp_path / "earlier")
    folder = make_captions([*TEXTS[20:], "a long one of words that were not there in any caption before it"])
    whole = features(folder, clip_dir, CONFIG, tmp_path / "whole")
    asked: list[str] = []
    encode = FrozenEncoder.encode

    def noting(self: FrozenEncoder, captions: Sequence[str]) -> Features:
        asked.extend(captions)
        return encode(self, captions)

    monkeypatch.setattr(FrozenEncoder, "encode", noting)
    again = features(folder, clip_dir, CONFIG, tmp_path / "again", earlier_dir=earlier.path)
    # One empty caption tells how large features are.
    assert len([text for text in asked if text]) == 31 and not set(asked) & set(TEXTS[20:40])
    assert (again.digest, again.counts) == (whole.digest, whole.counts)

    # What is of another recipe, damaged or gone costs time, and nothing else.
    mean = features(folder, clip_dir, FeaturesConfig(pooling="mean"), tmp_path / "mean", earlier_dir=earlier.path)
    assert mean.digest != whole.digest
    next(iter(sorted(earlier.path.glob("*.safetensors")))).write_bytes(b"not tensors")
    for number, there in enumerate((earlier.path, tmp_path / "gone", folder, mean.path)):
        asked.clear()
        made = features(folder, clip_dir, CONFIG, tmp_path / f"alone-{number}", earlier_dir=there)
        assert made.digest == whole.digest and len([text for text in asked if text]) == 51


def test_what_is_no_encoder_or_no_captions_is_refused_before_anything_is_made(
    make_captions: Make, clip_dir: Path, tmp_path: Path
) -> None:
    folder = make_captions(TEXTS[:3])
    for where, encoder, config, words in (
        (folder, folder, CONFIG, "holds a captions, not a run"),
        (clip_dir, clip_dir, CONFIG, "not a finished captions folder"),
        (folder, clip_dir, FeaturesConfig(layers=(3,)), "from 1 to 2"),
    ):
        with pytest.raises(ConfigError, match=words):
            features(where, encoder, config, tmp_path / "features")
    assert not (tmp_path / "features").exists()


def test_another_encoder_is_another_key(make_captions: Make, clip_dir: Path, tmp_path: Path) -> None:
    folder = make_captions(TEXTS[:3])
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (tmp_path / name).write_bytes((clip_dir / name).read_bytes())
    key = features_key(folder, clip_dir, CONFIG)

    assert features_key(folder, tmp_path, CONFIG) == key
    (tmp_path / "open_clip_config.json").write_text((clip_dir / "open_clip_config.json").read_text() + " ")
    assert features_key(folder, tmp_path, CONFIG) != key
