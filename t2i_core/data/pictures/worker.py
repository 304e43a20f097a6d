"""The process that decodes pictures: `python -m t2i_core.data.pictures.worker`, started by `decoders`.

Decoders are written in C and take hostile bytes; whatever those do to this process, the run goes on.
"""

import ctypes
from typing import Any

import cv2

from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.workers.worker import Handler, serve

# A picture of the most pixels allowed, three times over: as decoded, turned upright, and laid over white.
MAX_MEMORY_BYTES = 2 * 1024**3
# Numbers that the C library of GNU has for them.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 32 * 1024 * 1024


def start(options: Any) -> Handler:
    """Say how to handle pictures by these options."""
    pictures = ImageOptions(**options)
    # There is one process for each core already.
    cv2.setNumThreads(1)
    _keep_freed_memory()

    def handle(boxes_cell: Any, body: bytes) -> tuple[Any, bytes]:
        outcome = process_picture(body, pictures, boxes_cell)
        if not isinstance(outcome, Picture):
            return {"reason": outcome.reason, "detail": outcome.detail}, b""
        return {name: getattr(outcome, name) for name in Picture.__slots__ if name != "data"}, outcome.data

    return handle


def _keep_freed_memory() -> None:
    """Use the memory of one picture for the next; the kernel would clear it, for as long as a PNG takes to unpack."""
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(M_MMAP_THRESHOLD, KEPT_BYTES // 2)
        adjust(M_TRIM_THRESHOLD, KEPT_BYTES)


if __name__ == "__main__":
    serve(start, max_memory_bytes=MAX_MEMORY_BYTES)
