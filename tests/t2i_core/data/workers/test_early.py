"""Processes started early are the ones that are used, and none is left over."""

import os
import subprocess

import pytest

from t2i_core.data.tables.process import ListProcess
from t2i_core.data.workers import early
from t2i_core.data.workers.early import DECODER, LIST_READER, num_decoders, start_worker, started_early

Process = subprocess.Popen[bytes]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Process]]:
    """The processes that are started, with their modules."""
    found: list[tuple[str, Process]] = []
    start = early.start_exposed

    def note(module: str, stdin: int) -> Process:
        process = start(module, stdin)
        found.append((module, process))
        return process

    monkeypatch.setattr(early, "start_exposed", note)
    return found


def test_who_needs_a_process_gets_one_that_was_started_early(started: list[tuple[str, Process]]) -> None:
    with started_early("urls.csv"):
        assert [module for module, _ in started] == [LIST_READER] + [DECODER] * num_decoders()
        process = ListProcess()
        assert len(started) == 1 + num_decoders(), "no further one is started"
        with started_early("urls.csv"):
            assert [module for module, _ in started[1 + num_decoders() :]] == [LIST_READER], "only what is missing"
    assert all(ended.poll() is not None for _, ended in started[1:]), "those that nobody needed are ended"
    process.send({"name": "a.csv", "asked": "columns", "size": 0})
    assert "read" in process.receive()[0], "it asks for parts of the file"
    process.end()
    assert started[0][1].poll() is not None


def test_a_process_that_ended_while_it_waited_is_not_used(started: list[tuple[str, Process]]) -> None:
    with started_early("urls.csv"):
        killed = started[0][1]
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        process, line = start_worker(LIST_READER)
        assert process is started[-1][1] and process is not killed
        process.kill()
        process.wait()
        line.close()


def test_a_site_is_read_without_them(started: list[tuple[str, Process]]) -> None:
    with started_early("https://example.org/gallery"):
        assert not started


def test_where_nothing_may_be_new_no_picture_is_waited_for(started: list[tuple[str, Process]]) -> None:
    with started_early("urls.csv", decodes=False):
        assert [module for module, _ in started] == [LIST_READER]
