# SPDX-License-Identifier: Apache-2.0
"""
What features are made of, as far as nothing learned has touched it.

A step that learns again makes another feature of the same rows: standardised anew, a column that has moved
lies where it was, and a mean of the target is another number for every category. Such features of two
versions are compared by their *sources*: the columns that the first steps that learn are given, of the
datamart or made by steps that learn nothing. Those are the same thing in both versions, and rows that were
not learned from are as likely there as rows that were, which is not so of the share of a rare category.

Every version with such features has the distributions of its sources in its statistics, from one more pass,
over those columns alone, of about :data:`~.distributions.SAMPLE_ROWS` rows at most.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_mlbridge.features.drift.distributions import SAMPLE_ROWS, edges_digest, measure
from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.pipeline import SPLIT_ALIAS, start
from airflow_provider_mlbridge.features.plan import Operation
from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX, Session
from airflow_provider_mlbridge.features.steps.base import State, literal

SOURCES = "sources"
"""Key in the statistics of a version that has features that were learned."""

SOURCES_VERSION = 1

_INPUT = -1
_SPLIT = "split"
_FILE_FACTOR = 1_000_003
_ROW_FACTOR = 2_654_435_761
"""2**32 over the golden ratio: multiples of it are spread evenly modulo 2**32."""


@dataclass(frozen=True)
class _Column:
    """
    A column at one point of the recipe.

    :param key: what to call it as a source; None when something learned has touched it.
    :param kind: its kind.
    :param definition: identity of how it is made, whatever was learned.
    :param state: identity of how it is made, with what was learned.
    :param operation: identity of the operation that made it, which may have made others, too.
    :param made_at: index of that operation; :data:`_INPUT` for a column of the datamart.
    :param operations: indices of all operations that a source needs.
    :param category: whether categories were learned on the way.
    :param sources: the sources of a column that something learned has touched.
    """

    key: str | None
    kind: Kind
    definition: str
    state: str
    operation: str = ""
    made_at: int = _INPUT
    operations: frozenset[int] = frozenset()
    category: bool = False
    sources: tuple[_Column, ...] = ()


def measure_sources(
    session: Session,
    fitted: FittedRecipe,
    rows: int,
    path: Path,
    *,
    learned_here: bool,
    reference: Mapping[str, Any] | None = None,
    sample_rows: int = SAMPLE_ROWS,
) -> dict[str, Any]:
    """
    The sources of a recipe's features and how they are distributed, for the statistics of a version.

    ``sources`` has ``columns`` (as the features of :func:`~.distributions.measure`), ``made`` (by feature:
    identities of its ``definition``, of the ``operation`` that made it and of its ``state``, whether it has a
    ``category`` and which ``columns`` are its sources) and ``learned_here``; ``over_reference`` when a
    reference is given that has sources. Nothing at all when no step has learned anything.

    :param rows: how many the datamart has.
    :param path: a file to write the sample to.
    :param learned_here: whether the state was learned from these very rows.
    :param reference: the statistics of the reference.
    :param sample_rows: how many rows to look at, about.
    """
    features = {name: column for name, column in _columns(fitted).items() if column.sources}
    if not features:
        return {}
    columns = {str(source.key): source for item in features.values() for source in item.sources}
    split = _write(session, fitted, list(columns.values()), rows, path, sample_rows)
    aliases = {key: f"s{index}" for index, key in enumerate(columns)}
    theirs = _of(reference).get("columns", {})
    before = {aliases[key]: item for key, item in theirs.items() if key in aliases}
    found = measure(
        session.connection,
        path,
        {aliases[key]: column.kind for key, column in columns.items()},
        split_column=_SPLIT if split else None,
        reference={"distributions": {"features": before}} if theirs else None,
        sample_rows=rows,
    )
    distributions = found["distributions"]["features"]
    result = {
        "version": SOURCES_VERSION,
        "sampled": rows > sample_rows,
        "learned_here": learned_here,
        "columns": {key: distributions[alias] for key, alias in aliases.items()},
        "made": {
            name: {
                "definition": column.definition,
                "operation": column.operation,
                "state": column.state,
                "category": column.category,
                "columns": [source.key for source in column.sources],
            }
            for name, column in features.items()
        },
    }
    if theirs:
        over = found["over_reference"]["features"]
        counted = {key: over[alias] for key, alias in aliases.items() if alias in over}
        result["over_reference"] = {"digest": sources_digest(reference), "columns": counted}
    return {SOURCES: result}


def sources_digest(statistics: Mapping[str, Any] | None) -> str | None:
    """Identity of the edges of the sources of a version's statistics; None when it has none."""
    columns = _of(statistics).get("columns")
    return edges_digest({"distributions": {"features": columns}}) if columns else None


