# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph of a fitted recipe, run by ONNX Runtime."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, MissingExtraError
from airflow_provider_mlbridge.features import (
    Bins,
    Clip,
    Cyclical,
    DateParts,
    Expression,
    FittedRecipe,
    Frequency,
    Hashing,
    Impute,
    Interaction,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    Passthrough,
    QuantileBins,
    Recipe,
    Robust,
    Standard,
    Target,
    YeoJohnson,
)
from airflow_provider_mlbridge.features.exports.onnx_graph import ALLOWED, MISSING_TEXT

from .tables import equal, flights, write
from .test_parity import _random_rows

STEPS: list[Any] = [
    Expression("distance / nullif(dep_delay, 0) + 2 * coalesce(temp, humid) - abs(humid)", output="ratio"),
    Expression(
        "if_else(dep_delay > 15 and not is_null(humid) or night, sqrt(temp), -exp(humid))", output="e"
    ),
    Expression("least(temp, dep_delay, 3) + greatest(humid, 1) * log(temp)", output="extreme"),
    Expression("night != (distance <= 100)", output="hurry"),
    Interaction(["dep_delay", "distance", "night"], degree=3),
    Target("carrier", output="carrier_late"),
    Target(["temp", "night"], smoothing="auto", missing="prior", output="{column}_late"),
    Passthrough(["dep_delay", "distance", "night"], output="{column}_raw"),
    QuantileBins(["dep_delay", "distance"], bins=5, output="{column}_bin"),
    Bins("dep_delay", edges=[-1, 0, 50, 1e9], out_of_range="null", output="{column}_place"),
    Bins("humid", edges=[-1, 0.5], output="{column}_place"),
    Robust(["dep_delay", "distance", "night"], upper_quantile=0.8, output="{column}_robust"),
    YeoJohnson(["dep_delay", "distance", "humid"], output="{column}_power"),
    Cyclical(["dep_delay", "distance"], period=360.5, invalid="null"),
    Ordinal("carrier", unknown="other", missing="category", output="carrier_rank"),
    Ordinal("temp", order=[288, 289], unknown="other", output="temp_rank"),
    Frequency(["carrier", "temp", "night"], output="{column}_often"),
    Frequency("carrier", measure="count", unknown="ignore", missing="category", output="carrier_count"),
    OneHot("night", unknown="ignore"),
    Log1p(["dep_delay", "distance"], invalid="null", output="{column}_log"),
    Clip("temp", lower=288.14, upper_quantile=0.9, output="{column}_clip"),
    Impute("carrier", strategy="constant", value="AA", indicator=True),
    OneHot("carrier", unknown="other", missing="category"),
    Impute("dep_delay", strategy="mean", indicator=True),
    Clip("dep_delay", lower_quantile=0.05, upper=1e3),
    Standard(["dep_delay", "night"]),
    MinMax(["temp", "humid"], low=-1, high=2),
]


def _inputs(fitted: FittedRecipe, table: pa.Table) -> dict[str, Any]:
    result = {}
    for name, kind in fitted.inputs.items():
        values = table[name].to_pylist()
        if kind == "string":
            filled = [MISSING_TEXT if value is None else value for value in values]
            result[name] = np.array(filled, dtype=object).reshape(-1, 1)
        else:
            numbers = [math.nan if value is None else float(value) for value in values]
            result[name] = np.array(numbers, dtype="float64").reshape(-1, 1)
    return result


