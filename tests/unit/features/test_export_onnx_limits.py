# SPDX-License-Identifier: Apache-2.0
"""Values at the limits of steps in the ONNX graph, and the rows that policies refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_provider_mlbridge.features import Bins, Expression, Frequency, OneHot, Ordinal, Recipe

from .tables import write
from .test_export_onnx import _run


def _graph(tmp_path: Path, step: Any, learned: list[Any], asked: list[Any]) -> list[list[Any]]:
    """The outputs of a step that was fitted on one column and asked about another one."""
    source = write(pa.table({"x": learned}), tmp_path / "in.parquet")
    fitted = Recipe("r", [step]).fit(source)
    return [
        np.asarray(output).reshape(len(asked), -1).tolist() for output in _run(fitted, pa.table({"x": asked}))
    ]


def test_both_zeros_are_one_category(tmp_path: Path) -> None:
    learned = [0.0, -0.0, 0.0, 1.0]
    (often, *_) = _graph(tmp_path, Frequency("x", unknown="ignore"), learned, [-0.0, 0.0, 1.0])
    assert often == [[0.75], [0.75], [0.25]]
    (place, *_) = _graph(tmp_path, Ordinal("x", unknown="other"), learned, [-0.0, 0.0, 1.0])
    assert place == [[0.0], [0.0], [1.0]]
    (flags, *_) = _graph(tmp_path, OneHot("x", unknown="ignore"), learned, [-0.0, 0.0, 1.0])
    assert flags == [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


def test_a_missing_value_is_no_unknown_category(tmp_path: Path) -> None:
    for learned, asked in ((["a", "b"], ["a", None, "c"]), ([1.0, 2.0], [1.0, None, 3.0])):
        for step in (Ordinal, Frequency, OneHot):
            _, refused = _graph(tmp_path, step("x", unknown="error", missing="ignore"), learned, asked)
            assert refused == [[False], [False], [True]], step.TYPE


def test_values_outside_of_bins_are_refused(tmp_path: Path) -> None:
    step = Bins("x", edges=[0, 10], out_of_range="error")
    asked = [0.0, 10.0, None, math.nextafter(10, 11), -math.ulp(0.0), math.inf]
    _, refused = _graph(tmp_path, step, [1.0, 2.0], asked)
    assert refused == [[False], [False], [False], [True], [True], [True]]


def test_nullif_is_missing_where_equal(tmp_path: Path) -> None:
    (made, *_) = _graph(tmp_path, Expression("nullif(x, 2)", output="y"), [1.0, 2.0], [1.0, 2.0, None, 3.0])
    np.testing.assert_array_equal(made, [[1.0], [math.nan], [math.nan], [3.0]])
