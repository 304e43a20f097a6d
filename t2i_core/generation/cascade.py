"""The stages of a system as one drawer: a base draws small pictures, upsamplers make large ones of them."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from t2i_core.composition.config import BASE, FILLED_BY, Role
from t2i_core.diffusion.chance import Chance
from t2i_core.errors import ConfigError
from t2i_core.systems.condition import Condition
from t2i_core.systems.stage import Drawer, DrawSettings, Editor
from t2i_core.systems.view import LOW_NOISE, low_at

# Those that enlarge, in their order, each with the noise that it gets on what it enlarges.
UPSAMPLERS: dict[Role, str] = {"upsampler": LOW_NOISE, "second_upsampler": f"second/{LOW_NOISE}"}


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
        return (BASE, *self.upsamplers)

    @property
    def upsamplers(self) -> tuple[Role, ...]:
        """Those that enlarge, in their order."""
        return tuple(role for role in UPSAMPLERS if role in self.drawers)

    @property
    def side(self) -> int:
        """Side of the pictures that come out, pixels."""
        return self.drawers[self.roles[-1]].side

    def acting(self, role: Role, *, fills: bool) -> Role:
        """Say who draws in a role: where parts are filled in, the one that was trained to, if there is one."""
        trained = FILLED_BY.get(role, role)
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
        height, width = shape or (self.side, self.side)
        small = (3, height // self.factor, width // self.factor)
        base = self._drawer(BASE, conditions)
        picture = base.draw(conditions[BASE], small, chance, settings[BASE])
        return self.enlarge(picture, conditions, chance, settings)

    def enlarge(
        self,
        picture: Tensor,
        conditions: Mapping[Role, Condition],
        chance: Chance,
        settings: Mapping[Role, DrawSettings],
    ) -> Tensor:
        """Send small pictures (B, 3, h, w) through all that enlarge; returns (B, 3, H, W) float.

        Args:
            picture: of the base's side, or of any other sides that all of them take.
            conditions: see `draw`; of `upsamplers`.
            chance: of the pictures.
            settings: see `draw`; of `upsamplers`.
        """
        before = self.drawers[BASE].side
        for role in self.upsamplers:
            drawer, asked = self._drawer(role, conditions), settings[role]
            level = drawer.low_level if asked.low_level is None else asked.low_level
            low = low_at(picture.clamp(-1, 1), level, chance, UPSAMPLERS[role])
            shape = (3, *(drawer.side // before * side for side in picture.shape[2:]))
            picture, before = drawer.draw(replace(conditions[role], low=low), shape, chance, asked), drawer.side
        return picture

    def _drawer(self, role: Role, conditions: Mapping[Role, Condition]) -> Drawer:
        return self.drawers[self.acting(role, fills=conditions[role].known is not None)]

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

    def require_upsampler(self, shape: tuple[int, ...]) -> None:
        """Refuse to enlarge pictures where nothing does, or not to this shape.

        Raises:
            ConfigError: so it is.
        """
        if not self.upsamplers:
            raise ConfigError("there is no upsampler: name a system that has one (`t2i compose`).")
        for role in self.upsamplers:
            self._require_multiple(self.drawers[role], shape)

    def only_editor(self, shape: tuple[int, int]) -> Editor:
        """Give the one stage that draws.

        Raises:
            ConfigError: there are several, or it cannot change pictures of this shape.
        """
        self.require_editor(shape)
        drawer = self.drawers[BASE]
        if self.upsamplers or not isinstance(drawer, Editor):
            raise ConfigError("a picture that was drawn in several stages has no one noise: name the base run instead.")
        return drawer
