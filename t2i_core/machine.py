"""What a figure was measured on: the machine, and which state of the code."""

import os
import platform
import re
import subprocess
from pathlib import Path

from pydantic import Field

from t2i_core.children import child_environment
from t2i_core.config import Config

ROOT = Path(__file__).parents[1]
GIT_SECONDS = 5.0
COMMIT = re.compile(r"[0-9a-f]{7,40}(-dirty)?")


class Machine(Config):
    """The machine that this process runs on; nothing in it names a host, a user or a path."""

    cpu: str = Field(description="Model of the processor.")
    cores: int = Field(description="Processor cores that this process may use.")
    memory_gb: float = Field(description="Memory, GB; 0 = not known.")
    gpus: tuple[str, ...] = Field((), description="Models of the graphics cards that PyTorch sees.")
    system: str = Field(description="Operating system and architecture.")
    python: str = Field(description="Version of Python.")
    torch: str = Field(description="Version of PyTorch.")

    def __str__(self) -> str:
        memory = f", {self.memory_gb:.0f} GB of memory" if self.memory_gb else ""
        gpus = f", {' and '.join(self.gpus)}" if self.gpus else ""
        return f"{self.cpu} ({self.cores} core{'s' if self.cores != 1 else ''} used{memory}){gpus}"


def describe_machine() -> Machine:
    """Look at the machine; loads PyTorch."""
    import torch

    cuda = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return Machine(
        cpu=cpu_model(),
        cores=usable_cores(),
        memory_gb=round(memory_bytes() / 1e9, 1),
        gpus=tuple(torch.cuda.get_device_name(i) for i in cuda),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=str(torch.__version__),
    )


def cpu_model() -> str:
    """Name the processor, with what it multiplies matrices with where Linux tells."""
    facts = _cpu_facts()
    name = facts.get("model name") or platform.processor() or platform.machine() or "unknown processor"
    flags = set(facts.get("flags", "").split())
    fast = next((flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags), "")
    return f"{name}, {fast}" if fast else name


def _cpu_facts() -> dict[str, str]:
    """Read what Linux says about the first core; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first, _, _ = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Give the memory of this machine; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def code_commit() -> str:
    """Name the commit that this code was checked out at, with "-dirty" where it was changed since; "" if unknown.

    Only the project's own repository is asked: a package installed below somebody else's must not borrow its commit.
    """
    if not (ROOT / ".git").exists() or not (ROOT / "pyproject.toml").is_file():
        return ""
    # Nothing that a repository's configuration names is run.
    command = ["git", "-c", "core.fsmonitor=false", "describe", "--always", "--exclude=*", "--dirty", "--abbrev=12"]
    inherited = {name: value for name, value in child_environment().items() if not name.startswith("GIT_")}
    environment = inherited | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        answer = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    commit = answer.stdout.strip()
    return commit if answer.returncode == 0 and COMMIT.fullmatch(commit) else ""
