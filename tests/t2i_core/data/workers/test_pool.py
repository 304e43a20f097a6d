"""Jobs that crash, hang or eat memory cost themselves and nothing else."""

import asyncio
import io
import os
import re
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t2i_core.data.picture import ImageOptions
from t2i_core.data.pictures.decoders import Decoders
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.workers import early
from t2i_core.data.workers import pool as worker_pool
from t2i_core.data.workers.pool import Answer, WorkerPool
from t2i_core.data.workers.worker import frame
from t2i_core.errors import TransientError


@pytest.fixture(autouse=True)
def unruly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def ask(*jobs: tuple[Any, bytes], size: int = 2, setup: Any = None) -> list[Answer | None]:
    async def run() -> list[Answer | None]:
        async with WorkerPool("unruly_worker", size, setup) as pool:
            return list(await asyncio.gather(*(pool.ask(*job) for job in jobs)))

    return asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_decoder_is_one_thread_without_what_it_does_not_use() -> None:
    process, line = worker_pool.start_worker("t2i_core.data.pictures.worker")
    with process, line:
        line.setblocking(True)
        line.sendall(b"".join(frame(asdict(ImageOptions()))))
        assert line.recv(100) == b"".join(frame(None)), "it is ready"
        proc = Path(f"/proc/{process.pid}")
        assert len(list((proc / "task").iterdir())) == 1
        assert not re.findall("pydantic|torch|pyarrow", (proc / "maps").read_text())


def test_answers_belong_to_their_questions() -> None:
    bodies = [os.urandom(size) for size in (0, 1, 100, 3_000_000, 5, *range(50))]
    answers = ask(*((number, body) for number, body in enumerate(bodies)))
    assert [(answer[0][0], answer[1]) for answer in answers if answer] == [(n, b[::-1]) for n, b in enumerate(bodies)]
    assert len({answer[0][1] for answer in answers if answer}) == 2, "both processes worked"


@pytest.mark.parametrize("deed", ["crash", "sleep", "eat", "babble"])
def test_a_bad_job_costs_only_itself(deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "MAX_WALL_SECONDS", 1.5)
    names = ["a", "b", deed, "c", "d", "e"]
    answers = ask(*((name, b"xy") for name in names), size=1)
    assert [answer and (answer[0][0], answer[1]) for answer in answers] == [
        None if name == deed else (name, b"yx") for name in names
    ]


def test_a_job_whose_process_somebody_killed_is_done_again(tmp_path: Path) -> None:
    async def run() -> tuple[int, Answer | None]:
        async with WorkerPool("unruly_worker", 1) as pool:
            first = await pool.ask("who", b"")
            assert first is not None
            waiting = asyncio.create_task(pool.ask("wait for", os.fsencode(tmp_path / "mark")))
            await asyncio.sleep(0.05)
            os.kill(first[0][1], signal.SIGKILL)
            (tmp_path / "mark").touch()
            return first[0][1], await waiting

    killed, answer = asyncio.run(run())
    assert answer is not None and answer[0][0] == "wait for" and answer[0][1] != killed


@pytest.mark.parametrize("deed", ["spin", "sleep"])
def test_a_job_that_took_too_long_is_not_tried_again(deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "MAX_WALL_SECONDS", 100.0 if deed == "spin" else 1.5)
    started: list[str] = []
    start_exposed = early.start_exposed

    def count(module: str, stdin: int) -> Any:
        started.append(module)
        return start_exposed(module, stdin)

    monkeypatch.setattr(early, "start_exposed", count)
    assert ask((deed, b""), ("after", b""), size=1)[0] is None
    assert len(started) == 2


def test_processes_that_do_not_start_end_the_run() -> None:
    with pytest.raises(TransientError, match=r"unruly_worker did not start \(exit code 3\)"):
        ask(("a", b""), setup="fail")


def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    async def run() -> Answer | None:
        async with WorkerPool("unruly_worker", 1) as pool:
            given_up = asyncio.create_task(pool.ask("given up", bytes(1_000_000)))
            await asyncio.sleep(0)
            given_up.cancel()
            return await pool.ask("kept", b"")

    answer = asyncio.run(run())
    assert answer is not None and answer[0][0] == "kept"


def test_no_process_outlives_the_pool() -> None:
    answers = ask(("a", b""), ("b", b""))
    for pid in {answer[0][1] for answer in answers if answer}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_decoders_do_what_process_picture_does() -> None:
    options = ImageOptions(image_size=16)
    buffer = io.BytesIO()
    Image.linear_gradient("L").save(buffer, "PNG")
    bodies = [buffer.getvalue(), b"no picture", buffer.getvalue()[:300]]

    async def run() -> list[Any]:
        async with Decoders(options) as decoders:
            return list(await asyncio.gather(*(decoders.process(body) for body in bodies)))

    assert asyncio.run(run()) == [process_picture(body, options) for body in bodies]
