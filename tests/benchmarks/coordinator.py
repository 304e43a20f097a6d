"""How many turns a second the coordinator of a run gives out, and what each costs in CPU time.

Usage: python tests/benchmarks/coordinator.py [--workers 2] [--turns 20000] [--hosts 1000] [--json]

Each worker is a process that takes and gives back turns, 64 at a time, over hosts that all of them ask.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from yarl import URL  # noqa: E402

from t2i_core.data.manners.coordinator import coordinating  # noqa: E402
from t2i_core.data.manners.pace import HostLimits  # noqa: E402
from t2i_core.data.manners.shared import SharedManners, shared_manners  # noqa: E402

AT_ONCE = 64
LIMITS = HostLimits(at_once=8, delay_seconds=0.0, failures_in_row=10, pauses_seconds=(10.0, 60.0))


def main() -> None:
    options = parse_options()
    spawning = multiprocessing.get_context("spawn")
    ready, answers = spawning.Barrier(options.workers), spawning.Queue()
    cpu, memory = time.process_time(), peak_mb()
    with coordinating(LIMITS) as address:
        arguments = (address, options.turns, options.hosts, ready, answers)
        workers = [spawning.Process(target=work, args=arguments) for _ in range(options.workers)]
        for worker in workers:
            worker.start()
        found = [answers.get() for _ in workers]
        for worker in workers:
            worker.join()
    turns = options.turns * options.workers
    result = {
        "workers": options.workers,
        "turns_per_second": round(sum(rate for rate, _ in found)),
        "worker_us_per_turn": round(sum(cost for _, cost in found) / len(found), 1),
        "coordinator_us_per_turn": round((time.process_time() - cpu) / turns * 1e6, 1),
        "coordinator_bytes_per_host": round((peak_mb() - memory) * 2**20 / options.hosts),
    }
    print(json.dumps(result) if options.json else "\n".join(f"{name:28}{value:10,}" for name, value in result.items()))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes that ask for turns")
    parser.add_argument("--turns", type=int, default=20_000, help="of each worker")
    parser.add_argument("--hosts", type=int, default=1000, help="that all workers ask")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser.parse_args()


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(address: Any, turns: int, hosts: int, ready: Any, answers: Any) -> None:
    """Take turns as one worker, and tell turns a second and microseconds of CPU time a turn."""
    answers.put(asyncio.run(take_turns(address, turns, hosts, ready)))


async def take_turns(address: Any, turns: int, hosts: int, ready: Any) -> tuple[float, float]:
    urls = (URL.build(scheme="http", host=f"h{n % hosts}.example", path=f"/{n}.jpg") for n in range(turns))
    async with shared_manners(address, LIMITS) as manners:
        ready.wait()
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(take_some(manners, urls) for _ in range(AT_ONCE)))
        return turns / (time.perf_counter() - started), (time.process_time() - cpu) / turns * 1e6


async def take_some(manners: SharedManners, urls: Any) -> None:
    for url in urls:
        pace = manners.pace(url, never_asked)
        async with pace.turn() as admitted:
            assert admitted and pace.circuit
            pace.circuit.note(failed=False)


async def never_asked(_origin: URL) -> bool:
    raise AssertionError("no host failed")


if __name__ == "__main__":
    main()
