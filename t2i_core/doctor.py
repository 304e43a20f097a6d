"""Looks at the machine and says what works here, and what to do about what does not."""

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from t2i_core.errors import T2IError
from t2i_core.samples.emoji import find_emoji_font

MIN_FREE_GIB = 5
MIN_PYTHON = (3, 11)
FIRST_BAD_FASTAPI = (0, 151)
SHOWN_VERSIONS = ("prefect", "torch", "pyarrow", "open_clip_torch", "webdataset")
EXTRAS = {"tensorboard": "curves in TensorBoard", "diffusers": "the side-by-side benchmark"}
EXTRA_OF = {"tensorboard": "tensorboard", "diffusers": "benchmark"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: what it is.
        works: whether it does.
        detail: what was seen.
        advice: what to do, "" when there is nothing.
        required: whether the main job needs it.
    """

    name: str
    works: bool
    detail: str
    advice: str = ""
    required: bool = True


def examine(folder: Path) -> list[Finding]:
    """Look at everything but Prefect's server, which `flows.server` can start.

    Args:
        folder: where work will be written.
    """
    findings = [python_version(), package_versions(), fastapi_version(), disk_space(folder), device(), emoji_font()]
    return findings + [optional_package(name) for name in EXTRAS]


def python_version() -> Finding:
    """Look at Python's version."""
    works = sys.version_info >= MIN_PYTHON
    wanted = ".".join(map(str, MIN_PYTHON))
    return Finding(
        name="python",
        works=works,
        detail=sys.version.split()[0],
        advice="" if works else f"install Python {wanted} or newer, then `make install`",
    )


def package_versions() -> Finding:
    """Look for the packages the main job stands on."""
    versions = {name: _version(name) for name in SHOWN_VERSIONS}
    missing = [name for name, version in versions.items() if version is None]
    return Finding(
        name="packages",
        works=not missing,
        detail=", ".join(f"{name} {version or 'missing'}" for name, version in versions.items()),
        advice="run `make install`" if missing else "",
    )


def fastapi_version() -> Finding:
    """Look at FastAPI, of which Prefect 3.8 accepts releases that its server cannot import."""
    version = _version("fastapi")
    works = version is not None and tuple(int(part) for part in version.split(".")[:2]) < FIRST_BAD_FASTAPI
    return Finding(
        name="fastapi",
        works=works,
        detail=version or "missing",
        advice="" if works else "run `pip install 'fastapi<0.151'`: Prefect's server does not start with another",
    )


def disk_space(folder: Path) -> Finding:
    """Look at the free space where work will be written."""
    free_gib = shutil.disk_usage(folder).free / 2**30
    works = free_gib >= MIN_FREE_GIB
    return Finding(
        name="disk",
        works=works,
        detail=f"{free_gib:,.1f} GiB free in {folder.resolve()}",
        advice="" if works else f"free at least {MIN_FREE_GIB} GiB, or choose another --output-dir",
    )


def device() -> Finding:
    """Look at what training will run on."""
    import torch

    if torch.cuda.is_available():
        memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        bf16 = "with bf16" if torch.cuda.is_bf16_supported() else "without bf16"
        detail = f"{torch.cuda.get_device_name(0)}, {memory_gib:.0f} GiB, {bf16}"
        return Finding(name="device", works=True, detail=detail)
    flags = _cpu_flags()
    bf16 = next((name for name in ("amx_bf16", "avx512_bf16", "bf16") if name in flags), "")
    return Finding(
        name="device",
        works=True,
        detail=f"CPU, {torch.get_num_threads()} threads, {f'bf16 by {bf16}' if bf16 else 'no bf16 instructions'}",
        advice="" if bf16 else "training runs in float32, at about half the speed or less",
    )


def emoji_font() -> Finding:
    """Look for the colour font that `--source emoji` draws with."""
    try:
        find_emoji_font()
    except T2IError as err:
        return Finding(name="emoji font", works=False, detail="none", advice=str(err), required=False)
    return Finding(name="emoji font", works=True, detail="found", required=False)


def optional_package(name: str) -> Finding:
    """Look for a package that is nice to have."""
    works = importlib.util.find_spec(name) is not None
    return Finding(
        name=name,
        works=works,
        detail=f"{EXTRAS[name]}{'' if works else ': not installed'}",
        advice="" if works else f"run `.venv/bin/pip install -e '.[{EXTRA_OF[name]}]'` if you want it",
        required=False,
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":", 1)[1].split()}
