# SPDX-License-Identifier: Apache-2.0
"""
Learn a recipe's states from the training split.

Steps are fitted in rounds. In each round all steps whose column is final (no step before it on the same
column is waiting to be fitted) are answered together, in the passes that :mod:`~.summaries` describes; most
recipes take one or two rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_mlbridge.exceptions import FitError
from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.pipeline import FOLD_ALIAS, Pipeline, clean, start
from airflow_provider_mlbridge.features.plan import Operation, bind, features_of
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.features.session import Session
from airflow_provider_mlbridge.features.steps import Summary
from airflow_provider_mlbridge.features.summaries import Request, summarise
from airflow_provider_mlbridge.features.target_statistics import LabelColumn


def fit_session(session: Session, recipe: Recipe) -> FittedRecipe:
    """Fit a recipe on an open snapshot; see :meth:`Recipe.fit` for what it raises."""
    plan = bind(recipe, session.kinds, session.engine_types)
    split_state = _fit_split(session, recipe)

    supervised = any(operation.step.SUPERVISED for operation in plan.operations)

    def begin() -> Pipeline:
        # The rows of the other splits go first: no step that looks at other rows sees them.
        return start(
            session.table, session.columns, recipe, plan.inputs, split_state, folds=supervised
        ).train()

    train = begin().table
    rows = session.query(train.aggregate(n=train.count()))[0]["n"]
    if not rows:
        table = session.table
        total = session.query(table.aggregate(n=table.count()))[0]["n"]
        shown = recipe.split.to_dict() if recipe.split else None
        raise FitError(
            f"{session.snapshot.uri}: none of its {total} rows is in the training split (split: {shown}), so "
            f"nothing can be learned"
        )
    states: list[dict[str, Any] | None] = [None] * len(plan.operations)
    while any(state is None for state in states):
        pipeline = begin()
        label = _label(session, recipe, pipeline) if supervised else None
        _round(session, pipeline, plan.operations, states, rows, label)
    fitted = [state for state in states if state is not None]
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


def _fit_split(session: Session, recipe: Recipe) -> dict[str, Any]:
    split = recipe.resolved_split()
    if split is None:
        return {}
    columns = {name: clean(session.table[name], session.columns[name]) for name in split.columns()}
    return split.fit(session.table.select(**columns), session.query)


def _label(session: Session, recipe: Recipe, pipeline: Pipeline) -> LabelColumn | None:
    kind = session.kinds[recipe.label] if recipe.label is not None else None
    if recipe.label is None or kind is None:
        return None
    return LabelColumn(recipe.label, pipeline.names[recipe.label], kind, FOLD_ALIAS)


def _round(
    session: Session,
    pipeline: Pipeline,
    operations: Sequence[Operation],
    states: list[dict[str, Any] | None],
    rows: int,
    label: LabelColumn | None,
) -> None:
    waiting: set[str] = set()
    requests: list[tuple[int, Request]] = []
    for index, operation in enumerate(operations):
        if not waiting.isdisjoint((operation.column, *operation.reads)):
            waiting.update(name for name, _ in operation.outputs(None))
            continue
        names = {name for name, _ in operation.outputs(None)}
        state = states[index]
        if state is None and not operation.needs:
            state = states[index] = operation.step.fit(Summary(operation.where, rows, rows), operation.kind)
        if state is None:
            pipeline.column(operation.column)
            alias = pipeline.names[operation.column]
            request = Request(operation.where, alias, operation.kind, operation.needs, label)
            requests.append((index, request))
            waiting |= names
        elif any(not names.isdisjoint((later.column, *later.reads)) for later in operations[index + 1 :]):
            pipeline.apply(operation, state)
    if not requests:
        return
    answers = summarise(session.query, pipeline.flushed(), [request for _, request in requests], rows)
    for (index, _), summary in zip(requests, answers, strict=True):
        states[index] = operations[index].step.fit(summary, operations[index].kind)
