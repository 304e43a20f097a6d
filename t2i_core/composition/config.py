"""What a system is made of, and what of it decides what it draws; needs no PyTorch."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from t2i_core.config import Config
from t2i_core.errors import ConfigError, DataError, did_you_mean
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.manifest import StepKey, read_manifest

# Raise it when systems of the same runs draw otherwise.
STEP, VERSION = "compose", 1

Role = Literal["base", "upsampler", "second_upsampler", "clip", "inpaint", "inpaint_upsampler", "prior"]
ROLES: tuple[Role, ...] = get_args(Role)
BASE: Role = "base"
PRIOR: Role = "prior"
# Whose pictures each enlarges.
ENLARGES: dict[Role, Role] = {"upsampler": "base", "inpaint_upsampler": "base", "second_upsampler": "upsampler"}
# Who takes the place of another where parts are filled in.
FILLED_BY: dict[Role, Role] = {"base": "inpaint", "upsampler": "inpaint_upsampler"}


class ComposeRequest(Config):
    """What `compose` is asked for; the record that commands, flows and tasks pass on.

    Attributes:
        runs: finished run folders by role; a base there must be.
        output_dir: the system folder.
        on_conflict: what to do with a folder that holds other work.
    """

    runs: dict[Role, Path]
    output_dir: Path
    on_conflict: OnConflict = "refuse"


def require_base(roles: Iterable[str]) -> None:
    """Refuse roles without the one that all others stand on.

    Raises:
        ConfigError: it is not among them.
    """
    if BASE not in roles:
        raise ConfigError("a system has a base run, which draws: name it with base=RUN.")


def by_role(named: Iterable[str]) -> dict[Role, Path]:
    """Read run folders by role from words of the form ROLE=RUN.

    Raises:
        ConfigError: one is written otherwise, there is no such role, or one has two runs.
    """
    runs: dict[Role, Path] = {}
    for word in named:
        role, _, run = word.partition("=")
        known = next((name for name in ROLES if name == role), None)
        if not run or known is None:
            hint = did_you_mean(role, ROLES) if run else ""
            raise ConfigError(f"{word!r:.200} is not of the form ROLE=RUN{hint}; roles are: {', '.join(ROLES)}.")
        if known in runs:
            raise ConfigError(f"the role {role} has two runs: {runs[known]} and {run}.")
        runs[known] = Path(run)
    return runs


def compose_key(runs: Mapping[Role, Path]) -> StepKey:
    """Give the identity of a system.

    Raises:
        ConfigError: there is no base, or one of the folders is not a finished run.
        DataError: a manifest is damaged.
    """
    require_base(runs)
    inputs = {role: read_manifest(folder, "run").digest for role, folder in runs.items()}
    return StepKey(step=STEP, version=VERSION, config={}, inputs=inputs)


def parts_of(folder: Path) -> dict[Role, Path]:
    """Find the run folders of a system by role; a run stands for itself, as a base.

    Raises:
        ConfigError: the folder is neither, or a run of it is gone or another one by now.
        DataError: a manifest is damaged.
    """
    manifest = read_manifest(folder, "run", "system")
    if manifest.kind == "run":
        return {BASE: folder}
    parts: dict[Role, Path] = {}
    for role in ROLES:
        if role in manifest.sources:
            parts[role] = (folder / manifest.sources[role]).resolve()
            _require_same(folder, role, parts[role], manifest.key.inputs.get(role))
    if BASE not in parts:
        raise DataError(f"{folder} is a system without a base: it was not made by t2i. Compose it again.")
    return parts


def _require_same(folder: Path, role: Role, run: Path, digest: str | None) -> None:
    try:
        found = read_manifest(run, "run").digest
    except ConfigError as err:
        raise ConfigError(f"the {role} of {folder} is gone ({err}). Put it back, or compose the system again.") from err
    if found != digest:
        raise ConfigError(f"the {role} of {folder} is another run by now, in {run}. Compose the system again.")
