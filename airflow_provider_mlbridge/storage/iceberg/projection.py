# SPDX-License-Identifier: Apache-2.0
"""Rows of a data file in the columns of the table: by field id, as Iceberg's column projection says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import InvalidParquetError
from airflow_provider_mlbridge.storage.iceberg.table import Table, TableFile
from airflow_provider_mlbridge.storage.schemas import stored_type

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema
    from pyiceberg.types import IcebergType, NestedField


class Projection:
    """
    How the columns of one file become those that are asked for.

    Renamed columns are found by their ids, promoted ones widened; one that the file does not have takes the
    value of its identity partition, else its default, else null.

    :param table: where the file belongs.
    :param file: the file, for its partition.
    :param schema: Arrow schema of the file.
    :param fields: what is asked for.
    :raises InvalidParquetError: when the file's columns cannot be told, or a required one has no value.
    """

    def __init__(
        self, table: Table, file: TableFile, schema: pa.Schema, fields: Sequence[NestedField]
    ) -> None:
        from pyiceberg.io.pyarrow import pyarrow_to_schema
        from pyiceberg.schema import Schema

        metadata = table.metadata
        self._uri = file.uri
        self._narrow_times = metadata.format_version <= 2
        try:
            self._schema = pyarrow_to_schema(
                schema,
                metadata.name_mapping(),
                downcast_ns_timestamp_to_us=self._narrow_times,
                format_version=metadata.format_version,
            )
        except (ValueError, TypeError) as error:
            raise InvalidParquetError(
                f"{file.uri}: its columns cannot be matched with the table's: {error}"
            ) from error
        absent = {field.field_id for field in fields} - {field.field_id for field in self._schema.fields}
        self._values = _partition_values(table, file, absent)
        requested = []
        for field in fields:
            if field.field_id in absent and field.required and field.initial_default is None:
                if self._values.get(field.field_id) is None:
                    raise InvalidParquetError(
                        f"{file.uri} has no column {field.name!r} (id {field.field_id}), which the table "
                        f"requires"
                    )
                field = field.model_copy(update={"required": False})
            requested.append(field)
        self._requested = Schema(*requested)
        self._same = _shape(self._schema.as_struct()) == _shape(Schema(*fields).as_struct())

    def require(self, field_ids: set[int]) -> None:
        """
        Refuse a file that does not have these columns itself.

        :raises InvalidParquetError: naming the ids.
        """
        missing = field_ids - {field.field_id for field in self._schema.fields}
        if missing:
            raise InvalidParquetError(
                f"{self._uri} has no column of id {', '.join(map(str, sorted(missing)))}"
            )

    def changes_nothing(self, schema: pa.Schema, target: pa.Schema) -> bool:
        """Whether a file of this Arrow schema has just the target's columns: ids, names, types and order."""
        return self._same and [stored_type(field.type) for field in schema] == [
            field.type for field in target
        ]

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """
        The batch in the columns that are asked for.

        :raises InvalidParquetError: when a type is not one that the table's type may have come from.
        """
        import pyarrow as pa
        from pyiceberg.exceptions import ResolveError
        from pyiceberg.io.pyarrow import ArrowAccessor, ArrowProjectionVisitor
        from pyiceberg.schema import visit_with_partner

        try:
            rows: Any = visit_with_partner(
                self._requested,
                batch,
                ArrowProjectionVisitor(
                    self._schema,
                    downcast_ns_timestamp_to_us=self._narrow_times,
                    projected_missing_fields=self._values,
                    allow_timestamp_tz_mismatch=True,
                ),
                ArrowAccessor(self._schema),
            )
        except (ResolveError, ValueError) as error:
            raise InvalidParquetError(f"{self._uri} does not fit the table's columns: {error}") from error
        return pa.RecordBatch.from_struct_array(rows)


def arrow_schema(schema: Schema) -> pa.Schema:
    """The Arrow types in which a table's columns are written to local files."""
    import pyarrow as pa
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    return pa.schema(
        [
            pa.field(field.name, stored_type(field.type))
            for field in schema_to_pyarrow(schema, include_field_ids=False)
        ]
    )


def _partition_values(table: Table, file: TableFile, absent: set[int]) -> dict[int, Any]:
    # Tables migrated from Hive keep partition columns in folders only; the manifest has their values.
    from pyiceberg.transforms import IdentityTransform

    spec = table.metadata.specs()[file.spec_id]
    return {
        field.source_id: file.partition[position]
        for position, field in enumerate(spec.fields)
        if field.source_id in absent
        and isinstance(field.transform, IdentityTransform)
        and file.partition[position] is not None
    }


def _shape(kind: IcebergType) -> object:
    """Ids, names and types, without what says nothing about the values of rows."""
    from pyiceberg.types import ListType, MapType, StructType

    if isinstance(kind, StructType):
        return [(field.field_id, field.name, _shape(field.field_type)) for field in kind.fields]
    if isinstance(kind, ListType):
        return (kind.element_id, _shape(kind.element_type))
    if isinstance(kind, MapType):
        return (kind.key_id, _shape(kind.key_type), kind.value_id, _shape(kind.value_type))
    return str(kind)
