"""How far an ingest has come: what was fetched, kept and rejected, how fast it goes, and how long it will take."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from t2i_core.data.attempt import Attempt
from t2i_core.data.picture import Picture
from t2i_core.progress import OnProgress, Progress

SECONDS_BETWEEN_REPORTS = 0.25
# Speeds are those of the last half minute, so that they follow what goes on now.
WINDOW_SECONDS = 30.0
REASONS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Mark:
    """How much had been done in this run at some time, in seconds."""

    time: float
    attempts: int
    bytes: int


class Tally:
    """Counts what is done and tells it a few times a second.

    What was there before counts as done, but not as fast: speeds and the time left go by this run's own work.
    """

    def __init__(self, total: int, on_progress: OnProgress, clock: Callable[[], float] = monotonic) -> None:
        self._total = total
        self._on_progress = on_progress
        self._clock = clock
        self._kept = self._reused = self._fetched = self._bytes = self._done_before = 0
        self._rejected: Counter[str] = Counter()
        self._told = clock()
        self._window = deque([_Mark(self._told, 0, 0)])

    def add_body(self, num_bytes: int) -> None:
        """Count the answer to a request for a picture: its body, in bytes."""
        self._fetched += 1
        self._bytes += num_bytes

    def add(self, attempt: Attempt) -> None:
        """Count what became of one source."""
        if isinstance(attempt.outcome, Picture):
            self._kept += 1
        else:
            self._rejected[attempt.outcome.reason] += 1
        self._tell()

    def add_reused(self, kept: int, rejected: Mapping[str, int]) -> None:
        """Count what an earlier run did."""
        self._kept += kept
        self._rejected.update(rejected)
        self._reused += kept + sum(rejected.values())
        if self._done == self._reused:
            # The time it took to look at what is there says nothing about what is still to be made.
            self._window = deque([self._mark()])
        self._tell()

    @property
    def _done(self) -> int:
        return self._kept + self._rejected.total()

    def _mark(self) -> _Mark:
        return _Mark(self._clock(), self._done - self._reused, self._bytes)

    def _tell(self) -> None:
        if self._clock() - self._told >= SECONDS_BETWEEN_REPORTS:
            self.report()

    def wait_for(self, whom: str) -> None:
        """Tell who is waited for, where nothing was done since this was last called; "" for nobody."""
        done, self._done_before = self._done - self._done_before, self._done
        if whom and not done:
            self.report(whom)

    def report(self, waiting: str = "") -> None:
        """Tell how far it is.

        Args:
            waiting: who is waited for.
        """
        now = self._mark()
        self._told = now.time
        self._window.append(now)
        while len(self._window) > 2 and now.time - self._window[1].time >= WINDOW_SECONDS:
            self._window.popleft()
        start = self._window[0]
        seconds = max(now.time - start.time, 1e-9)
        rate = (now.attempts - start.attempts) / seconds
        left = self._total - self._done
        self._on_progress(
            Progress(
                step="ingest",
                done=self._done,
                total=self._total,
                unit="pictures",
                fields=self._figures(rate, (now.bytes - start.bytes) / seconds),
                seconds_left=left / rate if rate and left else None,
                waiting=waiting,
            )
        )

    def _figures(self, rate: float, bytes_rate: float) -> dict[str, float | int | str]:
        """Give the figures by name; local pictures are not fetched, and have none of the network."""
        fetched = {"fetched": self._fetched} if self._fetched else {}
        speed = {"pictures/s": round(rate, 1)} | ({"MB/s": round(bytes_rate / 1e6, 1)} if self._fetched else {})
        return {**fetched, "kept": self._kept, "rejected": self._describe_rejected(), **speed}

    def _describe_rejected(self) -> str:
        """Write how many were rejected, and the most frequent reasons: 300 (robots 120, http_4xx 100, dns 50, ...)."""
        ranked = sorted(self._rejected.items(), key=lambda item: (-item[1], item[0]))
        reasons = [f"{reason} {number:,}" for reason, number in ranked[:REASONS_SHOWN]]
        more = ["..."] if len(ranked) > REASONS_SHOWN else []
        return f"{self._rejected.total():,}" + (f" ({', '.join(reasons + more)})" if reasons else "")
