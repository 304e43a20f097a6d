"""Presets, the request that resolves to a pipeline, and the sharing of minutes."""

import json
from pathlib import Path
from typing import get_args

import pytest

from flows.config import (
    MAX_OTHER_SHARE,
    OTHER_MINUTES,
    PipelineConfig,
    PipelineRequest,
    PresetName,
    preset_names,
    training_minutes,
)
from flows.recipe import site_digest
from t2i_core.errors import ConfigError


def test_the_form_offers_exactly_the_presets_there_are() -> None:
    assert sorted(get_args(PresetName)) == preset_names()


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_complete_and_its_trainings_are_known(name: str) -> None:
    config = PipelineConfig.preset(name)
    assert list(config.trainings) == ["cnn", "clip", "diffusion"]
    for training in config.trainings.values():
        training.resolve()


def test_an_unknown_preset_is_refused_with_the_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'nope'; choose one of: .*demo-smoke"):
        PipelineConfig.preset("nope")


@pytest.mark.parametrize("minutes", [0.5, 5, 11, 40])
def test_the_shares_leave_time_for_everything_else(minutes: float) -> None:
    shares = training_minutes(minutes)
    assert set(shares) == {"cnn", "clip", "diffusion"}
    assert all(share > 0 for share in shares.values())
    assert sum(shares.values()) == pytest.approx(minutes - min(OTHER_MINUTES, MAX_OTHER_SHARE * minutes), abs=0.02)


def test_minutes_become_the_budget_of_each_training() -> None:
    config = PipelineRequest(preset="demo-smoke", minutes=40).resolve()
    assert {name: t.max_minutes for name, t in config.trainings.items()} == training_minutes(40)
    unlimited = PipelineRequest(preset="demo-smoke").resolve()
    assert all(training.max_minutes == 0 for training in unlimited.trainings.values())


def test_a_request_changes_what_it_names_and_nothing_else() -> None:
    plain = PipelineRequest(preset="demo-smoke").resolve()
    assert plain == PipelineConfig.preset("demo-smoke")
    changed = PipelineRequest(preset="demo-smoke", source="site:emoji", image_size=32).resolve()
    assert changed.site == plain.site.with_changes(source="emoji", image_size=32)
    assert changed.ingest == plain.ingest.with_changes(image_size=32)
    assert (changed.caption, changed.diffusion, changed.evaluate) == (plain.caption, plain.diffusion, plain.evaluate)


def test_a_source_of_ones_own_needs_no_site() -> None:
    config = PipelineRequest(preset="demo-smoke", source="urls.csv").resolve()
    assert config.source == "urls.csv"
    assert not config.uses_site


def test_the_site_has_one_identity_on_every_port() -> None:
    site = PipelineConfig.preset("demo").site
    assert site_digest(site.with_changes(port=1234)) == site_digest(site)
    assert site_digest(site.with_changes(seed=1)) != site_digest(site)


def test_a_config_file_stands_for_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(PipelineConfig.preset("demo-smoke").model_dump(mode="json") | {"source": "a.csv"}))
    assert PipelineRequest(config_file=str(path)).resolve().source == "a.csv"
    path.write_text('{"sauce": 1}')
    with pytest.raises(ConfigError, match="sauce"):
        PipelineRequest(config_file=str(path)).resolve()
