# SPDX-License-Identifier: Apache-2.0
"""The page of statistics: on its own, everything of users' as text, no value of a string."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_mlbridge.features.drift import compare, to_html

from .test_drift import Statistics, measured

ODD = "<script>alert(1)</script>\"'\u202e"
_VOID = {"meta"}


class Page(HTMLParser):
    """Every tag closed where it must be; what there is counted, and its text kept."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: dict[str, int] = {}
        self.attributes: dict[str, list[str]] = {}
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def described(table: pa.Table, folder: Path, reference: Statistics | None = None) -> Statistics:
    found = measured(table, folder, reference)
    for name, item in found["features"].items():
        item.update(count=table.num_rows - table[name].null_count, nulls=table[name].null_count)
    return {"rows": table.num_rows, "split_rows": {"train": 5}, **found}


def columns(rows: int, shift: float) -> pa.Table:
    random = np.random.default_rng(1)
    return pa.table(
        {
            ODD: random.normal(shift, 1, rows),
            "name": [f"person-{index % 4}" for index in range(rows)],
            "constant": [3.25] * rows,
            "nothing": pa.nulls(rows, pa.float64()),
            "when": np.datetime64("2013-01-01", "us") + random.integers(0, 10**13, rows),
        }
    )


def test_a_page_is_on_its_own_and_shows_names_as_text(tmp_path: Path) -> None:
    before = described(columns(500, 0), tmp_path)
    after = described(columns(500, 1), tmp_path, before)
    report = compare(before, after, reference="s3://bucket/<v1>/")
    html = to_html(after, report, reference_statistics=before, title="<b>", facts={"<a>": "<i>"})
    page = Page(html)
    assert "script" not in page.tags
    assert not {"b", "link", "img", "iframe"} & set(page.tags)
    assert not set(page.attributes) & {"src", "onload", "onclick"}
    assert all(value.startswith("#") for value in page.attributes["href"])
    assert "<script>alert(1)</script>\"'\ufffd" in page.text
    assert "person" not in html
    assert "4 values, not shown" in page.text
    assert page.tags["article"] == 5
    # The one that drifted comes first, and both distributions are drawn.
    assert page.text.index("alert(1)", page.text.index("Features")) < page.text.index("constant")
    assert page.attributes["class"].count("outline") == 4
    assert "2013-01-01" in page.text


@pytest.mark.parametrize("missing", ["distributions", "features"])
def test_a_page_without_a_reference_or_distributions(missing: str, tmp_path: Path) -> None:
    found = described(columns(100, 0), tmp_path)
    assert "outline" not in Page(to_html(found)).attributes["class"]
    found.pop(missing)
    assert Page(to_html(found)).tags["main"] == 1


def test_three_hundred_features_are_a_page_of_a_megabyte(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    table = pa.table({f"f{index}": random.normal(size=300) for index in range(300)})
    before = described(table, tmp_path)
    after = described(table, tmp_path, before)
    html = to_html(after, compare(before, after), reference_statistics=before)
    assert Page(html).tags["article"] == 300
    assert len(html) < 1_200_000
