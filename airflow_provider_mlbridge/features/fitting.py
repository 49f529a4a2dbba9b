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
from airflow_provider_mlbridge.features.pipeline import FOLD_ALIAS, SPLIT_ALIAS, Pipeline, clean, start
from airflow_provider_mlbridge.features.plan import Operation, bind, features_of
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX, Session
from airflow_provider_mlbridge.features.splits import HashSplit
from airflow_provider_mlbridge.features.steps import Summary
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
        folds=supervised,
        lookups=session.lookups,
    ).train()
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
    states: list[dict[str, Any] | None] = [None] * len(plan.operations)
    while any(state is None for state in states):
        pipeline = train.copy()
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
            if operation.step.categories(state) is not None:
                pipeline.look_ahead(list(zip(operations, states, strict=True))[index:])
            pipeline.apply(operation, state)
    if not requests:
        return
    answers = summarise(session.query, pipeline.flushed(), [request for _, request in requests], rows)
    for (index, _), summary in zip(requests, answers, strict=True):
        states[index] = operations[index].step.fit(summary, operations[index].kind)
