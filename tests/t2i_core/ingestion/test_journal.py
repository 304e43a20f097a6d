"""What an unfinished shard leaves is taken up to the first byte that is not as it was written, and no further."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from t2i_core.data.attempt import Attempt
from t2i_core.data.picture import Picture
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.errors import TransientError
from t2i_core.ingestion.journal import Journal

RECORDS = [SourceRecord(url=f"http://a.example/{number}.png", caption="x") for number in range(5)]
OUTCOMES = [
    Picture(b"first picture", 8, 9, 16, 18, "ab" * 32, "cd" * 8, "GIF", "P", 3, color_grid="ef" * 48),
    Rejection(RejectReason.HTTP_4XX, "HTTP Error 404: Not Found", 404, "http://a.example/moved"),
    Picture(bytes(range(256)), 1, 2, 3, 4, ""),
    Rejection(RejectReason.TOO_SMALL),
    Picture(b"", 5, 6, 7, 8, "\udcff \N{SNOWMAN} \n"),
]
ATTEMPTS = [
    Attempt(record, outcome, 200 + number, record.url, "noai,noindex", 1_000_000_000 + number)
    for number, (record, outcome) in enumerate(zip(RECORDS, OUTCOMES, strict=True))
]
ORDER = [3, 0, 4, 1, 2]


def open_journal(folder: Path, made_with: str = "part and options") -> Journal:
    return Journal(folder, 7, RECORDS, made_with)


def write(folder: Path) -> tuple[Path, list[int]]:
    """Keep all attempts, and give the file and the size it had before the first and after each of them."""
    path = folder / ".00007.journal"
    with open_journal(folder) as journal:
        sizes = [path.stat().st_size]
        for index in ORDER:
            journal.add(index, ATTEMPTS[index])
            sizes.append(path.stat().st_size)
    return path, sizes


def check_resumed(folder: Path, expected: list[int]) -> None:
    """Check that exactly the expected attempts are there, and that the others can be added and are there then."""
    with open_journal(folder) as journal:
        assert [index for index in range(5) if index in journal] == sorted(expected)
        kept = sum(isinstance(OUTCOMES[index], Picture) for index in expected)
        assert (journal.num_kept, journal.rejected.total()) == (kept, len(expected) - kept)
        assert list(journal.attempts(expected)) == [ATTEMPTS[index] for index in expected]
        for index in set(range(5)).difference(expected):
            journal.add(index, ATTEMPTS[index])
        assert list(journal.attempts(range(5))) == ATTEMPTS
    with open_journal(folder) as journal:
        assert list(journal.attempts(range(5))) == ATTEMPTS
        assert (journal.num_kept, journal.rejected.total()) == (3, 2)


def test_what_was_kept_is_there_again_in_any_order(tmp_path: Path) -> None:
    write(tmp_path)
    check_resumed(tmp_path, ORDER)


def test_a_journal_that_breaks_off_anywhere_gives_what_is_whole(tmp_path: Path) -> None:
    path, sizes = write(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        check_resumed(tmp_path, [index for index, end in zip(ORDER, sizes[1:], strict=True) if end <= length])


def test_one_changed_byte_drops_what_follows_and_nothing_before(tmp_path: Path) -> None:
    path, sizes = write(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        expected = [index for index, end in zip(ORDER, sizes[1:], strict=True) if end <= place]
        check_resumed(tmp_path, expected if place >= sizes[0] else [])


# A file system that lost power may give zeros, old blocks, or what belongs elsewhere.
TAILS: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda _: bytes(5000),
    "noise": lambda _: random.Random(1).randbytes(5000),
    "an attempt without its beginning": lambda whole: whole[-200:],
    "the beginning of a journal": lambda whole: whole,
    "sizes beyond any file": lambda _: b"\xff" * 12,
}


@pytest.mark.parametrize("tail", TAILS)
def test_garbage_after_whole_attempts_is_cut_off(tmp_path: Path, tail: str) -> None:
    path, sizes = write(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: sizes[3]] + TAILS[tail](whole))
    check_resumed(tmp_path, ORDER[:3])
    path.write_bytes(TAILS[tail](whole)[: sizes[0] - 1])
    check_resumed(tmp_path, [])


def test_a_hole_in_the_middle_drops_what_follows(tmp_path: Path) -> None:
    path, sizes = write(tmp_path)
    whole = path.read_bytes()
    hole = bytes(sizes[3] - sizes[2])
    path.write_bytes(whole[: sizes[2]] + hole + whole[sizes[3] :])
    check_resumed(tmp_path, ORDER[:2])


def test_what_was_made_from_other_sources_or_options_is_thrown_away(tmp_path: Path) -> None:
    write(tmp_path)
    with open_journal(tmp_path, "another part") as journal:
        assert not any(index in journal for index in range(5))
    check_resumed(tmp_path, [])


def test_only_outages_are_asked_for_again(tmp_path: Path) -> None:
    made = {
        RejectReason.CONNECT: False,
        RejectReason.HTTP_429: False,
        RejectReason.DECODER_FAILED: False,
        RejectReason.OPT_OUT_HEADER: True,
        RejectReason.HTTP_4XX: True,
    }
    attempts = [Attempt(record, Rejection(reason)) for record, reason in zip(RECORDS, made, strict=True)]
    with open_journal(tmp_path) as journal:
        for index, attempt in enumerate(attempts):
            journal.add(index, attempt)
        assert list(journal.attempts(range(5))) == attempts
    with open_journal(tmp_path) as journal:
        assert [index in journal for index in range(5)] == list(made.values())
        assert journal.rejected.total() == 2
        journal.add(0, ATTEMPTS[0])
    with open_journal(tmp_path) as journal:
        assert list(journal.attempts([0, 3])) == [ATTEMPTS[0], attempts[3]]
        assert (journal.num_kept, journal.rejected.total()) == (1, 2)


def test_a_shard_is_made_by_one_run_at_a_time(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.add(0, ATTEMPTS[0])
        with pytest.raises(TransientError, match="another ingest"), open_journal(tmp_path):
            pass
        journal.add(1, ATTEMPTS[1])
    check_resumed(tmp_path, [0, 1])


def test_a_finished_shard_needs_no_journal(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.add(0, ATTEMPTS[0])
        journal.remove()
        assert list(journal.attempts([0])) == [ATTEMPTS[0]]
    assert list(tmp_path.iterdir()) == []
