# SPDX-License-Identifier: Apache-2.0
"""Expectations taken over from a contract of another kind, with what could not be taken over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidExpectationError
from airflow_provider_mlbridge.quality.catalog import COLUMN_MAX_AGE, COLUMN_TYPE, DATAMART_MAX_AGE, OWN
from airflow_provider_mlbridge.quality.expectation import Expectation, parse_expectation
from airflow_provider_mlbridge.quality.inputs.documents import shown
from airflow_provider_mlbridge.quality.values import json_value

ORIGIN = "mlbridge"
"""Key of a suite's ``meta`` under which an export keeps what Great Expectations lacks."""


@dataclass(frozen=True)
class Unsupported:
    """
    A constraint that is not judged.

    :param path: where it stands in its document.
    :param says: what it says there, cut when it is long.
    :param why: why it is not judged, and what to do instead where there is something.
    """

    path: str
    says: str
    why: str

    def __str__(self) -> str:
        """One line for a log."""
        return f"{self.path} ({self.says}): {self.why}"

    def to_dict(self) -> dict[str, str]:
        """As plain values."""
        return {"path": self.path, "says": self.says, "why": self.why}


@dataclass(frozen=True)
class Imported:
    """
    What a contract became.

    :param name: of the contract.
    :param expectations: what is judged.
    :param unsupported: every constraint that is not.
    """

    name: str
    expectations: tuple[Expectation, ...]
    unsupported: tuple[Unsupported, ...] = ()

    def to_gx_suite(self) -> dict[str, Any]:
        """The suite for Great Expectations, see :func:`to_gx_suite`."""
        return to_gx_suite(self.name, self.expectations, self.unsupported)


class Collector:
    """
    Gathers the expectations of a document, and what it says beyond them.

    :param source: the document, for messages and for the ``meta`` of each expectation.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._expectations: list[Expectation] = []
        self._unsupported: list[Unsupported] = []
        self._said: dict[str, dict[str, Any]] = {}

    def keep(
        self,
        path: str,
        says: object,
        type_: str,
        kwargs: Mapping[str, Any],
        *,
        severity: str = "critical",
        meta: Mapping[str, Any] | None = None,
        notes: str | None = None,
    ) -> None:
        """
        Take a constraint over as an expectation; one with values that make no sense is not supported.

        What a document says twice is judged once; ``also`` in its ``meta`` tells where it stands again.

        :param path: where it stands.
        :param says: what it says.
        :param meta: what else is known about it, such as its name.
        :param notes: words for people.
        """
        document: dict[str, Any] = {
            "type": type_,
            "kwargs": dict(kwargs),
            "severity": severity,
            "meta": {"source": self.source, "path": path, **(meta or {})},
        }
        if notes:
            document["notes"] = notes
        try:
            expectation = parse_expectation(document, path)
        except InvalidExpectationError as error:
            self.refuse(path, says, str(error).removeprefix(f"{path} ({type_}): "))
            return
        key = json.dumps([type_, severity, json_value(dict(expectation.kwargs))], sort_keys=True)
        said_before = self._said.setdefault(key, document["meta"])
        if said_before is document["meta"]:
            self._expectations.append(expectation)
        else:
            said_before.setdefault("also", []).append(path)

    def refuse(self, path: str, says: object, why: str) -> None:
        """List a constraint as not supported."""
        self._unsupported.append(Unsupported(path, shown(says), why))

    def result(self, name: str) -> Imported:
        """Everything gathered."""
        return Imported(name, tuple(self._expectations), tuple(self._unsupported))


_NOT_IN_GX = {
    COLUMN_TYPE: "Great Expectations calls types by the names of the engine that it runs on; only that the "
    "column exists is exported",
    DATAMART_MAX_AGE: "Great Expectations does not know when a datamart was written",
    COLUMN_MAX_AGE: "Great Expectations compares with fixed points in time only",
}


def to_gx_suite(
    name: str, expectations: Sequence[Expectation], unsupported: Sequence[Unsupported] = ()
) -> dict[str, Any]:
    """
    A suite that Great Expectations 1.24 loads: ``ExpectationSuite(**to_gx_suite(...))``.

    Types of our own are none of Great Expectations': of a column's type only the existence of the column is
    exported, an age not at all. They are kept whole below ``mlbridge`` in the suite's ``meta``, so that
    :func:`~airflow_provider_mlbridge.quality.inputs.suite.load_suite` reads an equal list of expectations.

    :param unsupported: what could not be imported, listed there too.
    """
    exported: list[dict[str, Any]] = []
    only_here: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    for position, expectation in enumerate(expectations):
        document = _document(expectation)
        if expectation.type not in OWN:
            exported.append(document)
            continue
        entry = {"position": position, "expectation": document}
        lost.append({**document, "why": _NOT_IN_GX[expectation.type]})
        if expectation.type == COLUMN_TYPE:
            entry["stands_in"] = True
            exported.append(
                {
                    **document,
                    "type": "expect_column_to_exist",
                    "kwargs": {"column": document["kwargs"]["column"]},
                }
            )
        only_here.append(entry)
    meta: dict[str, Any] = {}
    if only_here:
        meta["expectations"] = only_here
        meta["not_judged_by_great_expectations"] = lost
    if unsupported:
        meta["unsupported"] = [item.to_dict() for item in unsupported]
    return {"name": name, "expectations": exported, "meta": {ORIGIN: meta} if meta else {}}


def _document(expectation: Expectation) -> dict[str, Any]:
    return {
        "type": expectation.type,
        "kwargs": {name: json_value(_plain(value)) for name, value in expectation.kwargs.items()},
        "severity": expectation.severity,
        **{key: json_value(value) for key, value in expectation.extra.items()},
    }


def _plain(value: Any) -> Any:
    """A condition on rows that is an object of Great Expectations, as its suites keep it."""
    if type(value).__module__.startswith("great_expectations.") and hasattr(value, "dict"):
        return value.dict()
    return value


def from_gx_suite(documents: Sequence[Any], meta: object) -> list[Any]:
    """
    The entries of a suite, with those put back that :func:`to_gx_suite` kept in its ``meta``.

    A suite that was changed after its export is read as it is: an entry is put back only where it was.
    """
    kept = meta.get(ORIGIN) if isinstance(meta, Mapping) else None
    entries = kept.get("expectations") if isinstance(kept, Mapping) else None
    restored = list(documents)
    if not isinstance(entries, list):
        return restored
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("expectation"), Mapping):
            continue
        position = entry.get("position")
        if isinstance(position, bool) or not isinstance(position, int) or position < 0:
            position = len(restored)
        position = min(position, len(restored))
        if not entry.get("stands_in"):
            restored.insert(position, entry["expectation"])
        elif position < len(restored) and _stands_for(restored[position], entry["expectation"]):
            restored[position] = entry["expectation"]
        # Else the stand-in was removed or moved: whoever did that wants it gone.
    return restored


def _stands_for(document: Any, expectation: Mapping[str, Any]) -> bool:
    if not isinstance(document, Mapping) or document.get("type") != "expect_column_to_exist":
        return False
    found, wanted = document.get("kwargs"), expectation.get("kwargs")
    if not isinstance(found, Mapping) or not isinstance(wanted, Mapping):
        return False
    return bool(found.get("column") == wanted.get("column"))
