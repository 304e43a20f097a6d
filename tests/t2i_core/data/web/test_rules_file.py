"""What one part of a run learned of a site's rules is what the next goes by."""

import asyncio
from pathlib import Path

import pytest
from yarl import URL

from t2i_core.data.manners.robots import RULES_SECONDS, RobotsAnswer
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.web import rules_file
from t2i_core.data.web.rules_file import RulesFile

ROBOTS = URL("https://example.org/robots.txt")
CLOSED = RobotsAnswer(200, "User-agent: *\nDisallow: /\n", content_type="text/plain")


def read(file: RulesFile, answer: RobotsAnswer, url: URL = ROBOTS) -> tuple[RobotsAnswer, bool]:
    """Read rules through a file from a site that gives an answer, and say whether the site was asked."""
    asked = []

    async def ask(there: URL) -> RobotsAnswer:
        asked.append(there)
        return answer

    return asyncio.run(_await(file, ask, url)), bool(asked)


async def _await(file: RulesFile, ask: rules_file.ReadRules, url: URL) -> RobotsAnswer:
    return await file.sharing(ask)(url)


@pytest.mark.parametrize("answer", [CLOSED, RobotsAnswer(404), RobotsAnswer(410)])
def test_the_next_part_asks_nobody(answer: RobotsAnswer, tmp_path: Path) -> None:
    path = tmp_path / "_parts/_rules.jsonl"
    assert read(RulesFile(path), answer) == (answer, True)
    assert read(RulesFile(path), RobotsAnswer(500)) == (answer, False)
    assert read(RulesFile(path), RobotsAnswer(403), URL("https://other.org/robots.txt"))[1]


@pytest.mark.parametrize(
    "answer", [RobotsAnswer(503), RobotsAnswer(429), RobotsAnswer(0, failure=Rejection(RejectReason.TIMEOUT))]
)
def test_who_gave_no_rules_is_asked_again(answer: RobotsAnswer, tmp_path: Path) -> None:
    path = tmp_path / "_rules.jsonl"
    assert read(RulesFile(path), answer) == (answer, True)
    assert read(RulesFile(path), CLOSED) == (CLOSED, True)
    assert read(RulesFile(path), RobotsAnswer(404)) == (CLOSED, False)


def test_rules_hold_for_a_day(tmp_path: Path) -> None:
    path = tmp_path / "_rules.jsonl"
    read(RulesFile(path, lambda: 1000), CLOSED)
    assert not read(RulesFile(path, lambda: 999 + RULES_SECONDS), RobotsAnswer(404))[1]
    assert read(RulesFile(path, lambda: 1000 + RULES_SECONDS), RobotsAnswer(404))[1]


def test_what_was_not_written_whole_is_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "_rules.jsonl"
    read(RulesFile(path), CLOSED)
    other = URL("https://example.org/ai.txt")
    read(RulesFile(path), RobotsAnswer(404), other)
    path.write_bytes(path.read_bytes()[:-3])
    assert read(RulesFile(path), RobotsAnswer(404)) == (CLOSED, False)
    assert read(RulesFile(path), CLOSED, other) == (CLOSED, True)


def test_a_run_of_very_many_hosts_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_file, "MAX_BYTES", 250)
    path = tmp_path / "_rules.jsonl"
    file = RulesFile(path)
    for number in range(10):
        read(file, CLOSED, URL(f"https://{number}.example.org/robots.txt"))
    assert 0 < path.stat().st_size <= 250
