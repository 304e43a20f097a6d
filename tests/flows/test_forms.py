"""The parameters of each flow make a form that a person can fill in."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from flows.caption import caption
from flows.compare import compare
from flows.compose import compose
from flows.evaluate import evaluate
from flows.features import features
from flows.forms import Groups, group_name
from flows.ingest import ingest
from flows.nights.config import NIGHTLY_GROUPS, NightlyConfig
from flows.nights.flow import nightly
from flows.pipeline import pipeline
from flows.sweeps.flow import sweep
from flows.train import train
from flows.tuning.flow import tune
from flows.upkeep.promotion import promote, rollback
from flows.upkeep.purge import purge
from flows.upkeep.retry import retry
from flows.upkeep.verify import verify
from t2i_core.captioning.config import CAPTION_GROUPS, CaptionConfig
from t2i_core.config import Config
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.generation.config import DRAW_GROUPS
from t2i_core.ingestion.config import INGEST_GROUPS, IngestConfig
from t2i_core.sweeps.config import SWEEP_GROUPS, SweepConfig
from t2i_core.training.preset import preset_names
from t2i_core.tuning.config import TUNE_GROUPS, TuneConfig

FLOWS: dict[str, Flow[..., Any]] = {
    flow.name: flow
    for flow in (
        ingest,
        caption,
        features,
        train,
        compose,
        evaluate,
        compare,
        pipeline,
        nightly,
        promote,
        rollback,
        sweep,
        tune,
        retry,
        verify,
        purge,
    )
}
GROUPED: dict[str, tuple[type[Config], Groups]] = {
    "ingest": (IngestConfig, INGEST_GROUPS),
    "retry": (IngestConfig, INGEST_GROUPS),
    "caption": (CaptionConfig, CAPTION_GROUPS),
    "evaluate": (EvaluateConfig, DRAW_GROUPS),
    "nightly": (NightlyConfig, NIGHTLY_GROUPS),
    # What must be filled in: neither tries anything by itself.
    "sweep": (SweepConfig, SWEEP_GROUPS),
    "tune": (TuneConfig, TUNE_GROUPS),
}
TOP: dict[str, tuple[list[str], list[str]]] = {
    "ingest": (
        [
            "source",
            "output_dir",
            "config",
            "on_conflict",
            "refresh",
            "num_shards_at_once",
            "runner",
            "scheduler",
            "verify_hits",
        ],
        ["source", "output_dir"],
    ),
    "caption": (
        ["dataset_dir", "output_dir", "config", "joined_with", "on_conflict", "verify_hits"],
        ["dataset_dir", "output_dir"],
    ),
    "features": (
        ["captions_dir", "encoder_dir", "output_dir", "config", "on_conflict", "verify_hits"],
        ["captions_dir", "encoder_dir", "output_dir"],
    ),
    "train": (
        ["captions_dir", "output_dir", "config", "preset_file", "on_conflict", "verify_hits"],
        ["captions_dir", "output_dir"],
    ),
    "compose": (["runs", "output_dir", "on_conflict", "verify_hits"], ["runs", "output_dir"]),
    "evaluate": (
        ["run_dir", "output_dir", "config", "baseline_dir", "clip_dir", "captions_dir", "on_conflict", "verify_hits"],
        ["run_dir", "output_dir"],
    ),
    "compare": (["evaluations", "output_dir", "config", "on_conflict", "verify_hits"], ["evaluations", "output_dir"]),
    "retry": (["source", "output_dir", "reasons", "config"], ["source", "output_dir", "reasons"]),
    "verify": (["folder", "repair"], ["folder"]),
    "purge": (
        ["dataset_dir", "urls", "domains", "sha256s", "from_file", "workspace", "deny_list"],
        ["dataset_dir"],
    ),
    "pipeline": (["output_dir", "request", "verify_hits"], []),
    "nightly": (["output_dir", "request", "config"], []),
    "promote": (["run_dir", "registry", "why"], ["run_dir"]),
    "rollback": (["registry", "why"], []),
    "tune": (
        ["captions_dir", "output_dir", "config", "preset_file", "clip_dir", "num_at_once"],
        ["captions_dir", "output_dir", "config"],
    ),
    "sweep": (["run_dir", "output_dir", "config", "clip_dir", "num_at_once"], ["run_dir", "output_dir", "config"]),
}


def in_order(properties: dict[str, Any]) -> list[str]:
    return sorted(properties, key=lambda name: properties[name]["position"])


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from schema["properties"].items()
    for config in objects(schema):
        yield from config.get("properties", {}).items()


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give what is drawn as a box: each config, and the groups in it."""
    for config in schema["definitions"].values():
        yield config
        yield from (field for field in config.get("properties", {}).values() if field.get("type") == "object")


