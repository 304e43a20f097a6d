"""How processes of our own are started, all of them: nothing in the folder that a person stands in has a part in it.

They run Python with `-P` in a folder of their own, so that a `random.py`, `.env` or `logging.yml` lying about is
neither imported nor read. Those that take untrusted bytes get no more of the environment than they need.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from t2i_core.lifeline import parent_note

PACKAGE_ROOT = str(Path(__file__).parents[1])
# Makes the children of children, whoever starts them, leave the working folder out of their search for modules.
SAFE_PATH = "PYTHONSAFEPATH"
# Lists of places; an empty or relative one means the working folder, or below.
PLACES = ("PYTHONPATH", "PATH", "LD_LIBRARY_PATH", "PYTHONHOME")
# Single places that would mean another folder from another folder.
PATHS = (
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "HF_HOME",
    "HF_HUB_CACHE",
    "TORCH_HOME",
    "PREFECT_HOME",
    "PREFECT_PROFILES_PATH",
    "PREFECT_LOGGING_SETTINGS_PATH",
    "PREFECT_LOCAL_STORAGE_PATH",
)
# For interactive use only.
UNWANTED = ("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONEXECUTABLE")
# What a process that takes untrusted bytes may know.
HARMLESS = ("LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONHASHSEED", "PYTHONUTF8")
HARMLESS_STARTS = ("LC_", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_")

_File = int | IO[bytes]


def neutral_folder() -> str:
    """Give a folder to run in: Python's own, for whoever can write there can run code here anyway."""
    return sys.prefix


def module_command(module: str, *arguments: str) -> list[str]:
    """Give the command that runs a module; paths among its arguments must be absolute."""
    return [sys.executable, "-P", "-m", module, *arguments]


def start(
    command: Sequence[str],
    *,
    stdin: _File = subprocess.DEVNULL,
    stdout: _File = subprocess.DEVNULL,
    stderr: _File = subprocess.DEVNULL,
    extra: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, tied to this one's life if it calls `die_with_parent`.

    Args:
        command: of `module_command`, or another that does not care where it runs.
        stdin, stdout, stderr: as `subprocess` takes them; nothing by default.
        extra: variables for it besides those of this process.
    """
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=child_environment() | parent_note() | dict(extra or {}),
        cwd=neutral_folder(),
        start_new_session=True,
    )


def start_exposed(module: str, stdin: _File) -> "subprocess.Popen[bytes]":
    """Start a module that takes untrusted bytes: silent, and without the secrets that an environment may hold.

    It imports from where this process does, without looking through what is installed once more.
    """
    environment = {name: value for name, value in child_environment().items() if _is_harmless(name)}
    # There is one such process for each core, and NumPy would start as many threads in each.
    environment |= {"PYTHONPATH": os.pathsep.join(_import_places()), SAFE_PATH: "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-S", "-P", "-m", module],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=neutral_folder(),
        start_new_session=True,
    )


def child_environment() -> dict[str, str]:
    """Give this process's environment as it means the same in another folder, and names none by accident."""
    environment = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    for name in PLACES:
        kept = [place for place in environment.pop(name, "").split(os.pathsep) if Path(place).is_absolute()]
        if kept:
            environment[name] = os.pathsep.join(kept)
    for name in PATHS:
        # Prefect's may begin with "$PREFECT_HOME".
        if environment.get(name) and not environment[name].startswith("$"):
            environment[name] = str(Path(environment[name]).expanduser().absolute())
    places = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place and place != PACKAGE_ROOT]
    return environment | {"PYTHONPATH": os.pathsep.join([PACKAGE_ROOT, *places]), SAFE_PATH: "1"}


def leave_working_folder_out() -> None:
    """Import nothing from the working folder from now on, here and in all children, however they are started.

    An absolute path in PYTHONPATH was meant; an empty or relative one is most often left over from joining lists.
    """
    meant = child_environment()["PYTHONPATH"].split(os.pathsep)
    here = str(Path.cwd())
    sys.path[:] = [place for place in sys.path if place in meant or (place != here and Path(place).is_absolute())]
    os.environ[SAFE_PATH] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join(meant)


def _import_places() -> list[str]:
    here = str(Path.cwd())
    others = [place for place in sys.path if Path(place).is_absolute() and place not in (here, PACKAGE_ROOT)]
    return [PACKAGE_ROOT, *others]


def _is_harmless(name: str) -> bool:
    return name in HARMLESS or name.startswith(HARMLESS_STARTS)
