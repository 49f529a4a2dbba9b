# SPDX-License-Identifier: Apache-2.0
"""The translated pattern is found by DuckDB in exactly the texts where Python finds the original."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_mlbridge.quality.compiled.regex import UntranslatableError, to_re2

PATTERNS = [
    r"a.b", r"b$", r"^b", r"(?s)a.b", r"(?m)^b", r"(?m)b$", r"(?i)k", r"\d", r"\w", r"\s", r"\D", r"\W",
    r"\S", r"[\W\d]", r"[^\w]", r"[^\s\d]", r"^.$", r"\Ab\Z", r"(?P<n>a)(?:b|a)", r"a{,2}", r"a*?b+?", r"^$",
    r"[]a]", r"[^a-c]", r"(a$|b$)", r"(?i:K)x", r"(?a)\w", r"(?a)\W", r"(?a)\S", r"(?a)\D", r"\.", r"a|", r"",
    r"[\d\-x]+$", r"^\S+@\S+\.\w+$", r"(?x) a  b # c", r"(?i)[a-z]+$", r"\$", r"[$^]", r"(?i)[^K]", r"(?i)i",
    r"(?i)[^\W]", r"(?i)[\w.]x", r"(?i)[^i]x",
]  # fmt: skip
# Letters that fold, digits and spaces beyond ASCII, line ends, and what patterns are made of.
LETTERS = (
    "abkKzAsSix19_-$^].@ \n\r\t\x0b\x1c\x1f\x85\xa0\u2028\u3000\u00e9\u00c9\u0661\u203f\u017f"
    "\u212a\u00df\u0130\u0131\u00b2\u00bd\u2167\u6f22\U0001f600\u0301\u200b\x00\u00b5\u03bc"
)


@pytest.fixture(scope="module")
def connection() -> Any:
    with duckdb.connect(":memory:") as opened:
        yield opened


@given(st.lists(st.text(LETTERS, max_size=5), min_size=20, max_size=200))
@example(["b\n", "a\n", "\n", "x1\n", "xyz\n", "\n\n", "ab\nb", "b\na"])
def test_found_in_the_same_texts(connection: Any, texts: list[str]) -> None:
    query = "SELECT regexp_matches(unnest($texts::VARCHAR[]), $pattern)"
    for pattern in PATTERNS:
        rows = connection.execute(query, {"texts": texts, "pattern": to_re2(pattern)}).fetchall()
        for text, (found,) in zip(texts, rows, strict=True):
            assert found is bool(re.search(pattern, text)), (pattern, text)


@pytest.mark.parametrize("pattern", [r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", r"(?i)[a-z]"])
def test_classes_agree_on_every_character(connection: Any, pattern: str) -> None:
    letters = [chr(code) for code in range(1, 0x3000) if not 0xD800 <= code <= 0xDFFF]
    query = "SELECT regexp_matches(unnest($texts::VARCHAR[]), $pattern)"
    rows = connection.execute(query, {"texts": letters, "pattern": to_re2(pattern)}).fetchall()
    assert [letter for letter, (found,) in zip(letters, rows, strict=True) if found] == [
        letter for letter in letters if re.search(pattern, letter)
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)",
        "(?<!a)b",
        r"(a)\1",
        r"\ba",
        "a++",
        "(?>a)",
        "(a)?(?(1)b|c)",
        "a{1001}",
        "a$b",
        "(a$)*",
        "(?ai)k",
        "(?ai)[^s]",
    ],
)
def test_what_cannot_be_said_exactly_is_not_translated(pattern: str) -> None:
    with pytest.raises(UntranslatableError):
        to_re2(pattern)
