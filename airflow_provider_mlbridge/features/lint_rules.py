# SPDX-License-Identifier: Apache-2.0
"""What the linter concludes about each column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.lint_measures import (
    MIN_ROWS,
    NEAR_ONE,
    Told,
    rank_correlation,
    tells_class,
    tells_number,
)
from airflow_provider_mlbridge.features.lint_sample import Sample, Subject
from airflow_provider_mlbridge.features.pipeline import start
from airflow_provider_mlbridge.features.session import Session
from airflow_provider_mlbridge.features.steps.base import literal

MAX_CLASSES = 20
"""A label that is a number with more different values than this is no class."""

NEAR_UNIQUE = 0.5
"""From which number of categories for each row on there is nothing to learn about them."""

_UNIQUE_AT_LEAST = 0.9
"""Least share of different values, as the engine estimates it, of a column that is unique in the sample."""

_HUGE = 2**40
_COLUMNS_AT_A_TIME = 50
_TIMES = ("date", "timestamp")


@dataclass(frozen=True)
class Observed:
    """
    A finding before the recipe is asked whether it is allowed.

    :param subject: the column.
    :param code: what it is.
    :param seen: in words.
    :param figures: in numbers.
    """

    subject: Subject
    code: str
    seen: str
    figures: Mapping[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Values:
    """A column in the sample: its values, how many are different, and, of whole numbers, their range."""

    count: int
    distinct: int
    span: float | None


def observe(session: Session, fitted: FittedRecipe, sample: Sample) -> list[Observed]:
    """Everything that is found, each column with what is worst about it."""
    values = _values(session, sample)
    found = [*_constant(session, fitted, sample, values), *_future(session, fitted, sample)]
    constant = {item.subject.name for item in found if item.code == "constant"}
    judged = [
        subject
        for subject in sample.subjects
        if values[subject.alias].distinct > 0
        and subject.name not in constant
        and constant.isdisjoint(subject.roots)
    ]
    telling = _telling(session, sample, judged)
    found += telling
    named = {item.subject.name for item in telling}
    identifying = [subject for subject in judged if subject.own and subject.name not in named]
    return [*found, *_identifying(session, fitted, sample, identifying, values)]


def _parts(subjects: Sequence[Subject]) -> Iterable[Sequence[Subject]]:
    for begin in range(0, len(subjects), _COLUMNS_AT_A_TIME):
        yield subjects[begin : begin + _COLUMNS_AT_A_TIME]


def _values(session: Session, sample: Sample) -> dict[str, _Values]:
    import ibis

    result: dict[str, _Values] = {}
    for part in _parts(sample.subjects):
        aggregates: dict[str, Any] = {}
        for subject in part:
            column, alias = sample.table[subject.alias], subject.alias
            aggregates[f"n_{alias}"] = column.count()
            aggregates[f"d_{alias}"] = column.nunique()
            if subject.own and subject.kind in ("int", "float"):
                number = column.cast("float64")
                aggregates[f"low_{alias}"] = number.min()
                aggregates[f"high_{alias}"] = number.max()
                # Not floor(), which is a cast to 64 bits that most large floats do not survive.
                broken = ibis.ifelse(number % literal(1.0) == literal(0.0), literal(0), literal(1))
                aggregates[f"broken_{alias}"] = broken.sum()
        answer = session.query(sample.table.aggregate(**aggregates))[0]
        for subject in part:
            alias = subject.alias
            count, distinct = int(answer[f"n_{alias}"]), int(answer[f"d_{alias}"])
            # A missing value counts as broken, but an id that is missing in most rows is none.
            broken = int(answer.get(f"broken_{alias}") or 0) - (sample.rows - count)
            low, high = answer.get(f"low_{alias}"), answer.get(f"high_{alias}")
            # An infinite range is none: infinities are no whole numbers.
            span = None if low is None or high is None or broken > 0 else float(high) - float(low)
            result[alias] = _Values(
                count, distinct, span if span is not None and math.isfinite(span) else None
            )
    return result


def _telling(session: Session, sample: Sample, subjects: Sequence[Subject]) -> list[Observed]:
    """Columns that tell the label; a feature only when none of the columns it is made from does."""
    if sample.label_kind is None:
        return []
    label = sample.table["label"]
    answer = session.query(sample.table.aggregate(values=label.nunique()))[0]
    is_class = sample.label_kind in ("bool", "string") or int(answer["values"]) <= MAX_CLASSES
    measure = tells_class if is_class else tells_number
    found: list[Observed] = []
    telling: set[str] = set()
    for subject in sorted(subjects, key=lambda item: item.feature):
        if not telling.isdisjoint(subject.roots):
            continue
        told: Told | None = measure(session.query, sample.table, subject.alias, subject.kind)
        if told is not None:
            telling.add(subject.name)
            found.append(Observed(subject, told.code, told.seen, told.figures))
    return found


def _identifying(
    session: Session,
    fitted: FittedRecipe,
    sample: Sample,
    subjects: Sequence[Subject],
    values: Mapping[str, _Values],
) -> list[Observed]:
    """Columns that tell rows apart: ids, and texts or codes that hardly any two rows share."""
    candidates: list[tuple[Subject, str | None]] = []
    for subject in subjects:
        seen = values[subject.alias]
        if seen.count < max(MIN_ROWS, sample.rows * NEAR_UNIQUE):
            continue
        if seen.count == seen.distinct:
            how = _as_id(session, sample, subject, seen)
            if how is not None or subject.category:
                candidates.append((subject, how))
        elif seen.distinct >= NEAR_UNIQUE * seen.count and (subject.kind == "string" or subject.category):
            candidates.append((subject, None))
    shares = _distinct_shares(session, fitted, sample, [subject for subject, _ in candidates], values)
    found = []
    for subject, how in candidates:
        share, rows = shares[subject.name], values[subject.alias].count
        figures = {"rows": rows, "distinct_share": share}
        if how is not None and share >= _UNIQUE_AT_LEAST:
            found.append(Observed(subject, "row_id", f"no two of {rows} rows share a value{how}", figures))
        elif share >= NEAR_UNIQUE and (subject.kind == "string" or subject.category):
            seen_words = f"there are {share:g} different values for each row with a value"
            found.append(Observed(subject, "near_unique_category", seen_words, figures))
    return found


def _as_id(session: Session, sample: Sample, subject: Subject, seen: _Values) -> str | None:
    """How a column without a value twice shows that it is an id; None for what may be a quantity."""
    if subject.kind == "string":
        return ""
    if seen.span is None:
        return None
    table = session.table
    rows = int(session.query(table.aggregate(n=table.count()))[0]["n"])
    if seen.span <= 2 * rows:
        return f", and they are whole numbers that leave hardly any out (a range of {seen.span:.0f})"
    if seen.span >= _HUGE:
        return ", and they are whole numbers of more than 40 bits"
    if rank_correlation(session.query, sample.table, subject.alias, "place") >= NEAR_ONE:
        return ", and they are whole numbers in the order of the rows"
    return None


def _distinct_shares(
    session: Session,
    fitted: FittedRecipe,
    sample: Sample,
    subjects: Sequence[Subject],
    values: Mapping[str, _Values],
) -> dict[str, float]:
    """Different values for each value: exact in the sample, estimated when there are more rows."""
    if sample.whole or not subjects:
        return {s.name: _share(values[s.alias].distinct, values[s.alias].count) for s in subjects}
    table, names = _train(session, fitted, subjects)
    aggregates = {}
    for subject in subjects:
        column = table[names[subject.name]]
        aggregates[f"n_{subject.alias}"] = column.count()
        aggregates[f"d_{subject.alias}"] = column.approx_nunique()
    answer = session.query(table.aggregate(**aggregates))[0]
    return {s.name: _share(answer[f"d_{s.alias}"], answer[f"n_{s.alias}"]) for s in subjects}


def _share(distinct: int, count: int) -> float:
    return round(min(distinct / count, 1.0), 3) if count else 0.0


def _constant(
    session: Session, fitted: FittedRecipe, sample: Sample, values: Mapping[str, _Values]
) -> list[Observed]:
    """Columns with one value everywhere, or none; a feature only when its columns are not."""
    if sample.rows < MIN_ROWS:
        return []
    alike = [
        s
        for s in sample.subjects
        if values[s.alias].distinct <= 1
        and values[s.alias].count in (0, sample.rows)
        and (s.feature or s.own)
    ]
    inputs = [s for s in alike if not s.feature]
    if inputs and not sample.whole:
        # A value that the sample did not meet would make the difference.
        table, names = _train(session, fitted, inputs)
        aggregates = {f"d_{s.alias}": table[names[s.name]].nunique() for s in inputs}
        aggregates |= {f"n_{s.alias}": table[names[s.name]].count() for s in inputs}
        answer = session.query(table.aggregate(**aggregates))[0]
        inputs = [
            s
            for s in inputs
            if answer[f"d_{s.alias}"] <= 1 and answer[f"n_{s.alias}"] in (0, sample.train_rows)
        ]
    known = {s.name for s in inputs}
    features = [s for s in alike if s.feature and known.isdisjoint(s.roots)]
    found = []
    for subject in (*inputs, *features):
        rows = sample.rows if subject.feature else sample.train_rows
        what = "missing" if values[subject.alias].count == 0 else "the same"
        found.append(Observed(subject, "constant", f"it is {what} in all {rows} rows", {"rows": rows}))
    return found


def _future(session: Session, fitted: FittedRecipe, sample: Sample) -> list[Observed]:
    """Dates and times that are later than the event, in all training rows."""
    import ibis

    event = fitted.recipe.event_time
    times = [s for s in sample.subjects if not s.feature and s.kind in _TIMES and s.name != event]
    if event is None or not times:
        return []
    table, names = _train(session, fitted, times, event)
    moment = table[names[event]]
    aggregates = {}
    for subject in times:
        value = table[names[subject.name]]
        both = subject.kind == session.kinds[event] == "timestamp"
        later = value > moment if both else value.cast("date") > moment.cast("date")
        aggregates[f"later_{subject.alias}"] = ibis.ifelse(later, literal(1), literal(0)).sum()
        known = value.notnull() & moment.notnull()
        aggregates[f"n_{subject.alias}"] = ibis.ifelse(known, literal(1), literal(0)).sum()
    answer = session.query(table.aggregate(**aggregates))[0]
    found = []
    for subject in times:
        later, rows = int(answer[f"later_{subject.alias}"] or 0), int(answer[f"n_{subject.alias}"] or 0)
        if later:
            seen = f"it is later than the event time {event!r} in {later} of {rows} rows with both"
            found.append(Observed(subject, "future_timestamp", seen, {"later": later, "rows": rows}))
    return found


def _train(
    session: Session, fitted: FittedRecipe, subjects: Sequence[Subject], *more: str
) -> tuple[Any, Mapping[str, str]]:
    """All training rows of these columns of the datamart, and their aliases."""
    wanted = {subject.name: subject.kind for subject in subjects}
    for name in more:
        kind = session.kinds[name]
        if kind is not None:
            wanted[name] = kind
    pipeline = start(
        session.table, session.columns, fitted.recipe, wanted, fitted.split_state, train_only=True
    )
    return pipeline.table, pipeline.names
