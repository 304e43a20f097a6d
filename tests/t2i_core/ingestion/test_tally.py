"""The figures of an ingest under way, on a clock that the test turns."""

from t2i_core.data.attempt import Attempt
from t2i_core.data.picture import Picture
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.ingestion.tally import Tally
from t2i_core.progress import Progress, describe_progress

RECORD = SourceRecord(url="http://a.example/1.png")
PICTURE = Picture(data=b"", width=1, height=1, original_width=1, original_height=1, sha256="")


class Run:
    """A tally, the clock it goes by, and what it told."""

    def __init__(self, total: int) -> None:
        self.time = 100.0
        self.told: list[Progress] = []
        self.tally = Tally(total, self.told.append, clock=lambda: self.time)

    def keep(self, count: int, *, each: float, num_bytes: int = 0) -> None:
        for _ in range(count):
            self.time += each
            if num_bytes:
                self.tally.add_body(num_bytes)
            self.tally.add(Attempt(RECORD, PICTURE))

    def reject(self, reason: RejectReason, count: int) -> None:
        for _ in range(count):
            self.tally.add(Attempt(RECORD, Rejection(reason)))

    def reuse(self, count: int, *, seconds: float) -> None:
        self.time += seconds
        self.tally.add_reused(count - 1, {"dns": 1})

    def last(self) -> Progress:
        self.tally.report()
        return self.told[-1]


def test_all_figures_are_told_in_one_line() -> None:
    run = Run(total=4000)
    run.reject(RejectReason.ROBOTS, 3)
    run.reject(RejectReason.DNS, 1)
    run.reject(RejectReason.TIMEOUT, 2)
    run.reject(RejectReason.HTTP_4XX, 1)
    run.keep(1993, each=0.01, num_bytes=10_000)

    assert describe_progress(run.last()) == (
        "ingest: 2,000 of 4,000 pictures, fetched 1,993, kept 1,993, rejected 7 (robots 3, timeout 2, dns 1, ...), "
        "pictures/s 100.4, MB/s 1, 0:00:20 left"
    )


def test_who_is_waited_for_is_told_while_nothing_is_done() -> None:
    run = Run(total=4)
    run.keep(1, each=1)
    told = len(run.told)

    run.tally.wait_for("0:00:02 for a.example")
    assert len(run.told) == told
    run.tally.wait_for("")
    assert len(run.told) == told
    run.tally.wait_for("0:00:04 for a.example")

    assert describe_progress(run.told[-1]).split(", ", 4)[-1].startswith("waiting 0:00:04 for a.example")
    assert run.last().waiting == ""


def test_pictures_from_disk_have_no_figures_of_the_network() -> None:
    run = Run(total=2)
    run.keep(2, each=0.5)

    assert describe_progress(run.last()) == "ingest: 2 of 2 pictures, kept 2, rejected 0, pictures/s 2"


def test_shards_that_were_there_do_not_make_it_seem_fast() -> None:
    run = Run(total=1000)
    run.reuse(400, seconds=7)
    run.reuse(400, seconds=7)
    assert (run.last().done, run.last().seconds_left) == (800, None)

    run.keep(100, each=1.0)
    run.reuse(50, seconds=0.0)

    assert run.last().fields["pictures/s"] == 1.0
    assert round(run.told[-1].seconds_left or 0) == 1000 - 950


def test_the_time_left_follows_the_pace_of_late() -> None:
    run = Run(total=2000)
    run.keep(1000, each=0.01)
    run.keep(400, each=1.0)

    assert run.last().fields["pictures/s"] == 1.0
    assert round(run.told[-1].seconds_left or 0) == 600


def test_it_is_told_a_few_times_a_second_only() -> None:
    run = Run(total=1000)
    run.keep(1000, each=0.01)

    assert 35 <= len(run.told) <= 40
    assert [progress.done for progress in run.told] == sorted(progress.done for progress in run.told)
