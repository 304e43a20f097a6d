"""Does the checker agree with the eye? It is tried on generated pictures that were judged by looking at each.

Renders say that the checker can see; only a model's own soft, lopsided, half-merged pictures say how often it passes
what people call wrong and how often it misses what they call right. The sheet was judged before the checker saw it.
Thresholds were set on 56 other pictures of the same models.
"""

import io
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from t2i_core.config import Config
from t2i_core.evaluation.config import CHECKER_VERSION
from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.statistics import Estimate, wilson
from t2i_core.evaluation.judges.verdict import Verdict, judge
from t2i_core.samples.scenes import Scene

Picture = npt.NDArray[np.uint8]

SHEET = files("t2i_core.evaluation.judges") / "sheet"
# How often the checker may pass a picture that is wrong to the eye, and must pass one that is right: beyond the first
# of each pair its scores need a grain of salt, beyond the second they are not worth much.
MAX_FALSE_PASS, FALSE_PASS_BAD = 0.05, 0.10
MIN_SENSITIVITY, SENSITIVITY_BAD = 0.80, 0.60


class JudgedPicture(Config):
    """A generated picture and what the eye said of it."""

    prompt: str
    scene: Scene
    drawn_by: str = Field(description="Which state of which model drew it.")
    right: bool = Field(description="Whether everything is as asked for and nothing else is there.")
    wrong: str = Field(
        "", description="What is wrong first: shape, color, count, relation, size, nothing_else, background."
    )
    doubtful: bool = Field(False, description="Whether another pair of eyes might well say otherwise.")


class Sheet(Config):
    """The judged pictures, in the order in which they lie on the sheet: row by row."""

    judged_by: str
    judged_on: str
    side: int
    columns: int
    pictures: tuple[JudgedPicture, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """One picture of the sheet with both opinions."""

    picture: Picture
    judged: JudgedPicture
    verdict: Verdict

    @property
    def agrees(self) -> bool:
        """Whether the checker passes what is right and nothing else."""
        return self.verdict.strict == self.judged.right


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the checker did on the sheet.

    Attributes:
        version: of the checker.
        judged_on: when the pictures were looked at.
        judged_by: who looked.
        compared: every picture with both opinions.
    """

    version: str
    judged_on: str
    judged_by: str
    compared: tuple[Compared, ...]

    @property
    def sensitivity(self) -> Estimate:
        """Share of pictures that are right to the eye and pass."""
        right = [c.verdict.strict for c in self.compared if c.judged.right]
        return wilson(sum(right), len(right))

    @property
    def false_pass(self) -> Estimate:
        """Share of pictures that are wrong to the eye and pass all the same."""
        wrong = [c.verdict.strict for c in self.compared if not c.judged.right]
        return wilson(sum(wrong), len(wrong))

    @property
    def false_fail(self) -> Estimate:
        """Share of pictures that are right to the eye and are called wrong, not only unsure."""
        right = [c.verdict.outcome == "fail" for c in self.compared if c.judged.right]
        return wilson(sum(right), len(right))

    @property
    def unsure(self) -> Estimate:
        """Share of pictures that the checker could not tell."""
        return wilson(sum(c.verdict.unsure for c in self.compared), len(self.compared))

    @property
    def disagreements(self) -> list[Compared]:
        """What the checker passes wrongly, then what it does not pass though it is right."""
        return sorted((c for c in self.compared if not c.agrees), key=lambda c: c.judged.right)

    def as_dict(self) -> dict[str, Any]:
        """Give the figures by name."""
        return {
            "version": self.version,
            "judged_on": self.judged_on,
            "judged_by": self.judged_by,
            "num_pictures": len(self.compared),
            "num_right": sum(c.judged.right for c in self.compared),
            "num_doubtful": sum(c.judged.doubtful for c in self.compared),
        } | {name: getattr(self, name) for name in ("sensitivity", "false_pass", "false_fail", "unsure")}


def compare_with_eye() -> Agreement:
    """Judge the sheet with the checker as it is now."""
    sheet, pictures = load_sheet()
    compared = tuple(
        Compared(picture, judged, judge(extract(picture), judged.scene))
        for picture, judged in zip(pictures, sheet.pictures, strict=True)
    )
    return Agreement(CHECKER_VERSION, sheet.judged_on, sheet.judged_by, compared)


@cache
def load_sheet() -> tuple[Sheet, tuple[Picture, ...]]:
    """Read the sheet: what the eye said, and the pictures, (side, side, 3) uint8 each."""
    sheet = Sheet.parse(json.loads((SHEET / "answers.json").read_text(encoding="utf-8")))
    with Image.open(io.BytesIO((SHEET / "pictures.png").read_bytes()), formats=("PNG",)) as image:
        pixels = np.asarray(image.convert("RGB"))
    places = (divmod(i, sheet.columns) for i in range(len(sheet.pictures)))
    side = sheet.side
    return sheet, tuple(pixels[r * side : (r + 1) * side, c * side : (c + 1) * side] for r, c in places)
