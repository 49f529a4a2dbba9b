# SPDX-License-Identifier: Apache-2.0
"""
Learn a recipe's states from the training split.

Steps are fitted in rounds. In each round all steps whose column is final (no step before it on the same
column is waiting to be fitted) are answered together, in the passes that :mod:`~.summaries` describes; most
recipes take one or two rounds. A step that needs to know only the order of a column's values does not wait
for steps before it that keep that order (see :mod:`~.chains`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_mlbridge.exceptions import FitError
from airflow_provider_mlbridge.features.chains import Chain, chains_of
from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.kinds import Kind
from airflow_provider_mlbridge.features.pipeline import FOLD_ALIAS, SPLIT_ALIAS, Pipeline, clean, start
from airflow_provider_mlbridge.features.plan import Operation, bind, features_of
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX, Session
from airflow_provider_mlbridge.features.splits import HashSplit
from airflow_provider_mlbridge.features.steps import Needs, Summary
from airflow_provider_mlbridge.features.summaries import Request, summarise
from airflow_provider_mlbridge.features.target_statistics import LabelColumn


def fit_session(session: Session, recipe: Recipe) -> FittedRecipe:
    """Fit a recipe on an open snapshot; see :meth:`Recipe.fit` for what it raises."""
    plan = bind(recipe, session.kinds, session.engine_types)
    split_state = _fit_split(session, recipe)

    supervised = any(operation.step.SUPERVISED for operation in plan.operations)

    # The rows of the other splits go first: no step that looks at other rows sees them.
    train = start(
        session.table,
        session.columns,
        recipe,
        plan.inputs,
        split_state,
        train_only=True,
        folds=supervised,
        lookups=session.lookups,
    )
    if _worth_keeping(recipe, plan.operations):
        train.table = session.keep(_needed(train, recipe, plan.operations), "train")
    rows = session.query(train.table.aggregate(n=train.table.count()))[0]["n"]
    if not rows:
        table = session.table
        total = session.query(table.aggregate(n=table.count()))[0]["n"]
        shown = recipe.split.to_dict() if recipe.split else None
        raise FitError(
            f"{session.snapshot.uri}: none of its {total} rows is in the training split (split: {shown}), so "
            f"nothing can be learned"
        )
    label = _label(session, recipe, train) if supervised else None
    rounds = _Rounds(session, train, plan.operations, rows, label)
    while not rounds.done:
        rounds.next()
    fitted = rounds.fitted
    features = features_of(recipe, plan.inputs, plan.operations, fitted, list(session.columns))
    return FittedRecipe(
        recipe=recipe,
        inputs=dict(plan.inputs),
        operations=tuple(plan.operations),
        states=tuple(fitted),
        split_state=split_state,
        features=tuple(features),
        train_rows=rows,
    )


def _worth_keeping(recipe: Recipe, operations: Sequence[Operation]) -> bool:
    """Whether it takes less to write the training rows once than to find them in each pass."""
    by_md5 = isinstance(recipe.resolved_split(), HashSplit)
    return by_md5 and any(operation.needs for operation in operations)


def _needed(train: Pipeline, recipe: Recipe, operations: Sequence[Operation]) -> Any:
    """The columns of the training rows that steps are fitted on."""
    read = {name for operation in operations for name in operation.columns}
    aliases = [alias for name, alias in train.names.items() if name in read or name == recipe.label]
    if any(operation.step.HISTORY for operation in operations):
        aliases += [FILE_INDEX, ROW_INDEX]
    added = [name for name in (SPLIT_ALIAS, FOLD_ALIAS) if name in train.table.columns]
    return train.table.select(*aliases, *added)


def _fit_split(session: Session, recipe: Recipe) -> dict[str, Any]:
    split = recipe.resolved_split()
    if split is None:
        return {}
    columns = {name: clean(session.table[name], session.columns[name]) for name in split.columns()}
    place = [session.table[name] for name in (FILE_INDEX, ROW_INDEX)]
    return split.fit(session.table.select(*place, **columns), session.query)


def _label(session: Session, recipe: Recipe, pipeline: Pipeline) -> LabelColumn | None:
    kind = session.kinds[recipe.label] if recipe.label is not None else None
    if recipe.label is None or kind is None:
        return None
    return LabelColumn(recipe.label, pipeline.names[recipe.label], kind, FOLD_ALIAS)


class _Rounds:
    """
    The states, as far as they are known.

    :param train: the training rows.
    :param rows: how many there are.
    :param label: for steps that learn from it.
    """

    def __init__(
        self,
        session: Session,
        train: Pipeline,
        operations: Sequence[Operation],
        rows: int,
        label: LabelColumn | None,
    ) -> None:
        self._session = session
        self._train = train
        self._operations = operations
        self._rows = rows
        self._label = label
        self._states: list[dict[str, Any] | None] = [None] * len(operations)
        self._chains = chains_of(operations, train.names)
        self._sources: dict[str, Summary] = {}
        """What is known of the extremes of the datamart's columns."""
        self._unclear: set[int] = set()
        """Operations whose chain does not tell what they need."""

    @property
    def done(self) -> bool:
        """Whether all are known."""
        return all(state is not None for state in self._states)

    @property
    def fitted(self) -> list[dict[str, Any]]:
        """The states that are known."""
        return [state for state in self._states if state is not None]

    def next(self) -> None:
        """Fit all operations whose column is final, or follows from one that is."""
        pipeline = self._train.copy()
        operations, states = self._operations, self._states
        waiting: set[str] = set()
        requests: dict[int, Request] = {}
        for index, operation in enumerate(operations):
            names = {name for name, _ in operation.outputs(None)}
            state = states[index]
            if state is None and not operation.needs:
                state = states[index] = self._fit(index, Summary(operation.where, self._rows, self._rows))
            if not waiting.isdisjoint((operation.column, *operation.reads)):
                if state is None and self._follows(index, requests):
                    requests[index] = self._of_source(index)
                waiting |= names
            elif state is None:
                requests[index] = self._of_column(index, pipeline)
                waiting |= names
            elif any(not names.isdisjoint(later.columns) for later in operations[index + 1 :]):
                if operation.step.categories(state) is not None:
                    pipeline.look_ahead(list(zip(operations, states, strict=True))[index:])
                pipeline.apply(operation, state)
        if not requests:
            return
        table = pipeline.flushed()
        answers = summarise(
            self._session.query, table, list(requests.values()), self._rows, keep=self._session.keep
        )
        for (index, request), summary in zip(requests.items(), answers, strict=True):
            chain = self._chains[index]
            if chain is not None and summary.minimum is not None and (request.made_of or not chain.links):
                self._sources[chain.source] = replace(summary, order={})
            if not request.made_of:
                states[index] = self._fit(index, summary)
                continue
            derived = None
            if chain is not None:
                derived = chain.derive(operations, states, summary, operations[index].needs)
            if derived is None:
                self._unclear.add(index)
            else:
                states[index] = self._fit(index, derived)

    def _fit(self, index: int, summary: Summary) -> dict[str, Any]:
        operation = self._operations[index]
        return operation.step.fit(summary, operation.kind)

    def _follows(self, index: int, requests: Mapping[int, Request]) -> bool:
        """Whether what is needed follows from a column of the datamart, with what else is asked for now."""
        chain = self._chains[index]
        return (
            chain is not None
            and index not in self._unclear
            and not self._operations[index].reads
            and chain.tells(self._operations[index].needs)
            and all(link in requests or self._states[link] is not None for link in chain.links)
        )

    def _of_source(self, index: int) -> Request:
        """What to ask of the column that this one was made of."""
        operation = self._operations[index]
        chain = self._chains[index] or Chain(operation.column)
        alias, kind = self._train.names[chain.source], self._kind(chain.source)
        needs = replace(operation.needs, extent=True)
        known = None if needs.quantiles else self._sources.get(chain.source)
        return Request(operation.where, alias, kind, needs, known=known, made_of=True, fills=chain.fills)

    def _kind(self, source: str) -> Kind:
        """The kind of a column of the datamart."""
        return next(operation.kind for operation in self._operations if operation.column == source)

    def _of_column(self, index: int, pipeline: Pipeline) -> Request:
        """What to ask of the column itself."""
        operation, chain = self._operations[index], self._chains[index]
        pipeline.column(operation.column)
        alias, known = pipeline.names[operation.column], None
        if chain is not None and operation.needs == Needs(moments=True) and chain.source in self._sources:
            known = chain.derive(
                self._operations, self._states, self._sources[chain.source], Needs(extent=True)
            )
        return Request(operation.where, alias, operation.kind, operation.needs, self._label, known=known)
