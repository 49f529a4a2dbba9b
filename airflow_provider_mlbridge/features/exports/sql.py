# SPDX-License-Identifier: Apache-2.0
"""The transform of a fitted recipe as one SQL query, compiled by Ibis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.features.engines.spark_sql import spark_compiler
from airflow_provider_mlbridge.features.exports.allowed import REFUSED, require
from airflow_provider_mlbridge.features.kinds import Column, Kind
from airflow_provider_mlbridge.features.pipeline import Pipeline, clean, collect_checks

if TYPE_CHECKING:
    from airflow_provider_mlbridge.features.fitted import FittedRecipe
    from airflow_provider_mlbridge.features.plan import Operation
    from airflow_provider_mlbridge.features.steps.base import State

PORTABLE = frozenset(
    {
        "bins",
        "clip",
        "cyclical",
        "date_parts",
        "expression",
        "frequency",
        "impute",
        "interaction",
        "log1p",
        "min_max",
        "one_hot",
        "ordinal",
        "passthrough",
        "quantile_bins",
        "robust",
        "standard",
        "target",
        "yeo_johnson",
    }
)
"""Steps for which every dialect has the functions."""

ALLOWED: dict[str, frozenset[str]] = {
    "duckdb": PORTABLE | {"hashing"},
    "athena": PORTABLE,  # md5 takes and gives binary there
    "trino": PORTABLE,
    "spark": PORTABLE | {"hashing"},
}
"""
Steps by dialect. DuckDB's SQL and Spark's are executed by the tests and compared with the transform; that of
the others is compared with queries that were read, and not executed.
"""

MOST_CATEGORIES: dict[str, int] = {"athena": 10_000, "trino": 10_000}
"""Longer lists of categories cannot be unnested: the engine's ``sequence`` ends there."""

_DECLARED: dict[Kind, str] = {
    "bool": "boolean",
    "int": "int32",
    "float": "float32",
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
}
"""Narrower than what is computed with, so that Ibis casts whatever number the table has."""


def to_sql(fitted: FittedRecipe, dialect: str, *, table: str = "datamart") -> str:
    """See :meth:`FittedRecipe.to_sql`."""
    if dialect not in ALLOWED:
        raise ConfigurationError(f"dialect={dialect!r} is not known; valid are {', '.join(ALLOWED)}")
    allowed = ALLOWED[dialect]

    most = MOST_CATEGORIES.get(dialect)

    def reason(operation: Operation, state: State) -> str | None:
        if operation.step.HISTORY:
            return "it looks at other rows, which a table to be scored does not have"
        if operation.step.TYPE not in allowed:
            return f"{dialect} lacks its functions"
        found = len(operation.step.categories(state) or ())
        if most is not None and found > most:
            return f"it has {found:,} categories, and {dialect} takes {most:,}"
        return None

    require(fitted, f"{dialect} SQL", reason, steps=allowed)
    source = _source(table)
    try:
        return _compile(_query(fitted, source, fitted.operations), dialect)
    except Exception as error:
        where = _culprit(fitted, source, dialect)
        if where is None:
            raise
        raise ConfigurationError(
            f"recipe {fitted.recipe.name!r} cannot be exported to {dialect} SQL: {where}: {error}"
        ) from error


def _source(table: str) -> dict[str, str]:
    """The parts of a table's name, as Ibis calls them."""
    parts = table.split(".") if isinstance(table, str) else []
    if not 1 <= len(parts) <= 3 or not all(part.strip() for part in parts):
        raise ConfigurationError(
            f"table={table!r} must be a name, with those of database and catalog before it when needed: "
            f"'datamart', 'sales.datamart', 'lake.sales.datamart'"
        )
    return dict(zip(("name", "database", "catalog"), reversed(parts), strict=False))


def _query(fitted: FittedRecipe, source: dict[str, str], operations: Sequence[Operation]) -> Any:
    import ibis

    inputs = fitted.inputs
    keys = [key for key in fitted.recipe.keys if key not in inputs]
    # What type a key has is not known, and does not matter: it is only handed on.
    schema = {**{name: _DECLARED[kind] for name, kind in inputs.items()}, **dict.fromkeys(keys, "string")}
    table = ibis.table(schema, **source)
    names = {name: f"c{number}" for number, name in enumerate(schema)}
    pipeline = Pipeline(table.select(**{names[name]: _read(table, name, inputs) for name in schema}), names)
    given = {key: names[key] for key in fitted.recipe.keys}
    states = fitted.states[: len(operations)]
    fatal = [alias for _, check, alias in collect_checks(pipeline, operations, states) if check.fatal]
    table, names = pipeline.table, pipeline.names
    selected = {key: table[alias] for key, alias in given.items()}
    if len(operations) == len(fitted.operations):
        selected.update((name, table[names[name]]) for name in fitted.feature_names)
    else:
        selected.update((alias, table[alias]) for alias in table.columns)
    if fatal:
        selected[REFUSED] = reduce(or_, (table[alias] for alias in fatal))
    return table.select(**selected)


def _read(table: Any, name: str, inputs: Any) -> Any:
    kind = inputs.get(name)
    if kind is None:
        return table[name]
    if kind == "int":
        return table[name].cast("int64")
    return clean(table[name], Column(kind, "", _DECLARED[kind]), kind)


def _compile(expression: Any, dialect: str) -> str:
    import ibis.backends.sql.compilers as compilers

    # Ibis' own for Spark gives other values there.
    compiler = spark_compiler() if dialect == "spark" else getattr(compilers, dialect).compiler
    return str(compiler.to_sqlglot(expression).sql(dialect=dialect, pretty=True)) + "\n"


def _culprit(fitted: FittedRecipe, source: dict[str, str], dialect: str) -> str | None:
    """The first operation that a dialect cannot be told."""
    for count, operation in enumerate(fitted.operations, start=1):
        try:
            _compile(_query(fitted, source, fitted.operations[:count]), dialect)
        except Exception:  # noqa: BLE001 - whichever error it is, this is where it comes from
            return operation.where
    return None
