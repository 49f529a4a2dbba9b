# SPDX-License-Identifier: Apache-2.0
"""Steps that look at earlier rows: a table, single rows and a plain reading of the rules agree."""

from __future__ import annotations

import datetime
import json
import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import ColumnNotFoundError, ConfigurationError, InvalidRecipeError
from airflow_provider_mlbridge.features import (
    FittedRecipe,
    GroupAggregate,
    Impute,
    Lag,
    Recipe,
    Rolling,
    Standard,
)

from .tables import equal, read, write

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC).replace(tzinfo=None)
HOUR = datetime.timedelta(hours=1)
ALL = ["count", "sum", "mean", "std", "min", "max"]
SCHEMA = pa.schema(
    [
        ("id", pa.int64()), ("g", pa.string()), ("h", pa.int64()), ("t", pa.timestamp("us")),
        ("k", pa.timestamp("us")), ("x", pa.float64()), ("n", pa.int64()), ("b", pa.bool_()),
        ("s", pa.string()), ("y", pa.int64()),
    ]
)  # fmt: skip

STEPS: list[Any] = [
    Lag(["x", "s", "b", "t"], by=["g"], periods=[1, 2, 5]),
    Lag("x", by=["g", "h"], periods=[1], output="x_both"),
    Lag("n", by=[], output="n_any"),
    Rolling(["x", "n"], by=["g"], window="3h", functions=ALL),
    Rolling("b", by=["g", "h"], window="1d12h", functions=["count", "sum", "mean", "std"]),
    GroupAggregate(["x", "n"], by=["g"], functions=ALL),
    GroupAggregate("t", by=["h"], functions=["count", "min", "max"]),
    GroupAggregate("g", by=["g"], functions=["count"]),
    GroupAggregate("x", by=[], functions=["sum", "max"]),
]


def _recipe(steps: Any = STEPS, **roles: Any) -> Recipe:
    return Recipe("r", steps, **{"keys": ["id"], "event_time": "t", "known_time": "k", **roles})


def _rows(count: int, seed: int, *, late: bool = True) -> list[dict[str, Any]]:
    """Rows with ties, missing values of every sort, and all that is late."""
    rng = random.Random(seed)

    def some(value: Any, share: float = 0.08) -> Any:
        return None if rng.random() < share else value

    rows = []
    for number in range(count):
        time = START + HOUR * rng.randrange(count // 3 + 1) / 2
        known = time + HOUR * rng.choice([-4, 0, 0, 1, 2, 30]) if late else time
        special = [math.inf, -math.inf, math.nan, 0.0, -0.0, 1e-9, 1e6]
        rows.append(
            {
                "id": some(number),
                "g": some(rng.choice("abc")),
                "h": some(rng.randrange(2)),
                "t": some(time),
                "k": some(known),
                "x": some(rng.choice(special) if rng.random() < 0.1 else rng.gauss(0, 100)),
                "n": some(rng.choice([rng.randrange(-5, 5), rng.randrange(-(2**62), 2**62)])),
                "b": some(rng.random() < 0.5),
                "s": some(rng.choice(["", "é", "Z", "a"])),
                "y": some(rng.randrange(2)),
            }
        )
    rng.shuffle(rows)
    return rows


def _missing(value: Any) -> bool:
    return value is None or value != value


def _aggregate(function: str, values: list[Any]) -> Any:
    """As the rules say it, without a thought for speed."""
    values = [value for value in values if not _missing(value)]
    if function == "count":
        return len(values)
    if not values:
        return None
    if function in ("min", "max"):
        return min(values) if function == "min" else max(values)
    infinite = {value for value in values if isinstance(value, float) and math.isinf(value)}
    if infinite:
        return infinite.pop() if len(infinite) == 1 and function != "std" else None
    exact = [Fraction(value) for value in values]
    if function == "std":
        mean = sum(exact) / len(exact)
        return math.sqrt(sum((value - mean) ** 2 for value in exact) / len(exact))
    return float(sum(exact) / (len(exact) if function == "mean" else 1))


def _expected(
    rows: list[dict[str, Any]], steps: Any, event: str, known: str | None, keys: list[str]
) -> list[dict[str, Any]]:
    """What every row sees, by looking at every other row."""
    results = []
    for row in rows:
        result: dict[str, Any] = {}
        for step in steps:
            seen = None
            if not any(_missing(row[name]) for name in (event, *step.by)):
                seen = []
                for place, other in enumerate(rows):
                    if any(other[name] != row[name] for name in step.by) or other[event] is None:
                        continue
                    if known is not None and other[known] is None:
                        continue
                    time = max(other[event], other[known] if known else other[event])
                    window = getattr(step, "_length", None)
                    since = None if window is None else row[event] - datetime.timedelta(microseconds=window)
                    if time < row[event] and (since is None or time >= since):
                        order = tuple((other[key] is not None, other[key] or 0) for key in keys)
                        seen.append(((time, other[event], order, place), other))
                seen.sort(key=lambda item: item[0])
            for column in step.selector.names:
                values = None if seen is None else [other[column] for _, other in seen]
                stem = step.stem(column)
                if isinstance(step, Lag):
                    for period in step.periods:
                        there = values is not None and period <= len(values)
                        value = values[-period] if values is not None and there else None
                        result[f"{stem}_lag{period}"] = None if _missing(value) else value
                else:
                    for function in step.functions:
                        name = f"{stem}_{step._name(function)}"
                        result[name] = None if values is None else _aggregate(function, values)
        results.append(result)
    return results


def _close(left: Any, right: Any, name: str) -> bool:
    # Sums of both signs cancel out: what is left is compared with what was added.
    if isinstance(left, float) and isinstance(right, float) and math.isfinite(left) and name[0] in "xn":
        return math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-12)
    return equal(left, right)


