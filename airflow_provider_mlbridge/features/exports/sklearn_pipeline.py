# SPDX-License-Identifier: Apache-2.0
"""A fitted recipe as a scikit-learn pipeline, of scikit-learn's own estimators where it has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import MissingExtraError
from airflow_provider_mlbridge.features.exports.allowed import require
from airflow_provider_mlbridge.features.steps import STEP_TYPES

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from airflow_provider_mlbridge.features.fitted import FittedRecipe
    from airflow_provider_mlbridge.features.plan import Operation
    from airflow_provider_mlbridge.features.steps.base import State

ALLOWED = frozenset(name for name, step in STEP_TYPES.items() if not step.HISTORY)


@dataclass(frozen=True)
class _Part:
    """
    One entry of a ``ColumnTransformer``.

    :param estimator: fitted.
    :param columns: what it reads.
    :param outputs: names of its results.
    """

    estimator: Any
    columns: tuple[str, ...]
    outputs: tuple[str, ...]


def to_sklearn(fitted: FittedRecipe) -> Pipeline:
    """See :meth:`FittedRecipe.to_sklearn`."""
    try:
        import numpy as np
        from sklearn.pipeline import Pipeline

        from airflow_provider_mlbridge.features.exports import sklearn_functions as functions
    except ImportError as error:
        raise MissingExtraError(
            f"the scikit-learn export needs a package that is not installed ({error.name}): "
            f"pip install 'airflow-provider-mlbridge[sklearn]'"
        ) from error

    def reason(operation: Operation, state: State) -> str | None:  # noqa: ARG001 - as the others
        return "it looks at other rows" if operation.step.HISTORY else None

    require(fitted, "scikit-learn", reason, steps=ALLOWED)
    reading = _function(functions.read_columns, fitted.inputs, kinds=dict(fitted.inputs))
    reading.feature_names_in_ = np.array(list(fitted.inputs), dtype=object)
    reading.n_features_in_ = len(fitted.inputs)
    stages: list[tuple[str, Any]] = [("read", reading)]
    columns = list(fitted.inputs)
    pairs = zip(fitted.operations, fitted.states, strict=True)
    for position, group in groupby(pairs, key=lambda pair: pair[0].position):
        parts = [part for operation, state in group for part in _parts(operation, state)]
        label = fitted.recipe.steps[position - 1].TYPE
        stage, columns = _stage(parts, columns, label)
        stages.append((f"step_{position}_{label}", functions.Learned(stage)))
    kinds = {feature.name: feature.kind for feature in fitted.features}
    stages.append(("features", _function(functions.features, kinds, kinds=kinds)))
    return Pipeline(stages).set_output(transform="pandas")


def _stage(parts: Sequence[_Part], columns: Sequence[str], label: str) -> tuple[Any, list[str]]:
    """A fitted ``ColumnTransformer``, and the columns that come out of it."""
    import pandas as pd  # type: ignore[import-untyped]
    from sklearn.compose import ColumnTransformer

    from airflow_provider_mlbridge.features.exports.sklearn_functions import shaped

    read = {column for part in parts for column in part.columns}
    made = {name for part in parts for name in part.outputs}
    kept = [column for column in columns if column in read and column not in made]
    names = [f"{label}_{number}" for number in range(1, len(parts) + 1)]
    # It learns the columns' places from zeros, and gets the real estimators, which may refuse zeros, then.
    entries: list[tuple[str, Any, list[str]]] = [
        (name, _function(shaped, part.outputs), list(part.columns))
        for name, part in zip(names, parts, strict=True)
    ]
    if kept:
        entries.append(("kept", "passthrough", kept))
    stage = ColumnTransformer(entries, remainder="passthrough", verbose_feature_names_out=False)
    stage.set_output(transform="pandas")
    out = stage.fit_transform(pd.DataFrame([[0.0] * len(columns)], columns=list(columns)))
    estimators = {name: part.estimator for name, part in zip(names, parts, strict=True)}
    for attribute in ("transformers", "transformers_"):
        swapped = [
            (name, estimators.get(name, before), place) for name, before, place in getattr(stage, attribute)
        ]
        setattr(stage, attribute, swapped)
    return stage, list(out.columns)


def _function(function: Callable[..., Any], outputs: Any, **arguments: Any) -> Any:
    from sklearn.preprocessing import FunctionTransformer

    from airflow_provider_mlbridge.features.exports.sklearn_functions import names_out

    made = FunctionTransformer(
        function, kw_args={"outputs": list(outputs), **arguments}, feature_names_out=names_out
    )
    return made.set_output(transform="pandas")


def _chain(*estimators: Any) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*estimators).set_output(transform="pandas")


def _parts(operation: Operation, state: State) -> Iterator[_Part]:
    make = _MAKERS.get(operation.step.TYPE)
    parts = None if make is None else make(operation, state)
    yield from [_by_value(operation, state)] if parts is None else parts


def _by_value(operation: Operation, state: State) -> _Part:
    from airflow_provider_mlbridge.features.exports.sklearn_functions import by_value

    outputs = operation.outputs(state)
    estimator = _function(
        by_value,
        [name for name, _ in outputs],
        kinds=[kind for _, kind in outputs],
        step=operation.step.to_dict(),
        where=operation.where,
        reads=[operation.kind, *operation.reads.values()],
        state=dict(state),
    )
    return _Part(estimator, operation.columns, tuple(name for name, _ in outputs))


def _of_numbers(operation: Operation, estimator: Any) -> list[_Part]:
    """One of scikit-learn's own, fitted to a column of this name."""
    from airflow_provider_mlbridge.features.exports.sklearn_functions import as_float

    stem = operation.stem
    if operation.kind != "float" or stem != operation.column:
        estimator = _chain(_function(as_float, [stem]), estimator)
    return [_Part(estimator, (operation.column,), (stem,))]


