"""How weights are updated: optimizers, the learning-rate schedule, and averages of the weights for drawing."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adafactor, AdamW, Optimizer

from t2i_core.training.preset import EMAConfig, OptimConfig

Averaged = TypeVar("Averaged", bound=nn.Module)


def rate_factor(config: OptimConfig, step: int, progress: float) -> float:
    """Scale of the learning rate: linear warm-up by steps, linear fall that ends where the budget ends.

    Args:
        config: where the fall begins.
        step: steps done.
        progress: share of the budget used, 0 to 1.
    """
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return warmup * min(1.0, max(0.0, 1 - progress) / (1 - config.decay_from))


# Odd polynomials that in turn bring all singular values near 1; each is the best one for what the last left over
# (Amsel et al. 2025, Polar Express, arXiv:2505.16932). After four, all from 0.003 up lie between 0.3 and 1.6.
QUINTICS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)
# Just above its range each polynomial shoots up, and bfloat16 rounds values there: all are fed this much less.
MARGIN = 1.02


def orthogonalize(matrices: Tensor) -> Tensor:
    """Replace each matrix by about the nearest semi-orthogonal one, by Newton-Schulz iteration in its own precision.

    Args:
        matrices: (N, rows, columns) float; bfloat16 is enough.
    """
    x = matrices
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for a, b, c in QUINTICS:
        gram = x @ x.mT
        quadratic = torch.baddbmm(gram, gram, gram, beta=b / MARGIN**3, alpha=c / MARGIN**5)
        x = torch.baddbmm(x, quadratic, x, beta=a / MARGIN)
    return x.mT if tall else x


class Muon(Optimizer):
    """Orthogonalized momentum: all directions of a matrix move equally fast (Jordan et al. 2024; arXiv:2502.16982).

    PyTorch's own `torch.optim.Muon` takes two-dimensional weights only; this one flattens convolutions and works
    through all matrices of one shape in one batched product.

    Args:
        params: weight matrices and convolutions.
        lr: learning rate.
        momentum: decay rate of the gradients' average.
        dtype: to orthogonalize in: bfloat16 where the machine multiplies it fast, float32 where it would emulate it.
    """

    def __init__(
        self,
        params: Sequence[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(tuple(p.shape), []).append(p)
            for params in shapes.values():
                self._update(params, group)

    def _update(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        averages = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in params]
        torch._foreach_mul_(averages, group["momentum"])
        torch._foreach_add_(averages, grads)
        directions = torch._foreach_add(grads, averages, alpha=group["momentum"])
        updates = orthogonalize(torch.stack([direction.flatten(1).to(self._dtype) for direction in directions]))
        scale = max(1.0, updates.shape[1] / updates.shape[2]) ** 0.5
        for p, update in zip(params, updates, strict=True):
            p.add_(update.reshape(p.shape), alpha=-group["lr"] * scale)


def build_optimizers(
    module: nn.Module, matrices: Sequence[nn.Parameter], config: OptimConfig, dtype: torch.dtype = torch.bfloat16
) -> list[Optimizer]:
    """Give the optimizers that together train all weights of `module`; `matrices` with Muon in `dtype`, if it is on."""
    chosen = {id(p) for p in matrices} if config.muon_learning_rate else set()
    rest = [p for p in module.parameters() if id(p) not in chosen]
    first = _of_method(config, rest)
    return [first, Muon(list(matrices), config.muon_learning_rate, dtype=dtype)] if chosen else [first]


def _of_method(config: OptimConfig, params: list[nn.Parameter]) -> Optimizer:
    rate, decay = config.learning_rate, config.weight_decay
    if config.method == "adafactor":
        return Adafactor(params, lr=rate, weight_decay=decay)
    return AdamW(params, lr=rate, weight_decay=decay, betas=config.betas, fused=True, eps=1e-8)


@contextmanager
def climbed(module: nn.Module, rho: float) -> Iterator[None]:
    """Go from the weights along their gradient, for as long as this lasts, and back to the bit.

    About there the loss is the largest within the radius: gradients worked out meanwhile are those of sharpness-aware
    minimization (Foret et al. 2020, SAM, arXiv:2010.01412, equation 2).

    Args:
        module: whose weights have gradients, which are gone then.
        rho: how far, over all weights.
    """
    weights: list[Tensor] = [p for p in module.parameters() if p.grad is not None]
    gradients = [p.grad for p in weights if p.grad is not None]
    before = [p.detach().clone() for p in weights]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    with torch.no_grad():
        torch._foreach_add_(weights, torch._foreach_mul(gradients, rho / (norm + 1e-12)))
    module.zero_grad()
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, before)


def average_name(number: int) -> str:
    """Name the tensors of an average in a checkpoint; the first one is what is drawn with unless another is named."""
    return f"ema_{number}" if number else "ema"


class EMA(Generic[Averaged]):
    """Averages of a module's weights and floating buffers, in float32, for drawing; one for each decay.

    Attributes:
        modules: the averages, in the order of the decays.
    """

    def __init__(self, module: Averaged, config: EMAConfig) -> None:
        self.config = config
        self.modules = [copy.deepcopy(module).requires_grad_(False).eval() for _ in config.decays]

    @property
    def module(self) -> Averaged:
        """The first average."""
        return self.modules[0]

    @property
    def by_name(self) -> dict[str, Averaged]:
        """The averages by their names in a checkpoint."""
        return {average_name(number): module for number, module in enumerate(self.modules)}

    def decays_at(self, step: int) -> list[float]:
        """Decays of a step: (1 + step) / (10 + step) until the maximum, so that early averages forget their start."""
        return [min(decay, (1 + step) / (10 + step)) for decay in self.config.decays]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the averages towards the weights after step number `step`; buffers that only count are copied."""
        new = _tensors(module)
        floating = [tensor for tensor in new if tensor.is_floating_point()]
        for average, decay in zip(self.modules, self.decays_at(step), strict=True):
            old = _tensors(average)
            torch._foreach_lerp_([tensor for tensor in old if tensor.is_floating_point()], floating, 1 - decay)
            for mine, others in zip(old, new, strict=True):
                if not mine.is_floating_point():
                    mine.copy_(others)


def _tensors(module: nn.Module) -> list[Tensor]:
    """List what a module saves, shared weights once; masks of minus infinity, which no average survives, are not."""
    return list(dict.fromkeys(module.state_dict(keep_vars=True).values()))
