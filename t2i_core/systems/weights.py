"""Weights as files, and what they take."""

import errno
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from t2i_core.door import create_file


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, readable by whoever may read other files; the library leaves it to the owner.

    Raises:
        OSError: the disk is full, or fails; the library tells the number of the system's error only in its text.
    """
    with create_file(path) as file:
        mode = os.fstat(file.fileno()).st_mode
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as err:
        number = re.search(r"os error (\d+)", str(err))
        raise OSError(int(number[1]) if number else errno.EIO, str(err), str(path)) from err
    path.chmod(stat.S_IMODE(mode))


def size_bytes(module: nn.Module) -> int:
    """Give the bytes of all that a module saves: weights and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
