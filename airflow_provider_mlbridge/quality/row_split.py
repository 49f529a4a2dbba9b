# SPDX-License-Identifier: Apache-2.0
"""
Split one Parquet file into the rows that are as expected and those that are not.

Arrow carries the rows over batch by batch, so that memory stays bounded and every type stays what it is:
nested values, decimals, units and zones of timestamps. Only which rows are bad comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_mlbridge.quality.bad_rows import WORD_BITS
from airflow_provider_mlbridge.storage.disk import scratch_errors

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

REASONS_COLUMN = "_mlbridge_reasons"
"""Why the row is in quarantine: a list of short texts."""
FILE_COLUMN = "_mlbridge_file"
"""The file that the row comes from, below the datamart's URI."""
ROW_COLUMN = "_mlbridge_row"
"""The row's number in that file, from 0."""

_BATCH_BYTES = 16 * 1024 * 1024
_BATCH_ROWS = 65_536
_GROUP_BYTES = 64 * 1024 * 1024
_GROUP_ROWS = 1_000_000
_BUFFER_BYTES = 1024 * 1024
_FLAG_BYTES = 16 * 1024 * 1024
_REASONS_SHOWN = 100
"""The most reasons of one row; a suite may have thousands of expectations, and a row break them all."""


class BadRows:
    """
    What :func:`~.bad_rows.write_bad_rows` wrote, read once from front to back; a context manager.

    :param path: the file, or None when no row is bad.
    :param words: its number of columns of flags.
    """

    def __init__(self, path: Path | None, words: int) -> None:
        import numpy as np

        self._path = path
        self._stack = ExitStack()
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._positions: NDArray[np.int64] = np.empty(0, np.int64)
        self._words: NDArray[np.uint64] = np.empty((0, words), np.uint64)

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        if self._path is not None:
            self._batches = self._stack.enter_context(pq.ParquetFile(self._path)).iter_batches(_BATCH_ROWS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def any_before(self, stop: int) -> bool:
        """Whether a bad row that was not taken yet lies before this position."""
        while not len(self._positions):
            if not self._load():
                return False
        return bool(self._positions[0] < stop)

    def take_before(self, stop: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Positions and flags of the bad rows before this position that were not taken yet."""
        import numpy as np

        taken = []
        while self.any_before(stop):
            end = int(np.searchsorted(self._positions, stop))
            taken.append((self._positions[:end], self._words[:end]))
            self._positions, self._words = self._positions[end:], self._words[end:]
        if not taken:
            return self._positions[:0], self._words[:0]
        return np.concatenate([part[0] for part in taken]), np.concatenate([part[1] for part in taken])

    def _load(self) -> bool:
        import numpy as np

        batch = next(self._batches, None)
        if batch is None:
            return False
        self._positions = batch.column(0).to_numpy()
        self._words = np.column_stack(
            [batch.column(1 + word).to_numpy() for word in range(batch.num_columns - 1)]
        )
        return True


@dataclass(frozen=True)
class Parts:
    """
    The two parts of a file.

    :param clean: the rows as expected, or None when there are none.
    :param bad: the others, with the reasons, or None when there are none.
    :param counts: how many of them break each expectation.
    """

    clean: Path | None
    bad: Path | None
    counts: NDArray[np.int64]


def split_file(
    source: Path, start: int, bad_rows: BadRows, reasons: Sequence[str], shown_name: str, folder: Path
) -> Parts:
    """
    Write both parts of a file to ``folder``, in the order of its rows.

    :param start: position of its first row.
    :param bad_rows: the bad rows; those of earlier files are taken already.
    :param reasons: what is said of each expectation, in the order of the flags.
    :param shown_name: what :data:`FILE_COLUMN` says.
    :raises ScratchLimitError: when the disk of ``folder`` is full.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts: NDArray[np.int64] = np.zeros(len(reasons), np.int64)
    # Neither a whole row group nor whole column chunks are held at a time.
    with scratch_errors(f"the rows of {shown_name}", folder), ExitStack() as stack:
        parquet = stack.enter_context(pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER_BYTES))
        clean = stack.enter_context(_Sink(folder / "clean.parquet", parquet))
        bad = stack.enter_context(_Sink(folder / "bad.parquet", parquet))
        position = start
        for batch in parquet.iter_batches(_batch_rows(parquet.metadata)):
            positions, words = bad_rows.take_before(position + batch.num_rows)
            rows = positions - position
            position += batch.num_rows
            if not len(rows):
                clean.write(batch)
                continue
            is_bad = np.zeros(batch.num_rows, bool)
            is_bad[rows] = True
            clean.write(select_rows(batch, ~is_bad))
            texts = _reasons(words, reasons, counts)
            numbers = pa.array(rows + (position - batch.num_rows - start), pa.int64())
            bad.write(_with_reasons(select_rows(batch, is_bad), texts, shown_name, numbers))
    return Parts(clean.path if clean.rows else None, bad.path if bad.rows else None, counts)


def select_rows(batch: pa.RecordBatch, wanted: NDArray[np.bool_]) -> pa.Table:
    """The wanted rows of a batch, whatever the types of its columns."""
    import numpy as np
    import pyarrow as pa

    try:
        return pa.Table.from_batches([batch.filter(pa.array(wanted))])
    except pa.ArrowNotImplementedError:
        # Not every type can be filtered (views of strings cannot), but every type can be cut.
        edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
        runs = [
            batch.slice(int(first), int(stop - first))
            for first, stop in zip(edges[::2], edges[1::2], strict=True)
        ]
        return pa.Table.from_batches(runs, schema=batch.schema)


def _batch_rows(metadata: pq.FileMetaData) -> int:
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    rows = int(_BATCH_BYTES * metadata.num_rows // max(size, 1))
    return max(1, min(_BATCH_ROWS, rows))


def _reasons(words: NDArray[np.uint64], texts: Sequence[str], counts: NDArray[np.int64]) -> pa.Array:
    """The reasons of each row; ``counts`` grows by the rows of each expectation."""
    import numpy as np
    import pyarrow as pa

    combinations, inverse, sizes = np.unique(words, axis=0, return_inverse=True, return_counts=True)
    lists = []
    step = max(1, _FLAG_BYTES // (WORD_BITS * combinations.shape[1]))
    for start in range(0, len(combinations), step):
        octets = combinations[start : start + step].astype("<u8").view(np.uint8)
        flags = np.unpackbits(octets, axis=1, bitorder="little")[:, : len(texts)]
        counts += sizes[start : start + step] @ flags
        lists += [_listed(np.flatnonzero(row), texts) for row in flags]
    return pa.array(lists, pa.list_(pa.string())).take(pa.array(inverse.reshape(-1)))


def _listed(numbers: NDArray[np.intp], texts: Sequence[str]) -> list[str]:
    shown = [texts[number] for number in numbers[:_REASONS_SHOWN]]
    return shown if len(numbers) <= len(shown) else [*shown, f"and {len(numbers) - len(shown)} more"]


def _with_reasons(rows: pa.Table, reasons: pa.Array, name: str, numbers: pa.Array) -> pa.Table:
    import pyarrow as pa

    names = pa.repeat(pa.scalar(name, pa.string()), rows.num_rows)
    for column, values in ((REASONS_COLUMN, reasons), (FILE_COLUMN, names), (ROW_COLUMN, numbers)):
        rows = rows.append_column(column, values)
    return rows


class _Sink:
    """A Parquet file that is opened when the first row comes; a context manager."""

    def __init__(self, path: Path, like: pq.ParquetFile) -> None:
        self.path = path
        self.rows = 0
        self._options = _writer_options(like)
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._pending_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def write(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Add rows; they are gathered to row groups of a useful size."""
        import pyarrow as pa

        if not rows.num_rows:
            return
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        self.rows += table.num_rows
        self._pending.append(table)
        self._pending_rows += table.num_rows
        self._pending_bytes += table.nbytes
        if self._pending_rows >= _GROUP_ROWS or self._pending_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema, **self._options)
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0


def _writer_options(like: pq.ParquetFile) -> dict[str, Any]:
    """As the file was written: its compression, and Spark's old form of timestamps where it has that."""
    columns = range(like.metadata.num_columns)
    codec = "snappy"
    if like.metadata.num_row_groups and columns:
        codec = like.metadata.row_group(0).column(0).compression.lower().removesuffix("_raw")
    old_timestamps = any(like.schema.column(column).physical_type == "INT96" for column in columns)
    return {
        "compression": "none" if codec == "uncompressed" else codec,
        "use_deprecated_int96_timestamps": old_timestamps,
    }
