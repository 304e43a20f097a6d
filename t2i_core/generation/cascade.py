"""The stages of a system as one drawer: a base draws small pictures, an upsampler makes large ones of them."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from t2i_core.composition.config import BASE, FILLED_BY, Role
from t2i_core.diffusion.chance import Chance
from t2i_core.errors import ConfigError
from t2i_core.systems.condition import Condition, LowRes
from t2i_core.systems.stage import Drawer, DrawSettings, Editor
from t2i_core.systems.view import low_at

UPSAMPLER: Role = "upsampler"


class Cascade:
    """What draws of a system, stage after stage.

    Attributes:
        drawers: by role; the base, and whatever else draws.
    """

    def __init__(self, drawers: Mapping[Role, Drawer]) -> None:
        self.drawers = drawers

    @property
    def roles(self) -> tuple[Role, ...]:
        """Those that have a part in drawing from words alone, in their order."""
        return (BASE, UPSAMPLER) if UPSAMPLER in self.drawers else (BASE,)

    @property
    def side(self) -> int:
        """Side of the pictures that come out, pixels."""
        return self.drawers[self.roles[-1]].side

    def acting(self, role: Role, *, fills: bool) -> Role:
        """Say who draws in a role: where parts are filled in, the one that was trained to, if there is one."""
        trained = FILLED_BY[role]
        return trained if fills and trained in self.drawers else role

    def draw(
        self,
        conditions: Mapping[Role, Condition],
        chance: Chance,
        settings: Mapping[Role, DrawSettings],
        shape: tuple[int, int] | None = None,
    ) -> Tensor:
        """Draw pictures (B, 3, H, W) float that fit a condition; what is random differs a stage.

        Args:
            conditions: what they must fit, as each of `roles` reads it.
            chance: of the pictures.
            settings: of each of `roles`.
            shape: height and width, pixels; None for squares of `side`.
        """
        fills = conditions[BASE].known is not None
        first, *others = ((role, self.drawers[self.acting(role, fills=fills)]) for role in self.roles)
        height, width = shape or (self.side, self.side)
        small = (3, height // self.factor, width // self.factor)
        picture = first[1].draw(conditions[BASE], small, chance, settings[BASE])
        for role, drawer in others:
            low = low_at(picture.clamp(-1, 1), drawer.low_level, chance)
            picture = enlarged(drawer, low, self.factor, conditions[role], chance, settings[role])
        return picture

    @property
    def factor(self) -> int:
        """How many times as long as the base's the sides of the pictures that come out are."""
        return self.side // self.drawers[BASE].side

    def require_editor(self, shape: tuple[int, int]) -> None:
        """Refuse pictures to be changed that it cannot.

        Args:
            shape: their height and width, pixels.

        Raises:
            ConfigError: it does not draw from noise, or not in this size.
        """
        for role in self.roles:
            self._require_multiple(self.drawers[role], shape)

    def _require_multiple(self, drawer: Drawer, shape: tuple[int, ...]) -> None:
        if not isinstance(drawer, Editor):
            raise ConfigError("this run draws in one step from words alone, and cannot change pictures.")
        multiple = drawer.side_multiple * (self.side // drawer.side)
        if any(side % multiple for side in shape):
            raise ConfigError(
                f"pictures of {shape[1]} x {shape[0]} pixels do not fit: both sides must be multiples of {multiple}; "
                f"it was trained on squares of {self.side}."
            )

    def upsampler(self, shape: tuple[int, ...]) -> Drawer:
        """Give what enlarges pictures to a shape.

        Raises:
            ConfigError: nothing does, or not to this one.
        """
        if UPSAMPLER not in self.drawers:
            raise ConfigError("there is no upsampler: name a system that has one (`t2i compose`).")
        self._require_multiple(self.drawers[UPSAMPLER], shape)
        return self.drawers[UPSAMPLER]

    def only_editor(self, shape: tuple[int, int]) -> Editor:
        """Give the one stage that draws.

        Raises:
            ConfigError: there are several, or it cannot change pictures of this shape.
        """
        self.require_editor(shape)
        drawer = self.drawers[BASE]
        if UPSAMPLER in self.drawers or not isinstance(drawer, Editor):
            raise ConfigError("a picture that was drawn in two stages has no one noise: name the base run instead.")
        return drawer


def enlarged(
    drawer: Drawer, low: LowRes, factor: int, condition: Condition, chance: Chance, settings: DrawSettings
) -> Tensor:
    """Draw large pictures (B, 3, H, W) that small ones (B, 3, h, w) are the average of, and that fit a condition."""
    shape = (3, *(factor * side for side in low.picture.shape[2:]))
    return drawer.draw(replace(condition, low=low), shape, chance, settings)