def _simple(operation: Operation, name: str, **arguments: Any) -> list[_Part]:
    from airflow_provider_mlbridge.features.exports import sklearn_functions

    estimator = _function(getattr(sklearn_functions, name), [operation.stem], **arguments)
    return [_Part(estimator, (operation.column,), (operation.stem,))]


def _example(name: str, values: Sequence[Any], dtype: Any = "float64") -> Any:
    import pandas as pd

    return pd.DataFrame({name: pd.Series(list(values), dtype=dtype)})


def _standard(operation: Operation, state: State) -> list[_Part]:
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(_example(operation.stem, [0.0, 1.0]))
    scaler.mean_, scaler.scale_ = np.array([state["mean"]]), np.array([state["scale"]])
    scaler.var_ = scaler.scale_**2
    return _of_numbers(operation, scaler.set_output(transform="pandas"))


def _robust(operation: Operation, state: State) -> list[_Part]:
    import numpy as np
    from sklearn.preprocessing import RobustScaler

    scaler = RobustScaler().fit(_example(operation.stem, [0.0, 1.0]))
    scaler.center_, scaler.scale_ = np.array([state["center"]]), np.array([state["scale"]])
    return _of_numbers(operation, scaler.set_output(transform="pandas"))


def _impute(operation: Operation, state: State) -> list[_Part]:
    from sklearn.impute import SimpleImputer

    from airflow_provider_mlbridge.features.exports.sklearn_functions import as_object, is_missing

    (stem, kind), *flags = operation.outputs(state)
    strategy: Any = operation.step
    name = {"mode": "most_frequent"}.get(strategy.strategy, strategy.strategy)
    value = state["value"]
    if kind in ("float", "bool"):
        example = _example(stem, [float(value), math.nan])
        constant = {"fill_value": float(value)} if name == "constant" else {}
        parts = _of_numbers(operation, _imputer(SimpleImputer(strategy=name, **constant), example))
    else:
        # Of integers too, since one of more than 53 bits is no float.
        example = _example(stem, [value, math.nan], object)
        constant = {"fill_value": value} if name == "constant" else {}
        filled = _imputer(SimpleImputer(strategy=name, **constant), example)
        parts = [_Part(_chain(_function(as_object, [stem]), filled), (operation.column,), (stem,))]
    outputs = [name for name, _ in flags]
    if outputs:
        parts.append(_Part(_function(is_missing, outputs), (operation.column,), tuple(outputs)))
    return parts


def _imputer(imputer: Any, example: Any) -> Any:
    # Of an example that has the value alone, it learns the value.
    return imputer.fit(example).set_output(transform="pandas")


def _one_hot(operation: Operation, state: State) -> list[_Part] | None:
    from sklearn.preprocessing import OneHotEncoder

    from airflow_provider_mlbridge.features.exports import sklearn_functions as functions

    categories, step = list(state["categories"]), operation.step
    policies: Any = step
    if not categories:
        return None
    outputs = [name for name, _ in operation.outputs(state)]
    encoder = OneHotEncoder(
        categories=[_objects(categories)], handle_unknown="ignore", sparse_output=False, dtype="int64"
    )
    encoder.fit(_example(operation.stem, categories[:1], object)).set_output(transform="pandas")
    known, others = outputs[: len(categories)], outputs[len(categories) :]
    column = (operation.column,)
    chain = _chain(*_categories(operation, categories), encoder, _function(functions.named, known))
    parts = [_Part(chain, column, tuple(known))]
    if policies.unknown == "other":
        other, *others = others
        found = _function(functions.is_other, [other], categories=categories)
        parts.append(_Part(found, column, (other,)))
    if others:
        parts.append(_Part(_function(functions.is_missing, others), column, tuple(others)))
    return parts


