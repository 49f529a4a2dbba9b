# SPDX-License-Identifier: Apache-2.0
"""The engines that recipes are computed by."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any, Literal, get_args

from airflow_provider_mlbridge.exceptions import ConfigurationError, MissingExtraError
from airflow_provider_mlbridge.features.engines.spark_sessions import SPARK_EXTRA, SparkAddress
from airflow_provider_mlbridge.features.session import Session, open_session

EngineName = Literal["duckdb", "spark"]
ENGINES: tuple[str, ...] = get_args(EngineName)

__all__ = ["ENGINES", "EngineName", "SparkAddress", "check_engine", "open_engine"]


def check_engine(engine: str, spark: Any = None) -> None:
    """
    Check an engine before anything is read.

    :param spark: see :meth:`~..recipe.Recipe.fit`.
    :raises ConfigurationError: for an engine that there is not, and for ``spark`` without it.
    :raises MissingExtraError: when the engine is Spark, and pyspark is not there.
    """
    if engine not in ENGINES:
        raise ConfigurationError(f"engine={engine!r}: valid are {', '.join(ENGINES)}")
    if engine == "duckdb" and spark is not None:
        raise ConfigurationError("spark is given, but the engine is duckdb; set engine='spark'")
    if engine == "spark" and find_spec("pyspark") is None:
        raise MissingExtraError(f"engine='spark' needs pyspark. {SPARK_EXTRA}")


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
    :raises ConfigurationError: see :func:`check_engine`.
    :raises MissingExtraError: see :func:`check_engine`.
    """
    check_engine(engine, spark)
    if engine == "duckdb":
        return open_session(datamart, memory_limit=memory_limit, threads=threads, **places)
    from airflow_provider_mlbridge.features.engines.spark import open_spark_session

    return open_spark_session(datamart, spark=spark, **places)
