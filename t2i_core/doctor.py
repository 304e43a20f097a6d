"""Looks at the machine and says what works here, and what to do about what does not."""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from t2i_core import __version__
from t2i_core.errors import T2IError
from t2i_core.samples.emoji import find_emoji_font

MIN_FREE_GIB = 5
MIN_PYTHON = (3, 11)
FIRST_BAD_FASTAPI = (0, 151)
SHOWN_VERSIONS = ("prefect", "torch", "pyarrow", "open_clip_torch", "webdataset")
# Of each extra the package that shows that it is installed, and what it is for.
EXTRAS = {
    "tensorboard": ("tensorboard", "curves in TensorBoard"),
    "dask": ("prefect_dask", "an ingest over many machines"),
    "encoders": ("transformers", "features of Hugging Face's text encoders"),
    "svg": ("resvg_py", "SVG drawings and emoji in several styles"),
    "tune": ("optuna", "searches of t2i tune"),
    "benchmark": ("diffusers", "the side-by-side benchmarks"),
    "dev": ("pytest", "the tests and their tools"),
}
PACKAGES = ("t2i_core", "tasks", "flows")
MIN_MEMORY_GIB = 4


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
    """Look at everything but Prefect's server, which `flows.shell.server` can start.

    Args:
        folder: where work will be written.
    """
    findings = [own_version(), python_version(), package_versions(), fastapi_version(), installation()]
    findings += [disk_space(folder), memory(), device(), emoji_font()]
    return findings + [extra(name) for name in EXTRAS]


def own_version() -> Finding:
    """Look at t2i itself, whose packages share names that other distributions might use too."""
    home = Path(__file__).parents[1]
    strange = [name for name in PACKAGES if _folder_of(name) != home / name]
    return Finding(
        name="t2i",
        works=not strange,
        detail=f"{__version__} in {home}",
        advice=f"{', '.join(strange)} is another package of that name: give t2i an environment of its own"
        if strange
        else "",
    )


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


def installation() -> Finding:
    """Measure the environment that t2i runs in."""
    folder = _folder_of("torch").parent
    size_gib = sum(_size_on_disk(Path(place) / name) for place, _, names in os.walk(folder) for name in names) / 2**30
    return Finding(name="installation", works=True, detail=f"{size_gib:,.1f} GiB in {folder}")


def memory() -> Finding:
    """Look at the memory that is free now."""
    total_gib, free_gib = (_memory_gib(name) for name in ("MemTotal", "MemAvailable"))
    works = not total_gib or free_gib >= MIN_MEMORY_GIB
    return Finding(
        name="memory",
        works=works,
        detail=f"{free_gib:,.1f} of {total_gib:,.1f} GiB free" if total_gib else "not known on this system",
        advice="" if works else f"a training of the demo takes 2 to 3 GiB: free at least {MIN_MEMORY_GIB} GiB",
        required=False,
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
    """Look for the color font that `--source emoji` draws with."""
    try:
        find_emoji_font()
    except T2IError as err:
        return Finding(name="emoji font", works=False, detail="none", advice=str(err), required=False)
    return Finding(name="emoji font", works=True, detail="found", required=False)


def extra(name: str) -> Finding:
    """Look for an extra, which is nice to have."""
    package, purpose = EXTRAS[name]
    works = importlib.util.find_spec(package) is not None
    return Finding(
        name=f"extra {name}",
        works=works,
        detail=f"{purpose}{'' if works else ': not installed'}",
        advice="" if works else f"{_how_to_add(name)} if you want it",
        required=False,
    )


def _how_to_add(name: str) -> str:
    """Say how to install an extra; from the checkout, for what others call t2i elsewhere is not this."""
    home = Path(__file__).parents[1]
    if (home / "pyproject.toml").is_file():
        return f"run `{sys.executable} -m pip install -e '{home}[{name}]'`"
    return f"install t2i again from where it came, with its extra [{name}],"


def _folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else Path()


def _size_on_disk(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0  # removed meanwhile


def _memory_gib(name: str) -> float:
    path = Path("/proc/meminfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith(f"{name}:")), 0.0)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":", 1)[1].split()}
