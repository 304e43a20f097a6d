"""A whole ingest of 5,000 URLs from a server that does all that servers do wrong: what becomes of each, and manners."""

import csv
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from time import monotonic

import pyarrow.parquet as pq
import pytest

from t2i_core.data import address
from t2i_core.data.account.ledger import HOSTS_NAME
from t2i_core.data.dataset.verify import verify
from t2i_core.data.reject import RejectReason
from t2i_core.data.web.transport import MAX_SENDS
from t2i_core.folders.manifest import StepRef
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.retry import retry_ingest
from t2i_core.ingestion.step import ingest
from tests.t2i_core.data.web.fault_plan import LISTED, MAX_BYTES, MAX_PIXELS, RETRY_AFTER_SECONDS, Row, make_plan
from tests.t2i_core.data.web.fault_server import FaultServer

NUM_ROWS = 5000
# So many that few wait for the same one: waiting is most of what the run does.
NUM_ORIGINS = 36
RETRIES = 1
PER_HOST = 2
TIMEOUT_SECONDS = 2.5
BREAKING = ("reset", "cut", "short", "broken chunks", "408", "425", "500", "502", "504")
FORBIDDEN = (LISTED, "/denied/", "/reserved/", "/not-for-ai/")
# A client that ends a request has its place free before the server hears of it.
SECONDS_TO_HEAR = 0.5
WAIT_SLACK_SECONDS = 0.01


@dataclass(frozen=True)
class Run:
    """What was asked for, and what came of it: at once, and after asking again for what had failed for a while."""

    server: FaultServer
    rows: list[Row]
    first: list[str]
    second: list[str]
    num_first_requests: int
    ref: StepRef
    dataset: Path
    finished: bool


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("faults")
    with FaultServer(NUM_ORIGINS).serving() as server, pytest.MonkeyPatch.context() as patch:
        # This one address plays the public internet; every other is as public as it is.
        is_public = address.is_public
        patch.setattr(address, "is_public", lambda ip: ip == ip_address("127.0.0.1") or is_public(ip))
        rows, denied = make_plan(server, NUM_ROWS, seed=1)
        (folder / "denied.txt").write_text("\n".join(denied))
        write_list(folder / "list.csv", rows)
        yield ingest_both(server, rows, folder)


def write_list(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("url", "caption"), *((row.url, row.caption) for row in rows)])


def ingest_both(server: FaultServer, rows: list[Row], folder: Path) -> Run:
    config = IngestConfig(
        image_size=32,
        max_bytes=MAX_BYTES,
        max_pixels=MAX_PIXELS,
        deny_list=str(folder / "denied.txt"),
        connections_per_host=PER_HOST,
        timeout_seconds=TIMEOUT_SECONDS,
        retries=RETRIES,
    )
    source, dataset = str(folder / "list.csv"), folder / "dataset"
    seconds = deadline_seconds(rows)
    refs, finished = within(seconds, lambda: ingest(source, config, dataset))
    first, num_requests = reasons_in(dataset), len(server.log)
    within(seconds, lambda: retry_ingest(source, config, dataset, {RejectReason.HTTP_5XX}))
    return Run(server, rows, first, reasons_in(dataset), num_requests, refs, dataset, finished)


def deadline_seconds(rows: list[Row]) -> float:
    """Say when a run has to be over: as if each origin met its faults one by one, and 50 sources were done a second."""
    faults = Counter(row.fault for row in rows)
    slow = sum(number for fault, number in faults.items() if fault.startswith(("stall", "a byte")))
    busy = sum(number for fault, number in faults.items() if fault.startswith(("429", "503")))
    broken = sum(number for fault, number in faults.items() if fault.startswith(BREAKING))
    one_by_one = slow * (RETRIES + 1) * (TIMEOUT_SECONDS + 2.0**RETRIES) + busy * (RETRIES + 1) * RETRY_AFTER_SECONDS
    one_by_one += broken * RETRIES
    return one_by_one / NUM_ORIGINS + len(rows) / 50


def within(seconds: float, work: Callable[[], StepRef]) -> tuple[StepRef, bool]:
    """Do something that may hang, and tell whether it was over in time."""
    done: list[StepRef] = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    started = monotonic()
    thread.start()
    thread.join(2 * seconds)
    assert done, f"failed, or still not over after {2 * seconds:.0f} s"
    return done[0], monotonic() - started <= seconds


