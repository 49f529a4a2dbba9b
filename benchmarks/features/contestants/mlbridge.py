# SPDX-License-Identifier: Apache-2.0
"""This package: fit on the training split, then transform everything, as a build does before it publishes."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from airflow_provider_mlbridge.features import (
    Clip,
    DateParts,
    Impute,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    Passthrough,
    QuantileBins,
    Recipe,
    Standard,
    TimeSplit,
)

RECIPE = Recipe(
    "transactions",
    [
        QuantileBins("amount", bins=5, output="amount_bin"),
        Clip("amount", lower_quantile=0.01, upper_quantile=0.99),
        Log1p("amount"),
        Standard("amount"),
        Impute("fee", strategy="median"),
        MinMax("fee"),
        Impute("balance", strategy="mean", indicator=True),
        Clip("balance", lower_quantile=0.005, upper_quantile=0.995),
        Standard("balance"),
        Impute("age", strategy="median"),
        MinMax("age"),
        Standard("items"),
        Impute("distance_km", strategy="median", indicator=True),
        Clip("distance_km", upper_quantile=0.99),
        Log1p("distance_km"),
        Standard("distance_km"),
        Impute("rating", strategy="mode"),
        QuantileBins("tenure_days", bins=10),
        OneHot("channel"),
        Ordinal("country"),
        Ordinal("device", missing="category"),
        Ordinal("merchant_id", unknown="other"),
        Passthrough("is_member"),
        DateParts("created_at", parts=["month", "weekday", "hour", "is_weekend"]),
        DateParts("signup_on", parts=["year"]),
    ],
    keys=["transaction_id"],
    label="is_fraud",
    event_time="created_at",
    split=TimeSplit(train=0.8),
)


def main() -> None:
    """Write the features as the job says."""
    job = json.loads(Path(sys.argv[1]).read_text())
    limits = {"memory_limit": job["memory_limit"]}
    fitted = RECIPE.fit(job["folder"], **limits)
    fitted.transform(job["folder"], Path(job["output"]), **limits)
    versions = {name: version(name) for name in ("airflow-provider-mlbridge", "duckdb", "ibis-framework")}
    Path(job["answer"]).write_text(json.dumps({"versions": versions}))


if __name__ == "__main__":
    main()
