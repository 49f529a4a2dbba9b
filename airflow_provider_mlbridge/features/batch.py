# SPDX-License-Identifier: Apache-2.0
"""A fitted recipe over a whole table: check, write, describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import FeatureValueError, InvalidRecipeError
from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.pipeline import SPLIT_ALIAS, Pipeline, collect_checks, start
from airflow_provider_mlbridge.features.plan import Feature, Operation
from airflow_provider_mlbridge.features.quantiles import count_if
from airflow_provider_mlbridge.features.recipe import SPLIT_COLUMN
from airflow_provider_mlbridge.features.selectors import not_found
from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX, Session
from airflow_provider_mlbridge.features.statistics import describe
from airflow_provider_mlbridge.features.steps import Check

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FEATURES_FILE = "features.parquet"
STATISTICS_VERSION = 1

_IBIS_TYPES: dict[Kind, str] = {
    "bool": "boolean",
    "int": "int64",
    "float": "float64",
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
}


@dataclass(frozen=True)
class TransformResult:
    """
    What a transform wrote.

    :param uri: the Parquet file.
    :param rows: its rows.
    :param split_rows: rows by split; empty when the data does not have the columns that the split reads.
    :param feature_names: the feature columns, in order.
    :param schema: column name and type in DuckDB's words, in order.
    :param statistics: strict JSON; see :func:`~.statistics.describe`.
    """

    uri: str
    rows: int
    split_rows: Mapping[str, int]
    feature_names: tuple[str, ...]
    schema: Mapping[str, str]
    statistics: Mapping[str, Any]


def transform_session(
    session: Session, fitted: FittedRecipe, path: Path, *, fitted_on: bool = False
) -> TransformResult:
    """
    Write the features of an open snapshot to a local file; see :meth:`FittedRecipe.transform`.

    One pass over the columns that the steps' policies speak of counts those, one over the keys finds out
    whether the rows are in their order (if not, they are sorted), one over everything writes, and one over
    what was written takes the statistics, as far as its footer does not tell them.

    :param fitted_on: whether the recipe was fitted on this very snapshot: rows that were learned from then
        get what was learned from others, where a step learns from the label.
    """
    _check_inputs(session, fitted)
    recipe = fitted.recipe
    supervised = any(operation.step.SUPERVISED for operation in fitted.operations)
    pipeline = start(
        session.table,
        session.columns,
        recipe,
        fitted.inputs,
        fitted.split_state,
        folds=fitted_on and supervised,
        lookups=session.lookups,
    )
    begun, at_first = pipeline.table, dict(pipeline.names)
    checks = collect_checks(pipeline, fitted.operations, fitted.states)
    policies = _count(session, pipeline, checks)

    table, names = pipeline.table, pipeline.names
    selected: dict[str, Any] = {key: table[names[key]] for key in recipe.keys}
    labelled = recipe.label is not None and recipe.label in session.columns
    if recipe.label is not None and labelled:
        selected[recipe.label] = table[names[recipe.label]]
    if SPLIT_ALIAS in table.columns:
        selected[SPLIT_COLUMN] = table[SPLIT_ALIAS]
    for feature in fitted.features:
        selected[feature.name] = table[names[feature.name]]
    keys = [names[key] for key in recipe.keys]
    # From before the steps, when they leave the keys alone: a query of few layers takes less to compile.
    alone = all(at_first[key] == names[key] for key in recipe.keys)
    ordered_by = (begun if alone else table).select(*keys) if keys else None
    if not _in_order(session, table.select(**selected), ordered_by):
        # Rows with equal keys, or all rows if there are no keys, are in the order of the files.
        table = table.order_by([*keys, FILE_INDEX, ROW_INDEX])
    rows = table.select(**{name: table[column.get_name()] for name, column in selected.items()})
    session.write(rows, path)
    return _describe(session, fitted, path, list(selected), policies, labelled=labelled)


def _in_order(session: Session, rows: Any, keys: Any) -> bool:
    """Whether rows need no sorting, as in a datamart that was written in the order of its keys."""
    if not session.row_by_row(rows):
        return False
    return keys is None or (session.row_by_row(keys) and session.in_order(keys))


def _check_inputs(session: Session, fitted: FittedRecipe) -> None:
    for name in (*fitted.recipe.keys, *fitted.inputs):
        if name not in session.columns:
            raise not_found(name, list(session.columns))
    for name, kind in fitted.inputs.items():
        found = session.columns[name]
        if found.kind != kind and (kind, found.kind) != ("float", "int"):
            raise FeatureValueError(
                f"{session.snapshot.uri}: column {name!r} is {found.kind or found.engine_type}, but the "
                f"recipe was fitted on {kind}. Write the same type to the datamart, or fit again."
            )


def _count(
    session: Session, pipeline: Pipeline, checks: list[tuple[Operation, Check, str]]
) -> list[dict[str, Any]]:
    if not checks:
        return []
    table = pipeline.table
    counted = table.aggregate(
        **{f"n{index}": count_if(table[alias]) for index, (_, _, alias) in enumerate(checks)}
    )
    # Of no rows the engine knows no count.
    counts = [int(value or 0) for value in session.query(counted)[0].values()]
    policies: dict[tuple[int, str], dict[str, Any]] = {}
    for (operation, check, _), count in zip(checks, counts, strict=True):
        if count and check.fatal:
            raise FeatureValueError(
                f"{session.snapshot.uri}: {operation.where}: {count} rows are {check.name}. {check.advice}"
            )
        entry = policies.setdefault(
            (operation.position, operation.column),
            {"step": operation.position, "type": operation.step.TYPE, "column": operation.column},
        )
        entry[check.name] = count
    return list(policies.values())


def _describe(
    session: Session,
    fitted: FittedRecipe,
    path: Path,
    columns: list[str],
    policies: list[dict[str, Any]],
    *,
    labelled: bool,
) -> TransformResult:
    recipe = fitted.recipe
    described = list(fitted.features)
    kind = session.columns[recipe.label].kind if recipe.label is not None and labelled else None
    if recipe.label is not None and kind is not None:
        described.append(Feature(recipe.label, kind, discrete=kind in ("bool", "int")))
    types = {feature.name: _IBIS_TYPES[feature.kind] for feature in described}
    if SPLIT_COLUMN in columns:
        types[SPLIT_COLUMN] = "string"
    table = session.parquet(path, types)
    split_rows: dict[str, int] = {}
    if SPLIT_COLUMN in columns:
        counted = table.group_by(SPLIT_COLUMN).aggregate(n=table.count()).order_by(SPLIT_COLUMN)
        split_rows = {row[SPLIT_COLUMN]: row["n"] for row in session.query(counted)}
    rows, extents = session.extents(path)
    statistics = describe(session.query, table, described, rows, {name: name for name in types}, extents)
    label = statistics.pop(recipe.label) if recipe.label is not None and labelled else None
    return TransformResult(
        uri=str(path),
        rows=rows,
        split_rows=split_rows,
        feature_names=fitted.feature_names,
        schema=session.schema_of(path),
        statistics={
            "version": STATISTICS_VERSION,
            "rows": rows,
            "split_rows": split_rows,
            "features": statistics,
            "label": None if label is None else {"name": recipe.label, **label},
            "policies": policies,
        },
    )


def target_of(out: str | Path) -> str:
    """The file that the user wants; :raises InvalidRecipeError: when it is none."""
    target = str(out.absolute()) if isinstance(out, Path) else out
    if not isinstance(target, str) or not target:
        raise InvalidRecipeError(f"out={out!r} must be a path or a URI")
    return target if target.endswith(".parquet") else f"{target.rstrip('/')}/{FEATURES_FILE}"


def upload(
    written: TransformResult, out: str | Path, *, s3_client: S3Client | None = None
) -> TransformResult:
    """Move a written file to where the user wants it; a reader never sees half of it."""
    from airflow_provider_mlbridge.storage import open_store

    target = target_of(out)
    open_store(target, s3_client=s3_client).upload(Path(written.uri), target)
    return replace(written, uri=target)