def reasons_in(dataset: Path) -> list[str]:
    """Give what became of each source, in the order of the list."""
    paths = sorted(dataset.glob("shards/*.parquet"))
    return [reason for path in paths for reason in pq.read_table(path, columns=["reason"])["reason"].to_pylist()]


def wrong(rows: list[Row], expected: list[str], found: list[str]) -> list[str]:
    told = zip(rows, expected, found, strict=True)
    return [f"{row.fault} ({row.url}): {want or 'kept'}, not {got or 'kept'}" for row, want, got in told if want != got]


def test_every_good_picture_is_kept_and_every_other_has_its_reason(run: Run) -> None:
    assert wrong(run.rows, [row.reason for row in run.rows], run.first) == []
    counts = Counter(row.reason for row in run.rows)
    assert len(run.rows) == NUM_ROWS == run.ref.counts["seen"]
    assert counts[""] == run.ref.counts["kept"] > 2500
    for reason in counts.keys() - {""}:
        assert run.ref.counts[f"rejected:{reason}"] == counts[reason]


def test_a_later_try_brings_what_failed_for_a_while_and_nothing_else(run: Run) -> None:
    assert wrong(run.rows, [row.retried for row in run.rows], run.second) == []
    assert not verify(run.dataset).damaged


def test_it_is_over_before_its_deadline(run: Run) -> None:
    assert run.finished


def test_no_request_follows_a_denial(run: Run) -> None:
    denied: set[tuple[int, str]] = set()
    again = []
    for request in run.server.log:
        if (request.port, request.path) in denied:
            again.append(request)
        if request.denied:
            denied.add((request.port, request.path))
    assert len(denied) == len({row.url for row in run.rows if row.fault == "denied"})
    assert again == []


def test_what_a_site_or_a_list_forbids_is_never_asked_for(run: Run) -> None:
    assert [request for request in run.server.log if request.path.startswith(FORBIDDEN)] == []
    # Each origin is asked for its rules before anything else.
    first: dict[int, str] = {}
    for request in run.server.log:
        first.setdefault(request.port, request.path)
    assert set(first.values()) == {"/robots.txt"}


def test_no_request_comes_before_a_retry_after_has_passed(run: Run) -> None:
    waits = [(number, request) for number, request in enumerate(run.server.log) if request.free_at]
    assert len(waits) > 60
    early = []
    for number, asked in waits:
        meanwhile = [
            other
            for other in run.server.log[number + 1 :]
            if other.port == asked.port and other.started < asked.free_at - WAIT_SLACK_SECONDS
        ]
        early += [other for other in meanwhile if other.path == asked.path]
        # Those that were under way, and those that took their places before the answer had been read.
        assert len(meanwhile) <= 2 * PER_HOST
    assert early == []


def test_no_origin_sees_more_requests_at_once_than_allowed(run: Run) -> None:
    changes: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
    for request in run.server.log:
        ended = request.ended - SECONDS_TO_HEAR if request.cut else request.ended
        changes[request.port] += [(request.started, 1), (max(ended, request.started), -1)]
    most = {port: peak(moments) for port, moments in changes.items()}
    assert len(most) == NUM_ORIGINS
    assert max(most.values()) == PER_HOST


def peak(moments: list[tuple[float, int]]) -> int:
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most


def test_nothing_is_asked_for_more_often_than_the_options_say(run: Run) -> None:
    tries = {row.url: most_tries(row.fault) for row in run.rows}
    log = run.server.log[: run.num_first_requests]
    asked = Counter(f"http://127.0.0.1:{request.port}{request.path}" for request in log)
    # What redirects lead to is asked for once by each of them.
    once = [row.url for row in run.rows if row.reason and not row.fault.startswith(("denied", "loop"))]
    assert {url: asked[url] for url in once if asked[url] > tries[url]} == {}
    assert {asked[row.url] for row in run.rows if row.fault in ("stall", "429")} == {RETRIES + 1}


def most_tries(fault: str) -> int:
    if fault.startswith("reset"):
        # It may meet a kept connection, whose end says nothing about the URL.
        return MAX_SENDS * (RETRIES + 1)
    return RETRIES + 1 if fault.startswith(("stall", "a byte", "429", "503", *BREAKING)) else 1


def test_every_request_is_in_the_account_of_hosts(run: Run) -> None:
    (host,) = [entry for entry in json.loads((run.dataset / HOSTS_NAME).read_bytes())["hosts"] if entry["requests"]]
    assert host["requests"] == len(run.server.log)
