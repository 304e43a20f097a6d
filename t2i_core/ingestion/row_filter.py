"""A filter over columns, such as `width >= 256 and similarity >= 0.3`: read as an expression, never run as code.

As in a database, a cell that is empty or not there makes a comparison neither true nor false, and only what is true is
kept: `not nsfw > 0.5` leaves out the rows that have no `nsfw`.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from t2i_core.errors import ConfigError

MAX_FILTER_CHARS = 2000
MAX_FILTER_DEPTH = 50
_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_MIRRORED = {ast.Gt: ast.Lt, ast.GtE: ast.LtE, ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Eq: ast.Eq, ast.NotEq: ast.NotEq}
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}

_Literal = float | str | bool
_Verdict = bool | None
_Test = Callable[[Mapping[str, Any]], _Verdict]


class IncomparableError(Exception):
    """A cell is no number, or neither true nor false, where it is compared with one."""


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A filter that was read.

    Attributes:
        columns: that it asks for.
    """

    columns: frozenset[str]
    _test: _Test

    @classmethod
    def parse(cls, text: str) -> "RowFilter":
        """Read a filter: columns compared with numbers, 'texts', True and False, joined by and, or, not and brackets.

        Raises:
            ConfigError: it is not one.
        """
        if len(text) > MAX_FILTER_CHARS:
            raise ConfigError(f"the filter is longer than {MAX_FILTER_CHARS:,} characters.")
        columns: set[str] = set()
        try:
            tree = ast.parse(text.strip(), mode="eval")
            test = _test_of(tree.body, columns, MAX_FILTER_DEPTH)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as err:
            why = err.msg if isinstance(err, SyntaxError) else err
            raise ConfigError(
                f"cannot read the filter {text!r}: {why}. Compare columns with numbers or 'texts' (>=, <=, >, <, ==, "
                "!=, in, not in), joined by and, or, not and brackets, such as: width >= 256 and similarity >= 0.3"
            ) from err
        return cls(frozenset(columns), test)

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row stays.

        Raises:
            IncomparableError: a cell is no number where it is compared with one.
        """
        return self._test(row) is True


def _test_of(node: ast.expr, columns: set[str], depth: int) -> _Test:
    """Read a condition, noting its columns, that holds no more conditions inside each other than `depth`.

    Raises:
        ValueError: it is none.
    """
    if not depth:
        raise ValueError(f"more than {MAX_FILTER_DEPTH} conditions inside each other")
    if isinstance(node, ast.BoolOp):
        tests = [_test_of(value, columns, depth - 1) for value in node.values]
        return _all(tests) if isinstance(node.op, ast.And) else _any(tests)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _not(_test_of(node.operand, columns, depth - 1))
    if isinstance(node, ast.Compare):
        return _all(list(_comparisons(node, columns)))
    raise ValueError(f"{ast.unparse(node)} is no comparison")


def _all(tests: list[_Test]) -> _Test:
    def test(row: Mapping[str, Any]) -> _Verdict:
        verdicts = [test(row) for test in tests]
        return False if False in verdicts else None if None in verdicts else True

    return test


def _any(tests: list[_Test]) -> _Test:
    def test(row: Mapping[str, Any]) -> _Verdict:
        verdicts = [test(row) for test in tests]
        return True if True in verdicts else None if None in verdicts else False

    return test


def _not(inner: _Test) -> _Test:
    def test(row: Mapping[str, Any]) -> _Verdict:
        verdict = inner(row)
        return None if verdict is None else not verdict

    return test


def _comparisons(node: ast.Compare, columns: set[str]) -> Iterator[_Test]:
    """Read `a < b < c` as its pairs, of which one side is a column and the other is not."""
    for operation, (left, right) in zip(node.ops, pairwise([node.left, *node.comparators]), strict=True):
        kind = type(operation)
        if isinstance(left, ast.Name) == isinstance(right, ast.Name):
            raise ValueError(f"{ast.unparse(node)} compares no column with a value")
        if isinstance(right, ast.Name):
            if kind not in _MIRRORED:
                raise ValueError(f"{ast.unparse(node)} has its sides the wrong way round")
            left, right, kind = right, left, _MIRRORED[kind]
        assert isinstance(left, ast.Name)
        columns.add(left.id)
        yield _comparison(left.id, kind, right)


def _comparison(column: str, kind: type[ast.cmpop], value: ast.expr) -> _Test:
    if kind in (ast.In, ast.NotIn):
        if not isinstance(value, ast.Tuple | ast.List | ast.Set):
            raise ValueError("in needs a list of values, such as ('a', 'b')")
        equal = _any([_ordered(column, operator.eq, _literal(item)) for item in value.elts])
        return equal if kind is ast.In else _not(equal)
    if kind not in _ORDERS:
        raise ValueError("columns are compared with >=, <=, >, <, ==, !=, in and not in")
    return _ordered(column, _ORDERS[kind], _literal(value))


def _literal(node: ast.expr) -> _Literal:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        if isinstance(value, int | float):
            return -float(value)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
        return node.value if isinstance(node.value, bool | str) else float(node.value)
    raise ValueError(f"{ast.unparse(node)} is neither a number nor a 'text'")


def _ordered(column: str, order: Callable[[Any, Any], bool], literal: _Literal) -> _Test:
    def test(row: Mapping[str, Any]) -> _Verdict:
        cell = row.get(column)
        if cell is None or cell == "" or cell != cell:
            return None
        value = _like(cell, literal, column)
        return None if value != value else order(value, literal)

    return test


def _like(cell: Any, literal: _Literal, column: str) -> _Literal:
    """Give a cell as the kind of value that it is compared with; tables of text hold numbers as texts."""
    if isinstance(literal, str):
        return str(cell)
    if isinstance(literal, bool):
        truth = _TRUTHS.get(str(cell).strip().lower())
        if truth is None:
            raise IncomparableError(f"the filter compares column '{column}' with {literal}, but it holds {cell!r:.50}")
        return truth
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError) as err:
        message = f"the filter compares column '{column}' with a number, but it holds {cell!r:.50}"
        raise IncomparableError(message) from err
