"""The page over all nights, and what of them stays on disk."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from t2i_core.folders.manifest import StepKey, read_manifest, write_manifest
from t2i_core.nights.disk import collect_nights
from t2i_core.nights.page import HISTORY_NAME, history_as_text, write_history
from t2i_core.nights.record import Night, new_name, read_nights, write_night
from t2i_core.promotion.registry import Entry, Evidence, Interval, Promotion, write_promotion
from t2i_core.report.charts import interval_chart


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.05, high=value + 0.04)


def night(workspace: Path, name: str, **changes: Any) -> Night:
    challenger = Entry(path=f"nights/{name}/runs/x", digest=f"digest of {name}")
    made = Night(name=name, subject=name, started="", challenger=challenger, samples=1200, images=5000)
    return write_night(workspace, made.with_changes(**{"finished": "f", "outcome": "leave", "why": "worse"} | changes))


def evidence(challenger: float, champion: float) -> Evidence:
    return Evidence(
        figure="strict accuracy",
        challenger=interval(challenger),
        champion=interval(champion),
        difference=interval(challenger - champion),
        prompts=96,
        comparison="c",
        against="a",
    )


def promoted(workspace: Path, number: int, name: str, who: Any = "rule", before: str = "") -> None:
    entries = [
        Entry(path=f"nights/{each}/runs/x", digest=f"digest of {each}") if each else None for each in (name, before)
    ]
    write_promotion(
        workspace,
        Promotion(
            number=number, action="promote", who=who, at=f"2026-11-0{number}T02:00:00Z", why=f"{name} is better",
            champion=entries[0], previous=entries[1],
        ),
    )  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    first, second = evidence(0.8, 0.6), evidence(0.7, 0.8)
    night(tmp_path, "2026-11-01", outcome="first", why="there was no champion", figure="strict accuracy",
          score=interval(0.6), added=1200, removed=0, seconds={"refresh": 61.0, "evaluate": 5.0})  # fmt: skip
    night(tmp_path, "2026-11-02", outcome="promote", why="above <0>", figure="strict accuracy", score=first.challenger,
          evidence=first, added=45, removed=7, quiet=3)  # fmt: skip
    night(tmp_path, "2026-11-02-2", figure="strict accuracy", score=second.challenger, evidence=second)
    night(tmp_path, "2026-11-10", outcome="ask", why="not clear", evidence=second, score=second.challenger)
    promoted(tmp_path, 1, "2026-11-01")
    promoted(tmp_path, 2, "2026-11-02", before="2026-11-01")
    return tmp_path


def test_the_page_shows_every_night_its_figures_and_who_was_champion(workspace: Path) -> None:
    page = write_history(workspace).read_text()

    assert "4 nights" in page and "2026-11-02-2" in page and "strict accuracy" in page
    assert page.count("<circle") == 4 + 3, "a dot for each challenger and for each champion beside it"
    assert "0.800 [0.750, 0.840]" in page and "+0.200 [+0.150, +0.240]" in page
    assert "above &lt;0&gt;" in page and "<0>" not in page
    assert "nights/2026-11-02/runs/x" in page and "2026-11-01 is better" in page
    text = history_as_text(workspace)
    assert "| 2026-11-02 | 0.800 [0.750, 0.840] | 0.600 [0.550, 0.640] | +0.200 [+0.150, +0.240] | promoted |" in text
    assert "| 2026-11-02 | 1,200 | 45 | 7 | 5,000 | 3 |" in text and "a person decides" in text
    assert text.index("2026-11-10") < text.index("2026-11-01"), "the last night comes first"


def test_a_night_that_a_person_took_later_is_shown_so(workspace: Path) -> None:
    promoted(workspace, 3, "2026-11-10", who="person", before="2026-11-02")

    assert "a person decides" not in history_as_text(workspace) and "| approved |" in history_as_text(workspace)


def test_without_nights_there_is_a_page_too(tmp_path: Path) -> None:
    assert "There is no champion yet" in write_history(tmp_path).read_text()
    assert (tmp_path / HISTORY_NAME).is_file() and interval_chart({}, {}) == ""


def test_nights_are_in_the_order_of_their_dates_and_numbers(tmp_path: Path) -> None:
    for name in ("2026-11-02-10", "2026-11-03", "2026-11-02", "2026-11-02-2"):
        night(tmp_path, name)
    (tmp_path / "nights/.DS_Store").touch()
    nights = read_nights(tmp_path)

    assert [each.name for each in nights] == ["2026-11-02", "2026-11-02-2", "2026-11-02-10", "2026-11-03"]
    assert new_name("2026-11-02", nights) == "2026-11-02-3" and new_name("2026-11-04", nights) == "2026-11-04"


def finish(folder: Path, kind: Any, **made_from: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("x")
    inputs = {name: read_manifest(source).digest for name, source in made_from.items()}
    key = StepKey(step="x", version=1, config={"folder": str(folder)}, inputs=inputs)
    sources = {name: str(source) for name, source in made_from.items()}
    write_manifest(folder, kind=kind, key=key, sources=sources, counts={}, files=[])
    return folder


def test_of_early_nights_only_what_champion_and_previous_are_made_from_stays(tmp_path: Path) -> None:
    runs: dict[str, Path] = {}
    for number in range(1, 7):
        name = f"2026-11-0{number}"
        night(tmp_path, name)
        folder = tmp_path / "nights" / name
        captions = finish(folder / "captions", "captions")
        # The third night's run started from the first one's.
        start = {"init": runs["2026-11-01"]} if number == 3 else {}
        runs[name] = finish(folder / "runs/x", "run", captions=captions, **start)
        finish(folder / "runs/scorer", "run", captions=captions)
        finish(folder / "evaluations/challenger", "evaluation", run=runs[name])
        (folder / "runs/begun").mkdir()
        (folder / "runs/begun/step.json").write_text("{}")
    promoted(tmp_path, 1, "2026-11-02")
    promoted(tmp_path, 2, "2026-11-03", before="2026-11-02")

    collect_nights(tmp_path, keep=1)

    def left(number: int) -> list[str]:
        folder = tmp_path / f"nights/2026-11-0{number}"
        return sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("manifest.json"))

    assert left(1) == left(2) == left(3) == ["captions", "runs/x"]
    assert left(4) == left(5) == []
    assert left(6) == ["captions", "evaluations/challenger", "runs/scorer", "runs/x"]
    assert len(read_nights(tmp_path)) == 6
    shutil.rmtree(tmp_path / "nights/2026-11-02/runs")
    assert collect_nights(tmp_path, keep=1) != []
