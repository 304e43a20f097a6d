"""Files and folders are written under other names until they are whole."""

from pathlib import Path

import pytest

from t2i_core.folders.atomic import name_to_be, other_name


@pytest.mark.parametrize("name", ["manifest.json", "00000.parquet", "00000_stats.json", "00000", "LICENSE", ".hidden"])
def test_another_name_tells_the_name_to_be(tmp_path: Path, name: str) -> None:
    assert name_to_be(other_name(tmp_path / name)) == name


@pytest.mark.parametrize("name", ["a.0123abcd", ".0123abcd", ".a.0123abc", ".a.0123ABCD", ".00000.journal"])
def test_other_names_are_none_of_these(tmp_path: Path, name: str) -> None:
    assert name_to_be(tmp_path / name) == ""
