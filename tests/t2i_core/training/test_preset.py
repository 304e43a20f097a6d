"""Training recipes: the presets are what they were, and changes to them are checked by name and type."""

import json
from pathlib import Path

import pytest

from t2i_core.canonical import digest_of
from t2i_core.errors import ConfigError
from t2i_core.folders.claim import difference
from t2i_core.training.config import TrainConfig, train_key
from t2i_core.training.preset import load_preset, preset_names

# Of the merged presets without their descriptions, which are part of the key of every run that there is.
DIGESTS = {
    "clip-demo": "361bd337e4d392daba68a188aef5e78075cc1967c84f89e7c70198e4f2896dff",
    "clip-smoke": "d4d35406161e96f5736e4977c99aa908d3081e300cd5b71a72335567bc30847f",
    "cnn-demo": "32d4c708ad83ff4ad4950c5e41fd151ba7ab055279b7e8f82b6067457c4f834a",
    "cnn-smoke": "19b4ca818146d37933b298410345d6fe768ae6b6a1f0e2b15945d4f664b49dc0",
    "diffusion-demo": "d735fe98c0418a0266969bfc1640c959270cd8bb7068769a8d3bcbb77f8c2da7",
    "diffusion-small": "68de7bf8d9768c825c285a8503bee44277df00d36416eead0e1de598f43f9c06",
    "diffusion-smoke": "79f6e068a4f9c000212ea3620ff307712e4d09a8f8b2a450f81218cd66b3a708",
}


@pytest.mark.parametrize("name", preset_names())
def test_the_presets_give_the_keys_that_they_gave(name: str) -> None:
    merged = load_preset(name).model_dump(mode="json", exclude={"description"})

    assert DIGESTS.get(name, digest_of(merged)) == digest_of(merged)
    assert DIGESTS.keys() <= set(preset_names())


def test_changes_reach_every_depth() -> None:
    preset = load_preset(
        "diffusion-smoke", ["optim.learning_rate=3e-3", "system.network.channels=[8, 16]", "batch_size=4"]
    )

    assert (preset.optim.learning_rate, preset.batch_size) == (0.003, 4)
    assert preset.system.network.channels == (8, 16)  # type: ignore[union-attr]
    assert preset.optim.betas == load_preset("diffusion-smoke").optim.betas


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("optim.learning_rat=1", r"no optim\.learning_rat \(did you mean 'optim\.learning_rate'\?\)"),
        ("system.network.chanels=[8]", r"no system\.network\.chanels \(did you mean 'system\.network\.channels'\?\)"),
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
