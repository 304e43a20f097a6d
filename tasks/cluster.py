"""Who makes the shards of an ingest: this thread, threads beside it, or the workers of a Dask cluster."""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL

from t2i_core.children import SAFE_PATH
from t2i_core.data.manners.coordinator import LOOPBACK
from t2i_core.data.shards.stats import ShardReport
from t2i_core.errors import ConfigError, TransientError
from tasks import quiet_worker
from tasks.ingest import ingest_shard

if TYPE_CHECKING:
    from distributed import Client
    from prefect_dask.task_runners import DaskTaskRunner

RunnerName = Literal["local", "dask"]
CONNECT_SECONDS = 15.0
WORKER_SECONDS = 120.0
# While this process learns that a shard is done, its worker makes another.
SHARDS_PER_WORKER = 2

Submit = Callable[[dict[str, Any]], PrefectFuture[ShardReport]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the shards of an ingest are spread.

    Attributes:
        runner: local for threads of this process, dask for the workers of a Dask cluster.
        scheduler: address of the cluster's scheduler; empty for a cluster of processes on this machine.
        num_shards_at_once: local: shards side by side, 0 for one. dask: workers of the cluster on this machine, 0 for
            one a core; those of a scheduler count by themselves.
    """

    runner: RunnerName = "local"
    scheduler: str = ""
    num_shards_at_once: int = 0

    @property
    def in_turn(self) -> bool:
        """Whether shards are made one after the other."""
        return self.runner == "local" and self.num_shards_at_once <= 1

    def check(self) -> None:
        """Find out, before anything is done, what can be known to be wrong.

        Raises:
            ConfigError: the options do not fit together, or Dask is not installed.
        """
        if self.runner == "dask":
            _dask_runner(self.scheduler, self.num_shards_at_once)
        elif self.scheduler:
            raise ConfigError(f"only the runner dask has a scheduler; choose it, or leave {self.scheduler} out.")

    @contextmanager
    def crew(self) -> Iterator["Crew"]:
        """Have the workers at hand while the block runs.

        Raises:
            TransientError: the scheduler does not answer, or has no workers.
        """
        if self.runner == "dask":
            with _dask_crew(self.scheduler, self.num_shards_at_once) as crew:
                yield crew
        else:
            yield Crew(lambda parameters: ingest_shard.submit(**parameters), max(self.num_shards_at_once, 1))


IN_TURN = Spread()


@dataclass(frozen=True, slots=True)
class Crew:
    """Workers at hand.

    Attributes:
        submit: lets one of them make the shard that the parameters name.
        num_at_once: shards worth having under way.
        host: this machine's address, as the workers see it.
        is_elsewhere: whether they are other processes, with no view of what this one shows.
    """

    submit: Submit
    num_at_once: int
    host: str = LOOPBACK
    is_elsewhere: bool = False


@contextmanager
def _dask_crew(scheduler: str, num_workers: int) -> Iterator[Crew]:
    with _dask_runner(scheduler, num_workers) as runner:
        client = _connected(runner, scheduler)
        num_threads = sum(client.nthreads().values())  # type: ignore[no-untyped-call]
        yield Crew(
            lambda parameters: runner.submit(ingest_shard, parameters),
            num_threads * SHARDS_PER_WORKER,
            _address_towards(scheduler) if scheduler else LOOPBACK,
            is_elsewhere=True,
        )


def _dask_runner(scheduler: str, num_workers: int) -> "DaskTaskRunner":
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as err:
        raise ConfigError("the runner dask needs a package more. Install it: pip install prefect-dask.") from err
    if not scheduler:
        return DaskTaskRunner(**local_cluster(num_workers))
    if not _host_of(scheduler):
        raise ConfigError(f"{scheduler} is not the address of a Dask scheduler, such as tcp://10.0.0.1:8786.")
    if _is_loopback(PREFECT_API_URL.value() or "") and not _is_loopback(scheduler):
        raise ConfigError(
            f"the workers of {scheduler} cannot reach the Prefect server on this machine's loopback. Start one that "
            "they can reach (`prefect server start --host ADDRESS`), and name it: export PREFECT_API_URL=http://..."
        )
    return DaskTaskRunner(address=scheduler, client_kwargs={"timeout": CONNECT_SECONDS})


def local_cluster(num_workers: int) -> dict[str, Any]:
    """Say how to make and reach a cluster of this process's own.

    Whoever can connect to a scheduler or worker can run code in it, so each cluster has a certificate and a key that
    only its own processes know; other users of this machine do not.
    """
    from distributed.security import Security

    # Its workers are started by Dask, from wherever this process stands.
    os.environ.setdefault(SAFE_PATH, "1")
    security = Security.temporary()  # type: ignore[no-untyped-call]
    size = {"n_workers": num_workers or os.cpu_count(), "threads_per_worker": 1}
    quiet = {"dashboard_address": None, "silence_logs": logging.ERROR, "preload": quiet_worker.__name__}
    return {"cluster_kwargs": size | quiet | {"security": security}, "client_kwargs": {"security": security}}


def _connected(runner: "DaskTaskRunner", scheduler: str) -> "Client":
    where = f"the Dask scheduler {scheduler}" if scheduler else "the Dask cluster on this machine"
    try:
        client = runner.client
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except (OSError, ValueError) as err:
        # A time-out is an OSError, and an address of another kind a ValueError.
        raise TransientError(f"{where} does not answer or has no workers ({err}). Start it, then run again.") from err
    return client


def _is_loopback(address: str) -> bool:
    host = _host_of(address)
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(address: str) -> str:
    return urlsplit(address if "://" in address else f"tcp://{address}").hostname or ""


def _address_towards(scheduler: str) -> str:
    """Give the address under which this machine is seen from a scheduler's network."""
    # Nothing is sent: connecting a datagram socket only chooses the route.
    family, _, _, _, place = socket.getaddrinfo(_host_of(scheduler), 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(place)
        return str(probe.getsockname()[0])
