# SPDX-License-Identifier: Apache-2.0
"""One partition in, one partition out; and what is learned once for all of them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from airflow_provider_mlbridge.exceptions import (
    ConfigurationError,
    FeatureValueError,
    InvalidManifestError,
    InvalidRecipeError,
    SnapshotChangedError,
)
from airflow_provider_mlbridge.features import (
    FittedRecipe,
    HashSplit,
    Impute,
    OneHot,
    Passthrough,
    Recipe,
    Standard,
    TimeSplit,
    build_feature_set,
    incremental,
)
from airflow_provider_mlbridge.results import FeatureSet
from airflow_provider_mlbridge.storage import pin_snapshot, publish_version, read_manifest

from .tables import flights, read, write

DAYS = ("2026-11-18", "2026-11-19", "2026-11-20")
STEPS = [
    Impute(["dep_delay"]),
    Standard(["dep_delay"]),
    OneHot("carrier", missing="category", unknown="other"),
]
RECIPE = Recipe("daily", STEPS, keys=["flight_id"], label="late", split=HashSplit(train=0.8), refit="never")


@pytest.fixture
def mart(tmp_path: Path) -> str:
    for seed, day in enumerate(DAYS):
        write(flights(300 + seed, seed), tmp_path / "mart" / f"date={day}" / "part.parquet")
    return f"{tmp_path}/mart"


def build(mart: str, output: str, day: str, recipe: Recipe = RECIPE, **options: Any) -> FeatureSet:
    return build_feature_set(mart, recipe, output, partitions={"date": day}, partitioned=True, **options)


def test_a_version_is_all_partitions(mart: str, tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    built = [build(mart, output, day) for day in DAYS]
    manifest = read_manifest(output)
    assert manifest.version_uri == built[-1].uri
    assert [item["engine"] for item in manifest.details["partitions"]] == ["duckdb"] * 3
    assert [item["values"] for item in manifest.details["partitions"]] == [{"date": day} for day in DAYS]
    assert (built[-1].rows, manifest.details["rows"]) == (903, 903)
    assert built[-1].train_rows == manifest.details["split_rows"]["train"]
    assert (
        len({item.fingerprint for item in built}) == len({item.datamart_fingerprint for item in built}) == 3
    )
    files = {file.name: file for file in manifest.files}
    # What an earlier build has written stays where it was put.
    first = files[f"date={DAYS[0]}/features.parquet"]
    assert first.uri == f"{built[0].uri}date={DAYS[0]}/features.parquet"
    assert len(read(first.uri)) == 300
    names = [f"date={DAYS[2]}", "manifest.json", "recipe.json", "recipe.yaml", "state.json"]
    assert sorted(path.name for path in Path(built[-1].uri).iterdir()) == names
    # All have the state that was learned from the first.
    assert {Path(item.uri, "state.json").read_bytes() for item in built} == {
        RECIPE.fit(f"{mart}/date={DAYS[0]}").to_json().encode()
    }
    fitted = FittedRecipe.from_json(Path(built[-1].uri, "state.json").read_text())
    row = flights(302, 2).to_pylist()[0]
    (stored,) = [
        item
        for item in read(files[f"date={DAYS[2]}/features.parquet"].uri)
        if item["flight_id"] == row["flight_id"]
    ]
    assert fitted.transform_row(row) == {
        name: pytest.approx(stored[name], rel=1e-12) for name in fitted.feature_names
    }


def test_a_repeat_returns_what_is_there(mart: str, tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    build(mart, output, DAYS[0])
    last = build(mart, output, DAYS[1])
    for day in DAYS[:2]:
        again = build(mart, output, day)
        assert {**again.to_dict(), "duration_seconds": 0} == {**last.to_dict(), "duration_seconds": 0}
    # The quality check has pinned the partition already.
    snapshot = pin_snapshot(mart, partitions={"date": [DAYS[0]]}).to_dict()
    assert build_feature_set(snapshot, RECIPE, output, partitioned=True).uri == last.uri


def test_the_order_of_builds_does_not_matter_with_a_state_that_is_given(mart: str, tmp_path: Path) -> None:
    wide = build_feature_set(mart, RECIPE, f"{tmp_path}/wide")
    ends: list[FeatureSet] = []
    for name, days in (("a", DAYS), ("b", DAYS[::-1])):
        for day in days:
            last = build(mart, f"{tmp_path}/{name}", day, state_uri=wide.uri, threads=len(ends) + 1)
        ends.append(last)
    assert ends[0].fingerprint == ends[1].fingerprint
    assert ends[0].datamart_fingerprint == ends[1].datamart_fingerprint
    assert [file.sha256 for file in sorted(read_manifest(ends[0].uri).files, key=lambda file: file.name)] == [
        file.sha256 for file in sorted(read_manifest(ends[1].uri).files, key=lambda file: file.name)
    ]


def test_a_partition_that_changed_takes_the_place_of_its_predecessor(mart: str, tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    for day in DAYS[:2]:
        before = build(mart, output, day)
    write(flights(50, 9), Path(mart) / f"date={DAYS[0]}" / "part.parquet")
    after = build(mart, output, DAYS[0])
    assert (before.rows, after.rows) == (601, 351)
    assert after.fingerprint != before.fingerprint
    names = [file.name for file in read_manifest(output).files]
    assert names.count(f"date={DAYS[0]}/features.parquet") == 1
    assert len({file.version for file in read_manifest(output).files if DAYS[0] in file.name}) == 1


def test_retention_keeps_what_versions_refer_to(
    mart: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incremental, "KEEP_AT_LEAST", timedelta(0))
    output = f"{tmp_path}/out"
    first = build(mart, output, DAYS[0])
    for seed in range(4):
        write(flights(40, 20 + seed), Path(mart) / f"date={DAYS[1]}" / "part.parquet")
        last = build(mart, output, DAYS[1], keep_versions=2)
    left = sorted(
        path.relative_to(first.uri).as_posix() for path in Path(first.uri).rglob("*.*") if path.is_file()
    )
    names = ("features.parquet", "lint.json", "statistics.html", "statistics.json")
    assert left == [f"date={DAYS[0]}/{name}" for name in names]
    assert len(list(Path(output, "versions").iterdir())) == 3
    assert pin_snapshot(output).total_bytes == sum(
        file.size for file in read_manifest(last.uri).files if file.name.endswith(".parquet")
    )
    # With the last version that names them they go, too.
    for seed in range(2):
        write(flights(40, 30 + seed), Path(mart) / f"date={DAYS[0]}" / "part.parquet")
        build(mart, output, DAYS[0], keep_versions=1)
    from airflow_provider_mlbridge.storage import publish

    monkeypatch.setattr(publish, "ABANDONED_AFTER", timedelta(seconds=-1))
    write(flights(40, 40), Path(mart) / f"date={DAYS[0]}" / "part.parquet")
    build(mart, output, DAYS[0], keep_versions=1)
    assert not Path(first.uri).exists()


def test_a_partitioned_feature_set_is_a_datamart(mart: str, tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    for day in DAYS:
        last = build(mart, output, day)
    snapshot = pin_snapshot(output)
    assert snapshot.file_count == 3
    assert pin_snapshot(last.uri).fingerprint == snapshot.fingerprint
    table = ds.dataset([snapshot.root + file.path for file in snapshot.files]).to_table()
    assert table.num_rows == last.rows
    recipe = Recipe("second", [Passthrough(["dep_delay", "date"])], keys=["flight_id"])
    second = build_feature_set(snapshot.to_dict(), recipe, f"{tmp_path}/second")
    assert (second.rows, second.feature_count) == (903, 2)
    one = pin_snapshot(output, partitions={"date": DAYS[1]})
    assert [file.path.split("/")[1] for file in one.files] == [f"date={DAYS[1]}"]
    # As it travels when it has many files: listed again, from the manifest.
    bare = {**snapshot.to_dict(), "files": []}
    assert pin_snapshot(bare).files == snapshot.files
    carried = next(file for file in read_manifest(last.uri).files if file.version and "parquet" in file.name)
    Path(carried.uri).write_bytes(b"x")
    with pytest.raises(InvalidManifestError, match="not the file that was published"):
        pin_snapshot(output)
    with pytest.raises(SnapshotChangedError, match="no longer what was pinned"):
        pin_snapshot(bare)
    Path(carried.uri).unlink()
    with pytest.raises(InvalidManifestError, match="1 files are missing"):
        pin_snapshot(output)


def test_a_damaged_partition_is_built_again(mart: str, tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    for day in DAYS[:2]:
        last = build(mart, output, day)
    file = next(file for file in read_manifest(output).files if file.version and "parquet" in file.name)
    Path(file.uri).unlink()
    again = build(mart, output, DAYS[0])
    assert again.uri != last.uri
    assert again.fingerprint == last.fingerprint
    assert pin_snapshot(output).file_count == 2
    # A version has files of its own, too.
    Path(again.uri, "recipe.yaml").unlink()
    whole = build(mart, output, DAYS[1])
    assert whole.uri != again.uri
    assert Path(whole.uri, "recipe.yaml").exists()


def test_all_versions_of_a_mapped_task_stay(mart: str, tmp_path: Path) -> None:
    """Each is handed to somebody, whatever the count says."""
    built = [build(mart, f"{tmp_path}/out", day, keep_versions=1) for day in DAYS]
    assert [read_manifest(item.uri).details["rows"] for item in built] == [300, 601, 903]


def test_whoever_is_not_first_puts_its_partition_on_top(
    mart: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the other has started the set, so that its state is the one of all."""
    output = f"{tmp_path}/out"
    others = [DAYS[0], DAYS[1]]

    def overtaken(*arguments: Any, **options: Any) -> Any:
        if others:
            build(mart, output, others.pop(0))
        return publish_version(*arguments, **options)

    monkeypatch.setattr(incremental, "publish_version", overtaken)
    last = build(mart, output, DAYS[2])
    details = read_manifest(output).details
    assert [item["values"]["date"] for item in details["partitions"]] == list(DAYS)
    assert last.rows == 903
    # The innermost build was first.
    assert Path(last.uri, "state.json").read_text() == RECIPE.fit(f"{mart}/date={DAYS[1]}").to_json()


