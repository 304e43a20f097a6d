"""Each site's files of rules for all workers of a run: one worker asks for a file, the others wait for its answer."""

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from t2i_core.data.bounded.expiring import ExpiringCache
from t2i_core.data.manners.channel import Channel
from t2i_core.data.manners.robots import RULES_SECONDS, RobotsAnswer, may_pass
from t2i_core.data.reject import Rejection, RejectReason

# A site that gave no rules may do so soon.
FAILED_SECONDS = 600.0
MAX_BYTES = 64_000_000
# What a file costs in memory beside its text.
_OVERHEAD_BYTES = 500

Answer = tuple[Any, ...]


@dataclass(slots=True)
class _Asking:
    """A file that a worker is asking for, and who waits for it."""

    asker: Channel
    waiting: deque[tuple[Channel, int]] = field(default_factory=deque)


class RulesStore:
    """Answers what is known, and lets one worker at a time ask for what is not.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._known = ExpiringCache[Answer](MAX_BYTES, clock)
        self._asking: dict[str, _Asking] = {}

    def ask(self, channel: Channel, ask_id: int, url: str) -> None:
        """Send a file to a worker, now or when it is there, or let the worker ask for it."""
        answer = self._known.get(url)
        if answer is not None:
            channel.send("rules", ask_id, *answer)
        elif url in self._asking:
            self._asking[url].waiting.append((channel, ask_id))
        else:
            self._asking[url] = _Asking(channel)
            channel.send("ask", ask_id, url)

    def answer(self, channel: Channel, url: str, answer: Answer) -> None:
        """Take what a worker got, and send it to all who wait.

        Raises:
            ValueError: it is no answer.
        """
        parsed = unpack_answer(*answer)
        asking = self._asking.get(url)
        if asking is None or asking.asker is not channel:
            return
        del self._asking[url]
        seconds = FAILED_SECONDS if is_failed_answer(parsed) else RULES_SECONDS
        self._known.put(url, answer, seconds, len(url) + sys.getsizeof(parsed.text) + _OVERHEAD_BYTES)
        for waiting, ask_id in asking.waiting:
            waiting.send("rules", ask_id, *answer)

    def give_up(self, channel: Channel, url: str) -> None:
        """Let the next who waits ask for a file, because this worker does not."""
        asking = self._asking.get(url)
        if asking is None or asking.asker is not channel:
            return
        if not asking.waiting:
            del self._asking[url]
            return
        asking.asker, ask_id = asking.waiting.popleft()
        asking.asker.send("ask", ask_id, url)

    def leave(self, channel: Channel) -> None:
        """Forget a worker that is gone; what it was asking for, another asks."""
        for url, asking in list(self._asking.items()):
            asking.waiting = deque(entry for entry in asking.waiting if entry[0] is not channel)
            if asking.asker is channel:
                self.give_up(channel, url)


def pack_answer(answer: RobotsAnswer) -> Answer:
    """Make a message of an answer."""
    reason, detail = (answer.failure.reason, answer.failure.detail) if answer.failure else ("", "")
    return answer.status, answer.text, answer.content_type, str(reason), detail


def unpack_answer(status: int, text: str, content_type: str, reason: str, detail: str) -> RobotsAnswer:
    """Read an answer from a message.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(status, int) or not all(isinstance(value, str) for value in (text, content_type, detail)):
        raise ValueError("not an answer")
    failure = Rejection(RejectReason(reason), detail) if reason else None
    return RobotsAnswer(status, text, failure, content_type)


def is_failed_answer(answer: RobotsAnswer) -> bool:
    """Tell whether a site may give its rules when it is asked again."""
    return answer.failure is not None or may_pass(answer.status) or not 200 <= answer.status < 500
