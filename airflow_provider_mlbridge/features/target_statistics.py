# SPDX-License-Identifier: Apache-2.0
"""
What the labels of the rows of each category add up to, fold by fold.

As in :mod:`~.summaries`, the result must not depend on the order of rows, and adding floats does. So each
label becomes a whole number q with ``label = centre + unit * q``, and the engine adds those exactly. Booleans
and integers are their own q. Other labels are told to 2**-60 of their range, if that is above 1e-290.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlbridge.exceptions import FitError
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import (
    as_float,
    literal,
)
from airflow_provider_mlbridge.features.steps.summary import Needs, TargetStatistics

Query = Callable[[Any], list[dict[str, Any]]]

CLASS_CODES = 20
"""A range of whole numbers below this may be the codes of classes."""

_BITS = 60
_LIMB = 30


@dataclass(frozen=True)
class LabelColumn:
    """
    The label of the rows that are learned from.

    :param name: its name, for messages.
    :param alias: its name in the table.
    :param kind: its kind.
    :param fold: name in the table of the number that shares the rows out to folds.
    """

    name: str
    alias: str
    kind: Kind
    fold: str


def target_statistics(
    query: Query,
    table: Any,
    label: LabelColumn,
    value: Any,
    *,
    where: str,
    needs: Needs,
    limit: int,
) -> TargetStatistics | None:
    """
    Rows and labels by category and fold, in two passes: one over the label, one that groups.

    Rows without label do not count. Rows without value are kept apart.

    :param value: the column, a column of ``table``.
    :param where: step and column, for messages.
    :param needs: the number of folds, and whether to add up the squares, too.
    :param limit: the most categories that are looked at.
    :return: None when there are more.
    :raises FitError: when there is no label, an infinite one, or a range too large for a float.
    """
    folds, squares = needs.target_folds, needs.target_squares
    scale, classes = _scale(query, table, label, where)
    number = _whole(table[label.alias], label.kind, scale)
    picked = table.select(value=value, fold=table[label.fold] % literal(folds), number=number)
    known = picked.filter(picked.number.notnull())
    sums: dict[str, Any] = {"n": known.count(), "total": known.number.sum()}
    if squares:
        # The square of 60 bits has 120, so that it is added in parts of 30 bits; how the upper part is
        # rounded does not matter, as the lower one is what is left.
        high = (known.number.cast("float64") * literal(2.0**-_LIMB)).floor().cast("int64")
        low = known.number - high * literal(2**_LIMB)
        sums |= {"upper": (high * high).sum(), "mixed": (high * low).sum(), "lower": (low * low).sum()}
    grouped = known.group_by(["value", "fold"]).aggregate(**sums)
    rows = query(grouped.limit((limit + 1) * folds + 1))
    categories = sorted({row["value"] for row in rows if row["value"] is not None})
    if len(categories) > limit:
        return None
    # Missing values have the place after the last.
    places = {category: place for place, category in enumerate(categories)} | {None: len(categories)}
    tables: dict[str, list[list[int]]] = {
        name: [[0] * len(places) for _ in range(folds)] for name in ("counts", "sums", "squares")
    }
    for row in rows:
        place, fold = places[row["value"]], int(row["fold"])
        tables["counts"][fold][place] = int(row["n"])
        tables["sums"][fold][place] = int(row["total"])
        if squares:
            upper, mixed, lower = (int(row[name]) for name in ("upper", "mixed", "lower"))
            tables["squares"][fold][place] = (upper << 2 * _LIMB) + (mixed << _LIMB + 1) + lower
    return TargetStatistics(
        categories=tuple(categories),
        centre=scale.centre,
        unit=scale.unit,
        counts=tables["counts"],
        sums=tables["sums"],
        squares=tables["squares"] if squares else None,
        classes=classes,
    )


@dataclass(frozen=True)
class _Scale:
    """``label = centre + unit * q``; ``whole`` when the labels are the whole numbers themselves."""

    centre: float
    unit: float
    whole: bool


def _scale(query: Query, table: Any, label: LabelColumn, where: str) -> tuple[_Scale, bool]:
    """The scale, and whether the labels may be codes of classes."""
    import ibis

    value = table[label.alias]
    number = value.cast("int64") if label.kind == "bool" else value
    measures = {"n": number.count(), "low": number.min(), "high": number.max()}
    if label.kind == "float":
        measures["infinite"] = ibis.ifelse(number.isinf(), 1, 0).sum()
    answer = query(table.aggregate(**measures))[0]
    if not answer["n"]:
        raise FitError(
            f"{where}: the label {label.name!r} is missing in all rows of the training split, so there is "
            f"nothing to learn from"
        )
    if answer.get("infinite"):
        raise FitError(
            f"{where}: {answer['infinite']} of {answer['n']} labels ({label.name!r}) of the training split "
            f"are infinite, and a mean of those says nothing. Clean the datamart."
        )
    low, high = answer["low"], answer["high"]
    classes = _maybe_classes(query, table, label, low, high)
    if label.kind != "float" and max(abs(low), abs(high)) <= 2**_BITS:
        return _Scale(0.0, 1.0, whole=True), classes
    low, high = float(low), float(high)
    if not math.isfinite(high - low):
        raise FitError(
            f"{where}: the range of the labels ({label.name!r}) of the training split is too wide for a "
            f"float. Clean the datamart."
        )
    centre = low / 2 + high / 2
    exponent = math.frexp(max(high - centre, centre - low))[1]
    power = min(_BITS - exponent, 1023)
    return _Scale(centre, math.ldexp(1.0, -power), whole=False), classes


def _maybe_classes(query: Query, table: Any, label: LabelColumn, low: Any, high: Any) -> bool:
    """Whether the labels are three or more small whole numbers."""
    import ibis

    if label.kind == "bool" or not 2 <= high - low < CLASS_CODES:
        return False
    value = as_float(table[label.alias], label.kind)
    between = (value > literal(float(low))) & (value < literal(float(high)))
    counted = table.aggregate(
        between=ibis.ifelse(between, 1, 0).sum(),
        parts=ibis.ifelse(value != value.floor().cast("float64"), 1, 0).sum(),
    )
    answer = query(counted)[0]
    return bool(answer["between"]) and not answer["parts"]


def _whole(value: Any, kind: Kind, scale: _Scale) -> Any:
    if scale.whole:
        return value.cast("int64")
    distance = as_float(value, kind) - literal(scale.centre)
    return (distance * literal(1.0 / scale.unit)).cast("int64")
