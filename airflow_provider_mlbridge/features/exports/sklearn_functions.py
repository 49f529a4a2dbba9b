# SPDX-License-Identifier: Apache-2.0
"""
What the scikit-learn pipelines of :mod:`~.sklearn_pipeline` call where scikit-learn has no estimator.

The functions take and give pandas data frames, and have names, so that a pipeline can be pickled. Between
the steps a column is, by its kind: float, or for a boolean 0.0 and 1.0, with NaN where missing; 64-bit
integers, or objects when one is missing; objects with NaN where missing for strings; ``datetime64[us]`` with
NaT for dates and timestamps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date
from typing import Any

from sklearn import config_context  # noqa: TID253 - loaded by pipelines only, which are scikit-learn's
from sklearn.frozen import FrozenEstimator  # noqa: TID253

from airflow_provider_mlbridge.exceptions import ColumnNotFoundError, ConfigurationError, FeatureValueError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import Kind, reader
from airflow_provider_mlbridge.features.steps import parse_step
from airflow_provider_mlbridge.features.steps.categories import refuse
from airflow_provider_mlbridge.features.steps.scaling import _EPSILON, _cut

Frame = Any


class Learned(FrozenEstimator):  # type: ignore[misc]
    """
    An estimator that keeps what a recipe has learned, and takes infinite values for values.

    scikit-learn's own estimators refuse those, though they can compute with them.
    """

    def transform(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """What the estimator makes of it."""
        with config_context(assume_finite=True):
            return self.estimator.transform(X)


def names_out(transformer: Any, input_features: Any) -> Any:  # noqa: ARG001 - scikit-learn's signature
    """Names of the results of a ``FunctionTransformer``."""
    import numpy as np

    return np.array(transformer.kw_args["outputs"], dtype=object)


def read_columns(frame: Frame, *, outputs: Sequence[str], kinds: Mapping[str, Kind]) -> Frame:
    """The columns that a recipe reads, in the form described above."""
    import pandas as pd  # type: ignore[import-untyped]

    if not isinstance(frame, pd.DataFrame):
        raise ConfigurationError(
            f"the exported pipeline takes a pandas data frame with the columns {options.shown(list(outputs))}"
            f", got {type(frame).__name__}"
        )
    missing = [name for name in outputs if name not in frame.columns]
    if missing:
        raise ColumnNotFoundError(
            f"the data frame has no {options.shown(missing)}; it must have {options.shown(list(outputs))}"
        )
    return _frame({name: _read(frame[name], name, kinds[name]) for name in outputs}, frame.index)


def features(frame: Frame, *, outputs: Sequence[str], kinds: Mapping[str, Kind]) -> Frame:
    """The features: ``float64``; pandas' ``Int64`` and ``boolean``; objects; ``datetime64``."""
    return _frame({name: _finished(frame[name], kinds[name]) for name in outputs}, frame.index)


def as_float(frame: Frame, *, outputs: Sequence[str]) -> Frame:
    """Columns under other names, as floats."""
    return frame.astype("float64").set_axis(list(outputs), axis=1)


def as_object(frame: Frame, *, outputs: Sequence[str]) -> Frame:
    """Columns under other names, as objects."""
    return frame.astype(object).set_axis(list(outputs), axis=1)


def named(frame: Frame, *, outputs: Sequence[str]) -> Frame:
    """Columns under other names, as they are."""
    return frame.set_axis(list(outputs), axis=1)


def shaped(frame: Frame, *, outputs: Sequence[str]) -> Frame:
    """Zeros under these names, to show a ``ColumnTransformer`` what comes out of it."""
    return _frame(dict.fromkeys(outputs, 0.0), frame.index)


def clip(frame: Frame, *, outputs: Sequence[str], lower: float | None, upper: float | None) -> Frame:
    """The step ``clip``."""
    return as_float(frame, outputs=outputs).clip(lower=lower, upper=upper)


def log1p(frame: Frame, *, outputs: Sequence[str], where: str, fatal: bool) -> Frame:
    """The step ``log1p``."""
    import numpy as np

    numbers = as_float(frame, outputs=outputs)
    invalid = numbers <= -1
    if fatal and invalid.to_numpy().any():
        raise FeatureValueError(
            f"{where}: {int(invalid.to_numpy().sum())} values are -1 or less. Clip before this step, or set "
            f'invalid="null".'
        )
    return np.log1p(numbers.mask(invalid))


def min_max(
    frame: Frame, *, outputs: Sequence[str], minimum: float, range_: float, factor: float, low: float
) -> Frame:
    """The step ``min_max``; ``MinMaxScaler`` multiplies before it subtracts, and so loses digits."""
    return (as_float(frame, outputs=outputs) - minimum) / range_ * factor + low


def yeo_johnson(frame: Frame, *, outputs: Sequence[str], exponent: float, mean: float, scale: float) -> Frame:
    """The step ``yeo_johnson``, in the operations of :mod:`~..steps.scaling`."""
    import numpy as np

    numbers = as_float(frame, outputs=outputs)
    magnitude = numbers.abs().to_numpy()
    with np.errstate(all="ignore"):
        logarithm = np.log1p(magnitude)
        positive, negative = (_side(magnitude, logarithm, power) for power in (exponent, 2.0 - exponent))
    return (numbers.where(numbers.isna(), np.where(numbers < 0, -negative, positive)) - mean) / scale


def _side(magnitude: Any, logarithm: Any, power: float) -> Any:
    import numpy as np

    if power == 1.0:
        return magnitude
    if abs(power) < _EPSILON:
        return logarithm
    t = power * logarithm
    return np.where(magnitude >= _cut(power), (np.exp(t) - 1.0) / power, np.expm1(t) / power)


