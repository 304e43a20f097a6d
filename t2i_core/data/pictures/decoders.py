"""Decodes pictures in processes of their own, one for each core."""

from dataclasses import asdict
from typing import Self

from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.workers.early import DECODER, num_decoders
from t2i_core.data.workers.pool import WorkerPool


class Decoders:
    """Turns pictures into their stored form. Use as an async context manager.

    Args:
        options: how.
        at_once: start the processes before the first picture is there, for it will surely come.
    """

    def __init__(self, options: ImageOptions, *, at_once: bool = True) -> None:
        self._pool = WorkerPool(DECODER, num_decoders(), asdict(options))
        self._at_once = at_once

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        if self._at_once:
            self._pool.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._pool.__aexit__(*error)

    async def process(self, body: bytes, boxes_cell: str = "") -> Picture | Rejection:
        """Do what `image.process_picture` does, whatever the picture does to the process.

        Raises:
            TransientError: the processes do not start.
        """
        answer = await self._pool.ask(boxes_cell, body)
        if answer is None:
            return Rejection(RejectReason.DECODER_FAILED)
        told, data = answer
        if "reason" in told:
            return Rejection(RejectReason(told["reason"]), told["detail"])
        return Picture(data=data, **told)
