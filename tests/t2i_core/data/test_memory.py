"""The memory of a whole ingest does not grow with its list, whether its pictures are fetched or denied."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "ingest_memory.py"


# Two kilobytes kept for each row that is denied, or ten for each that is fetched, are more than so many MB.
@pytest.mark.parametrize(
    ("step", "few", "many", "max_mb"), [("denied", 2000, 10_000, 15), ("pictures", 1000, 4000, 29)]
)
def test_an_ingest_needs_the_same_memory_for_more_rows(step: str, few: int, many: int, max_mb: int) -> None:
    command = [sys.executable, str(BENCHMARK), "--json", "--step", step, "--rows", str(few), str(many)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    short, long = (json.loads(line) for line in done.stdout.splitlines())
    assert (short["rows"], long["rows"]) == (few, many)
    for peak in ("peak_mb", "worker_mb"):
        assert long[peak] - short[peak] < max_mb
