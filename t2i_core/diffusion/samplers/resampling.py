"""Noise put on again and taken away again, so that what is drawn comes to fit what is known of a picture: RePaint."""

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor

from t2i_core.diffusion.estimate import Denoiser
from t2i_core.diffusion.samplers.course import Course, Sampler


def resampled(sampler: Sampler, rounds: int, jump: int) -> Sampler:
    """Make a sampler go over each stretch of its way several times.

    Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1, which puts known pixels, as noised as the rest, into x_t; here
    they are put over each estimate of x_0, which every sampler goes by. What lies around them was drawn beside others
    than these. Taken back to noise and drawn again, it is drawn beside them, and fits them better each time.

    Args:
        sampler: that takes the steps of a stretch.
        rounds: how often each is gone over, the paper's r; 1 is the sampler itself.
        jump: steps of a stretch, the paper's j. They are counted from the picture; the one that is left at the other
            end is gone over once, since it would go back to mere noise.
    """

    def sample(denoise: Denoiser, x: Tensor, course: Course) -> Tensor:
        for first, last in _stretches(len(course.times) - 1, jump):
            for number in range(rounds if first else 1):
                if number:
                    x = course.noised_again(x, first, last, f"back/{number}")
                x = sampler(denoise, x, course.part(first, last, f"/again/{number}" if number else ""))
        return x

    return sampler if rounds == 1 else sample


def _stretches(num_steps: int, jump: int) -> Iterator[tuple[int, int]]:
    """Give the first and last time of each stretch by their numbers, noise first."""
    ends = [0, *range(num_steps % jump or jump, num_steps + 1, jump)]
    yield from pairwise(ends)
