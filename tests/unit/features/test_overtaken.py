# SPDX-License-Identifier: Apache-2.0
"""Builds that another build overtakes, and builds of data that is no longer the newest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import (
    InvalidManifestError,
    PublishConflictError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.features import HashSplit, Recipe, Standard, build_feature_set, incremental
from airflow_provider_mlbridge.features import build as build_module
from airflow_provider_mlbridge.features.predecessor import OvertakenError, Source
from airflow_provider_mlbridge.results import FeatureSet, Snapshot
from airflow_provider_mlbridge.storage import Version, pin_snapshot, publish_version, read_manifest

from .tables import flights, write

STEPS = [Standard(["dep_delay"])]
ALWAYS = Recipe("overtaken", STEPS, keys=["flight_id"], split=HashSplit(train=0.8))
NEVER = Recipe("overtaken", STEPS, keys=["flight_id"], split=HashSplit(train=0.8), refit="never")
LONG_AGO = "2026-01-31T06:04:12+00:00"

Run = Callable[[], FeatureSet]


@pytest.fixture
def marts(tmp_path: Path) -> list[str]:
    return [write(flights(60 + seed, seed), tmp_path / f"mart{seed}" / "part.parquet") for seed in range(2)]


@pytest.fixture
def output(tmp_path: Path) -> str:
    return f"{tmp_path}/out"


def overtake(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, other: Run) -> list[FeatureSet]:
    """Run another build, once, when this one calls ``name``; what that one has published."""
    original, done = getattr(owner, name), list[FeatureSet]()

    def overtaken(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if not done:
            monkeypatch.undo()
            done.append(other())
        return result

    monkeypatch.setattr(owner, name, overtaken)
    return done


def folders(output: str) -> set[str]:
    return {f"{path}/" for path in Path(output, "versions").iterdir()}


MOMENTS = [
    (build_module, "pin_snapshot"),
    (build_module, "reference_for"),
    (build_module, "fit_session"),
    (build_module, "examine"),
    (Version, "add"),
]


@pytest.mark.parametrize(("owner", "name"), MOMENTS, ids=[name for _, name in MOMENTS])
@pytest.mark.parametrize("first", [True, False])
def test_whoever_began_before_another_published_replaces_nothing(
    marts: list[str], output: str, owner: Any, name: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not first:
        build_feature_set(write(flights(30), Path(output).parent / "mart2/p.parquet"), ALWAYS, output)
    before = folders(output) if not first else set()
    done = overtake(monkeypatch, owner, name, lambda: build_feature_set(marts[1], ALWAYS, output))
    with pytest.raises(PublishConflictError, match="while this one was at work, and stays current. A retry"):
        build_feature_set(marts[0], ALWAYS, output, drift_reference="previous")
    assert read_manifest(output).version_uri == done[0].uri
    assert folders(output) == {*before, done[0].uri}
    # The repeat knows what is there.
    again = build_feature_set(marts[0], ALWAYS, output)
    assert read_manifest(output).version_uri == again.uri != done[0].uri


@pytest.mark.parametrize(("owner", "name"), [MOMENTS[0], MOMENTS[3], MOMENTS[4]])
@pytest.mark.parametrize("recipe", [ALWAYS, NEVER], ids=["always", "never"])
def test_builds_of_the_same_are_one_version(
    marts: list[str], output: str, owner: Any, name: str, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> FeatureSet:
        return build_feature_set(marts[0], recipe, output, latest_parquet=True)

    done = overtake(monkeypatch, owner, name, build)
    built = build()
    assert (built.uri, built.latest_uri) == (done[0].uri, f"{output}/latest.parquet")
    assert folders(output) == {built.uri}


@pytest.mark.parametrize(("owner", "name"), MOMENTS, ids=[name for _, name in MOMENTS])
def test_refit_never_has_one_state_whoever_was_first(
    marts: list[str], output: str, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = overtake(monkeypatch, owner, name, lambda: build_feature_set(marts[1], NEVER, output))
    built = build_feature_set(marts[0], NEVER, output)
    assert read_manifest(output).version_uri == built.uri != done[0].uri
    assert folders(output) == {built.uri, done[0].uri}
    assert Path(built.uri, "state.json").read_bytes() == Path(done[0].uri, "state.json").read_bytes()
    assert built.fingerprint == build_feature_set(marts[0], NEVER, output, state_uri=done[0].uri).fingerprint


def test_refit_never_is_told_of_another_recipe(
    marts: list[str], output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = overtake(monkeypatch, build_module, "examine", lambda: build_feature_set(marts[1], ALWAYS, output))
    with pytest.raises(PublishConflictError):
        build_feature_set(marts[0], NEVER, output)
    assert read_manifest(output).version_uri == done[0].uri


def test_who_is_overtaken_again_and_again_gives_up(
    marts: list[str], output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*arguments: Any, **options: Any) -> Any:
        raise OvertakenError("somebody was first")

    monkeypatch.setattr(build_module, "_build_whole", overtaken)
    with pytest.raises(PublishConflictError, match="other builds kept changing it"):
        build_feature_set(marts[0], NEVER, output)


def test_what_cannot_be_read_is_replaced_unless_all_depends_on_it(marts: list[str], output: str) -> None:
    first = build_feature_set(marts[0], NEVER, output)
    Path(first.uri, "manifest.json").unlink()
    with pytest.raises(InvalidManifestError, match="does not exist"):
        build_feature_set(marts[0], NEVER, output)
    assert folders(output) == {first.uri}
    again = build_feature_set(marts[0], ALWAYS, output)
    assert read_manifest(output).version_uri == again.uri


def publish_mart(seed: int, base: str) -> str:
    """A datamart in versions, of which earlier ones can still be read."""
    path = write(flights(60 + seed, seed), Path(base).parent / f"table{seed}.parquet")
    with publish_version(base, fingerprint=f"mart{seed}") as version:
        version.add(Path(path), "part.parquet")
        return version.commit({}).version_uri


@pytest.mark.parametrize("meanwhile", [False, True])
def test_older_data_does_not_replace_newer(
    tmp_path: Path, output: str, meanwhile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mart = f"{tmp_path}/published"
    old_uri = publish_mart(0, mart)
    old = replace(pin_snapshot(mart), pinned_at=LONG_AGO).to_dict()
    first = build_feature_set(old, ALWAYS, output)
    publish_mart(1, mart)

    def newer() -> FeatureSet:
        return build_feature_set(mart, ALWAYS, output)

    if meanwhile:
        other = Recipe("overtaken", [Standard(["temp"])], keys=["flight_id"])
        done = overtake(monkeypatch, build_module, "examine", newer)
    else:
        other = ALWAYS
        done = [newer()]
        monkeypatch.setattr(build_module, "open_engine", None)  # nothing is read
    with pytest.raises(SnapshotChangedError, match="was built from .* Run the chain again from its first"):
        build_feature_set(old, other, output)
    monkeypatch.undo()
    assert read_manifest(output).version_uri == done[0].uri
    # Who wants the earlier data says so.
    back = build_feature_set(old_uri, ALWAYS, output)
    assert read_manifest(output).version_uri == back.uri != first.uri
    # The newest is never in the way of itself.
    newest = pin_snapshot(mart).to_dict()
    assert build_feature_set(newest, ALWAYS, output).uri == build_feature_set(newest, ALWAYS, output).uri


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, True),
        ({"earlier": False}, False),
        ({"pinned_at": "2026-11-24T03:00:00+00:00"}, False),
        ({"uri": "s3://lake/other/"}, False),
        ({"partitions": {"day": ("2026-11-23",)}}, False),
        ({"uri": "s3://lake/versions/20260131T060412Z-3afba6144ca4-2660ec06/clean/"}, True),
    ],
)
def test_what_counts_as_older_data_of_the_same(changes: dict[str, Any], refused: bool) -> None:
    """Another datamart, or other partitions of it, are neither older nor newer."""
    newest = Source(
        "s3://lake/versions/20261124T030000Z-aaaaaaaaaaaa-bbbbbbbb/clean/",
        {"day": ("2026-11-24",)},
        "2026-11-24T03:00:00+00:00",
        earlier=True,
    )
    existing = {"datamart_uri": newest.uri, **newest.details}
    source = replace(newest, **{"pinned_at": "2026-11-24T02:59:59+00:00", **changes})
    source.check_newest({}, "out")
    if not refused:
        source.check_newest(existing, "out")
        return
    with pytest.raises(SnapshotChangedError, match="^out was built from s3://lake/.*at 2026-11-24T03:00:00"):
        source.check_newest(existing, "out")


def test_what_a_check_has_left_over_is_as_old_as_what_was_checked() -> None:
    checked = Snapshot(
        "s3://lake/mart/", "s3://lake/mart/", "f", 1, 1, LONG_AGO, LONG_AGO, partitions={"day": ("1",)}
    )
    clean = replace(checked, uri="s3://lake/clean/", pinned_at="2026-11-24T03:00:00+00:00", partitions={})
    source = Source.of(checked, clean)
    assert source == Source("s3://lake/clean/", {"day": ("1",)}, LONG_AGO, earlier=True)
    assert not Source.of("s3://lake/clean/", clean).earlier


DAYS = ("2026-11-18", "2026-11-19")


@pytest.fixture
def daily(tmp_path: Path) -> str:
    for seed, day in enumerate(DAYS):
        write(flights(60 + seed, seed), tmp_path / "daily" / f"day={day}" / "part.parquet")
    return f"{tmp_path}/daily"


def partition(mart: Any, output: str, day: str, **options: Any) -> FeatureSet:
    selected: dict[str, Any] = {} if isinstance(mart, dict) else {"partitions": {"day": day}}
    return build_feature_set(mart, NEVER, output, partitioned=True, **selected, **options)


@pytest.mark.parametrize("built_before", [False, True])
@pytest.mark.parametrize("moment", ["pin_snapshot", "examine", "publish_version"])
def test_of_builds_of_one_partition_the_first_stays(
    daily: str, output: str, moment: str, built_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in DAYS if built_before else DAYS[1:]:
        partition(daily, output, day)
    older = Path(daily).with_name("older")
    write(flights(30, 7), older / f"day={DAYS[0]}" / "part.parquet")
    write(flights(40, 8), Path(daily) / f"day={DAYS[0]}" / "part.parquet")
    owner = build_module if moment == "pin_snapshot" else incremental
    done = overtake(monkeypatch, owner, moment, lambda: partition(daily, output, DAYS[0]))
    with pytest.raises(PublishConflictError, match=f"{DAYS[0]}/: another build of this partition has"):
        partition(str(older), output, DAYS[0])
    assert read_manifest(output).version_uri == done[0].uri
    assert done[0].rows == 40 + 61
    assert partition(str(older), output, DAYS[0]).rows == 30 + 61


def test_builds_of_one_partition_from_the_same_data_are_one(
    daily: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition(daily, output, DAYS[1])
    done = overtake(monkeypatch, incremental, "examine", lambda: partition(daily, output, DAYS[0]))
    assert partition(daily, output, DAYS[0]).uri == done[0].uri == read_manifest(output).version_uri
    assert len(folders(output)) == 2


def test_a_partition_that_was_repaired_meanwhile_stays(
    daily: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = partition(daily, output, DAYS[0])
    older = Path(daily).with_name("older")
    write(flights(30, 7), older / f"day={DAYS[0]}" / "part.parquet")

    def repaired() -> FeatureSet:
        Path(first.uri, f"day={DAYS[0]}", "features.parquet").unlink()
        return partition(daily, output, DAYS[0])

    done = overtake(monkeypatch, incremental, "examine", repaired)
    with pytest.raises(PublishConflictError, match="another build of this partition"):
        partition(str(older), output, DAYS[0])
    assert read_manifest(output).version_uri == done[0].uri != first.uri


@pytest.mark.parametrize("meanwhile", [False, True])
def test_older_data_of_a_partition_does_not_replace_newer(
    daily: str, output: str, meanwhile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pinned(day: str, at: str) -> dict[str, Any]:
        return replace(pin_snapshot(daily, partitions={"day": day}), pinned_at=at).to_dict()

    partition(daily, output, DAYS[1])
    old = pinned(DAYS[0], LONG_AGO)
    # A file that came later: what was pinned before can still be read.
    write(flights(40, 8), Path(daily) / f"day={DAYS[0]}" / "part-2.parquet")

    def newer() -> FeatureSet:
        return partition(daily, output, DAYS[0])

    if meanwhile:
        done = overtake(monkeypatch, incremental, "examine", newer)
    else:
        done = [newer()]
        monkeypatch.setattr(incremental, "open_engine", None)
    with pytest.raises(SnapshotChangedError, match=f"{DAYS[0]}/ was built from"):
        partition(old, output, DAYS[0])
    assert read_manifest(output).version_uri == done[0].uri
    # The other partition is as new as it was.
    monkeypatch.undo()
    assert partition(pinned(DAYS[1], LONG_AGO), output, DAYS[1]).uri == done[0].uri
