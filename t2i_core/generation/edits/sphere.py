"""Ways on a sphere, where the embeddings of a CLIP lie: between two of them, and along what tells captions apart."""

import torch
from torch import Tensor

from t2i_core.errors import ConfigError

# Sine of the angle below which two directions are one, or opposite.
SMALLEST_SINE = 1e-6


def slerp(one: Tensor, other: Tensor, theta: float) -> Tensor:
    """Go from some vectors to others on great circles (Shoemake 1985, doi:10.1145/325165.325242).

    Their lengths change evenly. Of the many ways between opposite directions it takes the same one there and back.

    Args:
        one: (B, ...) float, none of them zero; 0 gives them to the bit.
        other: like `one`; 1 gives them to the bit.
        theta: share of the way, 0 to 1.
    """
    if theta in (0, 1):
        return other if theta else one
    a, b = (x.flatten(1).double() for x in (one, other))
    of_a, of_b = _length(a), _length(b)
    a, b = a / of_a, b / of_b
    angle = 2 * torch.atan2(_length(a - b), _length(a + b))
    direction = (theta * angle).cos() * a + (theta * angle).sin() * _across(a, b)
    return (torch.lerp(of_a, of_b, theta) * direction).to(one.dtype).view_as(one)


def _length(x: Tensor) -> Tensor:
    """Give the length of each of x: (B, D) as (B, 1)."""
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return length


def _across(a: Tensor, b: Tensor) -> Tensor:
    """Give the directions across a: (B, D) that lead to b; where none does, one that a and its opposite share."""
    across = b - (a * b).sum(1, keepdim=True) * a
    axis = torch.zeros_like(a).scatter(1, a.abs().argmin(1, keepdim=True), 1.0)
    shared = axis - (axis * a).sum(1, keepdim=True) * a
    across = torch.where(_length(across) < SMALLEST_SINE, shared, across)
    return across / _length(across)


def turned(picture: Tensor, shows: Tensor, wanted: Tensor, theta: float) -> Tensor:
    """Turn embeddings of pictures to what tells one caption from another (unCLIP, arXiv:2204.06125, section 3.3).

    Args:
        picture: (B, D) float, of length 1.
        shows: (B, D) float, embeddings of what they show.
        wanted: (B, D) float, embeddings of what they are to show.
        theta: share of the way to the difference, 0 to 1; the paper goes up to between 0.25 and 0.5.

    Raises:
        ConfigError: the captions are the same to the CLIP.
    """
    difference = wanted - shows
    lengths = _length(difference)
    if bool((lengths < SMALLEST_SINE).any()):
        raise ConfigError("the two captions are the same to the CLIP: what is to change cannot be seen.")
    return slerp(picture, difference / lengths, theta)
