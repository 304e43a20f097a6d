import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from t2i_core.data.shards.tar import TarWriter


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (511, 512, 513), (10_000, 0, 20_479), (70_000,) * 3])
def test_the_bytes_are_those_that_tarfile_writes(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    members = {f"{number:06}.{'x' * number}json": bytes([number]) * size for number, size in enumerate(sizes)}
    writer = TarWriter(tmp_path / "a.tar")
    for name, data in members.items():
        writer.add({name: data})
    writer.finish()
    writer.close()
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uname, member.gname = len(data), 0o444, "bigdata", "bigdata"
            tar.addfile(member, io.BytesIO(data))
    assert (tmp_path / "a.tar").read_bytes() == expected.getvalue()
    assert (writer.size, writer.sha256) == (len(expected.getvalue()), hashlib.sha256(expected.getvalue()).hexdigest())


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    writer = TarWriter(tmp_path / "a.tar")
    with pytest.raises(ValueError, match="too long"):
        writer.add({"x" * 101: b""})
    writer.close()
