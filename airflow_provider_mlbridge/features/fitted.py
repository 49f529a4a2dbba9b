# SPDX-License-Identifier: Apache-2.0
"""A recipe with what it learned: for tables, for single rows, and as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    ColumnNotFoundError,
    FeatureValueError,
    FitError,
    InvalidRecipeError,
)
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.history import HistoryProgram
from airflow_provider_mlbridge.features.kinds import KINDS, Kind, reader
from airflow_provider_mlbridge.features.plan import Feature, Operation, features_of
from airflow_provider_mlbridge.features.recipe import Recipe
from airflow_provider_mlbridge.features.steps.base import RowFunction, State

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from onnx import ModelProto
    from sklearn.pipeline import Pipeline

    from airflow_provider_mlbridge.features.batch import TransformResult
    from airflow_provider_mlbridge.results import Snapshot

STATE_FORMAT = "mlbridge.features.state"
STATE_VERSION = 1
"""Version of the state's JSON."""

FEATURES_VERSION = 4
"""
Version of what the steps compute. It goes up when the same recipe on the same data would give other values or
other bytes; it is part of the fingerprint of a feature set.
"""

_PROBES: Mapping[Kind, Any] = {
    "bool": True,
    "int": 1,
    "float": 0.5,
    "string": "a",
    "date": date(2000, 1, 1),
    "timestamp": datetime(2000, 1, 1),  # noqa: DTZ001 - as DuckDB's TIMESTAMP, which has no zone
}


