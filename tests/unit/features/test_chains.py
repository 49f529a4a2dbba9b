# SPDX-License-Identifier: Apache-2.0
"""What is concluded from the order of values is what reading the values themselves would tell, to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import FeatureError
from airflow_provider_mlbridge.features import (
    Clip,
    Impute,
    Log1p,
    MinMax,
    QuantileBins,
    Recipe,
    Robust,
    Standard,
    YeoJohnson,
)
from airflow_provider_mlbridge.features import fitting as fitting_module
from airflow_provider_mlbridge.features import quantiles as quantiles_module
from airflow_provider_mlbridge.features import summaries as summaries_module
from airflow_provider_mlbridge.features.steps import Needs

from .tables import equal, write

EXACT = (
    Impute("x", strategy="mean"),
    Impute("x", strategy="median", indicator=True),
    Impute("x", strategy="mode"),
    Impute("x", strategy="constant", value=1.5),
    Clip("x", lower_quantile=0.1, upper_quantile=0.75),
    Clip("x", upper_quantile=0.5),
    Clip("x", lower=-2.5, upper=100),
    Standard("x"),
    MinMax("x", low=-1, high=3),
    Robust("x"),
)
ROUNDED = (Log1p("x", invalid="null"), YeoJohnson("x"))
LAST = (QuantileBins("x", bins=4, output="bin"), Standard("x"), MinMax("x"), Robust("x"), Clip("x", lower=0))

_VALUES = st.none() | st.floats(-50, 50, width=32) | st.sampled_from([0.0, -0.0, 2.0, 2.0, -1.0])


def states(recipe: Recipe, source: str, *, chains: bool) -> Any:
    """What is learned, or the error."""
    with pytest.MonkeyPatch.context() as patched:
        if not chains:
            patched.setattr(fitting_module, "chains_of", lambda operations, _: [None] * len(operations))
        try:
            return recipe.fit(source, threads=1).to_json()
        except FeatureError as error:
            return str(error)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(_VALUES, min_size=1, max_size=30),
    steps=st.lists(st.sampled_from(EXACT), min_size=1, max_size=4),
    last=st.sampled_from(LAST),
    small=st.booleans(),
)
def test_states_are_those_of_reading_each_column(
    tmp_path: Path, values: list[float | None], steps: list[Any], last: Any, small: bool
) -> None:
    source = write(pa.table({"x": pa.array(values, pa.float64())}), tmp_path / "x.parquet")
    recipe = Recipe("r", [*steps, last], split=None)
    with pytest.MonkeyPatch.context() as patched:
        if small:
            for module in (quantiles_module, summaries_module):
                patched.setattr(module, "MOST_VALUES", 8)
                patched.setattr(module, "SAMPLE_VALUES", 4)
        found = states(recipe, source, chains=True)
    assert found == states(recipe, source, chains=False)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(_VALUES, min_size=1, max_size=30),
    steps=st.lists(st.sampled_from(EXACT + ROUNDED), min_size=1, max_size=4),
    last=st.sampled_from(LAST),
)
def test_steps_that_round_cost_the_last_bits_at_most(
    tmp_path: Path, values: list[float | None], steps: list[Any], last: Any
) -> None:
    source = write(pa.table({"x": pa.array(values, pa.float64())}), tmp_path / "x.parquet")
    recipe = Recipe("r", [*steps, last], split=None)
    found, expected = (states(recipe, source, chains=chains) for chains in (True, False))
    if isinstance(found, str) and found.startswith("{"):
        assert_close(json.loads(found), json.loads(expected))
    else:
        assert found == expected


def assert_close(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, value in expected.items():
            if name != "checksum":
                assert_close(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    else:
        assert equal(found, expected), (found, expected)


@pytest.mark.parametrize("values", [[1.0, np.inf, None, 2.0], [None, None], [-np.inf, -np.inf]])
def test_infinite_and_missing_columns(tmp_path: Path, values: list[float | None]) -> None:
    source = write(pa.table({"x": pa.array(values, pa.float64())}), tmp_path / "x.parquet")
    for steps in (
        [Clip("x", lower=-9, upper=9), MinMax("x")],
        [Impute("x", strategy="constant", value=3), Clip("x", lower_quantile=0.2), Robust("x")],
        [Impute("x", strategy="mean"), Clip("x", lower_quantile=0.2), MinMax("x")],
        [Impute("x", strategy="median"), MinMax("x")],
    ):
        recipe = Recipe("r", steps, split=None)
        assert states(recipe, source, chains=True) == states(recipe, source, chains=False)


def test_a_chain_of_quantiles_takes_the_passes_of_one_column(tmp_path: Path, mocker: Any) -> None:
    values = np.where(np.arange(5_000) % 7 == 0, np.nan, np.arange(5_000) * 1.25)
    source = write(pa.table({"x": values}), tmp_path / "x.parquet")
    asked = mocker.spy(fitting_module, "summarise")
    steps = [
        Impute("x", strategy="mean", indicator=True),
        Clip("x", lower_quantile=0.05, upper_quantile=0.95),
        Log1p("x"),
        Standard("x"),
    ]
    Recipe("r", steps, split=None).fit(source)
    first, second = ([request.needs for request in call.args[2]] for call in asked.call_args_list)
    assert first == [Needs(moments=True), Needs(extent=True, quantiles=(0.05, 0.95))]
    assert second == [Needs(moments=True)]
    # The extremes of the last column follow from those of the first.
    assert asked.call_args.args[2][0].known is not None
