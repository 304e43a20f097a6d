import random
import subprocess
import sys

import pyarrow as pa
import pytest

from t2i_core.data.shards.columns import column_of, table_of


@pytest.mark.parametrize("kind", [pa.string(), pa.int32(), pa.int64()])
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize("nulls", [0.0, 0.3, 1.0])
def test_columns_are_those_of_pyarrow(kind: pa.DataType, length: int, nulls: float) -> None:
    rng = random.Random(length)
    choices = ["", "a", "grün 😀", "x" * 300] if pa.types.is_string(kind) else [0, -1, 7, 2**31 - 1]
    values = [None if rng.random() < nulls else rng.choice(choices) for _ in range(length)]
    column = column_of(values, kind)
    column.validate(full=True)
    assert column.equals(pa.array(values, kind)) and column.null_count == values.count(None)


def test_a_row_that_lacks_a_column_is_null_there() -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.int64())])
    assert table_of([{"a": "x", "b": 1}, {"b": 2}, {}], schema).to_pylist() == [
        {"a": "x", "b": 1},
        {"a": None, "b": 2},
        {"a": None, "b": None},
    ]


def test_an_integer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError):
        column_of([2**31], pa.int32())


def test_pandas_is_not_loaded() -> None:
    told = "import sys, pyarrow as pa; from t2i_core.data.shards.columns import column_of;"
    told += "column_of(['a', None], pa.string())"
    subprocess.run([sys.executable, "-c", f"{told}; sys.exit('pandas' in sys.modules)"], check=True)
