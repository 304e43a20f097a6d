"""Limits on rejects: how they are read, and what is said when one does not hold."""

from pathlib import Path

import pytest

from t2i_core.data.reject import RejectReason
from t2i_core.errors import ConfigError, DataError
from t2i_core.ingestion.config import IngestConfig, ingest_key
from t2i_core.ingestion.limits import parse_limits, require_few_rejects

COUNTS = {"seen": 10, "kept": 7, "rejected": 3, "rejected:timeout": 2, "rejected:too_small": 1}


def require(*limits: str) -> None:
    require_few_rejects(COUNTS, limits, "list.csv", Path("ds"))


def test_limits_are_read() -> None:
    assert parse_limits(["timeout=0.1", " DNS=0"]) == {RejectReason.TIMEOUT: 0.1, RejectReason.DNS: 0.0}


@pytest.mark.parametrize("entry", ["timeot=0.1", "timeout", "timeout=-1", "timeout=1.1", "timeout=nan", "timeout=x"])
def test_a_wrong_limit_is_refused_with_the_config(entry: str) -> None:
    with pytest.raises(ConfigError):
        IngestConfig.parse({"max_reject_share": [entry]})


def test_as_many_as_allowed_are_well() -> None:
    require()
    require("timeout=0.2", "too_small=1", "dns=0")


def test_more_fail_and_it_is_said_how_to_go_on() -> None:
    with pytest.raises(DataError, match=r"2 of 10 .*\(20\.0%\).* as timeout .*more than the 19\.0%.*--retry timeout"):
        require("too_small=0.1", "timeout=0.19")
    with pytest.raises(DataError) as final:
        require("too_small=0")
    assert "--retry" not in str(final.value)


def test_a_limit_does_not_make_another_dataset(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url,caption\nhttp://a.example/1.png,a\n")
    source, plain = str(tmp_path / "list.csv"), IngestConfig()

    assert ingest_key(source, plain) == ingest_key(source, plain.with_changes(max_reject_share=("timeout=0.5",)))
