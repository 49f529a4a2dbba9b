# SPDX-License-Identifier: Apache-2.0
"""Fields of a connection's extra."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from airflow_provider_mlbridge.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Connection


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
