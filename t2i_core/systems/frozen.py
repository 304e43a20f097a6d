"""A finished stage inside another one that is trained."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Frozen(nn.Module):
    """Holds a module that moves along, and is neither optimised, averaged nor saved: it is no part of the weights.

    Gradients pass through it to what it is given.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._held = (module.requires_grad_(False).eval(),)  # in a tuple, PyTorch does not find it

    def forward(self, *inputs: Tensor) -> Tensor:
        """Call the module."""
        output: Tensor = self._held[0](*inputs)
        return output

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        self._held[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Frozen":
        return self
