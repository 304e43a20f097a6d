"""One ingest over several workers: hosts see no more of it than of one worker, and the bytes are the same."""

import asyncio
import io
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiohttp import web
from distributed import Client, LocalCluster
from distributed.security import Security
from PIL import Image

from flows.ingest import ingest
from t2i_core.errors import ConfigError, TransientError
from t2i_core.folders.manifest import StepRef
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest as ingest_in_core
from tasks.cluster import Spread, local_cluster

NUM_PICTURES, NUM_KEPT, PER_HOST, RETRY_AFTER_SECONDS = 240, 288, 3, 1
CONFIG = IngestConfig(
    image_size=32, samples_per_shard=40, connections_per_host=PER_HOST, allow_private=("localhost",), opt_out_files=True
)
RULES = ["/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"]


class BusyHost:
    """A web server on loopback that notes who asks when, and now and then asks for a pause."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.forget()

    def forget(self) -> None:
        self.running = self.most_at_once = 0
        self.paths: list[str] = []
        self.starts: list[float] = []
        self.busy_until: list[tuple[float, float]] = []
        self.at_request(-1, lambda: None)

    def at_request(self, number: int, act: Callable[[], None]) -> None:
        """Do something when this many requests have come."""
        self._number, self._act = number, act

    def __enter__(self) -> "BusyHost":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._done.wait()
        await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        self.starts.append(monotonic())
        self.paths.append(request.path)
        if len(self.paths) == self._number:
            self._act()
        try:
            return await self._content(request.path)
        finally:
            self.running -= 1

    async def _content(self, path: str) -> web.Response:
        if path in RULES:
            return web.Response(status=404)
        number = int(path.strip("/").removesuffix(".png"))
        await asyncio.sleep(0.01)
        if number % 100 == 50 and self.paths.count(path) == 1:
            return await self._busy()
        if number % 10 == 3:
            return web.Response(status=404)
        return web.Response(body=picture(number), content_type="image/png")

    async def _busy(self) -> web.Response:
        self.busy_until.append((monotonic(), monotonic() + RETRY_AFTER_SECONDS))
        return web.Response(status=429, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    def starts_in_pauses(self) -> list[int]:
        """Count for each pause what was started in it, but for what may have been on its way when it was asked for."""
        return [sum(start + 0.5 < at < end - 0.05 for at in self.starts) for start, end in self.busy_until]


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("RGB", (40, 40), random.Random(number).randbytes(4800)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def host() -> Iterator[BusyHost]:
    with BusyHost() as host:
        yield host


@pytest.fixture(scope="module")
def urls(host: BusyHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("list") / "urls.csv"
    rows = [f"http://127.0.0.1:{host.port}/{number}.png,picture {number}" for number in range(NUM_PICTURES)]
    # The same picture under another caption lies in another shard, and was refused before or not.
    rows += [f"http://127.0.0.1:{host.port}/{number}.png,again {number}" for number in range(0, NUM_PICTURES, 3)]
    path.write_text("\n".join(["url,caption", *rows]) + "\n")
    return path


def content(dataset_dir: Path) -> dict[str, bytes]:
    files = sorted([*dataset_dir.glob("shards/*.tar"), *dataset_dir.glob("shards/*.parquet")])
    assert len(files) == 2 * (NUM_PICTURES + NUM_PICTURES // 3) // CONFIG.samples_per_shard
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def alone(host: BusyHost, urls: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards of a run without any help."""
    folder = tmp_path_factory.mktemp("alone")
    ingest_in_core(str(urls), CONFIG, folder)
    return content(folder)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: workers that run elsewhere have to find it all the same."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


def run_flow(urls: Path, **spread: Any) -> StepRef:
    state = ingest(str(urls), Path("ds"), CONFIG, **spread, return_state=True)
    return StepRef.model_validate(state.result())


def check_manners(host: BusyHost) -> None:
    assert host.most_at_once <= PER_HOST
    assert len(host.busy_until) == 2
    assert host.starts_in_pauses() == [0, 0]


def check_nothing_was_asked_twice(host: BusyHost) -> None:
    asked = Counter(host.paths)
    assert [asked[path] for path in RULES] == [1, 1, 1]
    # What was refused for good is named in two shards.
    assert {asked[f"/{number}.png"] for number in range(3, NUM_PICTURES, 10)} == {1}


@pytest.mark.parametrize(
    "spread",
    [
        pytest.param({}, id="in turn"),
        pytest.param({"num_shards_at_once": 3}, id="three threads"),
        pytest.param({"runner": "dask", "num_shards_at_once": 2}, id="a cluster of its own", marks=pytest.mark.slow),
    ],
)
def test_however_the_shards_are_spread_they_are_the_same(
    prefect_server: None, host: BusyHost, urls: Path, alone: dict[str, bytes], folder: Path, spread: dict[str, Any]
) -> None:
    host.forget()
    assert run_flow(urls, **spread).counts["kept"] == NUM_KEPT
    assert content(folder / "ds") == alone
    check_manners(host)
    check_nothing_was_asked_twice(host)


def test_the_workers_of_a_cluster_are_as_one_to_a_host(
    prefect_server: None, host: BusyHost, urls: Path, alone: dict[str, bytes], cluster: LocalCluster, folder: Path
) -> None:
    host.forget()
    assert run_flow(urls, runner="dask", scheduler=cluster.scheduler_address).counts["kept"] == NUM_KEPT
    with Client(cluster) as client:
        has_fetched = client.run(lambda: "t2i_core.data.web.fetch" in sys.modules)
    assert list(has_fetched.values()) == [True, True]
    assert content(folder / "ds") == alone
    check_manners(host)
    check_nothing_was_asked_twice(host)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_but_time(
    prefect_server: None, host: BusyHost, urls: Path, alone: dict[str, bytes], cluster: LocalCluster, folder: Path
) -> None:
    host.forget()
    victim = next(iter(cluster.workers.values())).pid
    host.at_request(NUM_PICTURES // 2, lambda: os.kill(victim, signal.SIGKILL))
    assert run_flow(urls, runner="dask", scheduler=cluster.scheduler_address).counts["kept"] == NUM_KEPT
    assert next(iter(cluster.workers.values())).pid != victim
    assert content(folder / "ds") == alone
    check_manners(host)


@pytest.mark.parametrize(
    ("spread", "message"),
    [
        (Spread(scheduler="tcp://10.0.0.1:8786"), "only the runner dask has a scheduler"),
        (Spread(runner="dask", scheduler="tcp://"), "is not the address of a Dask scheduler"),
        (Spread(runner="dask", scheduler="tcp://10.0.0.1:8786"), "cannot reach the Prefect server on this machine"),
    ],
)
def test_what_cannot_be_right_is_said_before_anything_is_planned(
    prefect_server: None, spread: Spread, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        spread.check()


def test_a_scheduler_that_is_not_there_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.cluster.CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(TransientError, match="does not answer"),
        Spread(runner="dask", scheduler="tcp://127.0.0.1:9").crew(),
    ):
        pass


def test_a_cluster_of_its_own_lets_in_only_who_has_its_key() -> None:
    options = local_cluster(1)
    with LocalCluster(**options["cluster_kwargs"] | {"n_workers": 0}) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        with Client(address, timeout=10, **options["client_kwargs"]) as client:
            assert client.scheduler_info()["workers"] == {}
        with pytest.raises(OSError, match=r"(?i)time|certificate|ssl|tls"):
            Client(address, timeout=1, security=Security.temporary())
