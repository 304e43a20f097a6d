"""How long a refresh of unchanged pictures takes beside their first ingest, and whether its memory grows with them.

Usage: python tests/benchmarks/refresh.py [--pictures 10000] [--few 1000] [--kind photo|emoji] [--rounds 1]

A server on loopback knows the marks of its pictures and answers 304 to who has them. Both are whole processes, start-up
included; CPU time is that of the process and its children, which other work on the machine disturbs least. Memory is
measured in refreshes that are not timed, of `--pictures` and of `--few`.
"""

import argparse
import asyncio
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent))

from ingest import (
    KINDS,
    NUM_DISTINCT,
    SECONDS_BETWEEN_LOOKS,
    PictureProtocol,
    family_mb,
    make_bodies,
    t2i_command,
    write_list,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run of a program took, in seconds."""

    wall: float
    cpu: float


class MarkedProtocol(PictureProtocol):
    """Serves pictures with a mark each, and no bytes to who has them."""

    def data_received(self, data: bytes) -> None:
        *requests, self._asked = (self._asked + data).split(b"\r\n\r\n")
        for request in requests:
            name = request.split(b" ", 2)[1].strip(b"/")
            if not name.isdigit():
                self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            mark = b'"' + name + b'"'
            if b"If-None-Match: " + mark in request:
                self._transport.write(b"HTTP/1.1 304 Not Modified\r\nETag: " + mark + b"\r\n\r\n")
                continue
            body = self._bodies[int(name) % len(self._bodies)]
            head = b"HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: %d\r\n\r\n" % (mark, len(body))
            self._transport.writelines([head, body])


def serve(bodies: list[bytes], port: "multiprocessing.Queue[int]") -> None:
    async def run() -> None:
        protocol = partial(MarkedProtocol, bodies)
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=1024)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def run(command: Sequence[str]) -> Taken:
    """Run a program to its end.

    Raises:
        SystemExit: it failed.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def peak_mb(command: Sequence[str]) -> float:
    """Run a program to its end, and give the most memory that its whole family held."""
    peak = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, family_mb(process.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--kind", choices=["photo", "emoji"], default="photo")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    kind = KINDS[args.kind]
    queue: multiprocessing.Queue[int] = multiprocessing.Queue()
    bodies = make_bodies(kind, NUM_DISTINCT[args.kind])
    server = multiprocessing.Process(target=serve, args=(bodies, queue), daemon=True)
    server.start()
    port = queue.get()
    try:
        with TemporaryDirectory() as folder:
            work = Path(folder)
            rounds, commands = [], dict[int, list[str]]()
            for number in {args.pictures, args.few}:
                source = write_list(work / f"{number}.csv", number, port)
                first = t2i_command(source, work / str(number), kind, "fast")
                commands[number] = [*first, "--refresh"]
                taken = run(first)
                if number == args.pictures:
                    rounds = [(taken, run(commands[number])) for _ in range(args.rounds)]
            peaks = {number: peak_mb(command) for number, command in sorted(commands.items())}
    finally:
        server.kill()
    report(rounds, peaks)


def report(rounds: Sequence[tuple[Taken, Taken]], peaks: dict[int, float]) -> None:
    for name in ("wall", "cpu"):
        first, again = (median(getattr(pair[place], name) for pair in rounds) for place in (0, 1))
        print(f"{name}: first ingest {first:.1f} s, refresh {again:.1f} s, {100 * again / first:.1f} %")
    for number, peak in peaks.items():
        print(f"refresh of {number:,} pictures: {peak:.0f} MB at most")


if __name__ == "__main__":
    main()
