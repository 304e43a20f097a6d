"""Whatever ends a run, the next one gives the bytes of an undisturbed run, and asks only for what was not finished.

The whole command runs, in processes that are forked from one that has imported it, so that starting takes no second.
"""

import asyncio
import itertools
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from t2i_core.data.manners.circuit import DEFAULT_FAILURES
from t2i_core.data.manners.denylist import NOTHING_DENIED
from t2i_core.data.shards.layout import ShardLayout
from t2i_core.errors import StoppedError
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.config import IngestConfig, IngestRequest
from t2i_core.ingestion.harvest import HarvestJob, harvest
from t2i_core.ingestion.step import finish_ingest, ingest, plan_ingest
from t2i_core.progress import Progress, ignore_progress
from tests.t2i_core.data.fork_server import ForkServer

MakePng = Callable[..., bytes]
CONNECTIONS = 8
KILLS = 20
OPTIONS = {
    "image_size": 16,
    "encode_format": "png",
    "samples_per_shard": 300,
    "allow_private": ("localhost",),
    "connections": CONNECTIONS,
    "connections_per_host": CONNECTIONS,
    "retries": 0,
}
# What a process does: a run, which may end itself at one of its steps on disk. Python tells of each before it is taken.
PROGRAM = """
import contextlib, os, resource, signal, sys
from flows.cli import run
# The command imports these when it is called.
import flows.commands.ingest, flows.steps
import t2i_core.data.account.card, t2i_core.data.account.page, t2i_core.data.account.readme_card
import t2i_core.ingestion.step

# All is imported, so that nothing starts before it is needed; most of these runs decode nothing.
flows.steps.started_early = lambda source, **_: contextlib.nullcontext()

STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")

def die_at(step, folder):
    steps = iter(range(1, step))
    def on_event(event, arguments):
        if event in STEPS and str(arguments[0]).startswith(folder) and next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(on_event)

def act(order):
    os.dup2(os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.stdout = sys.stderr
    if "max_file_bytes" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["max_file_bytes"],) * 2)
    if "die_at_step" in order:
        die_at(order["die_at_step"], order["output_dir"])
    return run(order["arguments"])
"""


class Launcher:
    """Runs `t2i ingest` in processes of their own, one after the other."""

    def __init__(self, processes: ForkServer, log: Path) -> None:
        self._processes, self._log = processes, log

    def start(self, source: Path, output_dir: Path, *options: str, **order: int) -> int:
        """Start a run, and give its process id."""
        arguments = ["ingest", str(source), "--output-dir", str(output_dir), "--no-prefect", *options]
        for name, value in OPTIONS.items():
            flag = f"--{name.replace('_', '-')}"
            arguments += [flag, *value] if isinstance(value, tuple) else [flag, str(value)]
        return self._processes.start(arguments=arguments, log=str(self._log), output_dir=str(output_dir), **order)

    def wait(self) -> int:
        """Give the exit code of the run, or the negative number of the signal that killed it."""
        return self._processes.wait()

    def run(self, source: Path, output_dir: Path, *options: str, **order: int) -> int:
        """Run to the end, and give the exit code."""
        self.start(source, output_dir, *options, **order)
        return self.wait()

    def told(self) -> str:
        """Give what the runs wrote to their terminals."""
        return self._log.read_text()


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    with ForkServer(PROGRAM) as processes:
        yield Launcher(processes, tmp_path_factory.mktemp("launcher") / "log.txt")


