"""A process that takes untrusted bytes can answer, and do nothing else to the world."""

import asyncio
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from t2i_core.data.workers.pool import WorkerPool
from t2i_core.data.workers.system_calls import ALLOW, ARCHITECTURES, KILL, LOAD, RETURN, filter_program

FREE = {"read what was open", "a thread", "an import"}
CAUGHT = (
    "read elsewhere",
    "read the parent's environment",
    "write elsewhere",
    "write anew",
    "open by the oldest call",
    "remove",
    "rename",
    "link",
    "connect",
    "talk to a local service",
    "send a datagram",
    "start a program",
    "become a program",
    "fork",
    "kill the parent",
    "limit the parent",
    "a file in memory",
)


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in ARCHITECTURES, reason="the kernel has no such filter"
)
def test_a_worker_gets_out_in_no_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    secret, victim = tmp_path / "secret", tmp_path / "victim"
    for path in (secret, victim):
        path.write_text("as it was")

    async def run(port: int) -> dict[str, Any]:
        setup = {"open before": str(secret), "secret": str(secret), "victim": str(victim), "port": port}
        async with WorkerPool("prisoner_worker", 1, setup) as pool:
            names = (*CAUGHT, *FREE, "the environment")
            return dict(zip(names, [(await pool.ask(name, b"") or ["died"])[0] for name in names], strict=True))

    with socket.create_server(("127.0.0.1", 0)) as server:
        answers = asyncio.run(run(server.getsockname()[1]))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    environment = answers.pop("the environment")
    assert answers == dict.fromkeys(CAUGHT, "EPERM") | {"read elsewhere": "EACCES"} | {
        "read the parent's environment": "EACCES"
    } | dict.fromkeys(FREE, "done")
    assert "AWS_SECRET_ACCESS_KEY" not in environment and environment["LC_ALL"] == "C.UTF-8"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["secret", "victim"]
    assert victim.read_text() == "as it was"


def answer(program: list[tuple[int, int, int, int]], audit: int, number: int, *arguments: int) -> int:
    """Run a filter as the kernel does."""
    data = struct.pack("=iIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    place = accumulator = 0
    while True:
        code, if_true, if_false, value = program[place]
        place += 1
        if code == RETURN:
            return value
        if code == LOAD:
            (accumulator,) = struct.unpack_from("=I", data, value)
            continue
        holds = {0x15: accumulator == value, 0x25: accumulator > value, 0x45: bool(accumulator & value)}[code]
        place += if_true if holds else if_false


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_filter_of_each_machine_refuses_and_allows(machine: str) -> None:
    numbers = ARCHITECTURES[machine]
    program = filter_program(numbers, 77)
    read, execve, socket_call = {"x86_64": (0, 59, 41), "aarch64": (63, 221, 198)}[machine]

    def allows(number: int, *arguments: int) -> bool:
        return answer(program, numbers.audit, number, *arguments) == ALLOW

    assert allows(read, 0) and not allows(execve) and not allows(socket_call, 2, 1)
    assert not allows(435) and not allows(437) and not allows(451) and not allows(0x40000000 | read)
    assert allows(numbers.clone, 0x10000 | 0x100) and not allows(numbers.clone, 17)
    assert allows(numbers.openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC) and not allows(numbers.openat, 0, 0, os.O_RDWR)
    assert allows(numbers.tgkill, 77, 78) and not allows(numbers.tgkill, 76, 76)
    assert allows(numbers.prlimit64, 0) and not allows(numbers.prlimit64, 76)
    assert allows(numbers.ioctl, 0, 0x5401) and not allows(numbers.ioctl, 0, 0x5412)
    assert answer(program, 0x40000003, 11) == KILL, "the calls of another machine"
