"""Where the champion and the previous one are written down: a numbered record a change, of which the last one holds.

A record is written once, whole, under a number that nobody else can take, so there is no moment in which the champion
is neither the old nor the new one, and what was decided before stays there to be read. Paths in it start at the
registry's folder, so that a workspace can be moved.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from t2i_core.composition.config import parts_of
from t2i_core.config import Config
from t2i_core.door import create_file, read_file
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.atomic import other_name
from t2i_core.folders.hits import missing_outputs
from t2i_core.folders.layout import require_local
from t2i_core.folders.manifest import read_manifest, relative_source

AliasName = Literal["champion", "previous"]
ALIASES: tuple[AliasName, ...] = get_args(AliasName)
DEFAULT_REGISTRY = Path("workspace/nightly")
REGISTRY_VARIABLE = "T2I_REGISTRY"
PROMOTIONS_DIR = "promotions"
MAX_RECORD_BYTES = 1_000_000
_NUMBERED = re.compile(r"[0-9]{6}\.json")


class Interval(Config):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Evidence(Config):
    """What a comparison of challenger and champion on the same prompts and seeds found.

    Attributes:
        figure: what was compared.
        challenger: its figure.
        champion: likewise.
        difference: challenger minus champion, paired by what is asked for.
        prompts: how many things were asked for.
        comparison: digest of the comparison.
        against: digest of the champion of that time.
    """

    figure: str
    challenger: Interval
    champion: Interval
    difference: Interval
    prompts: int
    comparison: str
    against: str


class Entry(Config):
    """A finished run or system that has a name.

    Attributes:
        path: of its folder, from the registry's.
        digest: of it.
    """

    path: str
    digest: str


class Promotion(Config):
    """One change of champion.

    Attributes:
        number: of the change, from 1.
        action: what was done.
        who: decided.
        at: when, in UTC.
        why: in a sentence.
        champion: since then.
        previous: the one before, None for the first.
        evidence: what the rule saw, None where there was nothing to compare with or nobody compared.
    """

    number: int
    action: Literal["promote", "rollback"]
    who: Literal["rule", "person"]
    at: str
    why: str
    champion: Entry
    previous: Entry | None = None
    evidence: Evidence | None = None

    def entry(self, alias: AliasName) -> Entry | None:
        """Give who has a name."""
        return self.champion if alias == "champion" else self.previous


def default_registry() -> Path:
    """Give the registry that a bare name means: of the environment, or that of the nightly job's own folder."""
    return Path(os.environ.get(REGISTRY_VARIABLE) or DEFAULT_REGISTRY)


def promotions(registry: Path) -> list[Promotion]:
    """Read all changes, the first one first.

    Raises:
        DataError: a record is damaged.
    """
    try:
        found = sorted(path for path in (registry / PROMOTIONS_DIR).iterdir() if _NUMBERED.fullmatch(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return list(map(_read, found))


def _read(path: Path) -> Promotion:
    try:
        return Promotion.model_validate_json(read_file(path, MAX_RECORD_BYTES, levels=1))
    except (OSError, ValueError) as err:
        raise DataError(f"{path} is damaged ({err!s:.300}). Delete it: the record before it holds then.") from err


def current(registry: Path) -> Promotion | None:
    """Read the change that holds; None while there is no champion."""
    known = promotions(registry)
    return known[-1] if known else None


def entry_of(folder: Path, registry: Path) -> Entry:
    """Describe a finished run or system, as a record does.

    Raises:
        ConfigError: it is neither, or not whole.
        DataError: its manifest is damaged.
    """
    return Entry(path=relative_source(folder, registry), digest=_whole_digest(folder))


def _whole_digest(folder: Path) -> str:
    """Give the digest of a run or system whose files, and those of the system's runs, are all there."""
    digest = read_manifest(folder, "run", "system").digest
    for place in dict.fromkeys((folder, *parts_of(folder).values())):
        if missing := missing_outputs(place, read_manifest(place)):
            raise ConfigError(f"{place / missing[0]} is gone or has another size")
    return digest


def write_promotion(registry: Path, promotion: Promotion) -> None:
    """Write a record down; from then on it holds.

    Raises:
        ConfigError: somebody else has just written one, or the registry is the URL of a store.
    """
    require_local(registry)
    path = registry / PROMOTIONS_DIR / f"{promotion.number:06d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = other_name(path)
    try:
        with create_file(temporary) as file:
            file.write(promotion.model_dump_json(indent=2).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never takes the place of what is there.
        os.link(temporary, path)
    except FileExistsError as err:
        raise ConfigError(f"the champion of {registry} has just been changed by somebody else: look again.") from err
    finally:
        temporary.unlink(missing_ok=True)


def now() -> str:
    """Give the time in UTC, as records have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def alias_in(path: Path) -> tuple[Path, AliasName] | None:
    """Take `champion` or `REGISTRY/champion` apart; None for what is a folder, or no such name."""
    name = next((alias for alias in ALIASES if alias == path.name), None)
    if name is None or path.exists():
        return None
    return (path.parent if len(path.parts) > 1 else default_registry()), name


def model_folder(path: Path) -> Path:
    """Give the folder of a run or system that is named by its path, or as `champion` or `REGISTRY/champion`.

    Raises:
        ConfigError: nobody has that name, or the folder is not what was promoted any more.
        DataError: a record is damaged.
    """
    found = alias_in(path)
    return path if found is None else named_folder(*found)


def named_folder(registry: Path, alias: AliasName) -> Path:
    """Give the folder of the champion or of the previous one, which checks out.

    Raises:
        ConfigError: there is none yet, or its folder is not what was promoted any more.
        DataError: a record is damaged.
    """
    promotion = current(registry)
    entry = promotion.entry(alias) if promotion else None
    if entry is None:
        raise ConfigError(
            f"there is no {alias} in {registry} yet: `t2i nightly` or `t2i promote RUN` makes one, and "
            f"{REGISTRY_VARIABLE} or REGISTRY/{alias} names another place."
        )
    folder = (registry / entry.path).resolve()
    try:
        sound = _whole_digest(folder) == entry.digest
        told = "it holds another run or system by now"
    except (ConfigError, DataError) as err:
        sound, told = False, " ".join(str(err).split()).rstrip(".")
    if not sound:
        way = " or go back with `t2i rollback`" if alias == "champion" else ""
        raise ConfigError(f"the {alias} of {registry} is not what was promoted: {told}. Put it back{way}.")
    return folder


def registries_below(root: Path) -> Iterator[Path]:
    """Find the registries at and below a folder; hidden ones and links are left out."""
    for place, folders, _ in os.walk(root):
        if PROMOTIONS_DIR in folders and current(Path(place)):
            yield Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def names_below(root: Path) -> dict[str, str]:
    """Say which digests have a name in a registry at or below a folder, such as "champion of work/nightly"."""
    named: dict[str, str] = {}
    for registry in registries_below(root):
        promotion = current(registry)
        for alias in reversed(ALIASES):
            if promotion and (entry := promotion.entry(alias)):
                named[entry.digest] = f"{alias} of {registry}"
    return named
