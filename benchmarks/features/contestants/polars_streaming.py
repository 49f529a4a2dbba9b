# SPDX-License-Identifier: Apache-2.0
"""Polars' streaming engine: one lazy query for each round of figures to learn, one that writes."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

STREAMING: dict[str, Any] = {"engine": "streaming"}


def quantile(column: str, share: float) -> pl.Expr:
    """As NumPy's."""
    return pl.col(column).drop_nulls().quantile(share, interpolation="linear")


def learn(train: pl.LazyFrame) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Figures and sorted categories of the training rows."""
    first = train.select(
        *(quantile("amount", share / 5).alias(f"amount_{share}") for share in range(1, 5)),
        *(quantile("tenure_days", share / 10).alias(f"tenure_{share}") for share in range(1, 10)),
        amount_low=quantile("amount", 0.01),
        amount_high=quantile("amount", 0.99),
        fee=quantile("fee", 0.5),
        balance=pl.col("balance").mean(),
        age=quantile("age", 0.5),
        items_mean=pl.col("items").mean(),
        items_std=pl.col("items").cast(pl.Float64).std(ddof=0),
        distance=quantile("distance_km", 0.5),
        rating=pl.col("rating").drop_nulls().mode().min(),
    ).collect(**STREAMING)
    known: dict[str, Any] = first.row(0, named=True)
    filled = train.select(
        pl.col("amount").clip(known["amount_low"], known["amount_high"]).log1p(),
        pl.col("fee").fill_null(known["fee"]),
        pl.col("balance").fill_null(known["balance"]),
        pl.col("age").cast(pl.Float64).fill_null(known["age"]),
        pl.col("distance_km").fill_null(known["distance"]),
    )
    second = filled.select(
        amount_mean=pl.col("amount").mean(),
        amount_std=pl.col("amount").std(ddof=0),
        fee_low=pl.col("fee").min(),
        fee_high=pl.col("fee").max(),
        age_low=pl.col("age").min(),
        age_high=pl.col("age").max(),
        balance_low=quantile("balance", 0.005),
        balance_high=quantile("balance", 0.995),
        distance_high=quantile("distance_km", 0.99),
    ).collect(**STREAMING)
    known |= second.row(0, named=True)
    third = filled.select(
        pl.col("balance").clip(known["balance_low"], known["balance_high"]),
        pl.col("distance_km").clip(upper_bound=known["distance_high"]).log1p(),
    ).select(
        balance_mean=pl.col("balance").mean(),
        balance_std=pl.col("balance").std(ddof=0),
        distance_mean=pl.col("distance_km").mean(),
        distance_std=pl.col("distance_km").std(ddof=0),
    )
    known |= third.collect(**STREAMING).row(0, named=True)
    categories = {
        name: train.select(pl.col(name).drop_nulls().unique())
        .collect(**STREAMING)
        .to_series()
        .sort()
        .to_list()
        for name in ("channel", "country", "device", "merchant_id")
    }
    return known, categories


def features(known: dict[str, Any], categories: dict[str, list[Any]]) -> dict[str, pl.Expr]:
    """The recipe, with what was learned."""
    codes = {
        name: pl.col(name).replace_strict(
            values, list(range(len(values))), default=None, return_dtype=pl.Int32
        )
        for name, values in categories.items()
    }
    balance = pl.col("balance").fill_null(known["balance"]).clip(known["balance_low"], known["balance_high"])
    amount = pl.col("amount").clip(known["amount_low"], known["amount_high"]).log1p()
    distance = (
        pl.col("distance_km").fill_null(known["distance"]).clip(upper_bound=known["distance_high"]).log1p()
    )
    weekday = pl.col("created_at").dt.weekday().cast(pl.Int32) - 1
    age = pl.col("age").cast(pl.Float64).fill_null(known["age"])
    return {
        "amount_bin": _reached("amount", [known[f"amount_{share}"] for share in range(1, 5)]),
        "amount": (amount - known["amount_mean"]) / known["amount_std"],
        "fee": (pl.col("fee").fill_null(known["fee"]) - known["fee_low"])
        / (known["fee_high"] - known["fee_low"]),
        "balance": (balance - known["balance_mean"]) / known["balance_std"],
        "balance_missing": pl.col("balance").is_null().cast(pl.Int8),
        "age": (age - known["age_low"]) / (known["age_high"] - known["age_low"]),
        "items": (pl.col("items") - known["items_mean"]) / known["items_std"],
        "distance_km": (distance - known["distance_mean"]) / known["distance_std"],
        "distance_km_missing": pl.col("distance_km").is_null().cast(pl.Int8),
        "rating": pl.col("rating").cast(pl.Float64).fill_null(known["rating"]),
        "tenure_days": _reached("tenure_days", [known[f"tenure_{share}"] for share in range(1, 10)]),
        **{f"channel_{item}": (pl.col("channel") == item).cast(pl.Int8) for item in categories["channel"]},
        "country": codes["country"],
        "device": codes["device"].fill_null(len(categories["device"])),
        "merchant_id": codes["merchant_id"].fill_null(-1),
        "is_member": pl.col("is_member"),
        "created_at_month": pl.col("created_at").dt.month().cast(pl.Int32),
        "created_at_weekday": weekday,
        "created_at_hour": pl.col("created_at").dt.hour().cast(pl.Int32),
        "created_at_is_weekend": (weekday >= 5).cast(pl.Int32),
        "signup_on_year": pl.col("signup_on").dt.year().cast(pl.Int32),
    }


def _reached(column: str, edges: list[float]) -> pl.Expr:
    return pl.sum_horizontal([(pl.col(column) >= edge).cast(pl.Int32) for edge in sorted(set(edges))])


def main() -> None:
    """Write the features as the job says."""
    job = json.loads(Path(sys.argv[1]).read_text())
    source = pl.scan_parquet(f"{job['folder']}/*.parquet")
    rows = source.select(pl.len()).collect(**STREAMING).item()
    times = source.select(pl.col("created_at").sort()).collect(**STREAMING).to_series()
    in_train = pl.col("created_at") <= times[round(0.8 * rows) - 1]
    del times
    made = features(*learn(source.filter(in_train)))
    split = pl.when(in_train).then(pl.lit("train")).otherwise(pl.lit("test")).alias("split")
    chosen = [made[name].alias(name) for name in job["features"]]
    source.select(job["key"], job["label"], split, *chosen).sink_parquet(
        job["output"], compression="zstd", compression_level=3, row_group_size=122_880, **STREAMING
    )
    Path(job["answer"]).write_text(json.dumps({"versions": {"polars": version("polars")}}))


if __name__ == "__main__":
    main()