def _check(rows: list[dict[str, Any]], recipe: Recipe, folder: Path) -> None:
    source = write(pa.Table.from_pylist(rows, SCHEMA), folder / "in.parquet", row_group_size=7)
    fitted = recipe.fit(source)
    fitted.transform(source, folder / "out.parquet")
    ordered = sorted(range(len(rows)), key=lambda i: (rows[i]["id"] is None, rows[i]["id"] or 0, i))
    keys = list(recipe.keys)
    expected = _expected(rows, recipe.steps, "t", recipe.known_time, keys)
    again = FittedRecipe.from_json(fitted.to_json())
    for place, row in zip(ordered, read(folder / "out.parquet"), strict=True):
        alone = again.transform_row(rows[place], history=rows)
        for name, value in expected[place].items():
            assert equal(alone[name], row[name]), (name, alone[name], row[name])
            assert _close(row[name], value, name), (name, row[name], value, rows[place])


@pytest.mark.parametrize("known", ["k", None])
def test_a_table_and_single_rows_follow_the_rules(known: str | None, tmp_path: Path) -> None:
    _check(_rows(300, seed=5), _recipe(known_time=known), tmp_path)


_HOURS = st.integers(0, 4).map(lambda hours: START + HOUR * hours) | st.none()


@settings(derandomize=True, max_examples=8, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "g": st.sampled_from(["a", "b", None]),
                "h": st.just(1),
                "t": _HOURS,
                "k": _HOURS,
                "x": st.floats(-1e6, 1e6) | st.sampled_from([math.inf, -math.inf, math.nan]) | st.none(),
                "n": st.integers(-(2**63), 2**63 - 1) | st.none(),
                "b": st.booleans(),
                "s": st.none(),
                "y": st.none(),
            }
        ),
        min_size=1,
        max_size=12,
    )
)
def test_random_rows(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> None:
    steps = [
        Lag("x", by=["g"], periods=[1, 2]),
        Rolling("x", by=["g"], window="2h", functions=ALL),
        GroupAggregate("n", by=["g"], functions=["sum", "std"]),
    ]
    numbered = [{"id": number, **row} for number, row in enumerate(rows)]
    _check(numbered, _recipe(steps), tmp_path_factory.mktemp("rows"))


def test_threads_and_order_of_rows_change_no_byte(tmp_path: Path) -> None:
    rows = [{**row, "id": number} for number, row in enumerate(_rows(2_500, seed=8))]
    recipe = _recipe([STEPS[1], STEPS[8], Rolling("x", by=["h"], window="90h", functions=ALL)])
    outputs, states = set(), set()
    for seed, threads in enumerate([1, 2, 8]):
        random.Random(seed).shuffle(rows)
        folder = tmp_path / str(seed)
        for part in range(seed + 1):
            table = pa.Table.from_pylist(rows[part :: seed + 1], SCHEMA)
            write(table, folder / f"{part}.parquet", row_group_size=300 * (seed + 1))
        fitted = recipe.fit(str(folder), threads=threads)
        fitted.transform(str(folder), tmp_path / f"{seed}.parquet", threads=threads)
        outputs.add((tmp_path / f"{seed}.parquet").read_bytes())
        states.add(fitted.to_json())
    assert len(outputs) == len(states) == 1


def _series(values: list[Any], steps: Any, tmp_path: Path, **roles: Any) -> list[dict[str, Any]]:
    """One row an hour of one group; the results in that order."""
    rows = [
        {"id": number, "g": "a", "t": START + HOUR * number, "x": value}
        for number, value in enumerate(values)
    ]
    source = write(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    fitted = _recipe(steps, known_time=None, **roles).fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    found = read(tmp_path / "out.parquet")
    for row, result in zip(rows, found, strict=True):
        alone = fitted.transform_row(row, history=rows)
        assert all(equal(value, result[name]) for name, value in alone.items()), (alone, result)
    return found


def test_a_window_takes_its_beginning_and_not_its_end(tmp_path: Path) -> None:
    rolling = Rolling("x", by=["g"], window="2h", functions=["count", "sum"])
    found = _series([1.0, 2.0, 4.0, 8.0], [rolling], tmp_path)
    assert [row["x_sum_2h"] for row in found] == [None, 1.0, 3.0, 6.0]
    assert [row["x_count_2h"] for row in found] == [0, 1, 2, 2]


def test_sums_lose_nothing_where_floats_do(tmp_path: Path) -> None:
    values = [1e16, 1.0, -1e16, 0.1, 0.1, 0.1, 0.0]
    steps = [GroupAggregate("x", by=["g"], functions=["sum"]), Rolling("x", ["g"], ["std", "sum"], "3h")]
    found = _series(values, steps, tmp_path)
    assert found[3]["x_sum_by_g"] == 1.0
    assert found[6]["x_std_3h"] == 0.0
    # The unit is 2**-60 of the largest value: 0.0087 for 1e16.
    assert found[6]["x_sum_3h"] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("offset", [0, 1_700_000_000, -(2**61)])
@pytest.mark.parametrize("kind", [int, float])
def test_deviations_far_from_zero(offset: int, kind: type, tmp_path: Path) -> None:
    unit = 1 if kind is int else 1024
    values = [kind(offset + unit * value) for value in (0, 1, 2, 4, 8, 2**33)]
    found = _series(values, [GroupAggregate("x", by=["g"], functions=["std", "mean"])], tmp_path)
    for place in range(1, 6):
        expected = _aggregate("std", values[:place])
        assert found[place]["x_std_by_g"] == pytest.approx(expected, rel=1e-12, abs=0)


def test_earlier_steps_come_first_and_windows_can_look_at_windows(tmp_path: Path) -> None:
    steps = [
        Impute("x", strategy="constant", value=10.0, output="x_filled"),
        Rolling("x_filled", by=["g"], window="2h", functions=["sum"]),
        Lag("x_filled_sum_2h", by=["g"], output="x_sum"),
        Standard("x_sum_lag1"),
    ]
    found = _series([1.0, None, 3.0, None, 5.0], steps, tmp_path)
    assert [row["x_filled_sum_2h"] for row in found] == [None, 1.0, 11.0, 13.0, 13.0]
    scaled = [row["x_sum_lag1"] for row in found]
    assert scaled[:2] == [None, None]
    assert scaled[2] < scaled[3] < scaled[4]


def test_what_is_fitted_on_windows_knows_no_other_split(tmp_path: Path) -> None:
    rows = [{**row, "id": number} for number, row in enumerate(_rows(200, seed=3))]
    split = {"by": "group", "keys": ["id"], "train": 0.5}
    steps = [
        Rolling("x", by=["h"], window="1d", functions=["mean", "count"]),
        Standard("x_count_1d"),
        Impute("x_mean_1d", strategy="median"),
    ]
    for row in rows:
        if row["x"] is not None and not math.isfinite(row["x"]):
            row["x"] = 0.0
    source = write(pa.Table.from_pylist(rows, SCHEMA), tmp_path / "in.parquet")
    fitted = _recipe(steps, split=split).fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    others = {row["id"] for row in read(tmp_path / "out.parquet") if row["split"] != "train"}
    changed = [{**row, "x": 1e9, "h": 0} if row["id"] in others else row for row in rows]
    other = write(pa.Table.from_pylist(changed, SCHEMA), tmp_path / "changed.parquet")
    assert 50 < len(others) < 150
    assert _recipe(steps, split=split).fit(other).to_json() == fitted.to_json()


def test_the_label_of_earlier_rows_is_seen_once_it_was_known(tmp_path: Path) -> None:
    rows = [
        {
            "id": number,
            "g": "a",
            "t": START + HOUR * number,
            "k": START + HOUR * (number + 2),
            "y": number % 2,
        }
        for number in range(6)
    ]
    steps = [Lag("y", by=["g"]), GroupAggregate("y", by=["g"], functions=["mean", "count"])]
    source = write(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    fitted = _recipe(steps, label="y").fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    found = read(tmp_path / "out.parquet")
    # Row 3 asks three hours after row 0, whose label was known after two.
    assert [row["y_count_by_g"] for row in found] == [0, 0, 0, 1, 2, 3]
    assert [row["y_lag1"] for row in found] == [None, None, None, 0, 1, 0]
    new = {name: rows[5][name] for name in ("id", "g", "t", "k")}
    assert fitted.transform_row(new, history=rows[:5]) == {
        name: found[5][name] for name in fitted.feature_names
    }


def test_dates_count_from_where_they_can_be_trusted(tmp_path: Path) -> None:
    day = datetime.date(2024, 1, 1)
    rows = [
        {"id": 0, "g": "a", "t": START, "d": day, "k": day, "x": 1.0},
        {"id": 1, "g": "a", "t": START + 23 * HOUR, "d": day, "k": day, "x": 2.0},
        {"id": 2, "g": "a", "t": START + 24 * HOUR, "d": day + 24 * HOUR, "k": None, "x": 4.0},
    ]
    source = write(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    steps = [GroupAggregate("x", by=["g"], functions=["sum"]), Lag("d", by=["g"])]
    for event in ("t", "d"):
        fitted = _recipe(steps, event_time=event).fit(source)
        fitted.transform(source, tmp_path / "out.parquet")
        found = read(tmp_path / "out.parquet")
        # What was known on the first day was known at its end at the latest.
        assert [row["x_sum_by_g"] for row in found] == [None, None, 3.0]
        assert [row["d_lag1"] for row in found] == [None, None, day]
        for row, result in zip(rows, found, strict=True):
            assert fitted.transform_row(row, history=rows).items() <= result.items()


def test_times_at_the_ends_of_the_calendar(tmp_path: Path) -> None:
    times = [datetime.datetime.min, START, datetime.datetime.max]  # noqa: DTZ901
    rows = [{"id": place, "g": "a", "t": time, "x": 1.0} for place, time in enumerate(times)]
    table = pa.Table.from_pylist(rows)
    beyond = pa.table({"id": [3], "g": ["a"], "t": pa.array([2**62], pa.timestamp("us")), "x": [1.0]})
    source = write(pa.concat_tables([table, beyond]), tmp_path / "in.parquet")
    steps = [Rolling("x", by=["g"], window="3652059d", functions=["count"]), Lag("x", by=["g"])]
    fitted = _recipe(steps, known_time=None).fit(source)
    fitted.transform(source, tmp_path / "out.parquet")
    found = read(tmp_path / "out.parquet")
    assert [row["x_count_3652059d"] for row in found] == [0, 1, 2, None]
    assert [row["x_lag1"] for row in found] == [None, 1.0, 1.0, None]
    for row, result in zip(rows, found, strict=False):
        assert fitted.transform_row(row, history=rows).items() <= result.items()


def test_a_row_needs_its_history(tmp_path: Path) -> None:
    rows = [{"id": n, "g": "a", "t": START + HOUR * n, "x": float(n), "z": 1.0} for n in range(3)]
    steps = [Lag("x", by=["g"]), Standard("z")]
    fitted = _recipe(steps, known_time=None).fit(write(pa.Table.from_pylist(rows), tmp_path / "in.parquet"))
    with pytest.raises(ConfigurationError, match=r"step 1 \(lag\), column 'x' looks at earlier rows"):
        fitted.transform_row(rows[0])
    with pytest.raises(ConfigurationError, match="history must be a list of mappings, got dict"):
        fitted.transform_row(rows[0], history=rows[0])  # type: ignore[arg-type]
    with pytest.raises(ColumnNotFoundError, match="row 1 of the history has no g, t; it must have"):
        fitted.transform_row(rows[0], history=[rows[0], {"id": 1, "x": 1.0}])
    with pytest.raises(ColumnNotFoundError, match="the row has no z"):
        fitted.transform_row({name: rows[0][name] for name in ("id", "g", "t", "x")}, history=[])
    assert fitted.transform_row(rows[0], history=[]) == {"x_lag1": None, "z": 0.0}
    # Other columns of earlier rows do not matter, later rows and other groups neither.
    past = [{name: row[name] for name in ("id", "g", "t", "x")} for row in rows]
    found = fitted.transform_row(rows[1], history=[*past, {**past[0], "g": "b"}])
    assert found == {"x_lag1": 0.0, "z": 0.0}


@pytest.mark.parametrize(
    ("step", "roles", "parts"),
    [
        (Lag("x", by=["g"]), {"event_time": None}, ["step 1 (lag), column 'x'", "give event_time"]),
        (Lag("x", by=["g"]), {"event_time": "s"}, ["event_time 's' is string", "date or a timestamp"]),
        (Lag("x", by=["g"]), {"known_time": "n"}, ["known_time 'n' is int"]),
        (Lag("x", by=["gg"]), {}, ["column 'gg' does not exist", "g"]),
        (Lag("n", by=["x"]), {}, ["by: column 'x' is float", "bool, int, string"]),
        (Lag("y", by=["g"]), {"label": "y", "known_time": None}, ["'y' is the label", "Give known_time"]),
        (Lag("x", by=["y"]), {"label": "y"}, ["by: 'y' is the label"]),
        (Standard("y"), {"label": "y"}, ["give the answer away"]),
        (Rolling("s", by=["g"], window="1d"), {}, ["function 'mean' needs bool, int, float", "string"]),
        (Rolling("b", by=["g"], window="1d", functions=["min"]), {}, ["'min' needs int", "is bool"]),
    ],
)
def test_recipes_that_do_not_fit(step: Any, roles: dict[str, Any], parts: list[str], tmp_path: Path) -> None:
    source = write(pa.Table.from_pylist(_rows(5, seed=1), SCHEMA), tmp_path / "in.parquet")
    with pytest.raises((InvalidRecipeError, ColumnNotFoundError)) as caught:
        _recipe([step], **roles).fit(source)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ({"type": "lag", "columns": "x"}, ["lag: 'by' is missing"]),
        ({"type": "lag", "columns": "x", "by": "g", "periods": []}, ["periods=[]"]),
        ({"type": "lag", "columns": "x", "by": "g", "periods": [0]}, ["periods=0", "from 1 to 1000"]),
        ({"type": "lag", "columns": "x", "by": "g", "periods": [1, 1]}, ["has a value twice"]),
        ({"type": "rolling", "columns": "x", "by": "g"}, ["window=''", "'7d'", "us"]),
        ({"type": "rolling", "columns": "x", "by": "g", "window": "1m"}, ["window='1m'", "min"]),
        ({"type": "rolling", "columns": "x", "by": "g", "window": "P1M"}, ["no fixed length"]),
        ({"type": "rolling", "columns": "x", "by": "g", "window": "0d"}, ["above 0"]),
        ({"type": "rolling", "columns": "x", "by": "g", "window": "99999999999d"}, ["length of time"]),
        ({"type": "rolling", "columns": "x", "by": "g", "window": 7}, ["window=7"]),
        (
            {"type": "group_aggregate", "columns": "x", "by": "g", "functions": ["median"]},
            ["use one of count"],
        ),
        ({"type": "group_aggregate", "columns": "x", "by": "g", "functions": []}, ["functions is empty"]),
    ],
)
def test_options_that_are_refused(document: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        Recipe.from_dict({"name": "r", "steps": [document]})
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("7d", "7d"),
        ("24H", "24h"),
        ("1d12h", "1d12h"),
        ("P7D", "7d"),
        ("PT36H", "36h"),
        ("P1DT30M", "1d30min"),
        (datetime.timedelta(days=1, milliseconds=5), "1d5000us"),
    ],
)
def test_lengths_of_time(given: Any, text: str) -> None:
    step = Rolling("x", by=["g"], window=given)
    assert step.window == text
    assert step.outputs("x", "float", None) == [(f"x_mean_{text}", "float")]


def test_yaml_twin() -> None:
    recipe = _recipe(split={"by": "time", "train": 0.8, "gap": "P7D"})
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("dialect", ["duckdb", "pyspark", "trino"])
def test_windows_compile_for_other_engines(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ibis
    from ibis.config import Config

    from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX
    from airflow_provider_mlbridge.features.steps.base import Roles

    class Options(Config):  # type: ignore[misc]
        treat_nan_as_null: bool = False

    if ibis.options.pyspark is None:
        monkeypatch.setattr(ibis.options, "pyspark", Options())
    kinds = {"id": "int64", "g": "string", "t": "timestamp", "k": "timestamp", "x": "float64", "n": "int64"}
    table = ibis.table({**kinds, FILE_INDEX: "int64", ROW_INDEX: "int64"}, name="t")
    roles = Roles(("id",), None, "t", "k")
    names = {name: name for name in kinds}
    steps: list[Any] = [
        Lag("x", by=["g"]),
        Rolling("x", by=["g"], window="7d", functions=ALL),
        GroupAggregate("n", by=["g"], functions=ALL),
    ]
    for step in steps:
        column = step.selector.names[0]
        outputs = [f"v{place}" for place in range(len(step.outputs(column, "float", None)))]
        found = step.extend(table, {column: column, **names}, outputs, {"exponent": 40}, roles)
        assert list(found.columns) == [*table.columns, *outputs]
        sql = str(ibis.to_sql(found, dialect=dialect))
        assert " OVER (" in sql
        # Nothing is joined but, in Trino's way to double rows, a list of two.
        assert "JOIN" not in sql.replace("CROSS JOIN UNNEST", "")
