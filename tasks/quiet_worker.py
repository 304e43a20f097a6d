"""How a Dask worker on this machine is set up: a Ctrl-C at the terminal is for the flow, which ends its workers."""

import signal


def dask_setup(_worker: object) -> None:
    """Leave interrupts to the process that started this one; Dask calls it when a worker starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