def _ordinal(operation: Operation, state: State) -> list[_Part] | None:
    from sklearn.preprocessing import OrdinalEncoder

    categories = list(state["categories"])
    policies: Any = operation.step
    if not categories:
        return None
    encoder = OrdinalEncoder(
        categories=[_objects([*categories, math.nan])],
        handle_unknown="use_encoded_value",
        unknown_value=-1 if policies.unknown == "other" else math.nan,
        encoded_missing_value=len(categories) if policies.missing == "category" else math.nan,
    )
    encoder.fit(_example(operation.stem, categories[:1], object)).set_output(transform="pandas")
    chain = _chain(*_categories(operation, categories), encoder)
    return [_Part(chain, (operation.column,), (operation.stem,))]


def _target(operation: Operation, state: State) -> list[_Part] | None:
    import numpy as np
    from sklearn.preprocessing import TargetEncoder

    categories = list(state["categories"])
    step: Any = operation.step
    if not categories:
        return None
    lenient: Any = type(step)(**{**_options(step), "unknown": "ignore", "missing": _lenient(step.missing)})
    function = lenient.row_function(operation.where, operation.kind, state)
    encoder = TargetEncoder(categories=[_objects([*categories, math.nan])], target_type="continuous")
    encoder.fit(_example(operation.stem, categories[:1] * 2, object), [0.0, 1.0])
    values = [function(value)[0] for value in (*categories, None)]
    encoder.encodings_ = [np.array([math.nan if value is None else value for value in values])]
    encoder.target_mean_ = _prior(operation, state) if step.unknown == "prior" else math.nan
    encoder.set_output(transform="pandas")
    chain = _chain(*_categories(operation, categories, other="prior"), encoder)
    return [_Part(chain, (operation.column,), (operation.stem,))]


def _lenient(missing: str) -> str:
    return "ignore" if missing == "error" else missing


def _prior(operation: Operation, state: State) -> float:
    step: Any = operation.step
    lenient = type(step)(**{**_options(step), "missing": "prior"})
    (prior,) = lenient.row_function(operation.where, operation.kind, state)(None)
    return float(prior)


def _options(step: Any) -> dict[str, Any]:
    return {key: value for key, value in step.to_dict().items() if key != "type"}


def _categories(operation: Operation, categories: Sequence[Any], other: str = "other") -> list[Any]:
    """What comes before an encoder: objects under the result's name, and the policies that refuse."""
    from airflow_provider_mlbridge.features.exports import sklearn_functions as functions

    policies: Any = operation.step
    refused = {"unknown_error": policies.unknown == "error", "missing_error": policies.missing == "error"}
    before = [_function(functions.as_object, [operation.stem])]
    if any(refused.values()):
        before.append(
            _function(
                functions.check_categories,
                [operation.stem],
                categories=list(categories),
                where=operation.where,
                other=other,
                **refused,
            )
        )
    return before


def _objects(values: Sequence[Any]) -> Any:
    import numpy as np

    result = np.empty(len(values), dtype=object)
    result[:] = list(values)
    return result


def _bins(operation: Operation, state: State) -> list[_Part]:  # noqa: ARG001 - as the others
    step: Any = operation.step
    low, *inner, high = step.edges
    return _simple(
        operation, "bins", inner=inner, low=low, high=high, policy=step.out_of_range, where=operation.where
    )


def _min_max(operation: Operation, state: State) -> list[_Part]:
    step: Any = operation.step
    return _simple(
        operation,
        "min_max",
        minimum=state["minimum"],
        range_=state["range"],
        factor=step.high - step.low,
        low=step.low,
    )


def _log1p(operation: Operation, state: State) -> list[_Part]:  # noqa: ARG001 - as the others
    step: Any = operation.step
    return _simple(operation, "log1p", where=operation.where, fatal=step.invalid == "error")


_MAKERS: dict[str, Callable[[Operation, State], list[_Part] | None]] = {
    "impute": _impute,
    "clip": lambda operation, state: _simple(operation, "clip", lower=state["lower"], upper=state["upper"]),
    "log1p": _log1p,
    "standard": _standard,
    "min_max": _min_max,
    "robust": _robust,
    "yeo_johnson": lambda operation, state: _simple(
        operation, "yeo_johnson", exponent=state["lambda"], mean=state["mean"], scale=state["scale"]
    ),
    "one_hot": _one_hot,
    "ordinal": _ordinal,
    "target": _target,
    "quantile_bins": lambda operation, state: _simple(operation, "bins", inner=state["inner_edges"]),
    "bins": _bins,
    "passthrough": lambda operation, _: _simple(operation, "named"),
}
"""Steps without an entry are computed value by value, as for single rows."""
