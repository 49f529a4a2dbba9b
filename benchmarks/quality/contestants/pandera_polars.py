# SPDX-License-Identifier: Apache-2.0
"""
pandera on Polars, with the same seventeen expectations as a schema.

The number of rows, the pair and the mean have no check of their own in pandera; they are custom checks. The
schema is made from the suite, so that bounds and sets are the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl


def schema_of(kwargs: Mapping[str, Mapping[str, Any]]) -> pa.DataFrameSchema:
    """The schema, from the arguments of the expectations by their ids."""
    lengths, pair, mean, rows = (
        kwargs[name] for name in ("name_length", "shipped_after_ordered", "amount_mean", "row_count")
    )
    price = kwargs["price_range"]
    checks: dict[str, list[pa.Check]] = {
        "quantity": [_in_range(kwargs, "quantity_range")],
        "unit_price": [
            pa.Check.in_range(price["min_value"], price["max_value"], include_min=False, name="price_range")
        ],
        "discount_pct": [_in_range(kwargs, "discount_range")],
        "status": [pa.Check.isin(kwargs["status_known"]["value_set"], name="status_known")],
        "currency": [pa.Check.isin(kwargs["currency_known"]["value_set"], name="currency_known")],
        "email": [pa.Check.str_matches(kwargs["email_form"]["regex"], name="email_form")],
        "product_name": [pa.Check.str_length(lengths["min_value"], lengths["max_value"], name="name_length")],
    }
    required = {kwargs[name]["column"] for name in ("id_not_null", "order_not_null", "amount_not_null")}
    columns = {
        name: pa.Column(
            pl.Int64 if name == kwargs["id_type"]["column"] else None,
            nullable=name not in required,
            unique=name == kwargs["id_unique"]["column"],
            checks=checks.get(name),
        )
        for name in kwargs["columns"]["column_set"]
    }
    later, earlier = pl.col(pair["column_A"]), pl.col(pair["column_B"])
    average = pl.col(mean["column"]).mean()
    return pa.DataFrameSchema(
        columns,
        unique=kwargs["line_unique"]["column_list"],
        checks=[
            pa.Check(lambda data: data.lazyframe.select(later >= earlier), name="shipped_after_ordered"),
            pa.Check(
                lambda data: data.lazyframe.select(average.is_between(mean["min_value"], mean["max_value"])),
                name="amount_mean",
            ),
            pa.Check(
                lambda data: data.lazyframe.select(pl.len().is_between(rows["min_value"], rows["max_value"])),
                name="row_count",
            ),
        ],
    )


def _in_range(kwargs: Mapping[str, Mapping[str, Any]], name: str) -> pa.Check:
    return pa.Check.in_range(kwargs[name]["min_value"], kwargs[name]["max_value"], name=name)


def broken(error: pa.errors.SchemaError, kwargs: Mapping[str, Mapping[str, Any]]) -> str:
    """The id of the expectation that one error of pandera is about."""
    reason = error.reason_code.name
    if reason == "DATAFRAME_CHECK":
        return str(error.check.name)
    if reason == "DUPLICATES":
        return "line_unique"
    kinds = {
        "SERIES_CONTAINS_NULLS": ("id_not_null", "order_not_null", "amount_not_null"),
        "SERIES_CONTAINS_DUPLICATES": ("id_unique",),
        "WRONG_DATATYPE": ("id_type",),
    }
    for name in kinds.get(reason, ()):
        if kwargs[name]["column"] == error.schema.name:
            return name
    return "columns"


def main() -> None:
    """Validate as the job says and write down the verdicts."""
    job = json.loads(Path(sys.argv[1]).read_text())
    written = json.loads(Path(job["suite"]).read_text())
    kwargs = {item["meta"]["id"]: item["kwargs"] for item in written["expectations"]}
    found: dict[str, dict[str, Any]] = {
        name: {"success": True, "error": None, "unexpected_count": None, "samples": 0} for name in kwargs
    }
    frame = pl.read_parquet(f"{job['folder']}/*.parquet", columns=job["columns"])
    try:
        schema_of(kwargs).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        for error in errors.schema_errors:
            count = len(error.failure_cases) if isinstance(error.failure_cases, pl.DataFrame) else None
            found[broken(error, kwargs)] = {
                "success": False,
                "error": None,
                "unexpected_count": count,
                "samples": min(count or 0, 20),
            }
    versions = {name: version(name) for name in ("pandera", "polars")}
    Path(job["answer"]).write_text(json.dumps({"found": found, "versions": versions}))


if __name__ == "__main__":
    main()
