"""Files of records come back as they were written, or not at all."""

from pathlib import Path

import pytest

from t2i_core.data.dataset.history import OptOut, read_opt_outs, write_opt_outs
from t2i_core.data.dataset.tombstone import Tombstone, read_tombstones, write_tombstones
from t2i_core.data.shards.versions import Version, read_log, write_log
from t2i_core.errors import DataError

STONES = [Tombstone(key="0", uid="a", url_sha256="b"), Tombstone(key="1", uid="\u2028", url_sha256="c")]
VERSIONS = [Version(number=1, digest="d", kept=2), Version(number=2, digest="e", parent="d", kept=1, erased=1)]
OPT_OUTS = [OptOut(version=2, key="0", uid="a", url_sha256="b", reason="robots")]
LISTS = {
    "purged.jsonl": (read_tombstones, write_tombstones, STONES, "Restore it: it keeps"),
    "versions.jsonl": (read_log, write_log, VERSIONS, "Delete it: the next refresh"),
    "opt_outs.jsonl": (read_opt_outs, write_opt_outs, OPT_OUTS, "Restore it, or delete it"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_what_was_written_or_says_what_to_do(name: str, tmp_path: Path) -> None:
    read, write, records, advice = LISTS[name]
    assert read(tmp_path) == [] == read(tmp_path / "not there") == read(Path(__file__))  # type: ignore[operator]
    write(tmp_path, records)  # type: ignore[operator]
    assert read(tmp_path) == records  # type: ignore[operator]

    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=rf"(?s){name} is damaged \(.*\)\. {advice}"):
        read(tmp_path)  # type: ignore[operator]
    path.unlink()
    path.symlink_to(__file__)
    with pytest.raises(DataError, match="link"):
        read(tmp_path)  # type: ignore[operator]
