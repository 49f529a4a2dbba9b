# SPDX-License-Identifier: Apache-2.0
"""
Sessions of Spark: where one comes from, its settings, and errors that tell no more than they may.

Errors of Spark quote values of rows, and those of its client quote tokens; neither belongs into a log.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_mlbridge.exceptions import ConfigurationError, FeatureError

SPARK_EXTRA = "pip install 'airflow-provider-mlbridge[spark]'"

_PATIENCE = 30.0
"""Seconds until a server of Spark Connect that does not answer counts as unreachable."""

_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    # Nanoseconds come as whole numbers, and are rounded down here.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # An overflow is an error, as in DuckDB.
    "spark.sql.ansi.enabled": "true",
    # Names are those of the files, letter by letter.
    "spark.sql.caseSensitive": "true",
    "spark.sql.parquet.compression.codec": "snappy",
    # Recipes of many steps are queries of many layers.
    "spark.sql.analyzer.maxIterations": "2000",
    "spark.sql.optimizer.maxIterations": "2000",
}
"""What the values of features depend on, and how they are handed over; no caller's settings change it."""


@dataclass(frozen=True)
class SparkAddress:
    """
    Where to get a session of Spark.

    :param url: of Spark Connect (``sc://host:15002``) or of a master (``spark://host:7077``, ``local[4]``).
        It may hold a token, so that it is not shown.
    :param settings: further settings of Spark by name, such as ``spark.executor.memory``.
    """

    url: str = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    @property
    def shown(self) -> str:
        """The URL without the token that may be in it."""
        url, parameters, _ = self.url.partition(";")
        return f"{url};..." if parameters else url

    def without_secrets(self, text: str) -> str:
        """A message of Spark's client, which may quote the URL or a part of it."""
        _, _, parameters = self.url.partition(";")
        secrets = {parameters, *parameters.split(";")}
        for part in parameters.split(";"):
            name, _, value = part.partition("=")
            if name == "token":
                secrets |= {value, unquote(value)}
        for secret in sorted(secrets - {""}, key=len, reverse=True):
            text = text.replace(secret, "...")
        return text


def guarded(where: str, action: Callable[[], Any]) -> Any:
    """What ``action`` returns; Spark's errors without the values of rows that their messages quote."""
    try:
        return action()
    except _spark_errors() as error:
        named = getattr(error, "getCondition", None)
        condition = (named() if named else None) or type(error).__name__
        raise FeatureError(
            f"{where}: Spark could not compute the features ({condition}). Look into Spark's log; for values "
            f"at the limits of their type find the step by leaving steps out."
        ) from None


def _spark_errors() -> tuple[type[Exception], ...]:
    from pyspark.errors import PySparkException

    try:
        from py4j.protocol import Py4JError
    except ModuleNotFoundError:  # pyspark-client has none
        return (PySparkException,)
    return (PySparkException, Py4JError)


@contextmanager
def own_session(spark: Any) -> Iterator[Any]:
    """
    A session with settings of its own.

    :param spark: a session; a URL or a :class:`SparkAddress`, for which one is started, and stopped at the
        end; None for the session that is active, or ``local[*]``.
    :raises ConfigurationError: when Spark cannot be started or reached.
    """
    from pyspark.sql import SparkSession as Started

    given: Any = SparkAddress(spark) if isinstance(spark, str) else spark
    address = given if isinstance(given, SparkAddress) else SparkAddress("local[*]")
    shown = address.shown if given is None or given is address else type(given).__name__
    failures: tuple[type[Exception], ...] = (*_spark_errors(), OSError, ImportError, ValueError)
    with ExitStack() as stack:
        stop, wanted = False, given
        if given is None or given is address:
            active = Started.getActiveSession()
            if given is not None and active is not None:
                raise ConfigurationError(
                    f"spark={shown!r}: this process has a session of Spark already. Hand that over instead, "
                    f"or stop it first."
                )
            stop, wanted = active is None, active
        stack.enter_context(_quiet())
        try:
            started = wanted or _started(address)
            if stop:
                stack.callback(started.stop)
            own = started.newSession()
            settings = _SETTINGS
            if type(own).__module__.startswith("pyspark.sql.connect"):
                # Otherwise its connection keeps the process from ending after an error. (Elsewhere this would
                # stop Spark itself.)
                stack.callback(own.stop)
                # The server's sessions do not take over from one another.
                settings = {**address.settings, **_SETTINGS}
            for name, value in settings.items():
                own.conf.set(name, value)
        except failures as error:
            reason = address.without_secrets(str(error).strip().partition("\n")[0])
            raise ConfigurationError(
                f"Spark cannot be started or reached at {shown!r}: {reason}. It takes Java 17 or newer "
                f"(JAVA_HOME) where it runs, and for sc:// the packages of pyspark[connect] here."
            ) from None
        yield own


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pyspark from logging its errors, which quote values of rows."""
    logger = logging.getLogger("SQLQueryContextLogger")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _started(address: SparkAddress) -> Any:
    from pyspark.sql import SparkSession as Started

    if address.url.startswith("sc://"):
        # pyspark itself would try for ten minutes.
        place = urlsplit(address.url.partition(";")[0])
        if not place.hostname:
            raise ValueError("the URL names no host")
        socket.create_connection((place.hostname, place.port or 15002), timeout=_PATIENCE).close()
        return Started.builder.remote(address.url).getOrCreate()
    builder = Started.builder.master(address.url).appName("airflow-provider-mlbridge")
    builder = builder.config("spark.ui.enabled", "false")
    for name, value in address.settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()
