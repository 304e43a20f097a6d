"""Tars as `tarfile` reads them, and tars that were made to hang or to drown whoever reads them."""

import io
import json
import resource
import struct
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.data.account.thumbnail import read_pictures
from t2i_core.data.shards.reader import iter_samples, picture_places, read_checksums
from t2i_core.data.shards.tar_reader import BLOCK, Member, TarError, iter_members, read_member
from t2i_core.data.sources.orphans import OrphanLog
from t2i_core.data.sources.shards import read_shards
from t2i_core.errors import ConfigError, DataError

ENDLESS = b"\0" * 10_240


def header(name: str = "000000000.jpg", size: bytes = b"%011o\0" % 0, kind: bytes = b"0") -> bytes:
    """Spell a header with any size at all, and a sum that is right."""
    spelled = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    spelled[124:136] = size.ljust(12, b"\0")
    spelled[156:157] = kind
    spelled[148:156] = b" " * 8
    spelled[148:156] = b"%06o\0 " % sum(spelled)
    return bytes(spelled)


def members(path: Path) -> list[Member]:
    with path.open("rb") as file:
        return list(iter_members(file))


BACK = [
    b"-0000001000",
    b"-1",
    struct.pack(">4sq", b"\xff" * 4, -512),
    struct.pack(">4sq", b"\xff" * 4, -1024),
    struct.pack(">4sq", b"\x80\0\0\0", 2**62),
    b"777777777777",
    b"0x200",
    b"1e3",
]


@pytest.mark.parametrize("size", BACK)
def test_a_size_that_cannot_be_ends_every_reader(size: bytes, tmp_path: Path) -> None:
    """`tarfile` and the old readers went back to the same header for ever."""
    (tmp_path / "shards").mkdir()
    path = tmp_path / "shards/00000.tar"
    path.write_bytes(header(size=b"%011o\0" % 3) + b"abc".ljust(BLOCK, b"\0") + header(size=size) + ENDLESS)

    with pytest.raises(TarError):
        members(path)
    with pytest.raises(DataError):
        list(iter_samples(path))
    found, problem = read_checksums(path)
    assert (found, "damaged" in problem) == ({}, True)
    with pytest.raises(DataError):
        picture_places(path)
    with pytest.raises(ConfigError), OrphanLog(tmp_path) as orphans:
        list(read_shards(tmp_path, orphans))
    assert list(read_pictures(path, {"000000000", "1"})) == ["000000000"]


def pax(fields: dict[str, str]) -> bytes:
    info = tarfile.TarInfo("000000000.jpg")
    info.pax_headers = fields
    return info.tobuf(tarfile.PAX_FORMAT)[:-BLOCK]


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_a_name_of_gigabytes_is_not_taken_into_memory(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    with path.open("wb") as file:
        file.write(header("././@LongLink", b"%011o\0" % (3 * 2**30 - 1), kind))
        file.truncate(3 * 2**30 + BLOCK)
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(TarError, match="extended header of 3,221,225,471 bytes"):
        members(path)
    with pytest.raises(ConfigError), OrphanLog(tmp_path) as orphans:
        list(read_shards(tmp_path, orphans))

    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("size", ["-512", "99999999999999999999999", "x", "10000"])
def test_a_pax_header_cannot_state_a_size_that_cannot_be(size: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pax({"size": size}) + header() + ENDLESS[:BLOCK])

    with pytest.raises(TarError):
        members(tmp_path / "a.tar")


@pytest.mark.parametrize("body", [b"5 a=b\n", b"99 path=x\n", b"path=x\n", b"0 \n", b"12 path=x\0\0\0"])
def test_a_damaged_pax_header_is_told(body: bytes, tmp_path: Path) -> None:
    spelled = header(size=b"%011o\0" % len(body), kind=b"x") + body.ljust(BLOCK, b"\0") + header() + ENDLESS
    (tmp_path / "a.tar").write_bytes(spelled)

    with pytest.raises(TarError, match="extended header is damaged"):
        members(tmp_path / "a.tar")


def test_empty_members_and_headers_of_headers_come_to_an_end(tmp_path: Path) -> None:
    name = header("././@LongLink", b"%011o\0" % 4, b"L") + b"long".ljust(BLOCK, b"\0")
    (tmp_path / "a.tar").write_bytes(header() * 2_000 + name * 2_000 + header())

    found = members(tmp_path / "a.tar")

    assert (len(found), found[-1].name, found[0].size) == (2_001, "long", 0)


def test_sparse_files_links_and_devices_are_no_files(tmp_path: Path) -> None:
    kinds = [b"0", b"\0", b"7", b"1", b"2", b"3", b"4", b"5", b"6", b"S"]
    body = b"".join(header(f"{n}.jpg", b"%011o\0" % 0, kind) for n, kind in enumerate(kinds))
    sparse = pax({"GNU.sparse.major": "1", "GNU.sparse.realsize": "9" * 12}) + header("s.jpg")
    (tmp_path / "a.tar").write_bytes(body + sparse + ENDLESS)

    assert [member.name for member in members(tmp_path / "a.tar") if member.is_file] == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_member_that_is_cut_off_is_told_after_those_before_it(tmp_path: Path) -> None:
    whole = header(size=b"%011o\0" % 600) + bytes(1024)
    (tmp_path / "a.tar").write_bytes((whole * 3)[:-900])

    with (tmp_path / "a.tar").open("rb") as file:
        found = iter_members(file)
        assert [next(found).offset, next(found).offset] == [512, 2048]
        with pytest.raises(TarError, match="breaks off in a member of 600 bytes"):
            next(found)


names = st.lists(st.text("abä日.", min_size=1, max_size=80), min_size=1, max_size=4).map("/".join)


@given(
    files=st.lists(st.tuples(names, st.binary(max_size=1200)), max_size=5),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_it_reads_what_tarfile_writes(files: list[tuple[str, bytes]], form: int, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    with tarfile.open(path, "w", format=form) as tar:
        for name, body in files:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            try:
                tar.addfile(info, io.BytesIO(body))
            except ValueError:  # ustar has no room for it
                return
    with tarfile.open(path) as tar:
        expected = [(member.name, member.offset_data, member.size) for member in tar]

    found = members(path)

    assert [(member.name, member.offset, member.size) for member in found] == expected
    with path.open("rb") as file:
        assert [read_member(file, member) for member in found] == [body for _, body in files]


@given(place=st.integers(0, 3 * BLOCK - 1), byte=st.integers(0, 255), rest=st.binary(max_size=BLOCK))
def test_no_byte_makes_it_hang_or_raise_anything_else(place: int, byte: int, rest: bytes, tmp_path_factory) -> None:
    whole = pax({"path": "000000000.jpg"}) + header(size=b"%011o\0" % 5) + b"hello".ljust(BLOCK, b"\0")
    spelled = bytearray(whole)
    spelled[place % len(spelled)] = byte
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    path.write_bytes(bytes(spelled) + rest)

    try:
        found = members(path)
    except TarError:
        return
    assert len(found) <= 4
    assert json.dumps([member.name for member in found])
