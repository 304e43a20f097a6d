"""Who is in use: what holds after each change, after a move, after a kill and after damage."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.upkeep import promotion as flows
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import read_manifest
from t2i_core.promotion.registry import (
    PROMOTIONS_DIR,
    REGISTRY_VARIABLE,
    Evidence,
    Interval,
    current,
    model_folder,
    names_below,
    promotions,
    write_promotion,
)
from t2i_core.promotion.step import promote, rollback, withdraw

Make = Callable[..., Path]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "work/nightly"


def test_the_champion_before_becomes_the_previous_one_and_comes_back(make_run: Make, registry: Path) -> None:
    one, two, three = (make_run(name) for name in ("one", "two", "three"))
    for run in (one, two, three):
        promote(run, registry, why=f"{run.name} is better")
    assert (model_folder(registry / "champion"), model_folder(registry / "previous")) == (three, two)

    rollback(registry, why="blurred")

    assert (model_folder(registry / "champion"), model_folder(registry / "previous")) == (two, three)
    told = [(p.number, p.action, p.why, p.champion.path) for p in promotions(registry)]
    assert told == [
        (1, "promote", "one is better", "../one"),
        (2, "promote", "two is better", "../two"),
        (3, "promote", "three is better", "../three"),
        (4, "rollback", "blurred", "../two"),
    ]


def test_a_champion_that_must_not_be_used_makes_way_for_one_that_may(make_run: Make, registry: Path) -> None:
    one, two = make_run("one"), make_run("two")
    promote(one, registry, why="first")
    promote(two, registry, why="second")
    digests = {run: read_manifest(run).digest for run in (one, two)}
    assert withdraw(registry, {digests[one]}, why="opted out") is None
    with pytest.raises(ConfigError, match="no previous one to take its place"):
        withdraw(registry, set(digests.values()), why="opted out")
    withdrawn = withdraw(registry, {digests[two]}, why="opted out")
    assert withdrawn is not None and (withdrawn.action, withdrawn.who) == ("rollback", "rule")
    assert model_folder(registry / "champion") == one


def test_who_is_the_champion_already_is_promoted_no_second_time(make_run: Make, registry: Path) -> None:
    run = make_run("one")
    assert promote(run, registry, why="a") == promote(run, registry, why="b")
    assert len(promotions(registry)) == 1


def test_a_workspace_can_be_moved_as_a_whole(make_run: Make, registry: Path, tmp_path: Path) -> None:
    promote(make_run("one"), registry, why="first")

    shutil.move(tmp_path / "work", tmp_path / "elsewhere")

    assert model_folder(tmp_path / "elsewhere/nightly/champion") == tmp_path / "elsewhere/one"


def test_a_bare_name_means_the_registry_of_the_environment(
    make_run: Make, registry: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_run("one")
    promote(run, registry, why="first")
    with pytest.raises(ConfigError, match="no champion in workspace/nightly yet"):
        model_folder(Path("champion"))
    monkeypatch.setenv(REGISTRY_VARIABLE, str(registry))
    assert model_folder(Path("champion")) == run
    # A folder of that name is what it says.
    (tmp_path / "champion").mkdir()
    assert model_folder(Path("champion")) == Path("champion")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda run: shutil.rmtree(run), "no such folder"),
        (lambda run: (run / "checkpoints/step_00000001/weights.safetensors").unlink(), "weights.safetensors is gone"),
        (lambda run: (run / "manifest.json").write_text("{}"), "manifest.json is damaged"),
    ],
)
def test_a_champion_that_does_not_check_out_is_refused(
    make_run: Make, registry: Path, harm: Callable[[Path], object], told: str
) -> None:
    one, two = make_run("one"), make_run("two")
    promote(one, registry, why="first")
    promote(two, registry, why="second")
    harm(two)
    with pytest.raises(ConfigError, match=rf"not what was promoted: .*{told}.*t2i rollback") as refused:
        model_folder(registry / "champion")
    assert "\n" not in str(refused.value)
    rollback(registry, why="two is gone")
    assert model_folder(registry / "champion") == one
    with pytest.raises(ConfigError, match="the previous of"):
        rollback(registry, why="nothing to go back to")


def test_another_run_in_its_folder_is_not_the_champion(make_run: Make, registry: Path) -> None:
    one, two = make_run("one"), make_run("two")
    promote(one, registry, why="first")
    shutil.rmtree(one)
    shutil.copytree(two, one)
    with pytest.raises(ConfigError, match="another run or system by now"):
        model_folder(registry / "champion")


def test_two_changes_at_once_are_one_change(make_run: Make, registry: Path) -> None:
    promote(make_run("one"), registry, why="first")
    first = current(registry)
    assert first
    with pytest.raises(ConfigError, match="changed by somebody else"):
        write_promotion(registry, first.with_changes(why="second"))
    assert promotions(registry) == [first]
    # What a program left that was killed while writing is none.
    (registry / PROMOTIONS_DIR / ".000002.json.0123abcd").write_text("{")
    assert current(registry) == first
    (registry / PROMOTIONS_DIR / "000002.json").write_text("{")
    with pytest.raises(DataError, match="the record before it holds"):
        current(registry)


def test_what_draws_nothing_or_is_unfinished_is_never_promoted(make_run: Make, registry: Path) -> None:
    with pytest.raises(ConfigError, match="it does not draw"):
        promote(make_run("clip", "clip-smoke"), registry, why="a")
    run = make_run("one")
    (run / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="not a finished run or system"):
        promote(run, registry, why="a")
    assert not registry.exists()


def test_a_comparison_with_another_champion_promotes_nobody(make_run: Make, registry: Path) -> None:
    one, two, three = (make_run(name) for name in ("one", "two", "three"))
    promote(one, registry, why="first")
    gap = Interval(value=0.2, low=0.1, high=0.3)
    seen = Evidence(
        figure="strict accuracy",
        challenger=gap,
        champion=gap,
        difference=gap,
        prompts=99,
        comparison="c",
        against=read_manifest(one).digest,
    )
    promote(two, registry, why="better", who="rule", evidence=seen)
    with pytest.raises(ConfigError, match="compared with another champion"):
        promote(three, registry, why="better", who="rule", evidence=seen)
    made = current(registry)
    assert made and made.evidence == seen and made.who == "rule"


def test_names_are_found_from_above(make_run: Make, registry: Path, tmp_path: Path) -> None:
    one, two = make_run("one"), make_run("two")
    promote(one, registry, why="first")
    promote(two, registry, why="second")
    assert names_below(tmp_path) == {
        read_manifest(one).digest: f"previous of {registry}",
        read_manifest(two).digest: f"champion of {registry}",
    }


def test_the_flows_say_who_is_champion(make_run: Make, registry: Path) -> None:
    one, two = make_run("one"), make_run("two")
    for run in (one, two):
        state = flows.promote.fn(run, registry, "by the form")
    assert state.is_completed() and f"two is the champion of {registry}: by the form" in str(state.message)
    assert "one is the champion" in str(flows.rollback.fn(registry).message)
    assert model_folder(registry / "champion") == one