@pytest.mark.parametrize(
    ("recipe", "partitions", "options", "message"),
    [
        (RECIPE, None, {}, "not restricted to one partition"),
        (RECIPE, {"date": list(DAYS)}, {}, "3 values of 'date'"),
        (RECIPE, {"date": DAYS[0]}, {"latest_parquet": True}, "latest_parquet goes with one file"),
        (
            Recipe("r", STEPS, keys=["flight_id"], split=HashSplit()),
            {"date": DAYS[0]},
            {},
            r"refit: always, and steps 1 \(impute\), 2 \(standard\), 3 \(one_hot\) learn",
        ),
        (
            Recipe("r", [Passthrough("temp")], split=TimeSplit("scheduled", train=0.5)),
            {"date": DAYS[0]},
            {},
            "its split learns",
        ),
        (
            Recipe(
                "r",
                [{"type": "lag", "columns": ["temp"], "by": ["carrier"]}],  # type: ignore[list-item]
                event_time="scheduled",
                keys=["flight_id"],
                refit="never",
            ),
            {"date": DAYS[0]},
            {},
            r"step 1 \(lag\) looks at earlier rows.*include date",
        ),
    ],
)
def test_what_cannot_be_one_partition(
    mart: str, tmp_path: Path, recipe: Recipe, partitions: Any, options: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_feature_set(mart, recipe, f"{tmp_path}/out", partitions=partitions, partitioned=True, **options)
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_learns_nothing_needs_no_refit(mart: str, tmp_path: Path) -> None:
    recipe = Recipe("r", [Passthrough("temp")], keys=["flight_id"])
    for day in DAYS[:2]:
        built = build(mart, f"{tmp_path}/out", day, recipe)
    assert (built.rows, built.train_rows) == (601, 601)


def test_a_feature_set_is_never_mixed(mart: str, tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    build(mart, output, DAYS[0])
    before = sorted(tmp_path.rglob("*"))
    other = Recipe("daily", STEPS[:1], keys=["flight_id"], label="late", refit="never")
    with pytest.raises(ConfigurationError, match="another recipe.*publish to another output_uri"):
        build(mart, output, DAYS[1], other)
    with pytest.raises(ConfigurationError, match="1 partitions by date, which a build of one file"):
        build_feature_set(mart, RECIPE, output)
    write(
        flights(10).append_column("region", [["x"] * 10]), Path(mart) / f"date={DAYS[1]}/region=x/p.parquet"
    )
    with pytest.raises(ConfigurationError, match="holds features by date, this build"):
        build_feature_set(
            f"{mart}/date={DAYS[1]}", RECIPE, output, partitions={"region": "x"}, partitioned=True
        )
    (Path(mart) / f"date={DAYS[1]}/region=x/p.parquet").unlink()
    wide = build_feature_set(f"{mart}/date={DAYS[1]}", RECIPE, f"{tmp_path}/wide")
    with pytest.raises(ConfigurationError, match="built with another state"):
        build(mart, output, DAYS[1], state_uri=wide.uri)
    with pytest.raises(ConfigurationError, match="not a partitioned feature set"):
        build(mart, f"{tmp_path}/wide", DAYS[1])
    assert [path for path in sorted(tmp_path.rglob("*")) if "/out" in str(path)] == [
        path for path in before if "/out" in str(path)
    ]


def test_a_partition_of_other_types_is_refused(mart: str, tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    first = build(mart, output, DAYS[0])
    table = flights(50)
    for name, kind in (("flight_id", "int32"), ("dep_delay", "string")):
        position = table.column_names.index(name)
        other = table.set_column(position, name, table[name].cast(kind))
        write(other, Path(mart) / f"date={DAYS[1]}" / "part.parquet")
        with pytest.raises(FeatureValueError, match=name):
            build(mart, output, DAYS[1])
    assert read_manifest(output).version_uri == first.uri


def test_refit_never_takes_over_what_the_first_build_has_learned(mart: str, tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    one, two = (f"{mart}/date={day}" for day in DAYS[:2])
    first = build_feature_set(one, RECIPE, output)
    assert build_feature_set(one, RECIPE, output).uri == first.uri
    second = build_feature_set(two, RECIPE, output)
    assert Path(second.uri, "state.json").read_bytes() == Path(first.uri, "state.json").read_bytes()
    assert second.train_rows == read_manifest(output).details["split_rows"]["train"] != first.train_rows
    assert second.fingerprint != build_feature_set(two, RECIPE, f"{tmp_path}/fresh").fingerprint
    named = build_feature_set(two, RECIPE, f"{tmp_path}/named", state_uri=f"{first.uri}state.json")
    assert named.fingerprint == second.fingerprint
    always = Recipe("daily", STEPS, keys=["flight_id"], label="late", split=HashSplit(train=0.8))
    fitted = build_feature_set(two, always, output)
    assert Path(fitted.uri, "state.json").read_bytes() != Path(first.uri, "state.json").read_bytes()
    with pytest.raises(ConfigurationError, match="the state of recipe 'daily'"):
        build_feature_set(two, always, output, state_uri=first.uri)
    with pytest.raises(InvalidRecipeError, match="refit='sometimes' is not valid; use one of always, never"):
        Recipe("r", STEPS, refit="sometimes")  # type: ignore[arg-type]
    assert Recipe.from_yaml(RECIPE.to_yaml()) == RECIPE
    assert RECIPE.hash != always.hash


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_state_that_was_changed_is_not_taken_over(mart: str, tmp_path: Path, partitioned: bool) -> None:
    output = f"{tmp_path}/out"
    options: Any = {"partitioned": partitioned}
    first = build_feature_set(mart, RECIPE, output, partitions={"date": DAYS[0]}, **options)
    state = Path(first.uri, "state.json")
    document = json.loads(state.read_text())
    document["train_rows"] += 1
    state.write_text(json.dumps(document))
    with pytest.raises(InvalidManifestError, match="not the file that was published"):
        build_feature_set(mart, RECIPE, output, partitions={"date": DAYS[1]}, **options)
    with pytest.raises(InvalidRecipeError, match="was changed after it was written"):
        build_feature_set(mart, RECIPE, f"{tmp_path}/new", state_uri=str(state))
    assert not (tmp_path / "new").exists()
    assert read_manifest(output).version_uri == first.uri


def test_values_that_need_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of versions that have gone, but for what others name."""
    monkeypatch.setattr(incremental, "KEEP_AT_LEAST", timedelta(0))
    mart, output = f"{tmp_path}/mart", f"file://{tmp_path}/out"
    for number, folder in enumerate(("region=a%2Fb", "region=c d", "region=%C3%BC")):
        write(flights(30 + number, number), Path(mart) / folder / "p.parquet")
    for text in ("a/b", "c d", "ü"):
        build_feature_set(
            mart, RECIPE, output, partitions={"region": text}, partitioned=True, keep_versions=1
        )
    assert len(list(tmp_path.glob("out/versions/*/manifest.json"))) == 2
    assert pin_snapshot(output).file_count == 3
    for text, rows in (("a/b", 30), ("c d", 31), ("ü", 32)):
        (file,) = pin_snapshot(output, partitions={"region": text}).files
        assert (
            len(read(pin_snapshot(output).root.removeprefix("file://") + file.path.replace("%25", "%")))
            == rows
        )
