"""Where and how to compute: device, precision and memory layout, chosen by what this machine does fastest."""

import time
from functools import cache
from typing import Literal, get_args

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from t2i_core.config import Config
from t2i_core.machine import cpu_model

Precision = Literal["float32", "bfloat16"]
PROBE_SECONDS, MIN_TRIES = 2.0, 5
# bf16 must be clearly faster to be worth its rounding.
MIN_SPEEDUP = 1.2


class Compute(Config):
    """The choice made, and what was measured to make it."""

    device: str = Field(description="cpu, cuda or mps.")
    name: str = Field("", description="Model of the device.")
    threads: int = Field(0, description="Threads that PyTorch computes with on a CPU; 0 = not known.")
    precision: Precision = Field(description="Type that matrix products and convolutions run in; weights stay float32.")
    channels_last: bool = Field(True, description="Whether pictures keep their channels side by side in memory.")
    gflops: dict[str, float] = Field(
        default_factory=dict, description="Measured rate of a convolution by precision, GFLOP/s."
    )

    @property
    def dtype(self) -> torch.dtype:
        """The precision as PyTorch names it."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def autocast(self) -> torch.autocast:
        """Give the context in which networks run."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bfloat16")


@cache
def choose_compute() -> Compute:
    """Choose the device, and the precision by a probe of about two seconds.

    A process chooses once: on a busy machine another probe might choose otherwise, and what is drawn twice differ.
    """
    device = choose_device()
    rates = convolution_rates(device)
    fast = rates["bfloat16"] > MIN_SPEEDUP * rates["float32"]
    return compute_on(device, "bfloat16" if fast else "float32").with_changes(gflops=rates)


def compute_on(device: str, precision: Precision) -> Compute:
    """Describe a device and how it will be used."""
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_model()
    return Compute(device=device, name=name, precision=precision, threads=torch.get_num_threads())


def choose_device() -> str:
    """Name the best device that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def convolution_rates(device: str, seconds: float = PROBE_SECONDS) -> dict[Precision, float]:
    """Measure forward and backward of a 3x3 convolution like those of the U-Net, GFLOP/s by precision.

    Both take turns and the fastest try of each counts: another program's burst of work slows some tries, not all.
    """
    size, channels, batch = 16, 128, 16 if device == "cpu" else 256
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(device).to(memory_format=torch.channels_last)
    x = torch.randn(batch, channels, size, size, device=device).contiguous(memory_format=torch.channels_last)
    flops = 3 * 2 * 9 * channels * channels * size * size * batch
    times: dict[Precision, list[float]] = {precision: [] for precision in get_args(Precision)}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["float32"]) < MIN_TRIES:
        for precision, measured in times.items():
            synchronize(device)
            start = time.perf_counter()
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                loss = F.silu(layer(x.requires_grad_())).float().mean()
            torch.autograd.backward(loss)
            synchronize(device)
            measured.append(time.perf_counter() - start)
    return {precision: round(flops / min(measured) / 1e9, 1) for precision, measured in times.items()}


def matmul_rate(device: str, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Measure a large square matrix product, GFLOP/s: the most the machine gives."""
    n = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    synchronize(device)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        a @ b
        synchronize(device)
        count += 1
    return 2 * n**3 * count / (time.perf_counter() - start) / 1e9


def synchronize(device: str) -> None:
    """Wait until the device has finished what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
