"""The process that decodes pictures: `python -m t2i_core.data.pictures.worker`, started by `decoders`.

Decoders are written in C and take hostile bytes; whatever those do to this process, the run goes on.
"""

from typing import Any

import cv2

from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.workers.worker import Handler, serve

# A picture of the most pixels allowed, three times over: as decoded, turned upright, and laid over white.
MAX_MEMORY_BYTES = 2 * 1024**3


def start(options: Any) -> Handler:
    """Say how to handle pictures by these options."""
    pictures = ImageOptions(**options)
    # There is one process for each core already.
    cv2.setNumThreads(1)

    def handle(boxes_cell: Any, body: bytes) -> tuple[Any, bytes]:
        outcome = process_picture(body, pictures, boxes_cell)
        if not isinstance(outcome, Picture):
            return {"reason": outcome.reason, "detail": outcome.detail}, b""
        return {name: getattr(outcome, name) for name in Picture.__slots__ if name != "data"}, outcome.data

    return handle


if __name__ == "__main__":
    serve(start, max_memory_bytes=MAX_MEMORY_BYTES)
