# SPDX-License-Identifier: Apache-2.0
"""The linter's limits: what is just inside is found, what is just outside is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.features import DateParts, Expression, Lag, Ordinal, Passthrough, Recipe
from airflow_provider_mlbridge.features.fitting import fit_session
from airflow_provider_mlbridge.features.linter import lint, lint_session
from airflow_provider_mlbridge.features.session import open_session

from .tables import write


def _codes(tmp_path: Path, columns: dict[str, Any], *steps: Any, **options: Any) -> list[tuple[str, str]]:
    steps = steps or (Passthrough("x"),)
    recipe = Recipe("limits", steps, label="label" if "label" in columns else None, **options)
    report = lint(write(pa.table(columns), tmp_path / "table.parquet"), recipe)
    return [(finding.code, finding.column) for finding in report.open]


def _shuffled(values: Any) -> Any:
    return np.random.default_rng(5).permutation(values)


MOMENTS = np.datetime64("2024-01-01T15:00", "us") + np.arange(200).astype("timedelta64[h]")
DAYS = MOMENTS.astype("datetime64[D]")


@pytest.mark.parametrize(
    ("event", "time", "found"),
    [
        pytest.param(MOMENTS, MOMENTS, False, id="equal"),
        pytest.param(MOMENTS, MOMENTS + np.timedelta64(1, "us"), True, id="a microsecond later"),
        pytest.param(DAYS, MOMENTS, False, id="an hour of the event's day"),
        pytest.param(DAYS, MOMENTS + np.timedelta64(24, "h"), True, id="an hour of the day after"),
        pytest.param(MOMENTS, DAYS, False, id="the event's day"),
        pytest.param(MOMENTS, DAYS + np.timedelta64(1, "D"), True, id="the day after the event"),
    ],
)
def test_times_are_later_from_the_next_moment_or_day(
    event: Any, time: Any, found: bool, tmp_path: Path
) -> None:
    columns = {"event": event, "x": time}
    codes = _codes(tmp_path, columns, DateParts("x", parts=["weekday"]), event_time="event")
    assert codes == ([("future_timestamp", "x")] if found else [])


@pytest.mark.parametrize(("span", "found"), [(400, True), (401, False)])
def test_whole_numbers_are_dense_up_to_twice_the_rows(span: int, found: bool, tmp_path: Path) -> None:
    codes = _codes(tmp_path, {"x": _shuffled([*range(199), span])})
    assert codes == ([("row_id", "x")] if found else [])


@pytest.mark.parametrize(("known", "found"), [(200, True), (199, False)])
def test_an_id_is_there_in_half_of_the_rows(known: int, found: bool, tmp_path: Path) -> None:
    texts = [f"t{number}" if number < known else None for number in range(400)]
    assert _codes(tmp_path, {"x": texts}) == ([("row_id", "x")] if found else [])


@pytest.mark.parametrize(("distinct", "found"), [(200, True), (199, False)])
def test_categories_are_too_many_from_one_for_two_rows(distinct: int, found: bool, tmp_path: Path) -> None:
    texts = [f"t{number % distinct}" for number in range(400)]
    assert _codes(tmp_path, {"x": texts}) == ([("near_unique_category", "x")] if found else [])


@pytest.mark.parametrize(
    ("repeated", "code"), [(True, "near_unique_category"), (False, "row_id")], ids=["pairs", "all different"]
)
def test_what_is_unique_in_the_sample_only_is_no_id(repeated: bool, code: str, tmp_path: Path) -> None:
    rows = 40_000
    values = np.arange(rows) * 7_919 % rows // (2 if repeated else 1)
    path = write(pa.table({"x": np.char.add("t", values.astype(str))}), tmp_path / "table.parquet")
    with open_session(path) as session:
        report = lint_session(session, fit_session(session, Recipe("r", [Passthrough("x")])), sample_rows=100)
    assert report.rows >= 50
    assert [finding.code for finding in report.open] == [code]


def test_a_constant_beside_another_column_is_no_finding(tmp_path: Path) -> None:
    columns = {"k": [3.5] * 200, "x": _shuffled(np.arange(200) % 7)}
    assert _codes(tmp_path, columns, Expression("x * k", output="y")) == []
    assert _codes(tmp_path, columns, Passthrough("k")) == [("constant", "k")]


def test_a_constant_that_only_later_rows_see_is_no_finding(tmp_path: Path) -> None:
    # Its lag is missing at first, so it says how many rows came before.
    columns = {"shop": _shuffled(np.arange(200) % 7), "x": [3] * 200, "at": MOMENTS}
    assert _codes(tmp_path, columns, Lag("x", by=["shop"]), event_time="at") == []
    assert _codes(tmp_path, columns, Passthrough("x")) == [("constant", "x")]


@pytest.mark.parametrize(("below", "found"), [(200, True), (375, False)])
def test_an_auc_of_0_999_is_near_perfect(below: int, found: bool, tmp_path: Path) -> None:
    # Of 500 * 500 pairs of the two classes this many are in the wrong order: 0.9992 and 0.9985.
    label = np.arange(1_000) // 500
    values = np.arange(1_000) + 0.25
    values[-1] = 500 - below - 0.25
    assert np.sum(values[label == 1][:, None] < values[label == 0][None, :]) == below
    order = _shuffled(np.arange(1_000))
    codes = _codes(tmp_path, {"x": values[order], "label": label[order]})
    assert codes == ([("perfect_predictor", "x")] if found else [])


@pytest.mark.parametrize(("errors", "found"), [(2, True), (3, False)], ids=["0.99", "0.985"])
def test_categories_that_save_99_of_100_errors_are_near_perfect(
    errors: int, found: bool, tmp_path: Path
) -> None:
    # 20 categories of 50 rows, each of one class but for twice these rows; guessing is wrong in 400 rows.
    category = np.arange(1_000) // 50
    label = (category >= 12).astype("int64")
    label[: 50 * errors : 50] = 1
    label[950 : 950 + errors] = 0
    columns = {"x": np.char.add("c", category.astype(str)), "label": label}
    assert np.sum(label) == 400
    codes = _codes(tmp_path, columns, Ordinal("x", unknown="other"))
    assert codes == ([("perfect_predictor", "x")] if found else [])


@pytest.mark.parametrize(("rows", "found"), [(10, True), (9, False)])
def test_a_class_has_ten_rows(rows: int, found: bool, tmp_path: Path) -> None:
    label = (np.arange(200) < rows).astype("int64")
    assert _codes(tmp_path, {"x": label * 2.5, "label": label}) == ([("label_copy", "x")] if found else [])


def test_the_lowest_class_of_three_is_told_apart(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    label = np.array(["bronze", "silver", "gold"])[random.integers(0, 3, 600)]
    paid = random.random(600) - 5 * (label == "silver")
    assert _codes(tmp_path, {"x": paid, "label": label}) == [("perfect_predictor", "x")]


@pytest.mark.parametrize(("rows", "found"), [(200, True), (199, False)])
def test_pairs_of_numbers_say_something_when_they_come_twice(rows: int, found: bool, tmp_path: Path) -> None:
    scrambled = _shuffled(np.arange(100) * 0.5)
    place = np.arange(rows) % 100
    codes = _codes(tmp_path, {"x": scrambled[place], "label": place * 1.5})
    assert codes == ([("label_copy", "x")] if found else [])


@pytest.mark.parametrize(("groups", "found"), [(20, True), (19, False)])
def test_categories_that_come_ten_times_are_half_of_the_rows(
    groups: int, found: bool, tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    often = np.repeat(np.arange(groups), 10)
    once = 1_000 + np.arange(400 - 10 * groups)
    label = np.concatenate([often % 2, random.integers(0, 2, len(once))])
    texts = np.char.add("c", np.concatenate([often, once]).astype(str))
    codes = _codes(tmp_path, {"x": texts, "label": label}, Ordinal("x", unknown="other"))
    assert (("perfect_predictor", "x") in codes) is found
