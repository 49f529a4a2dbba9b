# SPDX-License-Identifier: Apache-2.0
"""Quarantine when processes die and writers meet, and against a reference that looks at one row at a time."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from airflow_provider_mlbridge.exceptions import PublishConflictError
from airflow_provider_mlbridge.quality import quarantine, row_split, validate
from airflow_provider_mlbridge.storage import publish_version, read_manifest
from tests.unit.quality.quarantine_crashes import ROWS
from tests.unit.quality.quarantine_support import (
    expect,
    judge_and_quarantine,
    quarantine_of,
    rows_of,
    write,
)

BETWEEN = expect("column_values_to_be_between", column="v", max_value=500)


def write_mart(folder: Path) -> None:
    for file in range(3):
        rows = range(file * ROWS // 3, (file + 1) * ROWS // 3)
        table = pa.table(
            {
                "row": list(rows),
                "id": [row // 2 if row % 100 == 1 else row for row in rows],
                "v": [row * 7919 % 1000 for row in rows],
                "text": [f"{row:030d}" for row in rows],
            }
        )
        write(folder / f"mart/part={file}/a.parquet", table, row_group_size=500)


def test_a_writer_that_is_killed_leaves_a_whole_version(tmp_path: Path) -> None:
    write_mart(tmp_path)
    seed = secrets.randbelow(2**32)
    command = [sys.executable, "-m", "tests.unit.quality.quarantine_crashes", str(tmp_path), str(seed), "30"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    killed = sum(was_killed for was_killed, _ in found["outcomes"])
    assert killed > 5, run.stdout
    assert all(moved for was_killed, moved in found["outcomes"] if not was_killed), run.stdout
    # Who comes next is not hindered by what the dead left.
    result = judge_and_quarantine(f"file://{tmp_path}/mart", [BETWEEN], f"file://{tmp_path}/q")
    assert not result.reused


def test_another_writer_published_something_else(tmp_path: Path, mocker: MockerFixture) -> None:
    write_mart(tmp_path)
    report = validate(f"file://{tmp_path}/mart", [BETWEEN])
    base = f"file://{tmp_path}/q"
    real = quarantine._Split.write

    def overtaken(split: Any, version: Any) -> None:
        with publish_version(base, fingerprint="f" * 64) as other:
            other.commit({})
        real(split, version)

    mocker.patch.object(quarantine._Split, "write", overtaken)
    result = quarantine_of(report, base)
    assert not result.reused
    assert read_manifest(base).version_uri == result.uri
    # Theirs is as whole as before.
    assert len(list((tmp_path / "q").glob("versions/*/manifest.json"))) == 2


def test_writers_of_different_splits_at_once(tmp_path: Path, mocker: MockerFixture) -> None:
    write_mart(tmp_path)
    base = f"file://{tmp_path}/q"
    bounds = range(100, 700, 100)
    reports = {
        bound: validate(
            f"file://{tmp_path}/mart",
            [expect("column_values_to_be_between", column="v", max_value=bound - 1)],
        )
        for bound in bounds
    }
    all_of_them = threading.Barrier(len(bounds), timeout=60)
    real = quarantine._Split.write

    def together(split: Any, version: Any) -> None:
        # None has seen another's version.
        all_of_them.wait()
        real(split, version)

    mocker.patch.object(quarantine._Split, "write", together)
    results: dict[int, Any] = {}

    def run(bound: int) -> None:
        try:
            results[bound] = quarantine_of(reports[bound], base)
        except PublishConflictError as error:
            results[bound] = error

    threads = [threading.Thread(target=run, args=(bound,)) for bound in bounds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    # Whoever reads later finds the rows of its own run, though only three versions count.
    found = {bound: len(rows_of(results[bound].clean_uri)) for bound in bounds}
    assert found == {bound: sum(row * 7919 % 1000 < bound for row in range(ROWS)) for bound in bounds}


def test_two_writers_of_the_same(tmp_path: Path, mocker: MockerFixture) -> None:
    write_mart(tmp_path)
    report = validate(f"file://{tmp_path}/mart", [BETWEEN])
    base = f"file://{tmp_path}/q"
    both = threading.Barrier(2, timeout=60)
    real = quarantine._Split.write

    def together(split: Any, version: Any) -> None:
        # Both have seen that there is no version yet.
        both.wait()
        real(split, version)

    mocker.patch.object(quarantine._Split, "write", together)
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(quarantine_of(report, base))
        except PublishConflictError as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(results) == 2
    assert len({result.uri for result in results}) == 1
    assert Counter(result.reused for result in results) == {True: 1, False: 1}


NUMBERS = st.one_of(st.none(), st.integers(-3, 3))
FLOATS = st.one_of(NUMBERS.map(lambda value: value if value is None else value / 2), st.just(float("nan")))
TEXTS = st.sampled_from([None, "", "a", "b", "ab", "ä", "x\ny"])
ROW = st.fixed_dictionaries({"i": NUMBERS, "f": FLOATS, "s": TEXTS})

EXPECTATIONS: dict[str, dict[str, Any]] = {
    "between": expect("column_values_to_be_between", column="f", min_value=-1, strict_min=True, max_value=1),
    "tolerated": expect("column_values_to_be_in_set", column="i", value_set=[0, 1, 2], mostly=0.1),
    "null": expect("column_values_to_not_be_null", severity="warning", column="f"),
    "regex": expect("column_values_to_match_regex", column="s", regex="^[ab]+$"),
    "unique": expect("column_values_to_be_unique", column="i"),
    "compound": expect("compound_columns_to_be_unique", severity="warning", column_list=["i", "s"]),
    "pair": expect("column_pair_values_a_to_be_greater_than_b", column_A="i", column_B="part", or_equal=True),
    "info": expect("column_values_to_be_null", severity="info", column="s"),
}


def reference(rows: list[dict[str, Any]]) -> dict[str, set[int]]:
    """The unexpected rows of each expectation, one row at a time."""

    def missing(value: Any) -> bool:
        return value is None or value != value

    ids = Counter(row["i"] for row in rows if row["i"] is not None)
    keys = Counter((row["i"], row["s"]) for row in rows)
    bad: dict[str, set[int]] = {name: set() for name in EXPECTATIONS}
    for number, row in enumerate(rows):
        i, f, s = row["i"], row["f"], row["s"]
        broken = {
            "between": not missing(f) and not -1 < f <= 1,
            "tolerated": i is not None and i not in (0, 1, 2),
            "null": missing(f),
            "regex": s is not None and re.search("^[ab]+$", s) is None,
            "unique": ids[i] > 1,
            "compound": (i, s) != (None, None) and keys[i, s] > 1,
            "pair": i is None or i < row["part"],
            "info": s is not None,
        }
        for name, is_broken in broken.items():
            if is_broken:
                bad[name].add(number)
    return bad


@settings(max_examples=25)
@given(
    files=st.lists(st.lists(ROW, max_size=12), min_size=1, max_size=3).filter(any),
    names=st.lists(st.sampled_from(sorted(EXPECTATIONS)), min_size=1, unique=True),
    group=st.integers(1, 5),
)
def test_the_rows_of_the_reference(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[dict[str, Any]]], names: list[str], group: int
) -> None:
    folder = tmp_path_factory.mktemp("mart")
    schema = pa.schema([("i", pa.int64()), ("f", pa.float64()), ("s", pa.string())])
    rows = []
    for part, content in enumerate(files):
        table = pa.Table.from_pylist(content, schema=schema)
        write(folder / f"mart/part={part}/a.parquet", table, row_group_size=group)
        rows += [{**row, "part": part, "place": (part, number)} for number, row in enumerate(content)]
    wanted = [EXPECTATIONS[name] for name in names]
    with pytest.MonkeyPatch.context() as patched:
        # Several batches in a file, and row groups of several batches.
        patched.setattr(row_split, "_BATCH_ROWS", 3)
        patched.setattr(row_split, "_GROUP_ROWS", 5)
        result = judge_and_quarantine(f"{folder}/mart", wanted, f"{folder}/q")
    bad = reference(rows)
    expected: dict[tuple[int, int], set[str]] = {}
    for name in names:
        for number in bad[name] if name != "info" else ():
            expected.setdefault(rows[number]["place"], set()).add(EXPECTATIONS[name]["type"])
    found = {}
    for row in rows_of(result.quarantined_uri):
        place = (int(row["_mlbridge_file"].split("/")[0].removeprefix("part=")), row["_mlbridge_row"])
        found[place] = {reason.split("(")[0] for reason in row["_mlbridge_reasons"]}
    assert found == expected
    assert list(found) == sorted(found)
    clean = [[row[name] for name in ("i", "f", "s")] for row in rows_of(result.clean_uri)]
    left = [[row[name] for name in ("i", "f", "s")] for row in rows if row["place"] not in expected]
    assert repr(clean) == repr(left)
