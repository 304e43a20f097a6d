"""Training recipes: the presets are what they were, and changes to them are checked by name and type."""

import json
from pathlib import Path

import pytest

from t2i_core.canonical import digest_of
from t2i_core.errors import ConfigError
from t2i_core.manifest import difference
from t2i_core.training.config import TrainConfig, train_key
from t2i_core.training.preset import load_preset, preset_names

# Of the merged presets without their descriptions, which are part of the key of every run that there is.
DIGESTS = {
    "clip-demo": "9a2a08e09a69c12800c8ca8e716a3102ea918cf2002c5834267456dd2073caa8",
    "clip-smoke": "fc9ecf04d1089e3781b6713c9d9207de0997a250d7a7e0777aeab4e3cf56b244",
    "cnn-demo": "4457c24f397b2750257dd4270b4e94a1932f1e5f2c6a04ecc21d3cff73dd4d93",
    "cnn-smoke": "064ca9bccbad38a05b218629814fd49e39b18aff141a2f76574ffef179c0225c",
    "diffusion-demo": "d093db4ddecdb99ba85671b99886de829158106aa2128a8be98800487e67b925",
    "diffusion-small": "29dd5b32fb6c7f40f6ca05b5e59cc566cccbf14ebe2132f6d83ba109789bd3b5",
    "diffusion-smoke": "115f2d79814ef8b3be4e861b1dd4ee091a88d7533d03378677aea1da043d2c4b",
}


@pytest.mark.parametrize("name", preset_names())
def test_the_presets_give_the_keys_that_they_gave(name: str) -> None:
    merged = load_preset(name).model_dump(mode="json", exclude={"description"})

    assert DIGESTS.get(name, digest_of(merged)) == digest_of(merged)
    assert DIGESTS.keys() <= set(preset_names())


def test_changes_reach_every_depth() -> None:
    preset = load_preset(
        "diffusion-smoke", ["optim.learning_rate=3e-3", "system.unet.channels=[8, 16]", "batch_size=4"]
    )

    assert (preset.optim.learning_rate, preset.batch_size) == (0.003, 4)
    assert preset.system.unet.channels == (8, 16)  # type: ignore[union-attr]
    assert preset.optim.betas == load_preset("diffusion-smoke").optim.betas


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("optim.learning_rat=1", r"no optim\.learning_rat \(did you mean 'optim\.learning_rate'\?\)"),
        ("system.unet.chanels=[8]", r"no system\.unet\.chanels \(did you mean 'system\.unet\.channels'\?\)"),
        ("optim.learning_rate=fast", r"optim\.learning_rate: .*number.*'fast'"),
        ("optim.learning_rate=-1", r"optim\.learning_rate: .*greater than 0"),
        ("optim.learning_rate=Infinity", r"optim\.learning_rate: .*finite"),
        ("system.kind=gan", r"system: .*'gan'"),
        ("batch_size.x=1", r"batch_size: .*integer"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_by_its_path(change: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_preset("diffusion-smoke", [change])


def test_what_is_shown_can_be_given_back(captions_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "diffusion-smoke.json"
    path.write_text(json.dumps(load_preset("diffusion-smoke").model_dump(mode="json")))

    assert train_key(captions_dir, TrainConfig(preset=str(path))) == train_key(
        captions_dir, TrainConfig(preset="diffusion-smoke")
    )


def test_the_key_tells_what_was_changed_and_not_how(captions_dir: Path, tmp_path: Path) -> None:
    def key(preset: str, *changes: str) -> object:
        return train_key(captions_dir, TrainConfig(preset=preset, set=changes))

    path = tmp_path / "cnn-smoke.json"
    path.write_text('{"from": "cnn-smoke", "batch_size": 8}')

    assert key(str(path)) == key("cnn-smoke", "batch_size=8")
    assert key("cnn-smoke", "batch_size=16") == key("cnn-smoke")
    told = difference(train_key(captions_dir, TrainConfig(preset="cnn-smoke")), key(str(path)))  # type: ignore[arg-type]
    assert told == "option batch_size was 16, now 8"