@dataclass(frozen=True)
class FittedRecipe:
    """
    What :meth:`Recipe.fit` returns.

    :param recipe: the recipe.
    :param inputs: the columns that the steps read, with their kinds.
    :param operations: which step works on which column.
    :param states: what each operation has learned, plain JSON.
    :param split_state: what the split needs to know, plain JSON.
    :param features: the result's columns.
    :param train_rows: rows that were learned from.
    """

    recipe: Recipe
    inputs: Mapping[str, Kind]
    operations: tuple[Operation, ...]
    states: tuple[State, ...]
    split_state: Mapping[str, Any]
    features: tuple[Feature, ...]
    train_rows: int

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the output's columns."""
        return tuple(feature.name for feature in self.features)

    def transform_row(
        self, row: Mapping[str, Any], *, history: Sequence[Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        """
        The features of one row, in pure Python; equal to what :meth:`transform` writes for it.

        :param row: values by column; None and NaN are missing; other keys are ignored. Dates may be ISO 8601
            strings. The label need not be there, nor what no step reads.
        :param history: other rows, for recipes with steps that look at them (``lag``, ``rolling``,
            ``group_aggregate``); an empty list when there are none. It may hold more than is needed: rows of
            other groups, rows that were not known yet, the row itself. With all rows of the group, the
            features are those of the batch.
        :return: values by feature name; None where missing.
        :raises ConfigurationError: without ``history``, when a step needs it.
        :raises ColumnNotFoundError: when a column is not in ``row`` at all.
        :raises FeatureValueError: for a value of the wrong type, or one that a step's policy refuses.
        """
        if self._history is not None:
            return self._history.transform(row, history)
        values: dict[str, Any] = {}
        readers, program, names = self._program
        for column, read in readers:
            try:
                value = row[column]
            except KeyError:
                missing = [name for name in self.inputs if name not in row]
                raise ColumnNotFoundError(
                    f"the row has no {options.shown(missing)}; it must have {options.shown(self.inputs)} "
                    f"(None when the value is missing)"
                ) from None
            values[column] = read(value)
        for columns, outputs, function in program:
            values.update(zip(outputs, function(*(values[column] for column in columns)), strict=True))
        return {name: values[name] for name in names}

    @cached_property
    def _history(self) -> HistoryProgram | None:
        """For recipes with steps that look at other rows."""
        if not any(operation.step.HISTORY for operation in self.operations):
            return None
        return HistoryProgram(
            self.inputs, self.operations, self.states, self.feature_names, label=self.recipe.label
        )

    @cached_property
    def _program(
        self,
    ) -> tuple[
        list[tuple[str, Callable[[Any], Any]]],
        list[tuple[tuple[str, ...], list[str], RowFunction]],
        tuple[str, ...],
    ]:
        readers = [(name, reader(name, kind)) for name, kind in self.inputs.items()]
        program = []
        for operation, state in zip(self.operations, self.states, strict=True):
            outputs = [name for name, _ in operation.outputs(state)]
            program.append(((operation.column, *operation.reads), outputs, operation.row_function(state)))
        return readers, program, self.feature_names

    def transform(
        self,
        datamart: str | Path | Mapping[str, Any] | Snapshot,
        out: str | Path,
        *,
        s3_client: S3Client | None = None,
        memory_limit: str = "2GB",
        threads: int | None = None,
        scratch_dir: str | Path | None = None,
        scratch_limit_bytes: int | None = None,
        engine: str = "duckdb",
        spark: Any = None,
    ) -> TransformResult:
        """
        Write the features of a whole dataset as Parquet.

        The columns are the keys, the label (when the data has it), ``split`` (when the data has the columns
        it is made from) and the features; rows are sorted by the keys.

        :param datamart: URI or path of the Parquet data, or a snapshot of it; see :meth:`Recipe.fit` for the
            other parameters.
        :param out: URI or path of the file to write; when it does not end in ``.parquet``, of the folder
            that gets ``features.parquet``.
        :raises ConfigurationError: when ``out`` is the datamart, or lies in it.
        :raises ColumnNotFoundError: when a column is not there.
        :raises FeatureValueError: when values break a step's policy, or a column has another type than the
            one learned from. Nothing is written then.
        """
        from airflow_provider_mlbridge.features.batch import (
            FEATURES_FILE,
            target_of,
            transform_session,
            upload,
        )
        from airflow_provider_mlbridge.features.engines import open_engine
        from airflow_provider_mlbridge.features.published import check_apart
        from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

        with scratch_folder(scratch_dir, "features") as folder:
            with open_engine(
                datamart,
                engine=engine,
                spark=spark,
                s3_client=s3_client,
                memory_limit=memory_limit,
                threads=threads,
                scratch_dir=scratch_dir,
                scratch_limit_bytes=scratch_limit_bytes,
            ) as session:
                check_apart(session.snapshot, target_of(out), argument="out")
                written = transform_session(session, self, folder / FEATURES_FILE)
            # The session's end has shown that the data did not change while it was read.
            return upload(written, out, s3_client=s3_client)

    def to_sql(self, dialect: str, *, table: str = "datamart") -> str:
        """
        The transform as one SQL query.

        The result has the keys, the features and, when a step's policy refuses values, ``mlbridge_refused``,
        which is true for rows that :meth:`transform` would refuse. Rows come in no order.

        :param dialect: ``duckdb``, ``athena``, ``trino`` or ``spark``.
        :param table: name of a table with the datamart's columns, ``"flights"`` or ``"sales.flights"``;
            timestamps must be UTC without zone. It is quoted.
        :raises ConfigurationError: for another dialect, and naming the steps that the dialect has not.
        """
        from airflow_provider_mlbridge.features.exports.sql import to_sql

        return to_sql(self, dialect, table=table)

    def to_sklearn(self) -> Pipeline:
        """
        The transform as a scikit-learn ``Pipeline``, of data frames with the datamart's columns.

        It is fitted: neither ``fit`` nor ``clone`` makes it forget. Results are pandas data frames. Needs
        scikit-learn 1.8 and pandas.

        :raises ConfigurationError: naming the steps that look at other rows.
        :raises MissingExtraError: without scikit-learn.
        """
        from airflow_provider_mlbridge.features.exports.sklearn_pipeline import to_sklearn

        return to_sklearn(self)

    def to_onnx(self) -> ModelProto:
        """
        The transform as an ONNX model, for the steps that ONNX has operators for.

        Inputs are a ``[rows, 1]`` tensor for each column: DOUBLE with NaN where missing, for numbers and
        booleans (integers beyond 2**53 are rounded); STRING with the metadata's ``missing_text`` where
        missing. The output ``mlbridge_features`` is DOUBLE, ``[rows, features]``, in the order of
        :attr:`feature_names`, with NaN where missing. When a step's policy refuses values, the output
        ``mlbridge_refused`` is true for rows that :meth:`transform` would refuse.

        :raises ConfigurationError: naming the steps that ONNX has not.
        :raises MissingExtraError: without the extra ``onnx``.
        """
        from airflow_provider_mlbridge.features.exports.onnx_graph import to_onnx

        return to_onnx(self)

    def to_json(self) -> str:
        """
        Everything learned as strict JSON, with a version and a checksum.

        It holds nothing about rows outside the training split, and nothing about the time it was made: the
        same training rows give the same text, byte for byte.
        """
        document: dict[str, Any] = {
            "format": STATE_FORMAT,
            "version": STATE_VERSION,
            "features_version": FEATURES_VERSION,
            "recipe_hash": self.recipe.hash,
            "recipe": self.recipe.to_dict(),
            "train_rows": self.train_rows,
            "inputs": dict(self.inputs),
            "split": dict(self.split_state),
            "operations": [
                {
                    "step": operation.position,
                    "column": operation.column,
                    "kind": operation.kind,
                    **({"reads": dict(operation.reads)} if operation.reads else {}),
                    "state": dict(state),
                }
                for operation, state in zip(self.operations, self.states, strict=True)
            ],
            "features": [[feature.name, feature.kind] for feature in self.features],
        }
        document["checksum"] = _checksum(document)
        return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> FittedRecipe:
        """
        Read what :meth:`to_json` wrote.

        :raises InvalidRecipeError: when it is something else, comes from a newer version, or was changed.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRecipeError(f"the feature state is not JSON: {error}") from error
        if not isinstance(document, dict) or document.get("format") != STATE_FORMAT:
            found = document.get("format") if isinstance(document, dict) else type(document).__name__
            raise InvalidRecipeError(f"not a feature state: format is {found!r}, expected {STATE_FORMAT!r}")
        for name, known in (("version", STATE_VERSION), ("features_version", FEATURES_VERSION)):
            if document.get(name) != known:
                raise InvalidRecipeError(
                    f"the feature state has {name} {document.get(name)!r}, this provider computes "
                    f"{known}. Use the version of airflow-provider-mlbridge that wrote it, or fit again."
                )
        checksum = document.pop("checksum", None)
        if checksum != _checksum(document):
            raise InvalidRecipeError(
                f"the feature state was changed after it was written: its checksum is {checksum!r}, its "
                f"content gives {_checksum(document)!r}. Take it from the published version again, "
                f"or fit again."
            )
        try:
            fitted = cls._read(document)
            fitted._try()  # noqa: SLF001 - its own
        except InvalidRecipeError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, FitError) as error:
            raise InvalidRecipeError(
                f"the feature state is not well formed ({type(error).__name__}: {error}). Take it from the "
                f"published version again, or fit again."
            ) from error
        if [[feature.name, feature.kind] for feature in fitted.features] != document.get("features"):
            raise InvalidRecipeError(
                "the feature state is not well formed: its features are not those that its operations make. "
                "Take it from the published version again, or fit again."
            )
        return fitted

    def _try(self) -> None:
        """Compute two rows, whatever comes out: states that steps cannot work with show here, not later."""
        for row in ({}, _PROBES):
            # What a policy refuses is none of the state's fault.
            with suppress(FeatureValueError):
                self.transform_row({name: row.get(kind) for name, kind in self.inputs.items()}, history=[])

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> FittedRecipe:
        recipe = Recipe.from_dict(document["recipe"])
        inputs = {str(name): KINDS[KINDS.index(kind)] for name, kind in document["inputs"].items()}
        operations, states = [], []
        made = set(inputs)
        for item in document["operations"]:
            position, column, state = item["step"], item["column"], item["state"]
            if not isinstance(position, int) or not 1 <= position <= len(recipe.steps):
                raise ValueError(f"there is no step {position!r}")
            reads = {name: KINDS[KINDS.index(kind)] for name, kind in item.get("reads", {}).items()}
            for name in (column, *reads):
                if name not in made:
                    raise ValueError(f"there is no column {name!r} at step {position}")
            if not isinstance(state, dict):
                raise TypeError(f"the state of step {position} is no mapping")
            kind = KINDS[KINDS.index(item["kind"])]
            step = recipe.steps[position - 1]
            operations.append(Operation(position, step, column, kind, reads, recipe.roles))
            states.append(state)
            made.update(name for name, _ in operations[-1].outputs(state))
        if not isinstance(document["split"], dict) or not isinstance(document["train_rows"], int):
            raise TypeError("split or train_rows has the wrong type")
        return cls(
            recipe=recipe,
            inputs=inputs,
            operations=tuple(operations),
            states=tuple(states),
            split_state=document["split"],
            features=tuple(features_of(recipe, inputs, operations, states)),
            train_rows=document["train_rows"],
        )


def _checksum(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
