# SPDX-License-Identifier: Apache-2.0
"""The snippets of the guide to serving run as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.features import Impute, OneHot, Recipe, Standard

from .tables import write

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "serving.md"


def test_the_snippets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table(
        {
            "temp": [280.0, None, 290.0, 285.0],
            "carrier": ["UA", "AA", None, "UA"],
            "distance": [100, 200, 300, 400],
        }
    )
    steps: list[Any] = [Impute("temp"), Standard(["temp", "distance"]), OneHot("carrier", unknown="ignore")]
    fitted = Recipe("r", steps).fit(write(table, tmp_path / "in.parquet"))
    (tmp_path / "state.json").write_text(fitted.to_json())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    snippets = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    for snippet in snippets[:1]:
        exec(snippet, names)
    row = fitted.transform_row({"temp": 281.5, "carrier": "UA", "distance": 750})
    assert names["features"] == row
    for snippet in snippets[1:]:
        exec(snippet, names)
    assert names["prediction"].shape == (3,)
    assert '"flights"' in names["query"]
    np.testing.assert_allclose(names["features"][0], list(row.values()), rtol=1e-12)
    assert len(snippets) == 4
