"""What to change in a picture, and how; needs no PyTorch."""

from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple, Self, get_args

from pydantic import Field, field_validator, model_validator

from t2i_core.config import Config
from t2i_core.generation.config import DrawConfig

EditKind = Literal[
    "inpaint",
    "outpaint",
    "image-to-image",
    "iterative",
    "upscale",
    "invert",
    "variations",
    "interpolate",
    "text-diff",
]
# Kinds that draw no words.
WORDLESS: frozenset[EditKind] = frozenset({"variations", "interpolate"})
MAX_EDITS = 100


class Box(NamedTuple):
    """A part of a picture, pixels: its left upper corner and its size."""

    left: int
    top: int
    width: int
    height: int


class Margins(NamedTuple):
    """What is added around a picture, pixels."""

    left: int
    top: int
    right: int
    bottom: int


RESAMPLING = frozenset({"resamples", "jump_length"})
# What each kind reads beside the picture and its prompt, by the field of `EditConfig`.
READS: MappingProxyType[EditKind, frozenset[str]] = MappingProxyType(
    {
        "inpaint": frozenset({"mask", "box"}) | RESAMPLING,
        "outpaint": frozenset({"margins"}) | RESAMPLING,
        "image-to-image": frozenset({"strength"}),
        "iterative": frozenset({"mask", "box"}) | RESAMPLING,
        "upscale": frozenset(),
        "invert": frozenset({"source_prompt", "iterations"}),
        "variations": frozenset({"iterations"}),
        "interpolate": frozenset({"other", "theta", "iterations"}),
        "text-diff": frozenset({"source_prompt", "theta", "iterations"}),
    }
)


class EditConfig(DrawConfig):
    """What to change. What a kind of edit does not read is refused."""

    mask: tuple[str, ...] = Field(
        (),
        max_length=MAX_EDITS,
        description="Picture of the same size, white where to draw anew; one a prompt. (inpaint, iterative)",
    )
    box: tuple[str, ...] = Field(
        (),
        max_length=MAX_EDITS,
        description="Part to draw anew in place of a mask: LEFT,TOP,WIDTH,HEIGHT, pixels. (inpaint, iterative)",
    )
    margins: str = Field("", description="What to draw around the picture: LEFT,TOP,RIGHT,BOTTOM, pixels. (outpaint)")
    resamples: int | None = Field(
        None,
        ge=1,
        le=100,
        description="How often each stretch of steps is gone over, so that what is drawn fits what is known (RePaint): "
        "as many times the work. Empty: 1. (inpaint, outpaint, iterative)",
    )
    jump_length: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Steps of a stretch that is gone over again. Empty: a 25th of all. (inpaint, outpaint, iterative)",
    )
    strength: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="How much of the way to noise the picture goes before it is drawn anew: 0 keeps it, 1 forgets it. "
        "Empty: 0.6. (image-to-image)",
    )
    source_prompt: str = Field(
        "", max_length=10_000, description="What the picture shows; empty: the prompt itself. (invert, text-diff)"
    )
    iterations: int | None = Field(
        None,
        ge=1,
        le=50,
        description="Fixed-point rounds of each step back to noise. Empty: 5. (invert, variations, interpolate, "
        "text-diff)",
    )
    other: str = Field("", max_length=4096, description="Picture at the other end of the way. (interpolate)")
    theta: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Share of the way to the other picture, or to the difference of the prompts; several pictures lie "
        "evenly from the start to it. Empty: 1, and 0.4 of text-diff. (interpolate, text-diff)",
    )
    num_images: int = Field(1, gt=0, le=10_000, description="Pictures to draw.")
    seed: int = Field(0, ge=0, description="Seed; picture i depends on (seed, prompt, i) alone.")

    @field_validator("box")
    @classmethod
    def _are_boxes(cls, boxes: tuple[str, ...]) -> tuple[str, ...]:
        for text in boxes:
            box = Box(*_numbers(text))
            if not (box.width and box.height):
                raise ValueError(f"the box {text!r} holds no pixel")
        return boxes

    @model_validator(mode="after")
    def _margins_add(self) -> Self:
        if self.margins and not any(_numbers(self.margins)):
            raise ValueError("the margins add nothing")
        return self

    @model_validator(mode="after")
    def _goes_over_stretches(self) -> Self:
        if self.jump_length and (self.resamples or 1) == 1:
            raise ValueError("jump_length changes nothing where resamples is 1: set it to 5 or so")
        return self

    @property
    def boxes(self) -> list[Box]:
        """The parts to draw anew."""
        return [Box(*_numbers(text)) for text in self.box]

    @property
    def around(self) -> Margins:
        """What to add around the picture."""
        return Margins(*_numbers(self.margins)) if self.margins else Margins(0, 0, 0, 0)

    def ignored_by(self, kind: EditKind) -> list[str]:
        """List what was asked for and a kind of edit does not read."""
        given = {name for name in set().union(*READS.values()) if getattr(self, name) not in (None, "", ())}
        return sorted(given - READS[kind])


class EditRequest(Config):
    """What `edit` is asked for.

    Attributes:
        run_dir: a finished run or system.
        kind: of edit.
        picture: PNG, JPEG or WebP file.
        prompts: what the result is to show; several only in turn, for "iterative".
        output_dir: gets the results; it must be new or empty.
        config: what to change.
    """

    run_dir: Path
    kind: EditKind
    picture: Path
    prompts: tuple[str, ...]
    output_dir: Path
    config: EditConfig


def edit_kinds() -> tuple[EditKind, ...]:
    """List the kinds of edit."""
    return get_args(EditKind)


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() and len(part) < 10 for part in parts):
        raise ValueError(f"{text!r:.50} is not four whole numbers such as 0,0,32,32")
    return [int(part) for part in parts]
