# SPDX-License-Identifier: Apache-2.0
"""Frequency, target and hashing: any number of categories in one column."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.preprocessing import TargetEncoder

from airflow_provider_mlbridge.exceptions import FeatureValueError, FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import (
    FittedRecipe,
    Frequency,
    Hashing,
    Passthrough,
    Recipe,
    Standard,
    Target,
    build_feature_set,
)
from airflow_provider_mlbridge.features.fitted import _checksum
from airflow_provider_mlbridge.features.hashing import md5_number_of

from .tables import equal, read, write


def _fit(table: pa.Table, steps: list[Any], folder: Path, **options: Any) -> FittedRecipe:
    split = {"by": "column", "column": "part"} if "part" in table.column_names else None
    keys = ["id"] if "id" in table.column_names else []
    recipe = Recipe("r", steps, keys=keys, split=split, **options)  # type: ignore[arg-type]
    return recipe.fit(write(table, folder / "fit.parquet"))


def _transformed(fitted: FittedRecipe, table: pa.Table, folder: Path) -> list[dict[str, Any]]:
    """The features of a table, which are those of its rows one by one."""
    again = FittedRecipe.from_json(fitted.to_json())
    fitted.transform(write(table, folder / "in.parquet"), folder / "out.parquet")
    rows = [{name: row[name] for name in fitted.feature_names} for row in read(folder / "out.parquet")]
    assert again.transform_row(table.to_pylist()[0]) == rows[0]
    for row, expected in zip(table.to_pylist(), rows, strict=True):
        found = again.transform_row(row)
        assert all(equal(found[name], expected[name]) for name in expected), (row, found, expected)
    return rows


def _labelled(rows: int, seed: int, label: Callable[[random.Random], Any], categories: int = 30) -> pa.Table:
    """Categories of many sizes, missing ones, rows without label; a fifth are test rows."""
    rng = random.Random(seed)
    place = [int(rng.paretovariate(0.7)) % categories for _ in range(rows)]
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "shop": [None if rng.random() < 0.1 else f"shop {item}" for item in place],
            "label": [None if rng.random() < 0.1 else label(rng) for _ in range(rows)],
            "part": ["test" if rng.random() < 0.2 else "train" for _ in range(rows)],
        }
    )


class TestFrequency:
    TABLE = pa.table(
        {
            "shop": ["a", "a", "b", None, None, "a", "new", None],
            "size": [1.0, 0.0, -0.0, math.nan, 2.5, 0.0, 7.0, None],
            "part": ["train"] * 6 + ["test"] * 2,
        }
    )

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, [1 / 2, 1 / 2, 1 / 6, None, None, 1 / 2, 0.0, None]),
            ({"measure": "count"}, [3, 3, 1, None, None, 3, 0, None]),
            ({"measure": "count", "missing": "category"}, [3, 3, 1, 2, 2, 3, 0, 2]),
            (
                {"missing": "category", "unknown": "ignore"},
                [1 / 2, 1 / 2, 1 / 6, 1 / 3, 1 / 3, 1 / 2, None, 1 / 3],
            ),
            ({"measure": "count", "missing": "other"}, [3, 3, 1, 0, 0, 3, 0, 0]),
        ],
    )
    def test_values(self, options: dict[str, Any], expected: list[Any], tmp_path: Path) -> None:
        fitted = _fit(self.TABLE, [Frequency("shop", **options)], tmp_path)
        assert [row["shop"] for row in _transformed(fitted, self.TABLE, tmp_path)] == expected

    def test_numbers_as_categories(self, tmp_path: Path) -> None:
        """Both zeros are one category, NaN is missing."""
        fitted = _fit(self.TABLE, [Frequency("size", measure="count", missing="category")], tmp_path)
        found = [row["size"] for row in _transformed(fitted, self.TABLE, tmp_path)]
        assert found == [1, 3, 3, 1, 1, 3, 0, 1]

    @pytest.mark.parametrize(("policy", "row"), [("unknown", {"shop": "new"}), ("missing", {"shop": None})])
    def test_errors(self, policy: str, row: dict[str, Any], tmp_path: Path) -> None:
        fitted = _fit(self.TABLE, [Frequency("shop", **{policy: "error"})], tmp_path)
        with pytest.raises(FeatureValueError, match=rf"step 1 \(frequency\), column 'shop': .* {policy}"):
            fitted.transform_row(row)
        with pytest.raises(
            FeatureValueError, match=rf"step 1 \(frequency\), column 'shop': . rows are {policy}"
        ):
            fitted.transform(write(self.TABLE, tmp_path / "in.parquet"), tmp_path / "out.parquet")

    def test_policies_are_counted(self, tmp_path: Path) -> None:
        fitted = _fit(self.TABLE, [Frequency("shop")], tmp_path)
        written = fitted.transform(write(self.TABLE, tmp_path / "in.parquet"), tmp_path / "out.parquet")
        (policies,) = written.statistics["policies"]
        assert policies == {"step": 1, "type": "frequency", "column": "shop", "unknown": 1, "missing": 3}


def _naive(rows: list[dict[str, Any]], smoothing: float | str, folds: int) -> list[float]:
    """Values of a build, row by row, with missing categories as one of their own."""
    train = [row for row in rows if row["part"] == "train"]
    for row in train:
        row["fold"] = md5_number_of(f"fold\x1f{row['id']}") % folds
    result = []
    for row in rows:
        others = [
            item
            for item in train
            if item["label"] is not None and (row["part"] != "train" or item["fold"] != row["fold"])
        ]
        everyone = [item["label"] for item in others]
        prior = sum(everyone) / len(everyone)
        own = [item["label"] for item in others if item["shop"] == row["shop"]]
        if not own:
            result.append(prior)
        elif smoothing != "auto":
            result.append((sum(own) + float(smoothing) * prior) / (len(own) + float(smoothing)))
        else:
            between, within = float(np.var(everyone)), float(np.var(own))
            whole = between * len(own) + within
            weight = between * len(own) / whole if whole else 0.0
            result.append(weight * (sum(own) / len(own)) + (1 - weight) * prior)
    return result


def _built(table: pa.Table, steps: list[Any], folder: Path) -> list[dict[str, Any]]:
    recipe = Recipe("r", steps, keys=["id"], label="label", split={"by": "column", "column": "part"})  # type: ignore[arg-type]
    source = write(table, folder / "datamart" / "in.parquet")
    built = build_feature_set(source, recipe, (folder / "out").as_uri())
    return read(Path(built.uri.removeprefix("file://")) / "features.parquet")


class TestTarget:
    @pytest.mark.parametrize(
        "label",
        [lambda rng: rng.random() < 0.3, lambda rng: rng.randrange(-50, 2**40)],
        ids=["bool", "int"],
    )
    @pytest.mark.parametrize(("smoothing", "folds"), [(10.0, 5), (0, 2), (2.5, 20)])
    def test_cross_fitting_row_by_row(
        self, label: Callable[[random.Random], Any], smoothing: float, folds: int, tmp_path: Path
    ) -> None:
        """To the last bit, since sums of whole numbers are exact."""
        table = _labelled(300, 5, label)
        found = _built(table, [Target("shop", smoothing=smoothing, folds=folds)], tmp_path)
        assert [row["shop"] for row in found] == _naive(table.to_pylist(), smoothing, folds)

    @pytest.mark.parametrize("smoothing", [10.0, 0, "auto"])
    @pytest.mark.parametrize(
        "label",
        [
            lambda rng: rng.random() < 0.3,
            lambda rng: rng.gauss(1e6, 1.0),
            lambda rng: rng.gauss(0, 1) * 10.0 ** rng.randrange(-8, 8),
            lambda rng: rng.gauss(0, 1e-280),
            lambda rng: rng.uniform(-1, 1) * 8e307,
            lambda rng: rng.randrange(2**62, 2**63),
        ],
        ids=["bool", "far from zero", "many sizes", "tiny", "huge", "large integers"],
    )
    def test_cross_fitting_of_floats(
        self, label: Callable[[random.Random], Any], smoothing: float | str, tmp_path: Path
    ) -> None:
        table = _labelled(250, 6, label)
        found = np.array(
            [row["shop"] for row in _built(table, [Target("shop", smoothing=smoothing)], tmp_path)]
        )
        # In units in which the test's own squares neither vanish nor overflow.
        labels = table["label"].to_pylist()
        unit = 2.0 ** math.frexp(max(abs(float(item)) for item in labels if item is not None))[1]
        scaled = [None if item is None else float(item) / unit for item in labels]
        rows = table.set_column(2, "label", pa.array(scaled, pa.float64())).to_pylist()
        expected = np.array(_naive(rows, smoothing, 5))
        np.testing.assert_allclose(found / unit, expected, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("smoothing", ["auto", 0.0, 10.0])
    @pytest.mark.parametrize("kind", ["binary", "continuous"])
    def test_as_scikit_learn(self, smoothing: Any, kind: str, tmp_path: Path) -> None:
        """What all rows of the training split say, which is what rows of other splits get."""
        table = _labelled(
            2_000, 8, (lambda rng: rng.randrange(2)) if kind == "binary" else (lambda rng: rng.gauss(5, 3))
        )
        fitted = _fit(table, [Target("shop", smoothing=smoothing)], tmp_path, label="label")
        new = pa.table({"id": range(40), "shop": [None, "unheard of", *(f"shop {n}" for n in range(38))]})
        ours = [row["shop"] for row in _transformed(fitted, new, tmp_path)]
        train = table.filter(pc.and_(pc.equal(table["part"], "train"), pc.is_valid(table["label"])))
        encoder = TargetEncoder(smooth=smoothing, target_type=kind)
        encoder.fit(_objects(train["shop"]), train["label"].to_numpy())
        np.testing.assert_allclose(ours, encoder.transform(_objects(new["shop"]))[:, 0], rtol=1e-9)

    @pytest.mark.parametrize(
        ("unknown", "missing"), [("prior", "prior"), ("ignore", "ignore"), ("prior", "category")]
    )
    def test_policies(self, unknown: str, missing: str, tmp_path: Path) -> None:
        table = _labelled(200, 2, lambda rng: rng.randrange(2))
        step = Target("shop", unknown=unknown, missing=missing)
        fitted = _fit(table, [step], tmp_path, label="label")
        new, none = _transformed(fitted, pa.table({"id": [1, 2], "shop": ["unheard of", None]}), tmp_path)
        counted = [row for row in table.to_pylist() if row["part"] == "train" and row["label"] is not None]
        own = [row["label"] for row in counted if row["shop"] is None]
        prior = sum(row["label"] for row in counted) / len(counted)
        values = {"prior": prior, "ignore": None, "category": (sum(own) + 10 * prior) / (len(own) + 10)}
        assert (new["shop"], none["shop"]) == (values[unknown], values[missing])
        # In the build, rows of the training split get what the other folds say of missing values.
        found = [row["shop"] for row in _built(table, [step], tmp_path) if row["split"] == "train"]
        rows = [row for row in table.to_pylist() if row["part"] == "train"]
        missing_values = {value for value, row in zip(found, rows, strict=True) if row["shop"] is None}
        assert len(missing_values) == (1 if missing == "ignore" else 5)

    @pytest.mark.parametrize(("policy", "row"), [("unknown", {"shop": "new"}), ("missing", {"shop": None})])
    def test_errors(self, policy: str, row: dict[str, Any], tmp_path: Path) -> None:
        table = _labelled(200, 2, lambda rng: rng.randrange(2))
        fitted = _fit(table, [Target("shop", **{policy: "error"})], tmp_path, label="label")  # type: ignore[arg-type]
        with pytest.raises(FeatureValueError, match=rf"\(target\), column 'shop': .* {policy}") as caught:
            fitted.transform_row(row)
        assert 'unknown="other"' not in str(caught.value)  # is no choice of this step

    def test_categories_of_every_kind(self, tmp_path: Path) -> None:
        rng = random.Random(1)
        size = [rng.choice([0.0, -0.0, 2.5, math.nan, None]) for _ in range(200)]
        table = pa.table(
            {
                "id": range(200),
                "size": pa.array(size, pa.float64()),
                "seats": pa.array([rng.choice([2**63, 5, None]) for _ in range(200)], pa.uint64()),
                "night": [rng.choice([True, False, None]) for _ in range(200)],
                "label": [rng.gauss(0, 1) for _ in range(200)],
            }
        )
        steps = [Target(["size", "seats", "night"]), Frequency(["seats", "night"], output="{column}_often")]
        fitted = _fit(table, steps, tmp_path, label="label")
        new = {"size": [-0.0, 0.0, math.nan, None, math.inf], "seats": [2**63, 2**64 - 1, 5, 0, None]}
        rows = pa.table(
            {
                "id": range(5),
                "size": pa.array(new["size"], pa.float64()),
                "seats": pa.array(new["seats"], pa.uint64()),
                "night": [True, False, None, True, None],
            }
        )
        found = _transformed(fitted, rows, tmp_path)
        assert found[0]["size"] == found[1]["size"] != found[2]["size"] == found[3]["size"]
        prior = sum(table["label"].to_pylist()) / 200
        assert found[4]["size"] == pytest.approx(prior, rel=1e-12)
        assert found[1]["seats"] == found[3]["seats"] == found[4]["size"]

    def test_the_order_of_rows_and_threads_do_not_matter(self, tmp_path: Path) -> None:
        table = _labelled(3_000, 9, lambda rng: rng.gauss(0, 1) * 10.0 ** rng.randrange(9))
        recipe = Recipe("r", [Target("shop", smoothing="auto")], keys=["id"], label="label")
        order = np.random.default_rng(1).permutation(table.num_rows)
        states = {
            recipe.fit(write(rows, tmp_path / f"{threads}.parquet"), threads=threads).to_json()
            for rows, threads in ((table, 1), (table, 4), (table.take(order), 3))
        }
        assert len(states) == 1

    def test_a_step_after_it_sees_what_the_build_writes(self, tmp_path: Path) -> None:
        table = _labelled(500, 3, lambda rng: rng.randrange(2))
        found = _built(
            table,
            [Target("shop", output="mean"), Passthrough("mean", output="raw"), Standard("mean")],
            tmp_path,
        )
        train = [row for row in found if row["split"] == "train"]
        raw = np.array([row["raw"] for row in train])
        expected = (raw - raw.mean()) / raw.std()
        np.testing.assert_allclose([row["mean"] for row in train], expected, rtol=1e-9, atol=1e-12)

    def test_keys_of_the_split_stay_in_one_fold(self, tmp_path: Path) -> None:
        """Rows of one customer must not tell each other their label, whatever the keys of the rows are."""
        customers = [n // 10 for n in range(400)]
        table = pa.table(
            {
                "id": range(400),
                "customer": customers,
                "shop": [f"shop of {customer}" for customer in customers],
                "label": [customer % 2 for customer in customers],
            }
        )
        recipe = Recipe(
            "r",
            [Target("shop")],
            keys=["id"],
            label="label",
            split={"by": "hash", "keys": ["customer"], "train": 0.9},  # type: ignore[arg-type]
        )
        source = write(table, tmp_path / "datamart" / "in.parquet")
        built = build_feature_set(source, recipe, (tmp_path / "out").as_uri())
        rows = read(Path(built.uri.removeprefix("file://")) / "features.parquet")
        train = [row for row in rows if row["split"] == "train"]
        assert 2 <= len({row["shop"] for row in train}) <= 5  # only the priors of the folds

    @pytest.mark.parametrize(
        ("labels", "options", "parts"),
        [
            ([None] * 40, {}, ["label 'label' is missing in all rows"]),
            ([1.5, math.inf] * 20, {}, ["20 of 40 labels ('label')", "infinite"]),
            ([-1.7e308, 1.7e308] * 20, {}, ["too wide for a float"]),
            ([0, 1, 2, 1] * 10, {}, ['target_type="continuous"', "codes of classes", "hashing"]),
            ([0.0, 1.0, 2.0, None] * 10, {}, ["codes of classes"]),
        ],
    )
    def test_labels_that_do_not_do(
        self, labels: list[Any], options: dict[str, Any], parts: list[str], tmp_path: Path
    ) -> None:
        kind = pa.int64() if all(isinstance(item, int) for item in labels) else pa.float64()
        table = pa.table({"id": range(40), "shop": ["a", "b"] * 20, "label": pa.array(labels, kind)})
        with pytest.raises(FitError) as caught:
            _fit(table, [Target("shop", **options)], tmp_path, label="label")
        for part in (*parts, "step 1 (target), column 'shop'"):
            assert part in str(caught.value)

    @pytest.mark.parametrize(
        ("labels", "options"),
        [
            ([0, 1, 2, 1], {"target_type": "continuous"}),
            ([0, 5, 0, 5], {}),
            ([0, 1, 1, 0], {}),
            ([0, 21, 3, 5], {}),
            ([0.0, 1.5, 2.0, 3.0], {}),
            ([7, 7, 7, 7], {"smoothing": "auto"}),
            ([7.5, 7.5, 7.5, 7.5], {}),
        ],
    )
    def test_labels_that_do(self, labels: list[Any], options: dict[str, Any], tmp_path: Path) -> None:
        table = pa.table({"id": range(40), "shop": ["a", "b"] * 20, "label": labels * 10})
        fitted = _fit(
            table,
            [
                Target(
                    "shop",
                    smoothing=options.get("smoothing", 0.0),
                    **{key: value for key, value in options.items() if key != "smoothing"},
                )
            ],
            tmp_path,
            label="label",
        )
        value = fitted.transform_row({"shop": "a"})["shop"]
        own = labels[::2]
        assert value == sum(own) / len(own)

    @pytest.mark.parametrize(
        ("recipe", "parts"),
        [
            ({"label": "name"}, ["'name' is string", "1 or true for one of them", "frequency, hashing"]),
            ({"label": None}, ["the recipe has none; give label"]),
            ({"keys": []}, ["the recipe has none; give keys"]),
        ],
    )
    def test_recipes_that_do_not_do(self, recipe: dict[str, Any], parts: list[str], tmp_path: Path) -> None:
        table = pa.table({"id": [1, 2], "shop": ["a", "b"], "label": [0, 1], "name": ["no", "yes"]})
        source = write(table, tmp_path / "in.parquet")
        with pytest.raises(InvalidRecipeError) as caught:
            Recipe("r", [Target("shop")], **{"keys": ["id"], "label": "label", **recipe}).fit(source)
        for part in (*parts, "step 1 (target), column 'shop'"):
            assert part in str(caught.value)

    def test_one_fold_cannot_be_learned_from(self, tmp_path: Path) -> None:
        table = pa.table({"id": [1, 1, 1], "shop": ["a", "b", "a"], "label": [0, 1, 1]})
        with pytest.raises(FitError, match="all 3 rows .* in one of 5 folds"):
            _fit(table, [Target("shop")], tmp_path, label="label")

    @pytest.mark.parametrize(
        "change",
        [
            lambda state: state["counts"].append([1]),
            lambda state: state["sums"][0].pop(),
            lambda state: state.pop("unit"),
            lambda state: state.update(categories=["a"]),
            lambda state: state.update(counts=[[0] * len(row) for row in state["counts"]]),
        ],
    )
    def test_a_state_that_is_not_well_formed(self, change: Callable[[Any], Any], tmp_path: Path) -> None:
        table = _labelled(100, 4, lambda rng: rng.randrange(2))
        document = json.loads(_fit(table, [Target("shop")], tmp_path, label="label").to_json())
        del document["checksum"]
        change(document["operations"][0]["state"])
        document["checksum"] = _checksum(document)
        with pytest.raises(InvalidRecipeError, match="not well formed"):
            FittedRecipe.from_json(json.dumps(document))


def _objects(column: pa.ChunkedArray) -> np.ndarray:
    return np.array([[item] for item in column.to_pylist()], dtype=object)


class TestHashing:
    MOMENTS = [datetime.date(1, 1, 1), datetime.date(2024, 2, 29), None, datetime.date(9999, 12, 31)]

    @pytest.mark.parametrize(
        ("values", "kind", "texts"),
        [
            (["", "a", None, "é\0'\ue000\U0010ffff"], pa.string(), ["", "a", None, "é\0'\ue000\U0010ffff"]),
            ([0, -1, None, 2**63 - 1], pa.int64(), ["0", "-1", None, "9223372036854775807"]),
            ([2**64 - 1], pa.uint64(), ["18446744073709551615"]),
            ([True, False, None], pa.bool_(), ["true", "false", None]),
            (MOMENTS, pa.date32(), ["0001-01-01", "2024-02-29", None, "9999-12-31"]),
        ],
    )
    def test_buckets(self, values: list[Any], kind: pa.DataType, texts: list[Any], tmp_path: Path) -> None:
        table = pa.table({"x": pa.array(values, kind)})
        fitted = _fit(table, [Hashing("x", buckets=97, salt="it's")], tmp_path)
        expected = [
            None if text is None else int(hashlib.md5(f"it's:{text}".encode()).hexdigest()[:8], 16) % 97
            for text in texts
        ]
        assert [row["x"] for row in _transformed(fitted, table, tmp_path)] == expected
        assert fitted.states[0] == {}

    def test_any_text(self, tmp_path: Path) -> None:
        rng = random.Random(3)
        planes = [range(1), range(0x80), range(0x800), range(0xD800), range(0xE000, 0x110000)]
        texts = ["".join(map(chr, rng.choices(rng.choice(planes), k=5))) for _ in range(5_000)]
        table = pa.table({"x": texts})
        fitted = _fit(table, [Hashing("x", buckets=2**31 - 1, output="bucket"), Passthrough("x")], tmp_path)
        fitted.transform(write(table, tmp_path / "in.parquet"), tmp_path / "out.parquet")
        for row in read(tmp_path / "out.parquet"):
            assert row["bucket"] == md5_number_of(":" + row["x"]) % (2**31 - 1)

    def test_half_a_surrogate_pair_is_somewhere(self, tmp_path: Path) -> None:
        """A table cannot hold it, but a JSON request can."""
        fitted = _fit(pa.table({"x": ["a"]}), [Hashing("x", buckets=10)], tmp_path)
        assert fitted.transform_row({"x": json.loads('"\\ud800"')})["x"] in range(10)

    @pytest.mark.parametrize(
        ("missing", "bucket", "flags"),
        [("ignore", None, [0, 0, 0]), ("category", 3, [0, 0, 0, 1])],
    )
    def test_flags_and_missing_values(
        self, missing: str, bucket: int | None, flags: list[int], tmp_path: Path
    ) -> None:
        table = pa.table({"x": ["a", "b", "c", None]})
        number = Hashing("x", buckets=3, missing=missing, output="bucket")
        steps = [number, Hashing("x", buckets=3, missing=missing, one_hot=True)]
        fitted = _fit(table, steps, tmp_path)
        assert fitted.feature_names[:4] == ("bucket", "x_0", "x_1", "x_2")
        assert [feature.flag for feature in fitted.features] == [False] + [True] * len(flags)
        found = [list(row.values()) for row in _transformed(fitted, table, tmp_path)]
        assert found[3] == [bucket, *flags]
        for row in found[:3]:
            assert row[1:] == [int(place == row[0]) for place in range(len(flags))]

    def test_the_salt_changes_the_buckets(self, tmp_path: Path) -> None:
        table = pa.table({"x": [str(number) for number in range(200)]})
        steps = [Hashing("x", buckets=8, salt=salt, output=f"x{salt}") for salt in ("", "1")]
        rows = _transformed(_fit(table, steps, tmp_path), table, tmp_path)
        assert sum(row["x"] == row["x1"] for row in rows) < 60
        assert all(sum(row["x"] == bucket for row in rows) > 10 for bucket in range(8))

    def test_a_missing_value_may_be_an_error(self, tmp_path: Path) -> None:
        fitted = _fit(pa.table({"x": ["a"]}), [Hashing("x", buckets=3, missing="error")], tmp_path)
        with pytest.raises(FeatureValueError, match=r"\(hashing\), column 'x': the value is missing"):
            fitted.transform_row({"x": None})
        source = write(pa.table({"x": ["a", None]}), tmp_path / "in.parquet")
        with pytest.raises(FeatureValueError, match="1 rows are missing"):
            fitted.transform(source, tmp_path / "out.parquet")


def test_a_hundred_thousand_categories(tmp_path: Path) -> None:
    rows, categories = 120_000, 100_000
    table = pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "shop": [f"shop, {n % categories}" for n in range(rows)],
            "label": [n % 7 == 0 for n in range(rows)],
        }
    )
    steps = [
        Frequency("shop", measure="count", output="often"),
        Hashing("shop", buckets=1_000, output="bucket"),
        Target("shop", smoothing=1.0),
    ]
    recipe = Recipe("r", steps, keys=["id"], label="label")
    built = build_feature_set(
        write(table, tmp_path / "datamart" / "in.parquet"), recipe, (tmp_path / "out").as_uri()
    )
    folder = Path(built.uri.removeprefix("file://"))
    found = read(folder / "features.parquet")
    assert [row["often"] for row in found] == [2] * 20_000 + [1] * 80_000 + [2] * 20_000
    fitted = FittedRecipe.from_json((folder / "state.json").read_bytes())
    for n in (0, 19_999, 20_000, 99_999):
        row = fitted.transform_row({"shop": f"shop, {n}"})
        assert (row["often"], row["bucket"]) == (found[n]["often"], found[n]["bucket"])
        prior = sum(table["label"].to_pylist()) / rows
        labels = [m % 7 == 0 for m in range(n, rows, categories)]
        assert row["shop"] == (sum(labels) + prior) / (len(labels) + 1)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: Frequency("a", measure="sum"), ["measure='sum'", "share, count"]),
        (lambda: Frequency("a", unknown="prior"), ["unknown='prior'", "error, other, ignore"]),
        (lambda: Target("a", unknown="other"), ["unknown='other'", "error, prior, ignore"]),
        (lambda: Target("a", smoothing=-1), ["smoothing=-1"]),
        (lambda: Target("a", smoothing="much"), ["smoothing='much'", "auto"]),
        (lambda: Target("a", folds=1), ["folds=1", "2 to 20"]),
        (lambda: Target("a", target_type="binary"), ["target_type='binary'", "auto, continuous"]),
        (lambda: Hashing("a", buckets=1), ["buckets=1", "2 to 2147483647"]),
        (lambda: Hashing("a", buckets=1_001, one_hot=True), ["buckets=1001", "2 to 1000"]),
        (lambda: Hashing("a", buckets=5, salt=3), ["salt=3", "string"]),  # type: ignore[arg-type]
        (lambda: Hashing("a", buckets=5, missing="other"), ["missing='other'", "error, category, ignore"]),
    ],
)
def test_options_that_do_not_do(make: Callable[[], Any], parts: list[str]) -> None:
    with pytest.raises(InvalidRecipeError) as caught:
        make()
    for part in parts:
        assert part in str(caught.value)


def test_kinds_that_do_not_do(tmp_path: Path) -> None:
    table = pa.table({"id": [1], "x": [0.5], "label": [1], "day": [datetime.date(2024, 1, 1)]})
    for step, kind in (
        (Hashing("x", buckets=3), "float"),
        (Frequency("day"), "date"),
        (Target("day"), "date"),
    ):
        with pytest.raises(InvalidRecipeError, match=rf"\({step.TYPE}\): column '.*' is {kind}"):
            _fit(table, [step], tmp_path, label="label")


@pytest.mark.parametrize("step", [Frequency("x"), Target("x")])
def test_columns_that_do_not_do(step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, label = list(range(40)), [0, 1] * 20
    empty = pa.table({"id": ids, "x": pa.nulls(40, pa.string()), "label": label})
    with pytest.raises(FitError, match="all 40 values of the training split are missing"):
        _fit(empty, [step], tmp_path, label="label")
    infinite = pa.table({"id": ids, "x": [1.0, math.inf] * 20, "label": label})
    with pytest.raises(FitError, match="20 of 40 values of the training split are infinite"):
        _fit(infinite, [step], tmp_path, label="label")
    monkeypatch.setattr("airflow_provider_mlbridge.features.steps.encoding.MAX_ENCODED", 30)
    monkeypatch.setattr("airflow_provider_mlbridge.features.steps.target.MAX_ENCODED", 30)
    many = pa.table({"id": ids, "x": [str(number) for number in ids], "label": label})
    with pytest.raises(FitError, match=rf"too many different values .*\({step.TYPE} takes 30\).*use hashing"):
        _fit(many, [step], tmp_path, label="label")
