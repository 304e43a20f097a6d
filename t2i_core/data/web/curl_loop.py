"""libcurl on an event loop: it acts when a socket is ready or its time has come, and says which handles ended."""

import asyncio
import selectors

import pycurl

# What a badly chunked body is told by: libcurl has one code for that and for a connection that broke.
BAD_CHUNK = -pycurl.E_RECV_ERROR
_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}
_READY = {
    selectors.EVENT_READ: pycurl.CSELECT_IN,
    selectors.EVENT_WRITE: pycurl.CSELECT_OUT,
    selectors.EVENT_READ | selectors.EVENT_WRITE: pycurl.CSELECT_IN | pycurl.CSELECT_OUT,
}


class CurlLoop:
    """Lets handles do what they are set up for, many at a time. Make it within a running loop, and close it there.

    The loop watches one descriptor, that of a selector over all of libcurl's sockets: to tell the loop of each of them
    each time it waits for something else takes longer than to read from it.

    Args:
        max_idle: connections to keep open.
    """

    def __init__(self, max_idle: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._ends: dict[pycurl.Curl, asyncio.Future[int]] = {}
        self._watched = set[int]()
        self._sockets = selectors.DefaultSelector()
        self._loop.add_reader(self._sockets, self._act_on_sockets)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_idle)

    def close(self) -> None:
        """Close all connections."""
        for curl in list(self._ends):
            self.stop(curl)
        self._multi.close()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._sockets)
        self._sockets.close()

    def start(self, curl: pycurl.Curl) -> "asyncio.Future[int]":
        """Let a handle begin, and give what will hold libcurl's code for how it ended, or `BAD_CHUNK`."""
        end = self._ends[curl] = self._loop.create_future()
        self._multi.add_handle(curl)
        return end

    def stop(self, curl: pycurl.Curl) -> None:
        """Let go of a handle that has not ended yet; nothing for one that has."""
        if self._ends.pop(curl, None) is not None:
            self._multi.remove_handle(curl)

    def go_on(self, curl: pycurl.Curl, end: "asyncio.Future[int]") -> None:
        """Let a paused body arrive again, if the handle still does the same as then."""
        if self._ends.get(curl) is end:
            curl.pause(pycurl.PAUSE_CONT)

    def _watch_socket(self, wanted: int, descriptor: int, _multi: object, _data: object) -> None:
        """Called by libcurl: which sockets to watch, and for what."""
        if descriptor in self._watched:
            self._watched.remove(descriptor)
            self._sockets.unregister(descriptor)
        if events := _EVENTS.get(wanted):
            self._watched.add(descriptor)
            self._sockets.register(descriptor, events)

    def _set_timer(self, milliseconds: int) -> None:
        """Called by libcurl: when to let it act although no socket is ready, -1 for never."""
        self._due = None if milliseconds < 0 else self._loop.time() + milliseconds / 1000
        # It changes its mind with every request; a timer that rings too early looks again.
        if self._due is not None and (self._timer is None or self._timer.when() > self._due):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._ring)
            return
        self._due = None
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._tell_ends()

    def _act_on_sockets(self) -> None:
        for key, events in self._sockets.select(0):
            self._multi.socket_action(key.fd, _READY[events])
        self._tell_ends()

    def _tell_ends(self) -> None:
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            ended_badly = ((curl, _code(code, told)) for curl, code, told in bad)
            for curl, code in [*((curl, pycurl.E_OK) for curl in good), *ended_badly]:
                self._multi.remove_handle(curl)
                end = self._ends.pop(curl, None)
                if end is not None and not end.done():
                    end.set_result(code)


def _code(code: int, told: str) -> int:
    return BAD_CHUNK if code == pycurl.E_RECV_ERROR and "chunk" in told else code
