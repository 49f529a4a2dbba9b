# SPDX-License-Identifier: Apache-2.0
"""Fields of answers are what JMESPath finds."""

from __future__ import annotations

from typing import Any

import jmespath
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_mlbridge.training.api.fields import find_field

NAMES = st.sampled_from(["a", "b", "_c", "d1", "null", "true"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3).map(".".join), DOCUMENTS)
def test_names_with_dots(expression: str, document: Any) -> None:
    assert find_field(expression, document) == jmespath.search(expression, document)


def test_everything_else_is_an_expression() -> None:
    document = {"runs": [{"id": 7}], "x-y": 3}
    assert find_field("runs[0].id", document) == 7
    assert find_field("missing || runs[0].id", document) == 7
    assert find_field('"x-y"', document) == 3
    assert find_field("length(runs)", document) == 1
    assert find_field(None, document) is None
