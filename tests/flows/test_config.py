"""Presets, the request that resolves to a pipeline, and the sharing of minutes."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from flows.config import (
    MAX_OTHER_SHARE,
    OTHER_MINUTES,
    PipelineConfig,
    PipelineRequest,
    PlannedRun,
    PresetName,
    preset_names,
    training_minutes,
)
from flows.recipe import site_digest
from t2i_core.canonical import digest_of
from t2i_core.errors import ConfigError
from t2i_core.training.config import TrainConfig


def test_the_form_offers_exactly_the_presets_there_are() -> None:
    assert sorted(get_args(PresetName)) == preset_names()


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_complete_and_its_trainings_are_known(name: str) -> None:
    config = PipelineConfig.preset(name)
    assert config.trainings.keys() == config.runs.keys()
    for training in config.trainings.values():
        training.resolve()


def test_an_unknown_preset_is_refused_with_the_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'nope'; choose one of: .*demo-smoke"):
        PipelineConfig.preset("nope")


SHARES = {"cnn": 7.0, "clip": 10.0, "diffusion": 83.0}


def test_minutes_are_shared_out_as_the_runs_say() -> None:
    assert training_minutes(11.2, SHARES) == {"cnn": 0.6, "clip": 0.86, "diffusion": 7.14}
    assert training_minutes(42.6, {"a": 1, "b": 3}) == {"a": 10, "b": 30}


@pytest.mark.parametrize("minutes", [0.5, 5, 11, 40])
def test_the_shares_leave_time_for_everything_else(minutes: float) -> None:
    shares = training_minutes(minutes, SHARES)
    assert all(share > 0 for share in shares.values())
    assert sum(shares.values()) == pytest.approx(minutes - min(OTHER_MINUTES, MAX_OTHER_SHARE * minutes), abs=0.02)


def test_minutes_become_the_budget_of_each_training() -> None:
    config = PipelineRequest(preset="demo-smoke", minutes=40).resolve()
    assert {name: t.max_minutes for name, t in config.trainings.items()} == training_minutes(40, SHARES)
    unlimited = PipelineRequest(preset="demo-smoke").resolve()
    assert all(training.max_minutes == 0 for training in unlimited.trainings.values())


def smoke(**changes: Any) -> PipelineConfig:
    return PipelineConfig.parse(PipelineConfig.preset("demo-smoke").model_dump(mode="json") | changes)


def test_runs_have_any_names_and_keep_their_order() -> None:
    runs = {"small-1": {"preset": "diffusion-smoke"}, "a": {"preset": "cnn-smoke", "set": ["batch_size=8"]}}
    config = smoke(runs=runs, evaluate={"judged": ["a"]}, minutes=12.6)
    assert list(config.trainings) == ["small-1", "a"]
    assert config.trainings["a"] == TrainConfig(preset="cnn-smoke", set=("batch_size=8",), max_minutes=5)
    assert not isinstance(config.trainings["a"], PlannedRun)


def test_a_system_of_runs_is_judged_by_its_name() -> None:
    config = smoke(systems={"whole": {"base": "diffusion"}}, evaluate={"judged": ["whole", "cnn"]})
    assert config.systems == {"whole": {"base": "diffusion"}}


def test_two_share_an_evaluation_and_more_have_one_each_and_are_compared() -> None:
    pair, three = ({"judged": ["cnn", "diffusion", *more]} for more in ([], ["whole"]))
    systems = {"whole": {"base": "diffusion"}}
    together = smoke(evaluate=pair).evaluate
    assert (together.places, together.result) == ({"evaluation": ("cnn", "diffusion")}, "evaluation")
    apart = smoke(systems=systems, evaluate=three).evaluate
    assert list(apart.places) == ["evaluations/cnn", "evaluations/diffusion", "evaluations/whole"]
    assert apart.result == "comparison" and set(apart.places.values()) == {("cnn",), ("diffusion",), ("whole",)}


def test_all_systems_see_as_many_pictures() -> None:
    config = PipelineConfig.preset("systems-toy")

    def seen(run: str) -> int:
        planned = config.runs[run]
        return planned.max_images + (seen(planned.init_from) if planned.init_from else 0)

    drawn = {
        name: sum(seen(run) for role, run in roles.items() if role != "prior") for name, roles in config.systems.items()
    }
    assert drawn | {name: seen(name) for name in ("cnn", "diffusion")} == dict.fromkeys(config.evaluate.judged, 60_000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runs": {"../../up": {}}}, r"runs\.\.\./\.\./up.*pattern"),
        ({"runs": {"a": {"presett": "x"}}}, r"no runs\.a\.presett \(did you mean 'runs\.a\.preset'\?\)"),
        ({"runs": {}}, "runs: "),
        ({"evaluate": {"judged": ["difusion"]}}, r"a run 'difusion' \(did you mean 'diffusion'\?\)"),
        ({"evaluate": {"judged": ["cnn"], "scorer": "vit"}}, "a run 'vit'; there are: cnn, clip, diffusion"),
        (
            {"runs": {"cnn": {"init_from": "b"}, "b": {}}, "evaluate": {"judged": ["b"]}},
            "cnn is made from b, which is not trained before it",
        ),
        ({"runs": {"cnn": {"init_from": "cnn"}}, "evaluate": {"judged": ["cnn"]}}, "is made from cnn"),
        (
            {"runs": {"cnn": {"uses": ["clip=b"]}, "b": {}}, "evaluate": {"judged": ["cnn"]}},
            "cnn is made from b, which",
        ),
        (
            {
                "runs": {"cnn": {"uses": ["features=words"]}, "b": {}},
                "features": {"words": {"encoder": "b"}},
                "evaluate": {"judged": ["cnn"]},
            },
            "cnn is made from b, which is not trained before it",
        ),
        ({"features": {"cnn": {"encoder": "clip"}}}, "cnn is a run and a folder of features"),
        ({"evaluate": {"judged": []}}, r"evaluate\.judged"),
        ({"evaluate": {"judged": ["cnn", "diffusion", "cnn"]}}, "one is named twice"),
        ({"systems": {"whole": {"clip": "clip"}}}, "has a base run"),
        (
            {"systems": {"whole": {"base": "difusion"}}},
            r"the base of the system whole is a run 'difusion' \(did you mean",
        ),
        ({"systems": {"cnn": {"base": "cnn"}}}, "cnn is a run and a system"),
        ({"systems": {"whole": {"bass": "cnn"}}}, r"systems\.whole\.bass"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        smoke(**changes)


def test_a_config_from_before_runs_had_names_is_refused_in_a_sentence() -> None:
    old = PipelineConfig.preset("demo-smoke").model_dump(mode="json", exclude={"runs"})
    with pytest.raises(ConfigError, match="this pipeline config has no `runs`"):
        PipelineConfig.parse(old | {"cnn": None, "diffusion": {"preset": "diffusion-smoke"}})


def test_a_config_file_may_start_from_a_preset_and_leave_runs_out(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(
        json.dumps(
            {
                "from": "demo-smoke",
                "runs": {"cnn": None, "clip": None, "diffusion": {"max_images": 32}},
                "evaluate": {"judged": ["diffusion"], "scorer": ""},
            }
        )
    )
    config = PipelineRequest(config_file=str(path)).resolve()
    assert list(config.runs) == ["diffusion"]
    assert config.runs["diffusion"] == PipelineConfig.preset("demo-smoke").runs["diffusion"].with_changes(max_images=32)
    assert config.ingest == PipelineConfig.preset("demo-smoke").ingest


def test_a_request_changes_what_it_names_and_nothing_else() -> None:
    plain = PipelineRequest(preset="demo-smoke").resolve()
    assert plain == PipelineConfig.preset("demo-smoke")
    changed = PipelineRequest(preset="demo-smoke", source="site:emoji", image_size=32).resolve()
    assert changed.site == plain.site.with_changes(source="emoji", image_size=32)
    assert changed.ingest == plain.ingest.with_changes(image_size=32)
    assert (changed.caption, changed.runs, changed.evaluate) == (plain.caption, plain.runs, plain.evaluate)
    wide = PipelineRequest(preset="demo-smoke", language="wide").resolve()
    assert wide.site == plain.site.with_changes(language="wide") and wide.ingest == plain.ingest
    for source, told in (("site:emoji", "this site shows emoji"), ("photos", "this source is another")):
        with pytest.raises(ConfigError, match=told):
            PipelineRequest(preset="demo-smoke", source=source, language="wide").resolve()


def test_a_source_of_ones_own_needs_no_site() -> None:
    config = PipelineRequest(preset="demo-smoke", source="urls.csv").resolve()
    assert config.source == "urls.csv"
    assert not config.uses_site


def test_the_site_has_one_identity_on_every_port() -> None:
    site = PipelineConfig.preset("demo").site
    assert site_digest(site.with_changes(port=1234)) == site_digest(site)
    assert site_digest(site.with_changes(night=1)) == site_digest(site.with_changes(night=2)) != site_digest(site)
    assert site_digest(site.with_changes(seed=1)) != site_digest(site)


def test_icon_sets_count_by_what_is_in_them_and_not_by_where_they_lie(icon_folders: list[Path], tmp_path: Path) -> None:
    site = PipelineConfig.preset("emoji-styles").site
    shutil.copytree(icon_folders[0], tmp_path / "copy")

    def digest(*folders: Path) -> str:
        return site_digest(site.with_changes(icons=tuple(map(str, folders))))

    assert digest(icon_folders[0]) == digest(tmp_path / "copy") != digest(icon_folders[1])
    assert site_digest(site) == digest_of(site.model_dump(mode="json", exclude={"port", "icons"}))


def test_a_request_names_icon_sets(icon_folders: list[Path]) -> None:
    icons = [str(folder) for folder in icon_folders]
    assert PipelineRequest(preset="emoji-styles", icons=icons).resolve().site.icons == tuple(icons)


def test_a_config_file_stands_for_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(PipelineConfig.preset("demo-smoke").model_dump(mode="json") | {"source": "a.csv"}))
    assert PipelineRequest(config_file=str(path)).resolve().source == "a.csv"
    path.write_text('{"sauce": 1}')
    with pytest.raises(ConfigError, match="sauce"):
        PipelineRequest(config_file=str(path)).resolve()
