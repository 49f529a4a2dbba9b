# SPDX-License-Identifier: Apache-2.0
"""
How much a column tells about the label, and about rows.

Everything is counted in whole numbers, which add up to the same whatever the order of rows and the number of
threads; ranks are taken twofold, for the middle of equal values may be a half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.steps.base import literal

Query = Callable[[Any], list[dict[str, Any]]]

MIN_ROWS = 50
"""With fewer rows nothing is concluded: chance would explain it."""

MIN_CLASS = 10
"""Fewer rows of a class, or of a category, prove nothing either."""

NEAR_ONE = 0.999
"""From which AUC, rank correlation or share of variance on a column is taken for near-perfect."""

NEAR_LAMBDA = 0.99
"""From which share of the errors, that always guessing the most frequent class makes, a category saves."""


@dataclass(frozen=True)
class Told:
    """
    What a column tells about the label.

    :param code: ``label_copy`` or ``perfect_predictor``.
    :param seen: in words.
    :param figures: in numbers.
    """

    code: str
    seen: str
    figures: dict[str, float | int]


@dataclass(frozen=True)
class _Class:
    """Rows of one class of the label: see :func:`_classes`."""

    rows: int
    known: int
    ranks: int
    pairs: int
    firsts: int
    supported: int
    correct: int


def tells_class(query: Query, table: Any, alias: str, kind: Kind) -> Told | None:
    """What a column tells about a label that is a class."""
    classes = _classes(query, table, alias)
    rows = sum(item.rows for item in classes)
    by_size = sorted((item.rows for item in classes), reverse=True)
    if rows < MIN_ROWS or len(by_size) < 2 or by_size[1] < MIN_CLASS:
        return None
    values = sum(item.firsts for item in classes)
    if values == len(classes) == sum(item.pairs for item in classes):
        return Told(
            "label_copy",
            f"each of its {values} values (missing counts as one) goes with one value of the label and "
            f"back, in all {rows} rows",
            {"rows": rows, "values": values},
        )
    found = _auc(classes) if kind != "string" else None
    return found or _category(classes, rows) or _missing(classes, rows, by_size[0])


def _classes(query: Query, table: Any, alias: str) -> list[_Class]:
    import ibis

    known = table.select(x=table[alias], y=table["label"])
    pairs = known.filter(known.y.notnull()).group_by(["x", "y"]).aggregate(n=lambda t: t.count())
    same = ibis.window(group_by="x")
    until = ibis.range_window(preceding=None, following=0, order_by="x")
    most = ibis.window(group_by="x", order_by=[ibis.desc("n"), ibis.asc("y")])
    pairs = pairs.mutate(
        n_x=pairs.n.sum().over(same),
        until=pairs.n.sum().over(until),
        first=ibis.row_number().over(most) == literal(0),
    )
    n = pairs.n
    there = pairs.x.notnull()
    supported = pairs.n_x >= literal(MIN_CLASS)
    zero = literal(0)
    summed = pairs.group_by("y").aggregate(
        rows=n.sum(),
        known=ibis.ifelse(there, n, zero).sum(),
        ranks=ibis.ifelse(there, n * (literal(2) * pairs.until - pairs.n_x + literal(1)), zero).sum(),
        pairs=n.count(),
        firsts=ibis.ifelse(pairs["first"], literal(1), zero).sum(),
        supported=ibis.ifelse(supported, n, zero).sum(),
        correct=ibis.ifelse(supported & pairs["first"], n, zero).sum(),
    )
    names = ("rows", "known", "ranks", "pairs", "firsts", "supported", "correct")
    answer = query(summed.order_by("y"))
    return [_Class(**{name: int(row[name]) for name in names}) for row in answer]


def _auc(classes: Sequence[_Class]) -> Told | None:
    """Area under the ROC curve of each class against all others, by the sum of its ranks (Mann-Whitney)."""
    known = sum(item.known for item in classes)
    best: tuple[Fraction, int] | None = None
    for item in classes:
        rest = known - item.known
        if known < MIN_ROWS or min(item.known, rest) < MIN_CLASS:
            continue
        area = Fraction(item.ranks - item.known * (item.known + 1), 2 * item.known * rest)
        area = max(area, 1 - area)
        if area >= NEAR_ONE and (best is None or area > best[0]):
            best = (area, item.known)
    if best is None:
        return None
    return Told(
        "perfect_predictor",
        f"sorted by it alone, a class of the label stands apart from the others with an AUC of "
        f"{_short(best[0])} ({known} rows with a value, {best[1]} of the class)",
        {"auc": _short(best[0]), "rows": known, "class_rows": best[1]},
    )


def _category(classes: Sequence[_Class], rows: int) -> Told | None:
    """Whether the values that are there often enough tell the class (Goodman and Kruskal's lambda)."""
    supported = sum(item.supported for item in classes)
    errors = supported - sum(item.correct for item in classes)
    guessing = supported - max(item.supported for item in classes)
    if supported < max(MIN_ROWS, rows / 2) or guessing < MIN_CLASS or _saved(errors, guessing) < NEAR_LAMBDA:
        return None
    return Told(
        "perfect_predictor",
        f"its values tell the label in all but {errors} of {supported} rows with values that are there "
        f"{MIN_CLASS} times or more; guessing the most frequent class would be wrong in {guessing}",
        {"errors": errors, "rows": supported, "errors_by_guessing": guessing},
    )


def _missing(classes: Sequence[_Class], rows: int, largest: int) -> Told | None:
    known = sum(item.known for item in classes)
    if min(known, rows - known) < MIN_CLASS:
        return None
    right = max(item.known for item in classes) + max(item.rows - item.known for item in classes)
    errors, guessing = rows - right, rows - largest
    if guessing < MIN_CLASS or _saved(errors, guessing) < NEAR_LAMBDA:
        return None
    return Told(
        "perfect_predictor",
        f"whether it is missing tells the label in all but {errors} of {rows} rows; guessing the most "
        f"frequent class would be wrong in {guessing}",
        {"errors": errors, "rows": rows, "errors_by_guessing": guessing, "missing": rows - known},
    )


def _saved(errors: int, guessing: int) -> Fraction:
    return 1 - Fraction(errors, guessing)


def tells_number(query: Query, table: Any, alias: str, kind: Kind) -> Told | None:
    """What a column tells about a label that is a number or a time."""
    ranked = _ranked(table, alias, "label")
    answer = _sums(query, ranked)
    rows, values = answer["rows"], answer["x_values"]
    if rows < MIN_ROWS or answer["y_values"] < MIN_CLASS:
        return None
    paired = answer["pairs"] == values == answer["y_values"]
    square = _square(answer) if kind != "string" else Fraction(0)
    if paired and (square == 1 or rows >= 2 * values):
        order = "in the same or the opposite order" if square == 1 else "one to one"
        return Told(
            "label_copy",
            f"its {values} different values go with those of the label {order}, in all {rows} rows with both",
            {"rows": rows, "values": values},
        )
    if square >= NEAR_ONE**2:
        return Told(
            "perfect_predictor",
            f"its rank correlation with the label is {_short(_root(square))}, with or without a minus sign "
            f"({rows} rows with both)",
            {"rank_correlation": _short(_root(square)), "rows": rows},
        )
    return _explained(query, ranked, rows)


def rank_correlation(query: Query, table: Any, alias: str, other: str) -> float:
    """Spearman's, without its sign; 0 when a column is constant."""
    return _root(_square(_sums(query, _ranked(table, alias, other))))


def _ranked(table: Any, alias: str, other: str) -> Any:
    import ibis

    known = table.select(x=table[alias], y=table[other])
    known = known.filter(known.x.notnull() & known.y.notnull())
    pairs = known.group_by(["x", "y"]).aggregate(n=lambda t: t.count())
    twice = {}
    for name in ("x", "y"):
        until = pairs.n.sum().over(ibis.range_window(preceding=None, following=0, order_by=name))
        same = pairs.n.sum().over(ibis.window(group_by=name))
        twice[f"r{name}"] = (literal(2) * until - same + literal(1)).cast("int64")
    return pairs.mutate(**twice)


def _sums(query: Query, ranked: Any) -> dict[str, int]:
    n, x, y = ranked.n, ranked.rx, ranked.ry
    answer = query(
        ranked.aggregate(
            rows=n.sum(),
            pairs=n.count(),
            x_values=ranked.x.nunique(),
            y_values=ranked.y.nunique(),
            x=(n * x).sum(),
            y=(n * y).sum(),
            xx=(n * x * x).sum(),
            yy=(n * y * y).sum(),
            xy=(n * x * y).sum(),
        )
    )[0]
    return {name: int(value or 0) for name, value in answer.items()}


def _square(sums: dict[str, int]) -> Fraction:
    """The square of the correlation, exactly."""
    rows = sums["rows"]
    spread = (rows * sums["xx"] - sums["x"] ** 2) * (rows * sums["yy"] - sums["y"] ** 2)
    return Fraction((rows * sums["xy"] - sums["x"] * sums["y"]) ** 2, spread) if spread else Fraction(0)


def _explained(query: Query, ranked: Any, rows: int) -> Told | None:
    """Share of the variance of the label's ranks between the values that are there often enough."""
    n, y = ranked.n, ranked.ry
    groups = ranked.group_by("x").aggregate(n=n.sum(), s=(n * y).sum(), q=(n * y * y).sum())
    groups = groups.filter(groups.n >= literal(MIN_CLASS)).select("n", "s", "q")
    answer = [(int(row["n"]), int(row["s"]), int(row["q"])) for row in query(groups)]
    supported = sum(count for count, _, _ in answer)
    if len(answer) < 2 or supported < max(MIN_ROWS, rows / 2):
        return None
    squares = sum(square for _, _, square in answer)
    total = squares - sum(s for _, s, _ in answer) ** 2 / supported
    # Rounded once, so that the order of the groups does not matter.
    within = squares - math.fsum(s * s / count for count, s, _ in answer)
    if total <= 0 or 1 - within / total < NEAR_ONE:
        return None
    share = _short(1 - within / total)
    return Told(
        "perfect_predictor",
        f"its values explain {share} of the variance of the label's ranks ({supported} rows with values "
        f"that are there {MIN_CLASS} times or more)",
        {"variance_explained": share, "rows": supported, "values": len(answer)},
    )


def _root(square: Fraction) -> float:
    return math.sqrt(square)


def _short(value: Fraction | float) -> float:
    # Rounded down, so that only what is perfect reads 1.
    return int(value * 1_000_000) / 1_000_000
