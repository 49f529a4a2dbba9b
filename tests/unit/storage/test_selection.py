# SPDX-License-Identifier: Apache-2.0
"""Some partitions of a datamart: what selects what, and what is listed for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, DatasetNotFoundError
from airflow_provider_mlbridge.results import Snapshot
from airflow_provider_mlbridge.storage import partition_columns, pin_snapshot
from airflow_provider_mlbridge.storage.local import LocalStore

DAYS = [
    "month=2026-01/day=2026-01-01",
    "month=2026-01/day=2026-01-02",
    "month=2026-02/day=2026-02-01",
    "month=__HIVE_DEFAULT_PARTITION__/day=2026-03-01",
]


def write(root: Path, *folders: str) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number, folder in enumerate(folders):
        path = root / folder
        path.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": [number]}), path / "part.parquet")
    return f"{root}/"


def folders(snapshot: Snapshot) -> list[str]:
    return [file.path.removesuffix("/part.parquet") for file in snapshot.files]


@pytest.mark.parametrize(
    ("partitions", "expected"),
    [
        ({"month": "2026-01"}, DAYS[:2]),
        ({"month": "2026-01", "day": ["2026-01-02", "2026-02-01"]}, DAYS[1:2]),
        ({"day": date(2026, 2, 1)}, DAYS[2:3]),
        ({"day": [date(2026, 1, 1), "2026-02-01"]}, [DAYS[0], DAYS[2]]),
        ({"month": None}, DAYS[3:]),
        ({"month": ["2026-02", None]}, DAYS[2:]),
        ({}, DAYS),
        (None, DAYS),
    ],
)
def test_equal_values_and_lists_select_folders(tmp_path: Path, partitions: Any, expected: list[str]) -> None:
    snapshot = pin_snapshot(write(tmp_path, *DAYS), partitions=partitions)
    assert folders(snapshot) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, ["m=01", "m=1"]), ("1", ["m=1"]), ("01", ["m=01"]), (-1, ["m=-1"]), ("a/b", ["m=a%2Fb"])],
)
def test_an_integer_is_compared_by_value_and_a_text_letter_by_letter(
    tmp_path: Path, value: Any, expected: list[str]
) -> None:
    root = write(tmp_path, "m=1", "m=01", "m=-1", "m=a%2Fb")
    assert folders(pin_snapshot(root, partitions={"m": value})) == expected


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_folders_with_escapes_have_one_value_in_every_notation(tmp_path: Path, scheme: str) -> None:
    root = scheme + write(tmp_path, "ts=00%3A00", "ts=01%3A00")
    snapshot = pin_snapshot(root, partitions={"ts": "00:00"})
    assert partition_columns(snapshot, ["id"])[0].values == ("00:00",)


def test_the_selector_travels_with_the_snapshot_and_a_new_partition_does_not_disturb_it(
    tmp_path: Path,
) -> None:
    root = write(tmp_path, *DAYS)
    snapshot = pin_snapshot(root, partitions={"month": ["2026-01", "2026-09"]})
    document = json.loads(json.dumps({**snapshot.to_dict(), "files": []}))
    assert document["partitions"] == {"month": ["2026-01"]}
    write(tmp_path, "month=2026-09/day=2026-09-01")
    assert pin_snapshot(document) == snapshot
    assert "partitions" not in pin_snapshot(root).to_dict()


def test_values_without_a_folder_are_passed_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write(tmp_path, *DAYS)
    pin_snapshot(root, partitions={"month": ["2026-01", "2026-09"], "day": ["2026-01-01", date(2026, 9, 1)]})
    assert "has no file of partitions month='2026-09', day='2026-09-01'; the others are read" in caplog.text
    caplog.clear()
    pin_snapshot(root, partitions={"month": ["2026-01"]})
    assert caplog.text == ""


def test_an_earlier_snapshot_can_be_narrowed_but_not_widened(tmp_path: Path) -> None:
    everything = pin_snapshot(write(tmp_path, *DAYS))
    january = pin_snapshot(everything.to_dict(), partitions={"month": "2026-01"})
    assert folders(january) == DAYS[:2]
    assert pin_snapshot(january, partitions={"month": "2026-01"}) == january
    with pytest.raises(ConfigurationError, match="was pinned with the partitions month='2026-01', not"):
        pin_snapshot(january, partitions={"month": "2026-02"})


def test_only_what_is_selected_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    original = LocalStore.list

    def noting(self: LocalStore, prefix_uri: str) -> Iterator[Any]:
        listed.append(prefix_uri.removeprefix(f"{tmp_path}/"))
        return original(self, prefix_uri)

    monkeypatch.setattr(LocalStore, "list", noting)
    root = write(tmp_path, *DAYS)
    pin_snapshot(root, partitions={"month": "2026-01"})
    assert listed == [f"{folder}/" for folder in DAYS[:2]]
    listed.clear()
    # The leading column is free, so that everything has to be looked at.
    pin_snapshot(root, partitions={"day": "2026-01-01"})
    assert listed == ["month=2026-01/", "month=2026-02/", "month=__HIVE_DEFAULT_PARTITION__/"]


@pytest.mark.parametrize(
    ("partitions", "error", "problem"),
    [
        (
            {"month": "2026-07"},
            DatasetNotFoundError,
            "has no file of partitions month='2026-07'; there month is '2026-01', '2026-02'",
        ),
        (
            {"month": "2026-01", "day": "2026-02-01"},
            DatasetNotFoundError,
            "day is '2026-01-01', '2026-01-02'",
        ),
        ({"week": 3}, ConfigurationError, "'week' is no partition column of .*; it has 'day', 'month'"),
        ({"month": "2026-01", "dya": 3}, ConfigurationError, "'dya' is no partition column"),
        ({"month": []}, ConfigurationError, "has an empty list"),
        ({"month": True}, ConfigurationError, "'month' is True; valid are"),
        ({"month": 1.5}, ConfigurationError, "valid are a text, an integer, a date"),
        ({"month": datetime(2026, 1, 1)}, ConfigurationError, "valid are"),  # noqa: DTZ001
        ({3: "x"}, ConfigurationError, "3 is no name of a column"),
        ("month=1", ConfigurationError, "must map columns to values"),
    ],
)
def test_what_cannot_be_selected_is_named(
    tmp_path: Path, partitions: Any, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        pin_snapshot(write(tmp_path, *DAYS), partitions=partitions)


def test_a_datamart_without_partitions_says_so(tmp_path: Path) -> None:
    root = write(tmp_path, "")
    with pytest.raises(ConfigurationError, match="it has none"):
        pin_snapshot(root, partitions={"month": 1})
    with pytest.raises(ConfigurationError, match="is one file"):
        pin_snapshot(f"{root}part.parquet", partitions={"month": 1})
    with pytest.raises(DatasetNotFoundError, match="nothing is stored"):
        pin_snapshot(f"{root}nowhere/", partitions={"month": 1})


def test_a_selector_too_long_for_xcom_is_refused(tmp_path: Path) -> None:
    days = [f"day=2026-{month:02}-{day:02}" for month in range(1, 10) for day in range(1, 20)]
    root = write(tmp_path, *days)
    with pytest.raises(ConfigurationError, match="can travel in XCom. Select fewer values"):
        pin_snapshot(root, partitions={"day": [day.removeprefix("day=") for day in days]})


def test_the_folders_of_a_table_of_delta_lake_are_refused(tmp_path: Path) -> None:
    uri = write(tmp_path / "mart", "")
    log = tmp_path / "mart" / "_delta_log"
    log.mkdir()
    (log / "00000000000000000000.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="is a table of Delta Lake"):
        pin_snapshot(uri)
