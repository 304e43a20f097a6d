"""Folders from elsewhere: what does not belong into a kind of folder is refused before anything is read."""

import os
import socket
from pathlib import Path

import pytest

from t2i_core.door import create_file, open_file, open_folder, open_to_append, read_file
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.atomic import staged_folder, write_atomically
from t2i_core.folders.claim import claim_folder
from t2i_core.folders.layout import LAYOUTS, inspect_folder
from t2i_core.folders.manifest import OutputFile, StepKey


def test_a_link_is_not_opened_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(DataError, match="is a link"):
        read_file(tmp_path / "link", 100)


def test_a_link_among_the_folders_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("secret")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/shards").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "big_disk").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DataError, match="shards is a link"):
        read_file(tmp_path / "set/shards/file", 100, levels=1)
    with pytest.raises(DataError, match="shards is a link"), open_folder(tmp_path / "set/shards", levels=1):
        pass
    assert read_file(tmp_path / "big_disk/file", 100) == b"secret"


def test_a_pipe_a_socket_and_a_device_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))

    for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
        with pytest.raises(DataError, match=r"pipe|socket|device"):
            open_file(path)
    with pytest.raises(DataError, match="pipe"):
        open_to_append(tmp_path / "pipe")


def test_a_file_larger_than_it_may_be_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(DataError, match="1,099,511,627,776 bytes"):
        read_file(tmp_path / "huge", 1000)


def test_nothing_is_appended_to_a_file_that_has_another_name(tmp_path: Path) -> None:
    (tmp_path / "bashrc").write_text("mine")
    (tmp_path / "train.log").hardlink_to(tmp_path / "bashrc")
    (tmp_path / "link.log").symlink_to(tmp_path / "bashrc")

    with pytest.raises(DataError, match="hard link"):
        open_to_append(tmp_path / "train.log")
    with pytest.raises(DataError, match="is a link"):
        open_to_append(tmp_path / "link.log")
    assert (tmp_path / "bashrc").read_text() == "mine"


def test_a_new_file_takes_the_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "new").symlink_to(tmp_path / "victim")

    with create_file(tmp_path / "new") as file:
        file.write(b"ours")

    assert ((tmp_path / "victim").read_text(), (tmp_path / "new").read_text()) == ("mine", "ours")


def test_files_get_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"x")
        with staged_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("kind", LAYOUTS)
def test_only_known_names_may_lie_in_a_finished_folder(kind, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "card.txt").write_text("listed")
    inspect_folder(tmp_path, kind, {"card.txt"})
    (tmp_path / ".DS_Store").write_text("left by a file manager")
    inspect_folder(tmp_path, kind, {"card.txt"})

    for name in ("torch.py", ".hidden", "deep/file"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        with pytest.raises(DataError, match="does not belong"):
            inspect_folder(tmp_path, kind, {"card.txt", ".hidden"})
        path.unlink()


def test_a_file_under_way_may_lie_in_an_unfinished_folder(tmp_path: Path) -> None:
    scratch = ("_parts/_pages.sqlite", "_parts/_crawlx_1y/sitemaps.sqlite", "_parts/_identities/000")
    for name in ("shards/.00000.journal", "shards/.00001.parquet.0a1b2c3d", *scratch, "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    inspect_folder(tmp_path, "dataset")
    with pytest.raises(DataError, match=r"notes\.txt does not belong"):
        inspect_folder(tmp_path, "dataset", set())


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "", "a//b", "./a", "a\0"])
def test_an_output_lies_inside_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="no path of a file in this folder"):
        OutputFile(path=path, size=0, sha256="")


@pytest.mark.parametrize("url", ["s3://bucket/run", "gs:/x", "hdfs://h:9/x"])
def test_the_address_of_a_store_is_no_output_folder(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match="address of a store"):
        claim_folder(Path(url), StepKey(step="train", version=1, config={}, inputs={}), "refuse")
    assert list(tmp_path.iterdir()) == []


def test_a_person_may_link_a_folder_to_another_disk(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    keys = [StepKey(step="train", version=version, config={}, inputs={}) for version in (1, 2)]

    claim_folder(tmp_path / "run", keys[0], "refuse")
    claim_folder(tmp_path / "run", keys[1], "replace")
    assert (tmp_path / "run").is_symlink()
    assert '"version": 2' in (tmp_path / "disk/step.json").read_text()
    assert '"version": 1' in (tmp_path / "disk.previous/step.json").read_text()
    with staged_folder(tmp_path / "run") as stage:
        (stage / "result").write_text("x")
    assert (tmp_path / "run").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["result"]