def bins(
    frame: Frame,
    *,
    outputs: Sequence[str],
    inner: Sequence[float],
    low: float = -math.inf,
    high: float = math.inf,
    policy: str = "clip",
    where: str = "",
) -> Frame:
    """The steps ``bins`` and ``quantile_bins``."""
    import numpy as np

    numbers = as_float(frame, outputs=outputs)
    outside = (numbers < low) | (numbers > high)
    if policy == "error" and outside.to_numpy().any():
        raise FeatureValueError(
            f"{where}: {int(outside.to_numpy().sum())} values are outside the range from {low:g} to "
            f'{high:g}. Add edges, or set out_of_range="clip" or out_of_range="null".'
        )
    places = np.searchsorted(np.asarray(inner, dtype=float), numbers.to_numpy(), side="right")
    missing = numbers.isna() | outside if policy == "null" else numbers.isna()
    return numbers.where(missing, places.astype(float)).mask(missing)


def is_other(frame: Frame, *, outputs: Sequence[str], categories: Sequence[Any]) -> Frame:
    """1 where there is a value that is none of these."""
    known = set(categories)
    values = frame.iloc[:, 0]
    found = [int(value == value and value not in known) for value in values]
    return _frame(dict.fromkeys(outputs, found), frame.index)


def is_missing(frame: Frame, *, outputs: Sequence[str]) -> Frame:
    """1 where there is no value."""
    return frame.isna().astype("int64").set_axis(list(outputs), axis=1)


def check_categories(
    frame: Frame,
    *,
    outputs: Sequence[str],
    categories: Sequence[Any],
    where: str,
    unknown_error: bool,
    missing_error: bool,
    other: str,
) -> Frame:
    """The values themselves, when no policy refuses one of them."""
    known = set(categories)
    for value in frame.iloc[:, 0].unique():
        if value != value or value not in known:
            refuse(where, None if value != value else value, unknown_error, missing_error, other=other)
    return named(frame, outputs=outputs)


def by_value(
    frame: Frame,
    *,
    outputs: Sequence[str],
    kinds: Sequence[Kind],
    step: Mapping[str, Any],
    where: str,
    reads: Sequence[Kind],
    state: Mapping[str, Any],
) -> Frame:
    """
    Any step that looks at its own row only, as for single rows.

    :param kinds: of the results.
    :param step: the step's options.
    :param reads: kinds of the frame's columns.
    """
    import pandas as pd

    function = parse_step(step).row_function(where, reads[0], state)
    columns = [_values(frame.iloc[:, index], kind) for index, kind in enumerate(reads)]
    if len(columns) == 1:
        # Each different value once.
        codes, different = pd.factorize(pd.Series(columns[0], dtype=object), use_na_sentinel=True)
        results = [function(value) for value in different]
        results.append(function(None) if (codes < 0).any() else [None] * len(outputs))
        rows = [results[code] for code in codes]
    else:
        rows = [function(*values) for values in zip(*columns, strict=True)]
    made = {
        name: _column([row[place] for row in rows], kind)
        for place, (name, kind) in enumerate(zip(outputs, kinds, strict=True))
    }
    return _frame(made, frame.index)


def _frame(columns: Mapping[str, Any], index: Any) -> Frame:
    import pandas as pd

    return pd.DataFrame({name: pd.Series(column, index=index) for name, column in columns.items()}, index)


def _read(series: Any, name: str, kind: Kind) -> Any:
    """A user's column in the form described above."""
    code = str(series.dtype)
    if kind == "float" and code in ("float64", "int64", "int32"):
        return series.astype("float64").array
    if (kind == "int" and code in ("int64", "int32", "int16", "int8")) or (kind == "bool" and code == "bool"):
        return series.astype("int64" if kind == "int" else "float64").array
    if kind == "timestamp" and code.startswith("datetime64["):
        zoneless = series if series.dt.tz is None else series.dt.tz_convert(UTC).dt.tz_localize(None)
        return zoneless.dt.floor("us").astype("datetime64[us]").array
    read = reader(name, kind)
    return _column([read(value) for value in series], kind)


def _column(values: Sequence[Any], kind: Kind) -> Any:
    """Python values, None where missing, in the form described above."""
    import numpy as np

    if kind in ("float", "bool"):
        return np.array([math.nan if value is None else float(value) for value in values], dtype="float64")
    if kind in ("date", "timestamp"):
        return np.array(values, dtype="datetime64[us]")
    if kind == "int" and all(value is not None and abs(value) < 2**63 for value in values):
        return np.array(values, dtype="int64")
    result = np.empty(len(values), dtype=object)
    result[:] = [math.nan if value is None else value for value in values]
    return result


def _values(series: Any, kind: Kind) -> list[Any]:
    """The other way round."""
    if kind == "date":
        return [
            None if value is None else date(value.year, value.month, value.day) for value in _moments(series)
        ]
    if kind == "timestamp":
        return _moments(series)
    convert: Callable[[Any], Any] = {"bool": bool, "int": int, "float": float, "string": str}[kind]
    return [None if value != value else convert(value) for value in series.tolist()]


def _moments(series: Any) -> list[Any]:
    # NumPy's give datetimes and None, and know the years from 1 to 9999.
    return list(series.to_numpy(dtype="datetime64[us]").tolist())


def _finished(series: Any, kind: Kind) -> Any:
    import numpy as np
    import pandas as pd

    if kind == "float":
        return series.astype("float64").array
    if kind in ("date", "timestamp"):
        return series.array
    values = _values(series, kind)
    if kind == "bool":
        return pd.array(values, dtype="boolean")
    if kind == "int" and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pd.array(values, dtype="Int64")
    result = np.empty(len(values), dtype=object)
    result[:] = values
    return result
