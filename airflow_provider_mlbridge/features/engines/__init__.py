# SPDX-License-Identifier: Apache-2.0
"""The engines that recipes are computed by."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.features.session import Session, open_session

EngineName = Literal["duckdb", "spark"]


def open_engine(
    datamart: Any,
    *,
    engine: str = "duckdb",
    spark: Any = None,
    memory_limit: str = "2GB",
    threads: int | None = None,
    **places: Any,
) -> AbstractContextManager[Session]:
    """
    Open a datamart in an engine; see :meth:`~..recipe.Recipe.fit` for the parameters.

    :param places: where things are: ``s3_client``, ``scratch_dir``, ``scratch_limit_bytes``.
    :raises ConfigurationError: for an engine that there is not, and for ``spark`` without it.
    """
    if engine not in get_args(EngineName):
        raise ConfigurationError(f"engine={engine!r}: valid are {', '.join(get_args(EngineName))}")
    if engine == "duckdb":
        if spark is not None:
            raise ConfigurationError("spark is given, but the engine is duckdb; set engine='spark'")
        return open_session(datamart, memory_limit=memory_limit, threads=threads, **places)
    from airflow_provider_mlbridge.features.engines.spark import open_spark_session

    return open_spark_session(datamart, spark=spark, **places)
