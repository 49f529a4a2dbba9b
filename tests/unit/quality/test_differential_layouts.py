# SPDX-License-Identifier: Apache-2.0
"""What Great Expectations judges in files that frames were written to, or that lay values out differently."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.engines.gx_results import FrameReader
from airflow_provider_mlbridge.quality.expectation import Expectation

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

FRAME = pd.DataFrame({"x": [0, 1, 2, 3, 2, 5, 6]})


def increasing(column: str) -> dict[str, Any]:
    """An expectation that Great Expectations judges."""
    return {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": column}}


@pytest.mark.parametrize(
    ("frame", "column"),
    [
        (FRAME.iloc[1:], "x"),
        (FRAME.rename_axis("row"), "x"),
        (FRAME.assign(k=[6, 5, 4, 3, 1, 2, 0]).set_index("k"), "x"),
        (FRAME.assign(k=list("abcdefg")).set_index("k"), "x"),
        (FRAME.rename(columns={"x": 0}), "0"),
        (FRAME.set_index("x"), "x"),
    ],
    ids=["slice", "named", "numbers", "texts", "labels", "judged"],
)
def test_rows_are_those_of_the_file_whatever_frame_it_was(
    tmp_path: Path, frame: pd.DataFrame, column: str
) -> None:
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    report = validate(
        str(path), [increasing(column)], unmasked_columns=[column], quarantine_uri=f"{tmp_path}/out"
    )
    (result,) = report.results
    values = pq.read_table(path)[column].to_pylist()
    position = values.index(3) + 1
    assert (result.engine, result.success, result.unexpected_count) == ("gx", False, 1)
    assert result.result["partial_unexpected_index_list"] == [position]
    assert result.result["partial_unexpected_list"] == [2]
    assert report.quarantined is not None
    bad, clean = (
        [
            value
            for name in sorted(Path(uri).rglob("*.parquet"))
            for value in pq.read_table(name)[column].to_pylist()
        ]
        for uri in (report.quarantined.quarantined_uri, report.quarantined.clean_uri)
    )
    assert bad == [2]
    assert clean == values[:position] + values[position + 1 :]


def test_files_may_lay_the_same_values_out_differently(tmp_path: Path) -> None:
    texts = [
        pa.array(["x1", "y"]),
        pa.array(["x2", "z"]).dictionary_encode(),
        pa.array(["x3", "q"], pa.large_string()),
    ]
    for number, values in enumerate(texts):
        pq.write_table(pa.table({"s": values, "i": [number, number]}), tmp_path / f"{number}.parquet")
    matches = {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "s", "regex": r"\bx"}}
    report = validate(f"{tmp_path}/", [matches, increasing("i")], unmasked_columns=["s"])
    texts_result, numbers = report.results
    assert (texts_result.engine, texts_result.unexpected_count) == ("gx", 3)
    assert texts_result.result["partial_unexpected_list"] == ["y", "z", "q"]
    assert numbers.success


def test_an_answer_that_cannot_be_read_stays_with_its_expectation(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1, 2], "b": [1, 2]}), path)
    read = FrameReader.outcome

    def fail_once(reader: FrameReader, expectation: Expectation, *answer: Any) -> Any:
        if expectation.columns == ("a",):
            raise KeyError("secret value 4711")
        return read(reader, expectation, *answer)

    mocker.patch.object(FrameReader, "outcome", autospec=True, side_effect=fail_once)
    first, second = validate(str(path), [increasing("a"), increasing("b")]).results
    assert (first.success, second.success) == (None, True)
    assert "KeyError" in str(first.exception_message)
    assert "4711" not in str(first.exception_message)
