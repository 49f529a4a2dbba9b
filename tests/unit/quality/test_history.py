# SPDX-License-Identifier: Apache-2.0
"""What runs leave behind, and whether a datamart is unlike its own past."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.exceptions import ConfigurationError, InvalidExpectationError
from airflow_provider_mlbridge.quality import validate
from airflow_provider_mlbridge.quality.anomalies import check, judge, norm, require_history
from airflow_provider_mlbridge.quality.engines.duckdb_session import Limits, open_session
from airflow_provider_mlbridge.quality.expectation import Expectation, parse_expectation
from airflow_provider_mlbridge.quality.history import History, HistoryEntry, append, entry_of, load
from airflow_provider_mlbridge.quality.outcome import Outcome
from airflow_provider_mlbridge.quality.reporting.describe import expected_text, observed_text
from airflow_provider_mlbridge.quality.result import ExpectationResult
from airflow_provider_mlbridge.quality.table import Table, read_table
from airflow_provider_mlbridge.storage import pin_snapshot

Writer = Callable[..., Path]
START = datetime(2024, 1, 1, tzinfo=UTC)


def entry(number: int, rows: int = 1000, **changes: Any) -> HistoryEntry:
    base = HistoryEntry(
        checked_at=START + timedelta(hours=number),
        datamart="s3://b/k",
        fingerprint=f"{number:064x}",
        rows=rows,
        bytes=rows * 10,
        files=1,
        success=True,
        evaluated=4,
        passed=3,
        not_checked=0,
        null_ratios={"a": 0.25},
        duration_seconds=1.5,
        run_id=f"run {number}",
    )
    return replace(base, **changes)


def past(rows: Sequence[int], **changes: Any) -> History:
    return History(tuple(entry(number, count, **changes) for number, count in enumerate(rows)))


def expect(kind: str, severity: str = "critical", **kwargs: Any) -> Expectation:
    return parse_expectation(
        {"type": f"mlbridge_{kind}_anomaly", "kwargs": kwargs, "severity": severity}, "here"
    )


@pytest.fixture
def table(write_parquet: Writer) -> Table:
    path = write_parquet("t.parquet", {"a": [1, None, 3, 4], "f": [1.0, None, float("nan"), 4.0]})
    return read_table(pin_snapshot(str(path)))


def found(expectation: Expectation, table: Table, history: History, rows: int | None = None) -> Outcome:
    outcome = judge(expectation, table if rows is None else replace(table, rows=rows), history)
    assert outcome is not None
    return outcome


def test_what_is_appended_is_read_again_the_newest_last(tmp_path: Path) -> None:
    entries = [entry(2), entry(0), entry(1, null_ratios={'"a"\n<é>': 1.0})]
    for item in entries:
        append(str(tmp_path), item)
    history = load(str(tmp_path))
    assert history == History((entries[1], entries[2], entries[0]))
    assert load(f"file://{tmp_path}/", limit=2).entries == (entries[2], entries[0])
    assert load(str(tmp_path), before=START + timedelta(hours=1)).entries == (entries[1],)
    assert load(str(tmp_path / "elsewhere")) == History()


def test_the_oldest_beyond_keep_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "notes.txt").write_text("mine")
    for number in (3, 1, 2, 0):
        append(str(tmp_path), entry(number), keep=2)
    assert [item.run_id for item in load(str(tmp_path)).entries] == ["run 2", "run 3"]
    assert (tmp_path / "history" / "notes.txt").exists()
    with pytest.raises(ConfigurationError, match="keep must be a whole number from 1"):
        append(str(tmp_path), entry(0), keep=0)


def test_runs_at_once_all_leave_an_entry(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        uris = list(pool.map(lambda _: append(str(tmp_path), entry(7)), range(24)))
    assert len(set(uris)) == 24
    assert len(load(str(tmp_path)).entries) == 24


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "[]",
        "{",
        '{"kind": "other"}',
        json.dumps(entry(1).to_dict() | {"schema_version": 2}),
        json.dumps(entry(1).to_dict() | {"rows": "many"}),
        json.dumps(entry(1).to_dict() | {"rows": True}),
        json.dumps(entry(1).to_dict() | {"null_ratios": {"a": 7}}),
        json.dumps(entry(1).to_dict() | {"checked_at": "yesterday"}),
        json.dumps(entry(1).to_dict() | {"checked_at": "2024-01-01T00:00:00"}),
        "[" * 100_000,
    ],
)
def test_a_broken_entry_is_passed_over_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    append(str(tmp_path), entry(0))
    bad = Path(append(str(tmp_path), entry(1)))
    bad.write_text(broken)
    with caplog.at_level(logging.WARNING):
        history = load(str(tmp_path))
    assert (len(history.entries), history.skipped) == (1, 1)
    assert bad.name in caplog.text


def test_a_foreign_file_is_counted_and_one_being_written_is_not(tmp_path: Path) -> None:
    append(str(tmp_path), entry(0))
    (tmp_path / "history" / "._20240101T000000000000Z-0-000000000000.json.x.tmp").write_text("{")
    assert load(str(tmp_path)).skipped == 0
    (tmp_path / "history" / "mine.json").write_text("{}")
    assert load(str(tmp_path)).skipped == 1


def test_an_entry_tells_nulls_from_footers_and_from_expectations(write_parquet: Writer) -> None:
    path = write_parquet(
        "t.parquet", {"a": [1, None], "f": [1.0, float("nan")], "g": [1.0, None], "s": ["x", "y"]}
    )
    between = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "f", "min_value": 0}}
    report = validate(str(path), [between], not_null=["s"])
    made = entry_of(report, run_id="r")
    # g is a float that no expectation looked at: its footer cannot tell how many NaN it holds.
    assert made.null_ratios == {"s": 0.0, "f": 0.5, "a": 0.5}
    assert (made.rows, made.files, made.pass_ratio, made.success, made.run_id) == (2, 1, 1.0, True, "r")
    assert HistoryEntry.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))) == made


def test_a_retry_counts_once() -> None:
    first = entry(1, success=False)
    again = replace(first, checked_at=first.checked_at + timedelta(minutes=5), success=True)
    history = History((entry(0), first, again, entry(2, success=False)))
    assert history.states() == (entry(0), again, entry(2, success=False))
    assert history.states(only="passed", without=entry(0).fingerprint) == (again,)


def test_too_little_history_is_never_a_pass(table: Table) -> None:
    short = past([4] * 6)
    outcome = found(expect("row_count"), table, short)
    assert (outcome.success, outcome.severity) == (False, "warning")
    assert "not enough history: 6 of 7 runs" in observed_text(outcome)
    assert ExpectationResult(expect("row_count"), outcome).severity == "warning"
    assert found(expect("row_count", on_short_history="fail"), table, short).severity == "critical"
    assert found(expect("row_count", severity="info"), table, short).severity == "info"
    assert found(expect("row_count"), table, past([4] * 7)).success
    assert found(expect("row_count", min_history=3), table, short).success


def test_failed_runs_and_the_datamart_itself_are_no_norm(table: Table) -> None:
    itself = entry(50, fingerprint=table.snapshot.fingerprint)
    history = History((*past([4] * 6).entries, itself, entry(60, success=False)))
    assert "6 of 7" in observed_text(found(expect("row_count"), table, history))
    assert found(expect("row_count", only="all"), table, history).success


def test_the_window_holds_the_newest_runs(table: Table) -> None:
    history = past([1000] * 27 + [4] * 3)
    assert found(expect("row_count", window=3, min_history=3), table, history).success
    assert not found(expect("row_count"), table, history).success


@pytest.mark.parametrize(
    ("values", "deviation"),
    [
        # The example of Iglewicz and Hoaglin's formula by hand: median 3, MAD 1.
        ([1, 2, 3, 4, 5], 1 / 0.6745),
        # More than half the same: MAD 0, mean absolute deviation 2 (five distances, one of 10).
        ([3, 3, 3, 3, 13], 1.253314 * 2),
        ([3, 3, 3], 0.0),
    ],
)
def test_the_deviation_is_that_of_the_source(values: list[float], deviation: float) -> None:
    assert norm(values).median == 3
    assert norm(values).deviation == pytest.approx(deviation)


def test_where_all_runs_were_the_same_a_difference_must_matter(table: Table) -> None:
    history = past([1000] * 7)
    assert [found(expect("row_count"), table, history, rows).success for rows in (989, 990, 1010, 1011)] == [
        False,
        True,
        True,
        False,
    ]
    assert not found(expect("row_count", min_change=0), table, history, 1001).success
    json.dumps(dict(found(expect("row_count"), table, history, 1).result), allow_nan=False)


def test_a_direction_is_not_the_other(table: Table) -> None:
    history = past([990, 1000, 1010] * 3)
    results = {
        direction: [found(expect("row_count", direction=direction), table, history, rows).success
                    for rows in (500, 1000, 1500)]
        for direction in ("low", "both", "high")
    }  # fmt: skip
    assert results == {
        "low": [False, True, True],
        "both": [False, True, False],
        "high": [True, True, False],
    }
    text = observed_text(found(expect("row_count"), table, history, 500))
    assert text.startswith("observed 500 (z -33.7, median 1,000 of 9 runs, usual is at least 948")
    assert expected_text(expect("row_count")) == "at most 3.5 deviations from the median of up to 30 runs"


def test_bytes_and_null_ratios_are_judged(table: Table) -> None:
    size = table.snapshot.total_bytes
    history = History(tuple(entry(n, bytes=size + n, null_ratios={"a": 0.25, "f": 0.5}) for n in range(9)))
    assert found(expect("bytes"), table, history).success
    assert not found(expect("bytes"), table, past([1] * 9)).success
    other = judge(expect("bytes"), table, history, pinned=replace(table.snapshot, total_bytes=1))
    assert other is not None
    assert not other.success
    assert found(expect("null_ratio", column="a"), table, history).success
    unlike = past([4] * 9, null_ratios={"a": 0.2, "f": 0.0})
    assert not found(expect("null_ratio", column="a"), table, unlike).success
    # A column that the earlier runs did not have.
    new = found(expect("null_ratio", column="a"), table, past([4] * 9, null_ratios={}))
    assert "0 of 7" in observed_text(new)
    assert found(expect("null_ratio", column="a"), replace(table, rows=0), history).success is None


def test_nan_is_measured_since_no_footer_counts_it(table: Table) -> None:
    expectation = expect("null_ratio", column="f")
    history = past([4] * 9, null_ratios={"f": 0.5})
    assert judge(expectation, table, history) is None
    compiled = check(expectation, table, history)
    path = Path(table.snapshot.uri)
    with open_session(table, [path], Limits()) as session:
        row = session.query(f"SELECT {compiled.measures[0]} FROM {session.source}")[0]
    outcome = compiled.judge(row)
    assert isinstance(outcome, Outcome)
    assert (outcome.success, outcome.result["observed_value"], outcome.engine) == (True, 0.5, "duckdb")


def test_without_a_place_for_the_history_nothing_is_read() -> None:
    wanted = [expect("row_count")]
    require_history(wanted, History())
    with pytest.raises(ConfigurationError, match="give report_uri"):
        require_history(wanted, None)


def test_a_check_and_its_history_go_round(write_parquet: Writer, tmp_path: Path) -> None:
    suite = [
        {"type": "mlbridge_row_count_anomaly", "kwargs": {"min_history": 3}},
        {"type": "mlbridge_null_ratio_anomaly", "kwargs": {"column": "f", "min_history": 3}},
    ]

    def run(day: int, rows: int, nulls: int) -> list[bool | None]:
        path = write_parquet(f"{day}.parquet", {"f": [float("nan")] * nulls + [1.0] * (rows - nulls)})
        history = load(str(tmp_path / "reports"))
        report = validate(str(path), suite, history=history, now=START + timedelta(days=day))
        append(str(tmp_path / "reports"), entry_of(report, run_id=str(day)))
        return [result.success for result in report.results]

    assert [run(day, 100 + day, 10) for day in range(3)] == [[False, False]] * 3
    assert run(3, 101, 10) == [True, True]
    assert run(4, 50, 5) == [False, True]
    assert run(5, 101, 60) == [True, False]
    with pytest.raises(ConfigurationError, match="give report_uri"):
        validate("/nowhere.parquet", suite)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_z": 0}, "max_z must be a positive number"),
        ({"min_history": 2}, "min_history must be a number of runs from 3"),
        ({"window": 5}, "window 5 is smaller than min_history 7"),
        ({"direction": "up"}, "direction must be one of 'both', 'low', 'high'"),
        ({"min_change": -1}, "min_change must be a number from 0"),
        ({"max_zz": 3}, "unknown argument 'max_zz'. Did you mean 'max_z'"),
    ],
)
def test_arguments_are_checked(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidExpectationError, match=message):
        expect("row_count", **kwargs)


def test_false_alarms_are_rare_and_half_the_rows_are_missed(table: Table) -> None:
    """Of a steady datamart (a spread of 5 %), 1000 days simulated with a fixed seed."""
    random_numbers = random.Random(20240101)
    days = [max(1, round(random_numbers.gauss(10_000, 500))) for _ in range(1030)]
    alarms = missed = 0
    for day in range(30, 1030):
        history = past(days[day - 30 : day])
        alarms += not found(expect("row_count"), table, history, days[day]).success
        missed += bool(found(expect("row_count"), table, history, days[day] // 2).success)
    # 3.5 deviations of a normal distribution are passed once in 2000; the norm of 30 runs is uncertain.
    assert alarms <= 15
    assert missed == 0


@settings(max_examples=50)
@given(
    st.lists(st.integers(900, 1100), min_size=7, max_size=30),
    st.integers(0, 6),
)
def test_a_few_broken_loads_do_not_hide_the_next(table: Table, rows: list[int], broken: int) -> None:
    spoilt = [*rows[: len(rows) - min(broken, len(rows) // 4)], *[0] * min(broken, len(rows) // 4)]
    assert not found(expect("row_count"), table, past(spoilt), 100).success