def _run(fitted: FittedRecipe, table: pa.Table) -> list[Any]:
    session = onnxruntime.InferenceSession(
        fitted.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    result: list[Any] = session.run(None, _inputs(fitted, table))
    return result


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(flights(), tmp_path_factory.mktemp("fit") / "flights.parquet")


def test_every_step_that_it_has_is_here() -> None:
    assert {step.TYPE for step in STEPS} == ALLOWED


def test_ten_thousand_random_rows(flown: str) -> None:
    fitted = Recipe("r", STEPS, keys=["flight_id"], label="late").fit(flown)
    table = _random_rows(10_000, seed=29)
    (features,) = _run(fitted, table)
    assert features.shape == (10_000, len(fitted.feature_names))
    found = []
    for row, values in zip(table.to_pylist(), features.tolist(), strict=True):
        for (name, expected), value in zip(fitted.transform_row(row).items(), values, strict=True):
            wanted = math.nan if expected is None else float(expected)
            if not equal(wanted, value) and not (math.isnan(wanted) and math.isnan(value)):
                found.append(f"{name}: {value!r} but {expected!r}")
    assert found[:5] == []


def test_it_says_what_it_is(flown: str) -> None:
    fitted = Recipe("r", [Standard("temp"), Impute("dep_delay")]).fit(flown)
    model = fitted.to_onnx()
    described = {item.key: item.value for item in model.metadata_props}
    assert json.loads(described["feature_names"]) == list(fitted.feature_names)
    assert described["missing_text"] == MISSING_TEXT
    assert [item.name for item in model.graph.output] == ["mlbridge_features"]


@pytest.mark.parametrize("name", ["mlbridge/1", "mlbridge//2", "a/b", " ", "é'\""])
def test_a_column_may_have_almost_any_name(name: str, tmp_path: Path) -> None:
    source = write(pa.table({name: [1.0, 2.0, 3.0], "mlbridge/3": [1.0, 0.0, 2.0]}), tmp_path / "in.parquet")
    fitted = Recipe("r", [Standard(name), Impute("mlbridge/3")]).fit(source)
    features, *_ = _run(fitted, pa.table({name: [2.0, None], "mlbridge/3": [None, 7.0]}))
    np.testing.assert_array_equal(features, [[0.0, 1.0], [math.nan, 7.0]])


@pytest.mark.parametrize("name", ["mlbridge_features", "mlbridge_refused"])
def test_names_that_inputs_cannot_have(name: str, tmp_path: Path) -> None:
    source = write(pa.table({name: [1.0, 2.0, 3.0]}), tmp_path / "in.parquet")
    fitted = Recipe("r", [Standard(name, output="x")]).fit(source)
    with pytest.raises(ConfigurationError, match=f"the column {name!r}: no input can have this name"):
        fitted.to_onnx()


def test_rows_that_a_policy_refuses_are_marked(tmp_path: Path) -> None:
    source = write(pa.table({"s": ["a", "b"], "x": [1.0, 2.0]}), tmp_path / "in.parquet")
    fitted = Recipe("r", [OneHot("s", missing="error"), Log1p("x")]).fit(source)
    table = pa.table({"s": ["a", "zzz", None, "b"], "x": [1.0, 1.0, 1.0, -1.0]})
    features, refused = _run(fitted, table)
    assert refused[:, 0].tolist() == [False, True, True, True]
    assert features[0].tolist() == [1.0, 0.0, math.log(2)]


@pytest.mark.parametrize(
    ("step", "part"),
    [
        (Hashing("carrier", buckets=4), "step 1 (hashing), column 'carrier': ONNX has no operators for it"),
        (DateParts("scheduled", parts=["hour"]), "step 1 (date_parts)"),
        (Cyclical("scheduled", parts=["hour"]), "step 1 (cyclical), column 'scheduled': ONNX has no dates"),
        (Passthrough("carrier"), "the feature 'carrier': it is a text"),
        (Impute("carrier", strategy="mode", output="c"), "the feature 'c': it is a text"),
        (Expression("temp // 3", output="e"), "// in an expression is not known"),
        (Expression('carrier == "UA"', output="e"), "only numbers and booleans"),
        (Expression("1 / temp", output="e", invalid="error"), 'invalid="error"'),
    ],
)
def test_what_it_has_not(flown: str, step: Any, part: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Recipe("r", [step]).fit(flown).to_onnx()
    assert part in str(caught.value)
    assert "Steps that can be: bins, clip" in str(caught.value)


def test_without_onnx(flown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = Recipe("r", [Standard("temp")]).fit(flown)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'airflow-provider-mlbridge\[onnx\]'"):
        fitted.to_onnx()
