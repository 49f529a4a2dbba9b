# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's ColumnTransformer on pandas, which reads the needed columns only and writes Parquet."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253
import pandas as pd  # noqa: TID253
import pyarrow.dataset as ds  # noqa: TID253
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin  # noqa: TID253
from sklearn.compose import ColumnTransformer  # noqa: TID253
from sklearn.impute import SimpleImputer  # noqa: TID253
from sklearn.pipeline import Pipeline  # noqa: TID253
from sklearn.preprocessing import (  # noqa: TID253
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

PARTS = {"month": "month", "weekday": "dayofweek", "hour": "hour"}


class Winsorizer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Bounds by quantile, which scikit-learn does not have."""

    def __init__(self, lower: float | None = None, upper: float | None = None) -> None:
        self.lower = lower
        self.upper = upper

    def fit(self, data: Any, _: object = None) -> Winsorizer:
        """Learn the bounds of each column."""
        values = np.asarray(data)
        self.bounds_ = [
            None if share is None else np.nanquantile(values, share, axis=0)
            for share in (self.lower, self.upper)
        ]
        self.n_features_in_ = values.shape[1]
        return self

    def transform(self, data: Any) -> Any:
        """Bound."""
        return np.clip(np.asarray(data), *self.bounds_)


def moments(data: pd.DataFrame) -> Any:
    """Parts of the timestamp."""
    time = data.iloc[:, 0].dt
    parts = {name: getattr(time, part).to_numpy() for name, part in PARTS.items()}
    return np.column_stack([*parts.values(), parts["weekday"] >= 5])


def years(data: pd.DataFrame) -> Any:
    """The year of the date."""
    return data.iloc[:, [0]].to_numpy().astype("datetime64[Y]").astype(int) + 1970


def transformer() -> ColumnTransformer:
    """The recipe."""
    log1p, missing = FunctionTransformer(np.log1p), {"add_indicator": True}
    bins = {"encode": "ordinal", "strategy": "quantile", "quantile_method": "linear", "subsample": None}
    codes = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
    return ColumnTransformer(
        [
            ("amount_bin", KBinsDiscretizer(5, **bins), ["amount"]),
            (
                "amount",
                Pipeline([("clip", Winsorizer(0.01, 0.99)), ("log", log1p), ("scale", StandardScaler())]),
                ["amount"],
            ),
            (
                "fee",
                Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", MinMaxScaler())]),
                ["fee"],
            ),
            ("balance", _filled("mean", Winsorizer(0.005, 0.995), StandardScaler(), **missing), ["balance"]),
            (
                "age",
                Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", MinMaxScaler())]),
                ["age"],
            ),
            ("items", StandardScaler(), ["items"]),
            (
                "distance",
                _filled("median", Winsorizer(upper=0.99), log1p, StandardScaler(), **missing),
                ["distance_km"],
            ),
            ("rating", SimpleImputer(strategy="most_frequent"), ["rating"]),
            ("tenure", KBinsDiscretizer(10, **bins), ["tenure_days"]),
            ("channel", OneHotEncoder(sparse_output=False), ["channel"]),
            ("country", OrdinalEncoder(), ["country"]),
            ("device", OrdinalEncoder(encoded_missing_value=6), ["device"]),
            ("merchant", OrdinalEncoder(**codes), ["merchant_id"]),
            ("member", "passthrough", ["is_member"]),
            ("created", FunctionTransformer(moments), ["created_at"]),
            ("signup", FunctionTransformer(years), ["signup_on"]),
        ]
    )


def _filled(strategy: str, *steps: Any, **options: Any) -> Pipeline:
    """Fill, then steps on the value but not on the indicator beside it."""
    chain = Pipeline([(str(number), step) for number, step in enumerate(steps)])
    first = ColumnTransformer([("value", chain, [0]), ("missing", "passthrough", [1])])
    return Pipeline([("fill", SimpleImputer(strategy=strategy, **options)), ("rest", first)])


def main() -> None:
    """Write the features as the job says."""
    job = json.loads(Path(sys.argv[1]).read_text())
    columns = [*job["inputs"], job["key"], job["label"]]
    frame = (
        ds.dataset(job["folder"])
        .to_table(columns=columns)
        .to_pandas(date_as_object=False, self_destruct=True)
    )
    rank = round(0.8 * len(frame)) - 1
    until = np.partition(frame["created_at"].to_numpy(), rank)[rank]
    train = frame["created_at"].to_numpy() <= until
    fitted = transformer().fit(frame[train])
    features = fitted.transform(frame)
    written = pd.DataFrame(features, columns=job["features"], copy=False)
    written.insert(0, job["key"], frame[job["key"]].to_numpy())
    written.insert(1, job["label"], frame[job["label"]].to_numpy())
    written.insert(2, "split", pd.Categorical.from_codes(1 - train.astype(np.int8), ["train", "test"]))
    written.to_parquet(job["output"], compression="zstd", index=False, row_group_size=122_880)
    versions = {name: version(name) for name in ("scikit-learn", "pandas", "pyarrow")}
    Path(job["answer"]).write_text(json.dumps({"versions": versions}))


if __name__ == "__main__":
    main()