@pytest.fixture(params=FLOWS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def schema(name: str) -> dict[str, Any]:
    return parameter_schema(FLOWS[name]).model_dump()


def test_the_parameters_come_in_order(name: str, schema: dict[str, Any]) -> None:
    order, required = TOP[name]
    assert in_order(schema["properties"]) == order
    assert (schema.get("required") or []) == required


def test_every_parameter_is_explained_and_has_a_title(schema: dict[str, Any]) -> None:
    for name, field in fields(schema):
        # A group says by its title what is in it.
        assert field.get("description") or field["type"] == "object", name
        assert field["title"][0].isupper() and "_" not in field["title"], name
        assert "position" in field, name


def test_groups_are_flat_and_have_no_unions_or_bare_objects(schema: dict[str, Any]) -> None:
    for name, field in schema["properties"].items():
        assert not {"anyOf", "oneOf"} & field.keys(), name
    for box in objects(schema):
        for name, field in box.get("properties", {}).items():
            assert not {"anyOf", "oneOf", "$ref", "allOf"} & field.keys(), name
            # A group is drawn in its config, and nothing in a group.
            assert field["type"] != "object" or (field["properties"] and "patternProperties" in box), name


def test_numbers_are_bounded_and_choices_are_choices(schema: dict[str, Any]) -> None:
    for name, field in fields(schema):
        if field.get("type") in ("integer", "number") and name not in ("seed", "split_seed"):
            assert field.keys() & {"minimum", "exclusiveMinimum"}, name
        if "enum" in field:
            assert len(field["enum"]) >= 2, name


def test_recipes_are_choices() -> None:
    definitions = parameter_schema(train).model_dump()["definitions"]
    assert definitions["TrainConfig"]["properties"]["preset"]["enum"] == preset_names()


def test_unknown_keys_are_refused(schema: dict[str, Any]) -> None:
    if not schema["definitions"]:
        pytest.skip("it takes no config")
    assert all(box["additionalProperties"] is False for box in objects(schema))


@pytest.mark.parametrize("name", GROUPED)
def test_groups_are_those_of_the_help_and_hold_each_field_once(name: str, schema: dict[str, Any]) -> None:
    config_class, groups = GROUPED[name]
    form = schema["definitions"][config_class.__name__]["properties"]
    boxes = {field["title"]: in_order(field["properties"]) for field in form.values() if field["type"] == "object"}
    above = [field for field in in_order(form) if form[field]["type"] != "object"]

    assert boxes == {heading: list(names) for heading, names in groups.items()}
    assert sorted([*above, *(field for box in boxes.values() for field in box)]) == sorted(config_class.model_fields)
    assert not {group_name(heading) for heading in groups} & set(config_class.model_fields)
    assert above == [] or name not in ("ingest", "retry", "caption")


@pytest.mark.parametrize("name", sorted(GROUPED.keys() - {"sweep", "tune"}))
def test_a_form_that_is_left_as_it_is_gives_the_defaults(name: str, schema: dict[str, Any]) -> None:
    config_class, groups = GROUPED[name]
    form = schema["definitions"][config_class.__name__]["properties"]

    assert taken(name, schema["properties"]["config"]["default"]) == config_class()
    # Box by box, as a form is drawn that finds no default of the whole.
    assert (
        taken(name, {group_name(heading): form[group_name(heading)]["default"] for heading in groups}) == config_class()
    )


def taken(name: str, config: Any) -> Any:
    required = dict.fromkeys(TOP[name][1], "x") | ({"reasons": ["timeout"]} if name == "retry" else {})
    return FLOWS[name].validate_parameters({**required, "config": config})["config"]


@pytest.mark.parametrize(
    "config",
    [
        {"how_pictures_are_stored": {"image_size": 64}, "how_hosts_are_asked": {"retries": 3}},
        {"image_size": 64, "retries": 3},
        {"image_size": 64, "how_hosts_are_asked": {"retries": 3}, "how_pictures_are_stored": {"image_size": 64}},
        IngestConfig(image_size=64, retries=3),
    ],
    ids=["grouped", "flat", "both", "config"],
)
def test_values_in_groups_and_flat_ones_make_the_same_config(config: object) -> None:
    assert taken("ingest", config) == IngestConfig(image_size=64, retries=3)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"image_size": 64, "how_pictures_are_stored": {"image_size": 65}},
            "image_size is given twice: 64, and 65 in how",
        ),
        ({"how_hosts_are_asked": {"retry": 3}}, "how_hosts_are_asked has no retry .did you mean 'retries'"),
        ({"how_hosts_are_asked": {"image_size": 3}}, "how_hosts_are_asked has no image_size"),
        ({"how_hosts_are_asked": 3}, "is a group of values by name, not 3"),
        ({"how_hosts_are_asked": {"retries": -1}}, "retries"),
    ],
)
def test_a_wrong_group_is_refused_in_a_sentence(config: object, says: str) -> None:
    with pytest.raises(ParameterTypeError, match=says):
        taken("ingest", config)


def test_a_wrong_value_is_refused_before_the_flow_starts() -> None:
    with pytest.raises(ParameterTypeError, match="minutes"):
        pipeline.validate_parameters({"output_dir": "x", "request": {"minutes": -1}})
