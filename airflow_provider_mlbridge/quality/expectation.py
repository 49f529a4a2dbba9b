# SPDX-License-Identifier: Apache-2.0
"""An expectation as a suite states it, checked before any data is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args
from uuid import UUID

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality.argument_checks import check_values
from airflow_provider_mlbridge.quality.arguments import check_nesting, plain, shown
from airflow_provider_mlbridge.quality.catalog import (
    COMPILED,
    EXPECTATION_TYPES,
    RUNTIME_KWARGS,
    close_names,
)

Severity = Literal["critical", "warning", "info"]

_EXTRA: dict[str, tuple[tuple[type, ...], str]] = {
    "meta": ((Mapping,), "a mapping"),
    "notes": ((str, list, tuple), "text, or a list of texts"),
    "description": ((str,), "text"),
    "id": ((str, int, UUID), "text"),
}

_FIELDS = frozenset({"type", "kwargs", "severity", "meta", "notes", "description", "id", "rendered_content"})
_LONGEST = 500
"""Letters of what another part says about an argument, and of a type's name."""
_LIST = (
    "The list is in airflow_provider_mlbridge.quality.catalog.EXPECTATION_TYPES and at "
    "https://greatexpectations.io/expectations/."
)


@dataclass(frozen=True)
class Expectation:
    """
    One expectation of a suite.

    :param type: a type of :mod:`~airflow_provider_mlbridge.quality.catalog`, or one that user code registered
        with Great Expectations.
    :param kwargs: its arguments, without those that only shape Great Expectations' output.
    :param severity: what its failure means; ``critical`` unless stated.
    :param extra: ``meta``, ``notes``, ``description`` and ``id`` of the suite, kept for the report.
    """

    type: str
    kwargs: Mapping[str, Any]
    severity: Severity = "critical"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the expectation judges, in order; none for one about the whole table."""
        if self.type in ("expect_table_columns_to_match_ordered_list", "expect_table_columns_to_match_set"):
            return ()
        names = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        listed = self.kwargs.get("column_list")
        if isinstance(listed, list | tuple):
            names.extend(listed)
        return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))

    @property
    def mostly(self) -> float:
        """Share of values that must be as expected; 1 unless stated."""
        return float(self.kwargs.get("mostly", 1))


def parse_expectation(item: object, where: str) -> Expectation:
    """
    Check one entry of a suite.

    :param item: ``{"type": ..., "kwargs": {...}, "severity": ..., "meta": ...}``, or an object of Great
        Expectations that describes itself this way.
    :param where: where it stands, for messages.
    :raises InvalidExpectationError: for an unknown type or argument, or a value that makes no sense, also in
        what is only kept for the report.
    """
    document = _document(item, where)
    unknown = sorted(document.keys() - _FIELDS)
    if unknown:
        raise InvalidExpectationError(
            f"{where} has the unknown key {shown(unknown[0])}; an expectation has 'type', 'kwargs' and, when "
            f"wanted, 'severity', 'meta', 'notes', 'description', 'id'"
        )
    type_ = document.get("type")
    if not isinstance(type_, str) or not type_:
        raise InvalidExpectationError(f"{where} has no 'type'; it holds {shown(sorted(map(str, document)))}")
    where = f"{where} ({type_[:_LONGEST]})"
    kwargs = document.get("kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise InvalidExpectationError(f"{where}: 'kwargs' must be a mapping, got {shown(kwargs)}")
    kwargs = {
        str(key): plain(value, f"{where}: {key}")
        for key, value in kwargs.items()
        if key not in RUNTIME_KWARGS
    }
    severity = document.get("severity") or "critical"
    severity = getattr(severity, "value", severity)
    if severity not in get_args(Severity):
        valid = ", ".join(map(repr, get_args(Severity)))
        raise InvalidExpectationError(f"{where}: severity must be one of {valid}, got {shown(severity)}")
    _check_kwargs(type_, kwargs, where)
    return Expectation(type_, kwargs, cast(Severity, severity), _extra(document, where))


def _extra(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What is kept for the report, which must be able to write it."""
    extra = {key: document[key] for key in _EXTRA if document.get(key)}
    for key, value in extra.items():
        types, kind = _EXTRA[key]
        if not isinstance(value, types):
            raise InvalidExpectationError(f"{where}: {key!r} must be {kind}, got {shown(value)}")
        check_nesting(value, f"{where}: {key!r}")
    return extra


def _document(item: object, where: str) -> Mapping[str, Any]:
    configuration = getattr(item, "configuration", item)
    if hasattr(configuration, "to_json_dict"):
        configuration = configuration.to_json_dict()
    if not isinstance(configuration, Mapping):
        raise InvalidExpectationError(
            f"{where} must be a mapping with 'type' and 'kwargs', got {type(item).__name__}"
        )
    if "type" not in configuration and "expectation_type" in configuration:
        raise InvalidExpectationError(
            f"{where} has 'expectation_type', as suites of Great Expectations before 1.0 do; "
            f"call it 'type' (and note that names of arguments changed in 1.0)"
        )
    return configuration


def _check_kwargs(type_: str, kwargs: Mapping[str, Any], where: str) -> None:
    known = EXPECTATION_TYPES.get(type_)
    if known is None:
        if _is_registered(type_):
            return
        raise InvalidExpectationError(
            f"{where}: there is no expectation type {shown(type_)}."
            f"{close_names(type_, EXPECTATION_TYPES)} {_LIST}"
        )
    unknown = sorted(kwargs.keys() - known.kwargs)
    if unknown:
        raise InvalidExpectationError(
            f"{where}: unknown argument {shown(unknown[0])}.{close_names(unknown[0], known.kwargs)} "
            f"It takes {', '.join(sorted(known.kwargs)) or 'no arguments'}."
        )
    missing = sorted(name for name in known.required if kwargs.get(name) is None)
    if missing:
        raise InvalidExpectationError(f"{where}: the argument {missing[0]!r} is missing")
    for name, value in kwargs.items():
        if isinstance(value, Mapping) and "$PARAMETER" in value:
            raise InvalidExpectationError(
                f"{where}: {name} is the suite parameter {shown(value['$PARAMETER'])}, which has no value "
                f"here. Put the value in, for example with a template of the DAG."
            )
    if type_ in COMPILED:
        try:
            check_values(known, kwargs)
        except (InvalidExpectationError, ArithmeticError) as error:
            raise InvalidExpectationError(f"{where}: {str(error)[:_LONGEST]}") from None


def _is_registered(type_: str) -> bool:
    """Whether user code registered the type; only a type that is not known otherwise costs the import."""
    from airflow_provider_mlbridge.quality.engines.gx import import_gx

    import_gx()
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    return type_ in list_registered_expectation_implementations()
