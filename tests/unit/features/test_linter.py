# SPDX-License-Identifier: Apache-2.0
"""The linter: what is planted is found, what is honest is left alone."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import FeatureError
from airflow_provider_mlbridge.features import (
    DateParts,
    HashSplit,
    Impute,
    OneHot,
    Ordinal,
    Passthrough,
    QuantileBins,
    Recipe,
    Standard,
    TimeSplit,
)
from airflow_provider_mlbridge.features.fitting import fit_session
from airflow_provider_mlbridge.features.lint_sample import draw
from airflow_provider_mlbridge.features.linter import LintReport, lint, lint_session
from airflow_provider_mlbridge.features.session import open_session

from .tables import flights, write

ROWS = 2_000


def _table(rows: int = ROWS, seed: int = 1, **planted: Any) -> pa.Table:
    """Columns that say a little about a binary label, and what is planted beside them."""
    random = np.random.default_rng(seed)
    label = (random.random(rows) < 0.3).astype("int64")
    amount = random.gamma(2.0, 20.0, rows) + 5 * label
    amount[random.random(rows) < 0.1] = np.nan
    moment = np.datetime64("2024-01-01", "us") + random.integers(0, 90 * 86_400, rows).astype(
        "timedelta64[s]"
    )
    columns: dict[str, Any] = {
        "id": random.permutation(rows),
        "label": label,
        "moment": moment,
        "amount": amount,
        "pieces": random.integers(1, 40, rows),
        "city": random.choice(["a", "b", "c", "d"], rows),
    }
    for name, plant in planted.items():
        columns[name] = plant(random, columns) if callable(plant) else plant
    return pa.table(columns)


STEPS = (Impute("amount"), Standard("amount"), QuantileBins("pieces"), OneHot("city"))


def _recipe(*steps: Any, **options: Any) -> Recipe:
    return Recipe(
        "linted",
        [*STEPS, *steps],
        **{
            "keys": ["id"],
            "label": "label",
            "event_time": "moment",
            "split": HashSplit(train=0.8),
            **options,
        },
    )


def _lint(tmp_path: Path, table: pa.Table, *steps: Any, **options: Any) -> LintReport:
    return lint(write(table, tmp_path / "table.parquet"), _recipe(*steps, **options))


def _found(report: LintReport) -> list[tuple[str, str]]:
    return [(finding.code, finding.column) for finding in report.open]


def _label(columns: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    label: np.ndarray[Any, Any] = columns["label"]
    return label


PLANTED: dict[str, tuple[Any, Any, str]] = {
    "equal": (lambda r, c: _label(c), Passthrough("planted"), "label_copy"),
    "negated": (lambda r, c: -_label(c), Standard("planted"), "label_copy"),
    "as a flag": (lambda r, c: _label(c) == 0, Passthrough("planted"), "label_copy"),
    "as words": (lambda r, c: np.where(_label(c) == 1, "paid", "due"), OneHot("planted"), "label_copy"),
    "missing where it is 0": (
        lambda r, c: pa.array(np.where(_label(c) == 1, 7.5, 0), mask=_label(c) == 0),
        Impute("planted", strategy="constant", value=0.0),
        "label_copy",
    ),
    "sorts the label": (
        lambda r, c: _label(c) * 10.0 + r.random(len(_label(c))),
        Standard("planted"),
        "perfect_predictor",
    ),
    "sorts the label against": (
        lambda r, c: r.random(len(_label(c))) - _label(c),
        Standard("planted"),
        "perfect_predictor",
    ),
    "a number known for the one class only": (
        lambda r, c: pa.array(r.random(len(_label(c))), mask=_label(c) == 0),
        Impute("planted"),
        "perfect_predictor",
    ),
    "categories of either class": (
        lambda r, c: np.char.add(
            np.where(_label(c) == 1, "late", "early"), r.integers(0, 9, ROWS).astype(str)
        ),
        Ordinal("planted", unknown="other"),
        "perfect_predictor",
    ),
    "a shuffled number of the row": (
        lambda r, c: r.permutation(ROWS) + 1_000,
        Standard("planted"),
        "row_id",
    ),
    "a sorted number with holes": (
        lambda r, c: np.cumsum(r.integers(1, 1_000, ROWS)),
        Passthrough("planted"),
        "row_id",
    ),
    "a number of 64 bits": (
        lambda r, c: r.choice(2**62, ROWS, replace=False),
        Passthrough("planted"),
        "row_id",
    ),
    "a number that became a float": (
        lambda r, c: pa.array(r.permutation(ROWS).astype(float), mask=r.random(ROWS) < 0.1),
        Impute("planted"),
        "row_id",
    ),
    "a text for each row": (
        lambda r, c: np.char.add("row-", r.permutation(ROWS).astype(str)),
        Passthrough("planted"),
        "row_id",
    ),
    "a text for every other row": (
        lambda r, c: np.char.add("case-", r.integers(0, ROWS, ROWS).astype(str)),
        Passthrough("planted"),
        "near_unique_category",
    ),
    "a time after the event in a few rows": (
        lambda r, c: c["moment"] + np.where(np.arange(ROWS) % 100 == 7, 1, -1_000).astype("timedelta64[s]"),
        DateParts("planted", parts=["hour"]),
        "future_timestamp",
    ),
    "a day after the event": (
        lambda r, c: c["moment"].astype("datetime64[D]") + np.timedelta64(2, "D"),
        DateParts("planted", parts=["day"]),
        "future_timestamp",
    ),
    "the same everywhere": (lambda r, c: np.full(ROWS, 3), Passthrough("planted"), "constant"),
    "missing everywhere": (
        lambda r, c: pa.nulls(ROWS, pa.float64()),
        Impute("planted", strategy="constant", value=1.0),
        "constant",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_and_nothing_else(tmp_path: Path, name: str) -> None:
    plant, step, code = PLANTED[name]
    table = _table(planted=plant)
    report = _lint(tmp_path, table, step)
    assert _found(report) == [(code, "planted")]
    [finding] = report.open
    assert finding.step == len(STEPS) + 1
    assert finding.figures["rows"] > 1_000


@pytest.mark.parametrize(
    "name",
    [
        "equal",
        "sorts the label",
        "a shuffled number of the row",
        "a time after the event in a few rows",
        "the same everywhere",
    ],
)
def test_what_is_right_can_be_allowed(tmp_path: Path, name: str) -> None:
    plant, step, code = PLANTED[name]
    allow = [{"code": code, "column": "planted", "reason": "known beforehand"}]
    report = _lint(tmp_path, _table(planted=plant), step, allow=allow)
    assert report.open == ()
    assert report.unused == ()
    assert [(item.code, item.allowed) for item in report.findings] == [(code, "known beforehand")]
    report.raise_for_errors()
    # Only what is named is allowed: another code on the column, or the code elsewhere, is not.
    allow = [{"code": "near_unique_category", "column": "planted", "reason": "other"}]
    report = _lint(tmp_path, _table(planted=plant), step, allow=[*allow, {**allow[0], "column": "city"}])
    assert _found(report) == [(code, "planted")]
    assert len(report.unused) == 2


@pytest.mark.parametrize("seed", range(12))
def test_noise_raises_no_alarm(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = int(random.choice([60, 300, 1_500]))
    label: Any = random.random(rows) < random.choice([0.5, 0.2])
    label = [label, label.astype("int64"), random.normal(size=rows), random.integers(0, 5, rows)][seed % 4]
    table = pa.table(
        {
            "normal": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.1),
            "heavy": random.standard_cauchy(rows),
            "whole": random.integers(0, 30, rows),
            "wide": random.integers(0, 1_000_000_000, rows),
            "flag": random.random(rows) < 0.1,
            "few": pa.array(random.choice(["x", "y"], rows), mask=random.random(rows) < 0.2),
            "many": random.integers(0, max(rows // 5, 2), rows).astype(str),
            "seen": np.datetime64("2024-01-01", "us")
            + random.integers(0, 10**12, rows).astype("timedelta64[us]"),
            "label": label,
        }
    )
    recipe = Recipe(
        "noise",
        [
            Impute("normal", indicator=True),
            Passthrough(["heavy", "wide", "flag"]),
            QuantileBins("whole"),
            OneHot("few"),
            Ordinal("many"),
            DateParts("seen", parts=["day", "hour"]),
        ],
        label="label",
    )
    report = lint(write(table, tmp_path / "noise.parquet"), recipe)
    assert report.findings == ()
    assert report.columns >= 10


def test_a_small_table_proves_nothing(tmp_path: Path) -> None:
    table = _table(rows=40, planted=lambda r, c: _label(c))
    assert _lint(tmp_path, table, Passthrough("planted")).findings == ()


def test_without_label_and_event_time_the_rest_is_looked_at(tmp_path: Path) -> None:
    table = _table(planted=lambda r, c: c["moment"] + np.timedelta64(9, "D"), number=np.arange(ROWS))
    recipe = Recipe("r", [DateParts("planted", parts=["hour"]), Passthrough("number")])
    report = lint(write(table, tmp_path / "table.parquet"), recipe)
    assert _found(report) == [("row_id", "number")]


@pytest.mark.parametrize(
    ("plant", "code"),
    [
        (lambda r, c: c["label"] * -3.0, "label_copy"),
        (lambda r, c: np.exp(c["label"] / 50.0), "label_copy"),
        (lambda r, c: c["label"] + r.normal(size=ROWS) / 100, "perfect_predictor"),
        (lambda r, c: np.floor(c["label"] / 4).astype("int64").astype(str), "perfect_predictor"),
        (lambda r, c: c["label"] + r.normal(size=ROWS) * 40, None),
    ],
)
def test_a_label_that_is_a_number(tmp_path: Path, plant: Any, code: str | None) -> None:
    random = np.random.default_rng(3)
    label = random.normal(100, 50, ROWS)
    table = pa.table({"label": label, "planted": plant(random, {"label": label})})
    recipe = Recipe("r", [Passthrough("planted")], label="label")
    report = lint(write(table, tmp_path / "table.parquet"), recipe)
    assert _found(report) == ([(code, "planted")] if code else [])


def test_one_class_of_several_is_told_apart(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    label = random.choice(["bronze", "silver", "gold"], ROWS)
    paid = random.random(ROWS) + 5 * (label == "gold")
    table = pa.table({"label": label, "paid": paid, "other": random.random(ROWS)})
    report = lint(
        write(table, tmp_path / "table.parquet"), Recipe("r", [Passthrough(["paid", "other"])], label="label")
    )
    assert _found(report) == [("perfect_predictor", "paid")]


def test_a_feature_that_tells_what_no_column_tells(tmp_path: Path) -> None:
    def plant(random: Any, columns: Any) -> Any:
        # The label is 1 from noon on: neither the order of the times nor their categories say so.
        days = columns["moment"].astype("datetime64[D]") - np.timedelta64(100, "D")
        hours = (random.integers(0, 12, ROWS) + 12 * _label(columns)).astype("timedelta64[h]")
        return (days + hours).astype("datetime64[us]")

    report = _lint(tmp_path, _table(planted=plant), DateParts("planted", parts=["hour", "day"]))
    assert _found(report) == [("perfect_predictor", "planted_hour")]
    assert report.open[0].feature
    assert report.open[0].step == len(STEPS) + 1


def test_only_training_rows_count(tmp_path: Path) -> None:
    # A copy of the label in the test split alone is no finding, and one in the training split alone is.
    for early in (False, True):

        def plant(random: Any, columns: Any, early: bool = early) -> Any:
            train = columns["moment"] < np.datetime64("2024-03-01")
            return np.where(train == early, _label(columns), random.integers(0, 2, ROWS))

        split = TimeSplit(cutoff="2024-03-01")
        report = _lint(tmp_path, _table(planted=plant), Passthrough("planted"), split=split)
        assert _found(report) == ([("label_copy", "planted")] if early else [])


def test_a_sample_of_many_rows(tmp_path: Path) -> None:
    rows = 40_000
    random = np.random.default_rng(1)
    table = pa.table(
        {
            "label": random.integers(0, 2, rows),
            # Two neighbours of four share a value: whoever takes every n-th row sees no value twice.
            "pair": (np.arange(rows) * 3 // 4).astype(str),
            "number": np.arange(rows),
            "nearly_constant": np.where(np.arange(rows) == 17, 1, 0),
        }
    )
    recipe = Recipe("r", [Passthrough(["pair", "number", "nearly_constant"])], label="label")
    path = write(table, tmp_path / "table.parquet", row_group_size=5_000)
    reports = []
    for threads in (1, 2):
        with open_session(path, threads=threads) as session:
            reports.append(lint_session(session, fit_session(session, recipe), sample_rows=5_000))
    assert reports[0] == reports[1]
    [report, _] = reports
    assert 4_700 < report.rows < 5_300
    assert report.train_rows == rows
    assert _found(report) == [("row_id", "number"), ("near_unique_category", "pair")]


def test_neighbours_are_in_the_sample_as_often_as_others(tmp_path: Path) -> None:
    rows = 50_000
    path = write(pa.table({"x": np.arange(rows)}), tmp_path / "table.parquet")
    with open_session(path) as session:
        fitted = fit_session(session, Recipe("r", [Passthrough("x")]))
        sample = draw(session, fitted, tmp_path / "sample.parquet", 10_000)
        taken = {row["place"] for row in session.query(sample.table.select("place"))}
    both = sum(place + 1 in taken for place in taken)
    assert both == pytest.approx(len(taken) * 0.2, rel=0.15)


def test_the_report_names_all_that_is_needed_and_no_value(tmp_path: Path) -> None:
    table = _table(planted=lambda r, c: np.where(_label(c) == 1, "secret-yes", "secret-no"))
    report = _lint(
        tmp_path,
        table,
        OneHot("planted"),
        allow=[{"code": "row_id", "column": "gone", "reason": "was there once"}],
    )
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert "secret" not in json.dumps(document)
    [finding] = document["findings"]
    assert finding["severity"] == "error"
    assert finding["step"] == 5
    assert finding["column"] == "planted"
    assert finding["how_to_allow"] == 'allow: [{code: label_copy, column: "planted", reason: "..."}]'
    assert document["unused_allow"] == [{"code": "row_id", "column": "gone", "reason": "was there once"}]
    with pytest.raises(FeatureError) as caught:
        report.raise_for_errors()
    for part in (
        "1 columns",
        "label_copy",
        "step 5",
        "'planted'",
        'allow: [{code: label_copy, column: "planted"',
    ):
        assert part in str(caught.value)
    assert "secret" not in str(caught.value)


def test_warnings_alone_are_no_error(tmp_path: Path) -> None:
    report = _lint(tmp_path, _table(planted=np.full(ROWS, 3)), Passthrough("planted"))
    assert [finding.severity for finding in report.open] == ["warning"]
    report.raise_for_errors()


def test_the_tests_own_flights_are_clean(tmp_path: Path) -> None:
    recipe = Recipe(
        "flights",
        [
            Impute(["dep_delay", "humid"], strategy="median", indicator=True),
            Standard(["temp", "distance"]),
            OneHot("carrier", unknown="ignore"),
            DateParts("scheduled", parts=["month", "hour"]),
            Passthrough(["night", "seats"]),
        ],
        keys=["flight_id"],
        label="late",
        event_time="scheduled",
        split=TimeSplit(cutoff=datetime.date(2013, 10, 1)),
    )
    assert lint(write(flights(), tmp_path / "flights.parquet"), recipe).findings == ()


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**63 + 5, 2**64 - 1, 3, 7] * 50, pa.uint64()),
        pa.array([1e300, -1e300, math.inf, 0.5] * 50),
    ],
    ids=["unsigned", "huge"],
)
def test_numbers_beyond_64_bits_are_looked_at_too(tmp_path: Path, values: pa.Array) -> None:
    table = pa.table({"id": range(200), "late": [0, 1, 1, 0, 1] * 40, "x": values})
    recipe = Recipe("r", [Passthrough("x")], keys=["id"], label="late")
    assert lint(write(table, tmp_path / "a.parquet"), recipe).findings == ()
