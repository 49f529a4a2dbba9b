# SPDX-License-Identifier: Apache-2.0
"""The request that a training gets, and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(payload: Mapping[str, Any]) -> str:
    """
    ASCII JSON with one spelling per value, so that it is the same bytes in every locale.

    :raises ValueError: when it holds NaN or infinity, which are not JSON.
    """
    return json.dumps(dict(payload), sort_keys=True, separators=(",", ":"), allow_nan=False)


def payload_digest(payload: Mapping[str, Any]) -> str:
    """sha256 (hex) of what is trained. The time-out changes how long one waits, not what is trained."""
    document = {name: value for name, value in payload.items() if name != "timeout_seconds"}
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()