def counted_over(reference: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """
    Whether nothing more has to be counted of the sources to compare two versions by their statistics.

    :param reference: the statistics of the reference.
    :param current: those of the current version.
    """
    wanted = sources_digest(reference)
    over = _of(current).get("over_reference") or {}
    has_none = sources_digest(current) is None
    return wanted is None or has_none or wanted in (over.get("digest"), sources_digest(current))


@dataclass(frozen=True)
class Basis:
    """
    By what a feature is compared.

    :param sources: keys of its sources; empty for the feature itself.
    :param reason: why it cannot be compared at all.
    """

    sources: tuple[str, ...] = ()
    reason: str | None = None


def basis_of(name: str, reference: Mapping[str, Any], current: Mapping[str, Any]) -> Basis:
    """
    By what a feature of two versions is compared.

    By itself when nothing was learned for it, or the same in both. Where categories were learned, and from
    the rows of one of the two, these fit that one better than any other rows, so that does not count.

    :param reference: the statistics of the reference.
    :param current: those of the current version.
    """
    before, after = _of(reference), _of(current)
    old, new = before.get("made", {}).get(name), after.get("made", {}).get(name)
    sides = (reference, current)
    here = [name in side.get("distributions", {}).get("features", {}) for side in sides]
    if not all(here):
        # A category, say, that was frequent enough in one of them only: the same step made others of it.
        made = old or new
        other = after if old else before
        operations = {item["operation"] for item in other.get("made", {}).values()}
        return Basis(tuple(made["columns"])) if made and made["operation"] in operations else Basis()
    if old is None and new is None:
        return Basis()
    if old is None and not before:
        return Basis(
            reason="its steps have learned something, and the reference does not tell what it was made of: "
            "build the reference again"
        )
    if old is None or new is None or old["definition"] != new["definition"]:
        return Basis(reason="it is made by other steps than in the reference")
    fits_alike = not new["category"] or before["learned_here"] == after["learned_here"]
    return Basis() if old["state"] == new["state"] and fits_alike else Basis(tuple(new["columns"]))


def _of(statistics: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (statistics or {}).get(SOURCES) or {}
    return found


def _write(
    session: Session,
    fitted: FittedRecipe,
    columns: Sequence[_Column],
    rows: int,
    path: Path,
    sample_rows: int,
) -> bool:
    """Write a sample of sources, and say whether it has the split."""
    pipeline = start(
        session.table,
        session.columns,
        fitted.recipe,
        fitted.inputs,
        fitted.split_state,
        lookups=session.lookups,
    )
    aliases = {(name, _INPUT): alias for name, alias in pipeline.names.items()}
    needed = frozenset[int]().union(*(column.operations for column in columns))
    for index, (operation, state) in enumerate(zip(fitted.operations, fitted.states, strict=True)):
        if index in needed:
            pipeline.apply(operation, state)
            made = (name for name, _ in operation.outputs(state))
            aliases |= {(_key(name, operation), index): pipeline.names[name] for name in made}
    table = pipeline.flushed()
    if rows > sample_rows:
        table = table.filter(_chosen(table, rows, sample_rows))
    selected = {f"s{index}": aliases[str(column.key), column.made_at] for index, column in enumerate(columns)}
    split = SPLIT_ALIAS in table.columns
    if split:
        selected[_SPLIT] = SPLIT_ALIAS
    if not session.row_by_row(table.select(**{name: table[alias] for name, alias in selected.items()})):
        table = table.order_by([FILE_INDEX, ROW_INDEX])
    session.write(table.select(**{name: table[alias] for name, alias in selected.items()}), path)
    return split


def _chosen(table: Any, rows: int, sample_rows: int) -> Any:
    """Rows spread evenly over all files, the same ones every time; nothing here has more than 63 bits."""
    place = (table[ROW_INDEX] + table[FILE_INDEX] * literal(_FILE_FACTOR)) % literal(2**31)
    return place * literal(_ROW_FACTOR) % literal(2**32) < literal(2**32 * sample_rows // rows)


def _columns(fitted: FittedRecipe) -> dict[str, _Column]:
    """The recipe's features."""
    made = {
        name: _Column(name, kind, _digest(["input", name]), _digest(["input", name]))
        for name, kind in fitted.inputs.items()
    }
    for index, (operation, state) in enumerate(zip(fitted.operations, fitted.states, strict=True)):
        made |= _outputs(index, operation, state, [made[name] for name in operation.columns])
    return {name: made[name] for name in fitted.feature_names}


def _outputs(index: int, operation: Operation, state: State, given: Sequence[_Column]) -> dict[str, _Column]:
    step, needs = operation.step, operation.needs
    # What steps learn that look at other rows is how to add up without rounding, which is not seen in values.
    learns = bool(needs) and not step.HISTORY
    options = {name: value for name, value in step.to_dict().items() if name not in ("columns", "output")}
    names = list(operation.columns)
    body = _digest([options, names, [column.definition for column in given]])
    learned = _digest([body, dict(state) if learns else None, [column.state for column in given]])
    sources: dict[str, _Column] = {}
    if learns or any(column.sources for column in given):
        for position, column in enumerate(given):
            # The group and the times of other rows are no values of theirs.
            if column.sources or not position or not step.HISTORY:
                sources |= {str(source.key): source for source in column.sources or (column,)}
    category = learns and bool(needs.categories or needs.target_folds)
    return {
        name: _Column(
            None if sources else _key(name, operation),
            kind,
            _digest([body, name]),
            _digest([learned, name]),
            body,
            index,
            frozenset({index}).union(*(column.operations for column in given)),
            category or any(column.category for column in given),
            tuple(sources.values()),
        )
        for name, kind in operation.outputs(state)
    }


def _key(name: str, operation: Operation) -> str:
    return f"{name} (after step {operation.position})"


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
