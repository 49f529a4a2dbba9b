# SPDX-License-Identifier: Apache-2.0
"""What the linter looks at: which columns, and a sample of the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.pipeline import SPLIT_ALIAS, start
from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX, Session
from airflow_provider_mlbridge.features.splits import TRAIN
from airflow_provider_mlbridge.features.steps.base import literal

SAMPLE_ROWS = 100_000
"""More training rows than this are not looked at together."""

_PRIME = 2**31 - 1
_ROWS_PER_FILE = 2**40


@dataclass(frozen=True)
class Subject:
    """
    A column to be judged.

    :param name: its name.
    :param alias: its name in the sample.
    :param kind: its kind.
    :param step: place of the first step that reads it, or, of a feature, of the last that made it.
    :param feature: whether it is a feature and not a column of the datamart.
    :param own: whether a step works on its values one by one, so that they tell rows apart by themselves.
    :param category: whether a step takes its values for categories.
    :param roots: of a feature, the datamart's columns it is made from.
    """

    name: str
    alias: str
    kind: Kind
    step: int
    feature: bool = False
    own: bool = False
    category: bool = False
    roots: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Sample:
    """
    Training rows with inputs, features, label and place.

    :param table: Ibis table with the subjects' aliases, ``label`` when there is one, and ``place``.
    :param rows: its rows.
    :param train_rows: rows of the training split.
    :param subjects: what to judge.
    :param label_kind: kind of the label; None without one.
    """

    table: Any
    rows: int
    train_rows: int
    subjects: tuple[Subject, ...]
    label_kind: Kind | None

    @property
    def whole(self) -> bool:
        """Whether these are all training rows."""
        return self.rows >= self.train_rows


@dataclass
class _Uses:
    step: int
    own: bool = False
    category: bool = False


@dataclass
class _Made:
    step: int
    judged: bool
    roots: frozenset[str] = field(default_factory=frozenset)


def draw(session: Session, fitted: FittedRecipe, path: Path, sample_rows: int = SAMPLE_ROWS) -> Sample:
    """
    Write the sample to a file and open it.

    Which rows are in it depends on their place in the snapshot alone: the place goes through a polynomial
    over a prime field, so that neighbours are as likely to be in it together as any other rows.
    """
    recipe = fitted.recipe
    supervised = any(operation.step.SUPERVISED for operation in fitted.operations)
    pipeline = start(
        session.table, session.columns, recipe, fitted.inputs, fitted.split_state, folds=supervised
    )
    raw = dict(pipeline.names)
    for operation, state in zip(fitted.operations, fitted.states, strict=True):
        pipeline.apply(operation, state)
    table = pipeline.flushed()
    table = table.filter(table[SPLIT_ALIAS] == TRAIN)
    if fitted.train_rows > sample_rows:
        table = table.filter(_number(table) < literal(_PRIME * sample_rows // fitted.train_rows))

    subjects = [*_inputs(fitted), *_features(fitted)]
    source = {**{s.alias: raw[s.name] for s in subjects if not s.feature}}
    source.update({s.alias: pipeline.names[s.name] for s in subjects if s.feature})
    columns = {s.alias: _canonical(table[source[s.alias]], s.kind) for s in subjects}
    types = {s.alias: _TYPES[s.kind] for s in subjects}
    label_kind = session.kinds.get(recipe.label) if recipe.label is not None else None
    if recipe.label is not None and label_kind is not None:
        columns["label"] = _canonical(table[raw[recipe.label]], label_kind)
        types["label"] = _TYPES[label_kind]
    columns["place"] = table[FILE_INDEX] * literal(_ROWS_PER_FILE) + table[ROW_INDEX]
    types["place"] = "int64"
    session.write(table.select(**columns), path)
    sample = session.parquet(path, types)
    rows = int(session.query(sample.aggregate(n=sample.count()))[0]["n"])
    return Sample(sample, rows, fitted.train_rows, tuple(subjects), label_kind)


_TYPES: Mapping[Kind, str] = {
    "bool": "boolean",
    "int": "int64",
    "float": "float64",
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
}


def _canonical(value: Any, kind: Kind) -> Any:
    # -0.0 and 0.0 are one value.
    return value + literal(0.0) if kind == "float" else value


def _number(table: Any) -> Any:
    """A whole number below the prime, by the place of the row; nothing overflows 64 bits."""
    prime = literal(_PRIME)
    place = (table[ROW_INDEX] % prime) * literal(48_271) + (table[FILE_INDEX] % prime) * literal(69_621)
    x = (place + literal(12_345)) % prime
    return ((x * x % prime) * x + x * literal(16_807)) % prime


def _inputs(fitted: FittedRecipe) -> list[Subject]:
    """
    The datamart's columns that reach a feature in the row's own values.

    What a step reads of other rows is judged by the features it makes: the label of an earlier row, say, is
    known by then. A column that is only read beside another one, such as a group, may well tell rows apart.
    """
    uses: dict[str, _Uses] = {}
    replaced: set[str] = set()
    for operation in fitted.operations:
        step = operation.step
        if not step.HISTORY:
            for name in (operation.column, *operation.reads):
                if name in fitted.inputs and name != fitted.recipe.label:
                    use = uses.setdefault(name, _Uses(operation.position))
                    if name == operation.column and name not in replaced:
                        use.own = use.own or step.PER_COLUMN
                        use.category = use.category or step.CATEGORIES
        if operation.replaced is not None:
            replaced.add(operation.replaced)
    return [
        Subject(name, f"x{index}", fitted.inputs[name], use.step, own=use.own, category=use.category)
        for index, (name, use) in enumerate(uses.items())
    ]


def _features(fitted: FittedRecipe) -> list[Subject]:
    """
    The features, but for those that can show nothing new.

    Flags and indicators say less than the column they are made from, whose categories and missing values are
    looked at; what is passed through is that column.
    """
    made: dict[str, _Made] = {}
    for operation, state in zip(fitted.operations, fitted.states, strict=True):
        step = operation.step
        roots: set[str] = set()
        for name in (operation.column, *operation.reads):
            roots |= made[name].roots if name in made else {name}
        plain = operation.column not in made or not made[operation.column].judged
        # Of a column that a step has made, nothing else may show where it was missing.
        indicators = () if operation.column in made else step.indicators(operation.stem)
        for name, _ in operation.outputs(state):
            judged = not (step.FLAGS or name in indicators or (step.TYPE == "passthrough" and plain))
            made[name] = _Made(operation.position, judged, frozenset(roots))
    return [
        Subject(
            feature.name,
            f"y{index}",
            feature.kind,
            made[feature.name].step,
            feature=True,
            roots=made[feature.name].roots,
        )
        for index, feature in enumerate(fitted.features)
        if made[feature.name].judged and not feature.flag
    ]
