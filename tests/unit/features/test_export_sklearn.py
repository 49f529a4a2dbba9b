# SPDX-License-Identifier: Apache-2.0
"""The scikit-learn pipeline of a fitted recipe: what it is made of, and how it behaves. Values: four ways."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from airflow_provider_mlbridge.exceptions import (
    ColumnNotFoundError,
    ConfigurationError,
    FeatureValueError,
    MissingExtraError,
)
from airflow_provider_mlbridge.features import (
    Bins,
    Clip,
    FittedRecipe,
    GroupAggregate,
    Impute,
    Log1p,
    OneHot,
    Ordinal,
    Passthrough,
    Recipe,
    Robust,
    Rolling,
    Standard,
    Target,
)

from .tables import flights, write


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(flights(), tmp_path_factory.mktemp("fit") / "flights.parquet")


STEPS: list[Any] = [
    Impute("dep_delay", strategy="median", indicator=True),
    Standard(["dep_delay", "distance"]),
    Robust("temp", output="temp_robust"),
    OneHot("carrier", unknown="ignore"),
    Ordinal("seats", unknown="other"),
    Target("night"),
]


@pytest.fixture(scope="module")
def fitted(flown: str) -> FittedRecipe:
    return Recipe("r", STEPS, keys=["flight_id"], label="late").fit(flown)


def _estimators(item: Any) -> set[str]:
    children = [child for _, child in getattr(item, "steps", [])]
    children += [child for _, child, _ in getattr(item, "transformers_", [])]
    inner = getattr(item, "estimator", None)
    return {type(item).__name__}.union(*map(_estimators, [*children, *([inner] if inner else [])]))


def test_it_is_made_of_scikit_learns_own(fitted: FittedRecipe) -> None:
    found = _estimators(fitted.to_sklearn())
    assert {
        "Pipeline",
        "ColumnTransformer",
        "SimpleImputer",
        "StandardScaler",
        "RobustScaler",
        "OneHotEncoder",
        "OrdinalEncoder",
        "TargetEncoder",
    } <= found


def test_a_model_is_fitted_behind_it(fitted: FittedRecipe) -> None:
    """And the recipe keeps what it has learned on its own training rows, in clones and pickles too."""
    table = flights(300, seed=5)
    frame, label = table.to_pandas(), np.arange(300) % 2
    pipeline = fitted.to_sklearn()
    assert isinstance(pipeline, Pipeline)
    assert list(pipeline.feature_names_in_) == list(fitted.inputs)
    before = pipeline.transform(frame)
    model = make_pipeline(clone(pipeline), LogisticRegression(max_iter=1_000))
    with_model = pickle.loads(pickle.dumps(model.fit(frame.fillna({"seats": 50}), label)))
    assert with_model.predict(frame.fillna({"seats": 50})).shape == (300,)
    pd.testing.assert_frame_equal(with_model[0].transform(frame), before)
    pd.testing.assert_frame_equal(pipeline.transform(frame[::-1])[::-1], before)


def test_types_and_names(fitted: FittedRecipe) -> None:
    frame = flights(20).to_pandas()
    frame.index = pd.Index(range(100, 120))
    result = fitted.to_sklearn().transform(frame[["late", *fitted.inputs]])
    assert list(result.columns) == list(fitted.feature_names)
    assert list(result.index) == list(frame.index)
    assert {str(kind) for kind in result.dtypes} == {"float64", "Int64"}


@pytest.mark.parametrize(
    ("step", "value", "part"),
    [
        (OneHot("carrier"), "secret", "step 1 (one_hot), column 'carrier': the category is unknown"),
        (
            Ordinal("carrier", missing="error"),
            None,
            "step 1 (ordinal), column 'carrier': the value is missing",
        ),
        (Target("carrier", unknown="error"), "secret", 'set unknown="prior"'),
        (Log1p("distance"), -5, "step 1 (log1p), column 'distance': 1 values are -1 or less"),
        (Bins("distance", edges=[0, 1e6], out_of_range="error"), -5, "outside the range from 0 to 1e+06"),
    ],
)
def test_what_a_policy_refuses(flown: str, step: Any, value: Any, part: str) -> None:
    fitted = Recipe("r", [step], keys=["flight_id"], label="late").fit(flown)
    (column,) = fitted.inputs
    with pytest.raises(FeatureValueError) as caught:
        fitted.to_sklearn().transform(pd.DataFrame({column: [value]}))
    assert part in str(caught.value)
    assert "secret" not in str(caught.value)


def test_input_that_does_not_do(fitted: FittedRecipe) -> None:
    with pytest.raises(ConfigurationError, match="takes a pandas data frame with the columns carrier"):
        fitted.to_sklearn().transform(np.zeros((2, 6)))
    with pytest.raises(ColumnNotFoundError, match="the data frame has no temp; it must have"):
        fitted.to_sklearn().transform(flights(3).drop_columns(["temp"]).to_pandas())
    with pytest.raises(FeatureValueError, match="column 'temp' takes float values, got str"):
        fitted.to_sklearn().transform(flights(3).to_pandas().assign(temp="secret"))


def test_steps_that_look_at_other_rows(flown: str) -> None:
    steps = [
        Clip("temp", lower=0),
        Rolling("dep_delay", by="carrier", window="7d", functions=["mean"]),
        GroupAggregate("dep_delay", by="carrier", functions=["mean"]),
    ]
    fitted = Recipe("r", steps, keys=["flight_id"], event_time="scheduled").fit(flown)
    with pytest.raises(ConfigurationError) as caught:
        fitted.to_sklearn()
    for part in ("step 2 (rolling), column 'dep_delay'", "step 3 (group_aggregate)", "Leave the others out"):
        assert part in str(caught.value)
    assert "step 1" not in str(caught.value)


@pytest.mark.parametrize("name", ["a__b", 'é "x"', "transformer", "remainder"])
def test_any_name_of_a_column(name: str, tmp_path: Path) -> None:
    source = write(pa.table({name: [1.0, 3.0, None]}), tmp_path / "in.parquet")
    steps = [Impute(name, indicator=True), Passthrough(name, output="{column}_raw"), Standard(name)]
    fitted = Recipe("r", steps).fit(source)
    result = fitted.to_sklearn().transform(pd.DataFrame({name: [None, 5.0]}))
    assert result.to_numpy().tolist() == [[0.0, 1, 2.0], [result[name][1], 0, 5.0]]


def test_without_scikit_learn(fitted: FittedRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.pipeline", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'airflow-provider-mlbridge\[sklearn\]'"):
        fitted.to_sklearn()
