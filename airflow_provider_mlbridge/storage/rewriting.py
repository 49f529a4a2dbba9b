# SPDX-License-Identifier: Apache-2.0
"""Parquet files written anew into scratch, row by row the same but for what is asked, in bounded memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import InvalidParquetError, ScratchLimitError
from airflow_provider_mlbridge.storage.disk import full_scratch, is_full

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_RESERVE = 0.9
"""Share of the free disk space that may be taken."""

_BATCH_BYTES = 64 * 1024 * 1024
_BATCH_ROWS = 122_880
_READ_BYTES = 1024 * 1024

Convert = Callable[["pa.RecordBatch", int], "pa.Table"]
"""Makes the rows to write from a batch and the position of its first row in the file."""


class Scratch:
    """
    A folder and the number of bytes that may be put there.

    :param folder: where files are written.
    :param limit: the most bytes; nine tenths of the free space when None or less than that.
    """

    def __init__(self, folder: Path, limit: int | None) -> None:
        self.folder = folder
        self._limit = limit
        self._free = shutil.disk_usage(folder).free
        spare = int(self._free * _RESERVE)
        self._allowed = spare if limit is None else min(limit, spare)
        self._used = 0

    def take(self, count: int, uri: str) -> None:
        """
        Count bytes that are there or about to be; a negative number for those removed.

        :raises ScratchLimitError: when they are more than allowed.
        """
        self.require(count, uri)
        self._used += count

    def require(self, count: int, uri: str) -> None:
        """
        Ask for room for ``count`` bytes without taking it.

        :raises ScratchLimitError: when there is not so much left.
        """
        if self._used + count > self._allowed:
            raise ScratchLimitError(
                f"{uri} takes {self._used + count} bytes as local files, but only {self._allowed} may be "
                f"used below {self.folder.parent} ({self._free} were free, the limit is {self._limit}). Set "
                f"scratch_dir to a larger disk, or raise the limit."
            )


def rewrite(
    uri: str, source: Path, target: Path, schema: pa.Schema, convert: Convert, scratch: Scratch
) -> None:
    """
    Write ``target`` from the batches of ``source``, in their order.

    :param uri: where ``source`` comes from, for messages.
    :param schema: schema of ``target``.
    :param convert: gives what to write of each batch, in that schema; it may leave out rows.
    :raises InvalidParquetError: when ``source`` cannot be read to its end.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = 0
    try:
        with (
            pq.ParquetFile(source, buffer_size=_READ_BYTES, pre_buffer=False) as file,
            pq.ParquetWriter(target, schema, compression="zstd", compression_level=1) as writer,
        ):
            position = 0
            for batch in file.iter_batches(batch_size=_rows_per_batch(file.metadata)):
                table = convert(batch, position)
                position += batch.num_rows
                if table.num_rows:
                    writer.write_table(table, row_group_size=_BATCH_ROWS)
                    size = target.stat().st_size
                    scratch.take(size - written, uri)
                    written = size
    except (pa.ArrowException, OSError) as error:
        if is_full(error):
            raise full_scratch(uri, scratch.folder.parent) from error
        raise InvalidParquetError(
            f"{uri} cannot be read: {error}. Let its producer write it again."
        ) from error
    scratch.take(target.stat().st_size - written, uri)


def _rows_per_batch(metadata: pq.FileMetaData) -> int:
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    per_row = max(1, int(size) // max(1, int(metadata.num_rows)))
    return max(256, min(_BATCH_ROWS, _BATCH_BYTES // per_row))
