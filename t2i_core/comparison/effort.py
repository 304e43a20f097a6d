"""What a system cost: parameters and pictures seen by what draws, and apart from it by what only guides the drawing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t2i_core.comparison.judged import Folder
from t2i_core.composition.config import Role

# Roles whose runs draw what a prompt asks for, one after the other. Those that fill in have no part in it.
DRAWING: tuple[Role, ...] = ("base", "upsampler", "second_upsampler")
BESIDE: tuple[Role, ...] = ("prior", "clip")
# How the manifest of a run calls the one whose weights it started from.
START = "init"


@dataclass(frozen=True, slots=True)
class Effort:
    """What was trained for a system.

    Attributes:
        parameters: of the runs that draw.
        images: pictures that these were trained on, those of the runs that they started from among them.
        beside_parameters: of all other runs that it needs: a prior, a CLIP, an encoder.
        beside_images: pictures that these were trained on.
    """

    parameters: int
    images: int
    beside_parameters: int
    beside_images: int

    def as_dict(self) -> dict[str, Any]:
        """Give the numbers by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def effort_of(lineage: Sequence[Folder]) -> Effort:
    """Add up what was trained for a run or system.

    Args:
        lineage: the run or system, and all it was made from, the nearest first.
    """
    known = {folder.digest: folder for folder in lineage}
    drawing = list(_roots(lineage[0], known, DRAWING)) if lineage else []
    draws = _closure(drawing, known, {START})
    beside = list(_roots(lineage[0], known, BESIDE)) if lineage and lineage[0].kind == "system" else []
    others = {digest: run for digest, run in _closure([*drawing, *beside], known).items() if digest not in draws}
    standing = _without_starts(others.values())
    return Effort(
        parameters=_sum(drawing, "parameters"),
        images=_sum(draws.values(), "images"),
        beside_parameters=_sum(standing, "parameters"),
        beside_images=_sum(others.values(), "images"),
    )


def _roots(whole: Folder, known: Mapping[str, Folder], roles: Iterable[str]) -> Iterator[Folder]:
    """Give the runs of a system in some roles; a run stands for itself."""
    if whole.kind == "run":
        yield whole
        return
    for role in roles:
        if run := known.get(whole.inputs.get(role, "")):
            yield run


def _closure(
    folders: Iterable[Folder], known: Mapping[str, Folder], inputs: set[str] | None = None
) -> dict[str, Folder]:
    """Give the runs among folders and all that these were made from, by digest; of some inputs alone if named."""
    found: dict[str, Folder] = {}
    waiting = list(folders)
    while waiting:
        folder = waiting.pop()
        if folder.digest not in found:
            found[folder.digest] = folder
            named = (digest for name, digest in folder.inputs.items() if inputs is None or name in inputs)
            waiting += [known[digest] for digest in named if digest in known]
    return {digest: folder for digest, folder in found.items() if folder.kind == "run"}


def _without_starts(runs: Iterable[Folder]) -> list[Folder]:
    """Leave out the runs that another one started from, whose weights that one has."""
    given = list(runs)
    starts = {run.inputs.get(START) for run in given}
    return [run for run in given if run.digest not in starts]


def _sum(folders: Iterable[Folder], count: str) -> int:
    return sum(folder.counts.get(count, 0) for folder in folders)
