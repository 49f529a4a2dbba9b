# SPDX-License-Identifier: Apache-2.0
"""
Great Expectations on DuckDB, through SQLAlchemy and duckdb-engine.

Two types of the suite cannot be judged this way and are left out: regular expressions ("not supported for
dialect duckdb"), and types of columns (the column's type is not found: ``KeyError: 'type'``).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb  # noqa: TID253
import duckdb_engine
from gx_common import answer, context

LEFT_OUT = frozenset({"expect_column_values_to_match_regex", "expect_column_values_to_be_in_type_list"})


class BufferedCursor:
    """
    A cursor that holds its rows from the time the statement is executed.

    Great Expectations reads the rows after it has given the connection back, which by then has none any more.
    """

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._rows: list[Any] = []
        self.description: Any = None

    def execute(self, statement: str, parameters: Any = None, context: Any = None) -> None:
        """Run a statement and fetch all that it returns."""
        self._cursor.execute(statement, parameters, context)
        self.description = self._cursor.description
        self._rows = list(self._cursor.fetchall()) if self.description else []

    def fetchone(self) -> Any:
        """The next row, if there is one."""
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = 1) -> list[Any]:
        """The next rows."""
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def fetchall(self) -> list[Any]:
        """All other rows."""
        rows, self._rows = self._rows, []
        return rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def buffer_cursors() -> None:
    """Let every connection of duckdb-engine give such cursors."""
    plain = duckdb_engine.ConnectionWrapper.cursor
    duckdb_engine.ConnectionWrapper.cursor = lambda connection: BufferedCursor(plain(connection))


def main() -> None:
    """Validate as the job says and write down the verdicts."""
    job = json.loads(Path(sys.argv[1]).read_text())
    buffer_cursors()
    with tempfile.TemporaryDirectory() as folder:
        database = f"{folder}/orders.duckdb"
        with duckdb.connect(database) as connection:
            connection.execute(
                f"CREATE VIEW orders AS SELECT {', '.join(job['columns'])} "  # noqa: S608
                f"FROM read_parquet('{job['folder']}/*.parquet')"
            )
        source = context().data_sources.add_sql("duckdb", connection_string=f"duckdb:///{database}")
        asset = source.add_table_asset("orders", table_name="orders")
        batch = asset.add_batch_definition_whole_table("all").get_batch()
        answer(batch, job, ("duckdb", "duckdb-engine", "sqlalchemy"), LEFT_OUT)


if __name__ == "__main__":
    main()
