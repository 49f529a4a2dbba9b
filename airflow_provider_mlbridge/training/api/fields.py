# SPDX-License-Identifier: Apache-2.0
"""Find a field in an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)


def find_field(expression: str | None, document: Any) -> Any:
    """
    What a JMESPath expression finds in a JSON document; None where it finds nothing, or is None itself.

    Names with dots between them, which is what adapters have nearly everywhere, are looked up directly:
    JMESPath takes about 5 microseconds for each, ten of them for each job of a batch.
    """
    if expression is None:
        return None
    names = _names(expression)
    if names is None:
        import jmespath

        return jmespath.search(expression, document)
    for name in names:
        if not isinstance(document, Mapping):
            return None
        document = document.get(name)
    return document


@lru_cache(maxsize=256)
def _names(expression: str) -> tuple[str, ...] | None:
    return tuple(expression.split(".")) if _PLAIN.fullmatch(expression) else None
