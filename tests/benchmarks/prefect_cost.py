"""What Prefect costs beside the work: CPU time of a whole job with and without it, and of the same job again.

Usage: OMP_NUM_THREADS=1 python tests/benchmarks/prefect_cost.py [--preset demo-smoke] [--rounds 1]

Each is a whole process with its children, start-up included, in a workspace of its own; CPU time is what other work on
the machine disturbs least. The three ways take turns in each round. The database of a Prefect home is made once, and
before. What a server needs that runs already is given apart, with its start-up: it is there for all runs.
"""

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from flows.shell.server import embedded_server

T2I = str(Path(sys.executable).with_name("t2i"))
CORE, RUNNING, EMBEDDED = "without Prefect", "with a server that runs", "with a server of its own"


def cpu_seconds() -> float:
    """Give the CPU time of all processes that were started here and have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def job(preset: str, workspace: Path, variables: Mapping[str, str], *options: str) -> float:
    """Do a job, and give its CPU time in seconds.

    Raises:
        SystemExit: it failed.
    """
    before = cpu_seconds()
    command = [T2I, "demo", "--preset", preset, "--output-dir", str(workspace), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variables)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return cpu_seconds() - before


@contextmanager
def server(home: Path) -> Iterator[dict[str, str]]:
    """Let a server run, and give the variables that lead to it."""
    with embedded_server(home) as running:
        yield {"PREFECT_API_URL": running.url, "PREFECT_API_AUTH_STRING": running.auth, "PREFECT_HOME": str(home)}


def measure(preset: str, work: Path) -> tuple[dict[str, tuple[float, float]], float]:
    """Do the job in all ways, twice each; give the seconds of both, and those of the server that ran beside."""
    own = {"PREFECT_HOME": str(work / "own")}
    ways: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {CORE: (own, ("--no-prefect",)), EMBEDDED: (own, ())}
    for name in ("own", "home"):
        with embedded_server(work / name):
            pass
    taken = {}
    for name, (variables, options) in ways.items():
        first, again = (job(preset, work / name, variables, *options) for _ in range(2))
        taken[name] = (first, again)
    before = cpu_seconds()
    with server(work / "home") as variables:
        first, again = (job(preset, work / RUNNING, variables) for _ in range(2))
    taken[RUNNING] = (first, again)
    return taken, cpu_seconds() - before - first - again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="demo-smoke")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    rounds = []
    for _ in range(args.rounds):
        with TemporaryDirectory() as folder:
            rounds.append(measure(args.preset, Path(folder)))
    bare = median(taken[CORE][0] for taken, _ in rounds)
    for name in (CORE, RUNNING, EMBEDDED):
        first, again = (median(taken[name][place] for taken, _ in rounds) for place in (0, 1))
        share = f", of which Prefect {100 * (first - bare) / first:.1f} %" if name != CORE else ""
        print(f"{name}: {first:.1f} s{share}; again, all of it there: {again:.1f} s")
    print(f"the server that ran beside: {median(beside for _, beside in rounds):.1f} s, for both")


if __name__ == "__main__":
    main()
