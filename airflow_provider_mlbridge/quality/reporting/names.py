# SPDX-License-Identifier: Apache-2.0
"""Names of columns on the page."""

from __future__ import annotations

from html import escape

from airflow_provider_mlbridge.quality.reporting.describe import printable


def breakable(name: str) -> str:
    """A name as markup, which a line that is too short for it may break between its words."""
    return escape(printable(name)).replace("_", "_<wbr>")