class Gallery:
    """Pictures that are answered after small random times, so that they end in another order each time."""

    def __init__(self, site: Any, make_png: MakePng, num_pictures: int, *, max_delay_seconds: float = 0.01) -> None:
        self.num_pictures = num_pictures
        self.site = site
        self._max_delay_seconds = max_delay_seconds
        self._countdown = 0
        self._random = random.Random(num_pictures)
        for number in range(num_pictures):
            size = (4, 4) if number % 50 == 11 else (24, 24)
            body = make_png((number % 256, number // 256, 0), size)
            site.content[f"/{number}.png"] = self._answering(body, number)

    def _answering(self, body: bytes, number: int) -> Callable[[web.Request], Any]:
        async def answer(_: web.Request) -> web.Response:
            self._countdown -= 1
            if not self._countdown:
                self._action()
            await asyncio.sleep(self._random.uniform(0, self._max_delay_seconds))
            if number % 50 == 7:
                return web.Response(status=404)
            headers = {"X-Robots-Tag": "noai"} if number % 50 == 9 else {}
            return web.Response(body=body, content_type="image/png", headers=headers)

        return answer

    def write_list(self, path: Path) -> Path:
        rows = [f"{self.site.url(f'/{number}.png')},picture {number}\n" for number in range(self.num_pictures)]
        # The same again: a duplicate, for which nothing is asked.
        path.write_text("url,caption\n" + "".join(rows) + rows[3])
        return path

    def after_answers(self, number: int, action: Callable[[], object]) -> None:
        """Do something once when so many more pictures have been asked for."""
        self._countdown, self._action = number, action

    def num_asked(self) -> int:
        return sum(re.fullmatch(r"/\d+\.png", path) is not None for path in self.site.requests)


def content(dataset_dir: Path) -> dict[str, Any]:
    """Give all that has to be the same: what the manifest says, and every byte of tables and tars."""
    manifest = read_manifest(dataset_dir)
    files = {path.name: path.read_bytes() for path in dataset_dir.glob("shards/*") if path.suffix != ".json"}
    return {"digest": manifest.digest, "counts": manifest.counts, **files}


def leftovers(dataset_dir: Path) -> list[Path]:
    return list(dataset_dir.rglob(".*"))


def ingested(site: Any, make_png: MakePng, launcher: Launcher, folder: Path, num_pictures: int) -> tuple[Gallery, Path]:
    """Ingest pictures undisturbed into `folder / "whole"`; give them and their list, with no request counted yet."""
    gallery = Gallery(site, make_png, num_pictures)
    source = gallery.write_list(folder / "list.csv")
    assert launcher.run(source, folder / "whole") == 0
    assert gallery.num_asked() == num_pictures
    site.requests.clear()
    return gallery, source


def test_twenty_kills_change_no_byte_and_lose_only_what_is_in_flight(
    site: Any, make_png: MakePng, launcher: Launcher, tmp_path: Path
) -> None:
    gallery, source = ingested(site, make_png, launcher, tmp_path, 1000)
    instants = random.Random(20)
    for kill in range(KILLS):
        pid = launcher.start(source, tmp_path / "killed")
        killer = threading.Timer(instants.uniform(0, 0.02), os.kill, (pid, signal.SIGKILL))
        # Runs come further and further, but all together not to the end.
        gallery.after_answers(instants.randint(1, 20 + 5 * kill), killer.start)
        assert launcher.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/manifest.json").exists()
    assert launcher.run(source, tmp_path / "killed") == 0
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert leftovers(tmp_path / "killed") == []
    assert gallery.num_asked() <= gallery.num_pictures + KILLS * CONNECTIONS


def test_a_kill_at_any_step_on_disk_changes_no_byte(launcher: Launcher, tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    # Nothing is decoded, so that the many runs need not wait for decoders to start.
    source.write_text("url,caption\nftp://a.example/,one\nftp://b.example/,two\nfile:///etc/passwd,three\n")
    # So nothing is kept either, which is told at the very end.
    end = launcher.run(source, tmp_path / "whole")
    assert end == 1 and "nothing was kept" in launcher.told()
    expected = content(tmp_path / "whole")
    folders = (tmp_path / f"killed{number}" for number in itertools.count())
    killed = next(folders)
    for step in itertools.count(1):
        is_fresh = not killed.exists()
        # Who goes on after a kill may be killed as well, one step later.
        code = launcher.run(source, killed, die_at_step=step)
        assert code in (end, -signal.SIGKILL), launcher.told()
        if code == end:
            assert content(killed) == expected
            assert leftovers(killed) == []
            killed = next(folders)
            if is_fresh:
                break
    # Opened and renamed: the claim, the part, the plan's note, three files of the shard, the hosts, the manifest.
    assert step > 2 * 8


def test_a_full_disk_is_told_and_loses_only_what_is_in_flight(
    site: Any, make_png: MakePng, launcher: Launcher, tmp_path: Path
) -> None:
    gallery, source = ingested(site, make_png, launcher, tmp_path, 250)
    tar_bytes = (tmp_path / "whole/shards/00000.tar").stat().st_size
    # No file may grow beyond a tenth, then some more of what the shard needs.
    for share in (0.1, 0.3, 0.6):
        assert launcher.run(source, tmp_path / "full", max_file_bytes=int(share * tar_bytes)) == 1
        assert "no space left to write" in launcher.told().splitlines()[-1]
        assert [path.suffix for path in (tmp_path / "full/shards").iterdir()] == [".journal"]
    assert launcher.run(source, tmp_path / "full") == 0
    assert content(tmp_path / "full") == content(tmp_path / "whole")
    assert leftovers(tmp_path / "full") == []
    assert gallery.num_asked() <= gallery.num_pictures + 3 * CONNECTIONS


def test_a_run_killed_without_network_goes_on_as_if_nothing_had_been(
    site: Any, make_png: MakePng, launcher: Launcher, tmp_path: Path
) -> None:
    gallery, source = ingested(site, make_png, launcher, tmp_path, 200)
    gone = threading.Event()
    gallery.after_answers(60, gone.set)
    pid = launcher.start(source, tmp_path / "killed")
    # Those under way fail, and some more that are refused; then the host is left alone for ten seconds.
    lose_network(gallery, gone, tmp_path / "killed")
    os.kill(pid, signal.SIGKILL)
    assert launcher.wait() == -signal.SIGKILL
    site.come_back()
    asked_before = gallery.num_asked()
    told: list[Progress] = []
    ingest(str(source), IngestConfig.model_validate(OPTIONS), tmp_path / "killed", on_progress=told.append)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert asked_before > 50 and gallery.num_asked() <= gallery.num_pictures + CONNECTIONS
    # What the killed run had done counts as done, once.
    assert (told[-1].done, told[-1].total) == (201, 201)


def test_a_run_that_is_stopped_goes_on_from_there(
    site: Any, make_png: MakePng, launcher: Launcher, tmp_path: Path
) -> None:
    gallery, source = ingested(site, make_png, launcher, tmp_path, 200)
    for _ in range(2):
        reached = threading.Event()
        gallery.after_answers(60, reached.set)
        pid = launcher.start(source, tmp_path / "stopped")
        assert reached.wait(20)
        os.kill(pid, signal.SIGINT)
        assert launcher.wait() == StoppedError.exit_code
        assert [path.suffix for path in (tmp_path / "stopped/shards").iterdir()] == [".journal"]
    assert launcher.run(source, tmp_path / "stopped") == 0
    assert content(tmp_path / "stopped") == content(tmp_path / "whole")
    assert gallery.num_asked() <= gallery.num_pictures + 2 * CONNECTIONS


def test_a_decoder_that_is_killed_changes_no_byte(
    site: Any, make_png: MakePng, launcher: Launcher, tmp_path: Path
) -> None:
    gallery, source = ingested(site, make_png, launcher, tmp_path, 200)
    reached = threading.Event()
    gallery.after_answers(100, reached.set)
    pid = launcher.start(source, tmp_path / "crashed")
    assert reached.wait(20)
    decoders = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(decoders[0]), signal.SIGKILL)
    assert launcher.wait() == 0
    assert content(tmp_path / "crashed") == content(tmp_path / "whole")
    assert gallery.num_asked() == gallery.num_pictures


@pytest.mark.parametrize("comes_back", [True, False])
def test_what_an_outage_took_is_filled_in_to_the_same_bytes(
    site: Any, make_png: MakePng, launcher: Launcher, tmp_path: Path, comes_back: bool
) -> None:
    gallery, source = ingested(site, make_png, launcher, tmp_path, 200)
    lost = ingest_with_an_outage(gallery, source, tmp_path / "cut", comes_back=comes_back)
    if comes_back:
        # What failed until the host was left alone; all that had to wait for it is there.
        assert lost.keys() == {"connect"} and lost["connect"] <= DEFAULT_FAILURES + 2 * CONNECTIONS
    else:
        assert lost.keys() == {"connect", "host_unreachable"} and lost["host_unreachable"] > 50
        site.come_back()
    assert launcher.run(source, tmp_path / "cut", "--retry", "connect,timeout,host_unreachable") == 0, launcher.told()
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert gallery.num_asked() <= gallery.num_pictures + CONNECTIONS


def ingest_with_an_outage(gallery: Gallery, source: Path, output_dir: Path, *, comes_back: bool) -> dict[str, int]:
    """Ingest while the network goes after some pictures and maybe comes back, and give what was lost by reason."""
    config = IngestConfig.model_validate(OPTIONS)
    plan = plan_ingest(IngestRequest(source=str(source), config=config, output_dir=output_dir))
    job = HarvestJob(
        output_dir=output_dir,
        layout=ShardLayout(
            shards_dir=output_dir / "shards",
            samples_per_shard=config.samples_per_shard,
            encode_format=config.encode_format,
            extra_columns=(),
        ),
        # As always, but the pauses of a host that failed are parts of a minute.
        fetching=replace(config.fetching(NOTHING_DENIED), pauses_seconds=(0.2, 10.0) if comes_back else (0.1, 0.1)),
        pictures=config.pictures(),
    )
    gone = threading.Event()
    gallery.after_answers(60, gone.set)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, harvest(job, [0], plan.num_records, ignore_progress))
        lose_network(gallery, gone, output_dir)
        if comes_back:
            gallery.site.come_back()
        [report] = running.result(60)
    finish_ingest(plan)
    return {reason: report.rejected[reason] for reason in ("connect", "host_unreachable") if reason in report.rejected}


def lose_network(gallery: Gallery, gone: threading.Event, dataset_dir: Path) -> None:
    """Break all connections at an agreed moment, and wait until the run has failed often enough to leave the host."""
    assert gone.wait(20)
    gallery.site.go_away()
    journal = dataset_dir / "shards/.00000.journal"
    deadline = time.monotonic() + 20
    while journal.read_bytes().count(b'"reason": "connect"') < DEFAULT_FAILURES:
        assert time.monotonic() < deadline
        time.sleep(0.01)
