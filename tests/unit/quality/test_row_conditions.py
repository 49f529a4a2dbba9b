# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: DTZ001  (Parquet timestamps have no zone unless their type says so)
"""Conditions on rows: the same rows as pandas finds, and nothing guessed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.compiled.check import NotCompiledError
from airflow_provider_mlbridge.quality.compiled.conditions import condition_of
from airflow_provider_mlbridge.quality.engines.duckdb_session import Limits, Session, open_session
from airflow_provider_mlbridge.quality.engines.gx import import_gx
from airflow_provider_mlbridge.quality.expectation import Expectation
from airflow_provider_mlbridge.quality.outcome import CannotCheckError
from airflow_provider_mlbridge.quality.table import read_table
from airflow_provider_mlbridge.storage import pin_snapshot

from .reference import MOSTLY, assert_same

pytestmark = [
    # The text forms of a condition, which suites in use still have.
    pytest.mark.filterwarnings("ignore:The condition_parser parameter:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing a string to the row_condition:DeprecationWarning"),
]

MOMENTS = [datetime(2024, 1, day, hour) for day in (1, 2) for hour in (0, 6)]
TABLE = pa.table(
    {
        "i": pa.array([1, 2, None, -3, 5, 0, 2, 7], pa.int64()),
        "k": pa.array([1, 2, 3, 4, 5, 6, 7, 8], pa.int16()),
        "f": pa.array([0.5, math.nan, None, math.inf, -math.inf, -0.0, 2.0, 0.1], pa.float64()),
        "g": pa.array([0.1, 0.5, math.nan, None, 1.0, 2.0, -0.0, math.inf], pa.float32()),
        "s": ["a", "b", None, "", "a'b", 'a"b', "a&b|c", "\u00e9"],
        "b": [True, False, True, True, False, False, True, False],
        "m": [True, None, False, True, None, False, True, False],
        "t": pa.array([*MOMENTS, None, *MOMENTS[:3]], pa.timestamp("us")),
        "z": pa.array([*MOMENTS, None, *MOMENTS[:3]], pa.timestamp("us", tz="UTC")),
        "ns": pa.array([*MOMENTS, None, *MOMENTS[:3]], pa.timestamp("ns", tz="UTC")),
        "two words": [1, None, 3, 4, 5, 6, 7, 8],
        "d": pa.array([moment.date() for moment in MOMENTS] + [None] * 4, pa.date32()),
        "from": ["x", "y", None, "x", "y", "x", "y", "x"],
    }
)
NUMBERS = st.one_of(st.integers(-4, 9), st.sampled_from([0.1, 0.5, -0.5, 2.0]))
TEXTS = st.sampled_from(["a", "b", "", "a'b", 'a"b', "a&b|c", "\u00e9", "x", "zz"])
COMPARISONS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
OPERANDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(["i", "k", "f", "g", "two words"], NUMBERS),
    **dict.fromkeys(["s", "from"], TEXTS),
}


def quoted(name: str) -> str:
    return f"`{name}`" if name in ("two words", "from") else name


@st.composite
def documents(draw: st.DrawFn, *, depth: int = 2) -> dict[str, Any]:
    """A condition as suites of Great Expectations keep it."""
    kind = draw(st.integers(0, 4 if depth else 2))
    if kind > 2:
        inner = documents(depth=0 if depth == 1 or kind == 4 else 1)
        items = draw(st.lists(inner, min_size=1, max_size=3))
        if kind == 3:
            # Great Expectations takes no "or" within an "and", nor within another.
            items = [item for item in items if item["type"] != "or"] or [draw(documents(depth=0))]
        return {"type": "and" if kind == 3 else "or", "conditions": items}
    name = draw(st.sampled_from(sorted(OPERANDS)))
    column = {"name": name}
    if kind == 0:
        return {"type": "nullity", "column": column, "is_null": draw(st.booleans())}
    if kind == 1:
        values = draw(st.lists(OPERANDS[name], max_size=4))
        operator = draw(st.sampled_from(["IN", "NOT_IN"]))
        return {"type": "comparison", "column": column, "operator": operator, "parameter": values}
    operator, value = draw(COMPARISONS), draw(OPERANDS[name])
    return {"type": "comparison", "column": column, "operator": operator, "parameter": value}


@st.composite
def expressions(draw: st.DrawFn, *, depth: int = 2) -> str:
    """A condition in the language of ``DataFrame.query``."""
    kind = draw(st.integers(0, 10 if depth else 7))
    if kind > 7:
        a, b = draw(expressions(depth=depth - 1)), draw(expressions(depth=depth - 1))
        word = draw(st.sampled_from(["and", "or", "&", "|"]))
        return draw(st.sampled_from([f"{a} {word} {b}", f"({a}) {word} ({b})", f"not ({a})", f"~({b})"]))
    name = draw(st.sampled_from(sorted(OPERANDS)))
    column, value = quoted(name), draw(OPERANDS[name])
    match kind:
        case 0:
            method = draw(st.sampled_from(["isnull", "notnull", "isna", "notna"]))
            return f"{column}.{method}()"
        case 1:
            values = draw(st.lists(OPERANDS[name], max_size=4))
            return f"{column} {draw(st.sampled_from(['in', 'not in', '==', '!=']))} {values!r}"
        case 2:
            return f"{value!r} {draw(COMPARISONS)} {column}"
        case 3:
            return draw(st.sampled_from(["b", "~b", "not b", "m == True", "m != True", "b == False"]))
        case 4:
            names = draw(
                st.lists(st.sampled_from(["i", "k", "f", "g", "`two words`"]), min_size=2, max_size=2)
            )
            return f"{names[0]} {draw(COMPARISONS)} {names[1]}"
        case 5:
            low, high = draw(NUMBERS), draw(NUMBERS)
            return f"{low} < i <= {high}"
        case 6:
            day = draw(st.sampled_from(["2024-01-01", "2024-01-02 06:00", "2024-01-01T06:00:00"]))
            return f"t {draw(st.sampled_from(['<', '<=', '>', '>=']))} {day!r}"
    return f"{column} {draw(COMPARISONS)} {value!r}"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("conditions") / "table.parquet"
    pq.write_table(TABLE, path)
    return path


@contextmanager
def opened(path: Path) -> Iterator[Session]:
    with open_session(read_table(pin_snapshot(str(path))), [path], Limits()) as session:
        yield session


@pytest.fixture(scope="module")
def session(path: Path) -> Iterator[Session]:
    with opened(path) as session:
        yield session


def rows_of(session: Session, condition: Any, parser: str | None = "pandas") -> list[int]:
    """The rows that meet a condition; it is neither null nor an error for any of the others."""
    kwargs = {"column": "k", "row_condition": condition, "condition_parser": parser}
    predicate = condition_of(Expectation("expect_column_values_to_not_be_null", kwargs), session.table)
    assert predicate is not None
    found = session.query(f"SELECT c1, {predicate} FROM {session.source}")
    assert {kept for _, kept in found} <= {True, False}
    return sorted(row - 1 for row, kept in found if kept)


FRAME = TABLE.to_pandas()
QUIET = settings(
    max_examples=150, phases=(Phase.explicit, Phase.generate), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@QUIET
@given(expression=expressions())
def test_expressions_select_what_pandas_selects(session: Session, expression: str) -> None:
    assert rows_of(session, expression) == list(FRAME.query(expression).index), expression


@QUIET
@given(document=documents())
def test_condition_objects_select_what_great_expectations_selects(
    session: Session, document: dict[str, Any]
) -> None:
    import_gx()
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.row_conditions import deserialize_row_condition

    condition = deserialize_row_condition(document)
    expression = PandasExecutionEngine().condition_to_filter_clause(condition)
    expected = list(FRAME.query(expression).index)
    assert rows_of(session, document, None) == expected, expression
    assert rows_of(session, condition, None) == expected, expression


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ('col("i") > 1', [1, 4, 6, 7]),
        ('col("f")<=-1.5e0', [4]),
        ('col("two words").notnull()', [0, 2, 3, 4, 5, 6, 7]),
        ("col(\"s\") == 'b'", [1]),
        ('col("from") != "x"', [1, 2, 4, 6]),
        ('col("t") >= date("2024-01-02")', [2, 3, 7]),
    ],
)
def test_the_notation_of_great_expectations(session: Session, condition: str, rows: list[int]) -> None:
    assert rows_of(session, condition, "great_expectations") == rows
    assert rows_of(session, condition, "great_expectations__experimental__") == rows


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("z == '2024-01-01T06:00:00Z'", [1, 6]),
        ("z > '2024-01-02'", [3]),
        ("z > '2024-01-02T01:00:00+01:00'", [3]),
        ("ns > '2024-01-02T01:00:00+01:00'", [3]),
        ("ns in ['2024-01-01']", [0, 5]),
        ("t == Timestamp('2024-01-01 06:00')", [1, 6]),
        ("d == '2024-01-02'", [2, 3]),
        ("d != '2024-01-02'", [0, 1, 4, 5, 6, 7]),
        ("d < '2024-01-01 06:00'", [0, 1]),
        ("d not in ['2024-01-01']", [2, 3, 4, 5, 6, 7]),
        ("g < 1e300", [0, 1, 4, 5, 6]),
    ],
)
def test_moments_are_moments_also_as_text(session: Session, condition: str, rows: list[int]) -> None:
    assert rows_of(session, condition) == rows


@pytest.mark.parametrize(
    "condition",
    [
        "i + 1 > 2", "s.str.contains('a')", "index > 3", "@i > 1", "i > k > 'a'", "i == 'a'", "s > 1",
        "i = 1", "i > None", "m", "~m", "i", "i in k", "'a' in s", "__import__('os').system('true')", "i >",
        "i > 1 # more", "i > 1\nk > 1", "i is k", "t > 'yesterday'", "(lambda: i)() > 1", "i.isnull(1)",
        "i > 1 if k else i", "[i for i in k]", "s == '\ud800'", "z > t", "z < ns", "not i",
        "1 < 2", "i." + "a" * 9999,
        "(" * 500 + "i > 1" + ")" * 500,
        {"type": "comparison", "column": {"name": "i"}, "operator": "LIKE", "parameter": 1},
        {"type": "and", "conditions": [1]}, {"type": "xor"}, ["i > 1"],
    ],
)  # fmt: skip
def test_what_has_no_exact_translation_is_not_guessed(session: Session, condition: Any) -> None:
    with pytest.raises(NotCompiledError):
        rows_of(session, condition)


def test_a_condition_on_a_missing_column_is_explained(session: Session) -> None:
    for condition, parser in [("tow > 1", "pandas"), ('col("tow") > 1', "great_expectations")]:
        with pytest.raises(CannotCheckError, match="the column 'tow', which there is not"):
            rows_of(session, condition, parser)
    with pytest.raises(CannotCheckError, match="the column has no time zone"):
        rows_of(session, "t > '2024-01-01T00:00:00Z'")


@pytest.mark.filterwarnings("ignore:This pattern is interpreted as a regular expression:UserWarning")
@settings(max_examples=12, phases=(Phase.generate,), deadline=None)
@given(condition=documents(), expression=expressions(), kwargs=MOSTLY)
def test_expectations_under_a_condition_count_as_great_expectations_does(
    tmp_path_factory: pytest.TempPathFactory,
    condition: dict[str, Any],
    expression: str,
    kwargs: dict[str, Any],
) -> None:
    keys = {"column_list": ["i", "two words"]}
    suite: list[tuple[str, dict[str, Any]]] = [
        ("expect_column_values_to_not_be_null", {"column": "i"}),
        ("expect_column_values_to_be_null", {"column": "f"}),
        ("expect_column_values_to_be_between", {"column": "f", "min_value": 0}),
        ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["a", "b"]}),
        ("expect_column_values_to_match_regex", {"column": "from", "regex": "x"}),
        ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "i", "column_B": "k"}),
        ("expect_multicolumn_values_to_be_equal", keys | {"ignore_row_if": "any_value_is_missing"}),
    ]
    texts = {"row_condition": expression, "condition_parser": "pandas"}
    conditioned = [
        (type_, arguments | kwargs | (texts if position % 2 else {"row_condition": condition}))
        for position, (type_, arguments) in enumerate(suite)
    ]
    assert assert_same(tmp_path_factory.mktemp("table"), TABLE, conditioned)


def test_condition_objects_become_what_suites_keep(path: Path) -> None:
    import_gx()
    from great_expectations.expectations import ExpectColumnValuesToNotBeNull
    from great_expectations.expectations.row_conditions import Column

    condition = (Column("k") > 1) & Column("f").is_not_null() & (Column("t") >= MOMENTS[1])
    kwargs = {"column": "i", "row_condition": condition}
    entry = {"type": "expect_column_values_to_not_be_null", "kwargs": kwargs}
    report = validate(str(path), [entry, ExpectColumnValuesToNotBeNull(**kwargs)])
    for result in report.results:
        assert (result.engine, result.result["element_count"], result.unexpected_count) == ("duckdb", 3, 0)
    kept = json.loads(json.dumps(report.to_gx_json()))["results"][0]["expectation_config"]["kwargs"]
    assert kept["row_condition"]["conditions"][1] == {
        "type": "comparison", "column": {"name": "t"}, "operator": ">=", "parameter": "2024-01-01T06:00:00",
    }  # fmt: skip


def test_pairs_in_a_set_heed_the_condition(path: Path) -> None:
    """Great Expectations counts the rows under it, but judges all of them."""
    kwargs = {"column_A": "i", "column_B": "k", "value_pairs_set": [[1, 1]], "row_condition": "k == 1"}
    (result,) = validate(
        str(path), [{"type": "expect_column_pair_values_to_be_in_set", "kwargs": kwargs}]
    ).results
    assert (result.success, result.result["element_count"], result.unexpected_count) == (True, 1, 0)


def test_great_expectations_judges_the_conditions_that_are_left_to_it(path: Path) -> None:
    kwargs = {"column": "i", "row_condition": "i + 1 > 2", "condition_parser": "pandas", "max_value": 2}
    (result,) = validate(
        str(path), [{"type": "expect_column_values_to_be_between", "kwargs": kwargs}]
    ).results
    assert (result.engine, result.unexpected_count, result.result["element_count"]) == ("gx", 2, 4)
