# SPDX-License-Identifier: Apache-2.0
"""What the hooks share: numbers of a connection's extra, and the test of a connection."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import ConfigurationError, MLBridgeError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_mlbridge.training.backend import TrainingBackend


def number_of(connection: Connection, field: str, default: float) -> float:
    """
    A positive number of the extra.

    :raises ConfigurationError: naming connection, field and what was given.
    """
    given = connection.extra_dejson.get(field)
    if given in (None, ""):
        return default
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not number > 0 or math.isinf(number):
        raise ConfigurationError(
            f"connection {connection.conn_id!r} has {field}={given!r}; valid is a positive number"
        )
    return number


def try_backend(open_backend: Callable[[], TrainingBackend], success: str) -> tuple[bool, str]:
    """
    One round trip to a backend, for ``test_connection``.

    :param open_backend: called inside the event loop of the check.
    :param success: what to say when the backend has answered.
    :return: whether it has, and what to say; never a secret.
    """

    async def check() -> None:
        backend = open_backend()
        try:
            await backend.status([])
        finally:
            await backend.close()

    try:
        asyncio.run(check())
    except MLBridgeError as error:
        return False, str(error)
    return True, success
