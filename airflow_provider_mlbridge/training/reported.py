# SPDX-License-Identifier: Apache-2.0
"""The result that a training reports: JSON from a program we do not control, so every value is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from airflow_provider_mlbridge.exceptions import InvalidTrainingResultError
from airflow_provider_mlbridge.training.state import ReportedResult

RESULT_LIMIT_BYTES = 64 * 1024
"""The most that a training may report; anything larger belongs into a file that the report names."""

_FIELDS = ("metrics", "model_uri", "mlflow_run_id", "extra")


def parse_reported_result(report: Any, *, source: str = "the training's result") -> ReportedResult:
    """
    Check what a training reported.

    :param report: JSON text (UTF-8 when bytes), or the document already parsed: an object with any of
        ``metrics`` (name to finite number), ``model_uri`` and ``mlflow_run_id`` (string or null) and
        ``extra`` (any JSON object). None or white space is a training that reported nothing.
    :param source: what the error message calls the report, for example the file's path.
    :raises InvalidTrainingResultError: naming the field, what was found and what is valid.
    """
    document = _parse(report, source) if isinstance(report, str | bytes) else report
    if document is None:
        return ReportedResult()
    if not isinstance(document, Mapping):
        _refuse(source, f"must be a JSON object, found {_kind(document)}")
    unknown = sorted(str(name) for name in document if name not in _FIELDS)
    if unknown:
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        _refuse(
            source,
            f"has unknown fields {unknown[:10]}{more}; valid are {list(_FIELDS)}, and anything of your own "
            f"goes into 'extra'",
        )
    result = ReportedResult(
        metrics=_metrics(document.get("metrics"), source),
        model_uri=_text(document, "model_uri", source),
        mlflow_run_id=_text(document, "mlflow_run_id", source),
        extra=_extra(document.get("extra"), source),
    )
    _require_size_and_encoding(result, source)
    return result


def _parse(report: str | bytes, source: str) -> Any:
    """The JSON document, or None when there is nothing but white space."""
    size = len(report)
    if size > RESULT_LIMIT_BYTES:
        _refuse(
            source,
            f"has {size:,} bytes, more than the {RESULT_LIMIT_BYTES:,} allowed; write large output to a "
            f"file and report its URI in 'extra'",
        )
    try:
        text = report.decode("utf-8") if isinstance(report, bytes) else report
    except UnicodeDecodeError as error:
        _refuse(source, f"is not UTF-8: {error.reason} at byte {error.start}", error)
    if not text.strip():
        return None

    def refuse_constant(name: str) -> NoReturn:
        _refuse(source, f"contains {name}, which is not JSON; leave the value out or write null in 'extra'")

    try:
        return json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "is nested too deeply" if isinstance(error, RecursionError) else f"is not JSON: {error}"
        _refuse(source, f"{what}; it begins with {text[:60]!r}", error)


def _metrics(value: Any, source: str) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        _refuse(source, f"field 'metrics' must be an object of name to number, found {_kind(value)}")
    metrics: dict[str, float] = {}
    for name, number in value.items():
        # bool is an int in Python, but true is not a measurement.
        if isinstance(number, bool) or not isinstance(number, int | float):
            _refuse(source, f"metric {name!r} must be a number, found {_kind(number)}")
        try:
            metrics[str(name)] = float(number)
        except OverflowError as error:
            _refuse(source, f"metric {name!r} is too large for a double", error)
        if not math.isfinite(metrics[str(name)]):
            _refuse(source, f"metric {name!r} must be finite, found {metrics[str(name)]}")
    return metrics


def _text(document: Mapping[str, Any], name: str, source: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        _refuse(source, f"field {name!r} must be a string or null, found {_kind(value)}")
    return value or None


def _extra(value: Any, source: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        _refuse(source, f"field 'extra' must be an object, found {_kind(value)}")
    return dict(value)


def _require_size_and_encoding(result: ReportedResult, source: str) -> None:
    """Catch what only shows when the result is written again: 1e999, lone surrogates, objects, sheer size."""
    document = [result.metrics, result.model_uri, result.mlflow_run_id, result.extra]
    try:
        size = len(json.dumps(document, allow_nan=False, ensure_ascii=False).encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as error:
        _refuse(source, f"cannot be kept as strict JSON: {error}", error)
    if size > RESULT_LIMIT_BYTES:
        _refuse(source, f"has {size:,} bytes, more than the {RESULT_LIMIT_BYTES:,} allowed")


def _kind(value: Any) -> str:
    """JSON's name of a value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, Mapping):
        return "an object"
    return "an array" if isinstance(value, list | tuple) else type(value).__name__


def _refuse(source: str, what: str, cause: Exception | None = None) -> NoReturn:
    raise InvalidTrainingResultError(f"{source} {what}") from cause
