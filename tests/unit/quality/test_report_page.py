# SPDX-License-Identifier: Apache-2.0
"""The page: well formed, on its own, with the caps visible, and everything of users' as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.quality import QualityReport, validate, write_report
from airflow_provider_mlbridge.quality.history import History, entry_of
from airflow_provider_mlbridge.quality.profile import profile
from airflow_provider_mlbridge.quality.reporting import plots
from airflow_provider_mlbridge.quality.reporting.page import to_html
from airflow_provider_mlbridge.quality.result import ExpectationResult
from airflow_provider_mlbridge.quality.table import read_table

Writer = Callable[..., Path]
ODD = [
    "<script>alert(1)</script>\"'",
    "a\nb",
    "größe ☃ \u202e",
    "'); DROP TABLE t; --",
    "&lt;i&gt;",
    'x" onload="y',
]
_VOID = {"meta", "circle", "polyline", "wbr"}


class Page(HTMLParser):
    """Every tag closed where it must be; what there is counted, and its text kept."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: dict[str, int] = {}
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def expect(type_: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{type_}", "kwargs": kwargs}


def with_profile(report: QualityReport) -> QualityReport:
    table = read_table(report.snapshot)
    return replace(report, profile=profile(table, paths=[Path(report.snapshot.uri)]))


@pytest.fixture
def report(write_parquet: Writer) -> QualityReport:
    path = write_parquet("t.parquet", {name: [1.0, 2.0, 2.0, None] for name in ODD} | {"s": list("aab<")})
    suite = [expect("column_values_to_be_between", column=name, max_value=1.5) for name in ODD]
    suite += [
        expect("column_mean_to_be_between", column=ODD[0], min_value=1, max_value=2),
        expect("column_values_to_be_in_set", column="s", value_set=["<b>", "a"], mostly=0.1),
        expect("column_values_to_be_unique", column="<i>gone</i>"),
        expect("table_row_count_to_be_between", min_value=5) | {"severity": "info"},
    ]
    return with_profile(validate(str(path), suite, suite={"name": "<u>suite</u>", "expectations": []}))


def test_the_page_stands_alone_and_names_of_users_are_text(report: QualityReport) -> None:
    history = History(
        tuple(replace(entry_of(report, run_id="<b>"), checked_at=report.checked_at - timedelta(days=n + 1),
                      rows=n) for n in range(3))
    )  # fmt: skip
    html = to_html(report, history=history)
    page = Page(html)
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "object", "u", "i/", "b"}
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset")]
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")
    assert "http" not in html
    assert "url(" not in html
    assert "@import" not in html
    for name in ODD:
        shown = name if name.isprintable() else repr(name)
        assert page.text.count(shown) >= 2, name
    assert "<u>suite</u>" in page.text
    assert "<i>gone</i>" in page.text


def test_pictures_say_what_they_show(report: QualityReport) -> None:
    html = to_html(report, history=History((replace(entry_of(report), checked_at=report.checked_at
                                                    - timedelta(days=1)),)))  # fmt: skip
    pictures = re.findall(r"<svg[^>]*>(<title>)?", html)
    assert len(pictures) > 15
    assert all(pictures)
    assert html.count('role="img"') == len(pictures)
    for title in (
        "10 expectations: 2 held, 1 could not be checked, 6 failed (critical), 1 failed (info)",
        "50 % unexpected, 90 % tolerated",
        "observed 4; expected min_value=5",
        "Rows: now 4, from 4 to 4",
    ):
        assert title in Page(html).text, title


def test_what_needs_attention_comes_first_and_what_held_is_folded(report: QualityReport) -> None:
    html = to_html(report)
    assert (
        html.index("not checked<")
        < html.index("failed (critical)</span>")
        < html.index("failed (info)</span>")
    )
    assert html.index("failed (info)</span>") < html.index("<details><summary>Show 2 expectations")
    assert "This is the first run" in to_html(report, history=History())
    assert "Earlier runs" not in html


def test_failing_rows_are_folded_with_the_cap_visible(report: QualityReport) -> None:
    rows = {
        "shown": [
            {"keys": {"<id>": n}, "values": {"mail": "***", "none": None}, "row": n} for n in range(20)
        ],
        "total": 1234,
        "cap": 20,
    }
    first = report.results[0]
    outcome = replace(first.outcome, result={**first.outcome.result, "failing_rows": rows})
    changed = replace(report, results=(ExpectationResult(first.expectation, outcome), *report.results[1:]))
    page = Page(to_html(changed))
    assert "Failing rows: 20 of 1,234 shown" in page.text
    assert "<id>mailnonerow" in page.text
    assert "null" in page.text
    many = dict.fromkeys(range(600), ExpectationResult(first.expectation, outcome))
    short = Page(to_html(replace(report, results=tuple(many.values()))))
    assert short.text.count("Failing rows: 10 of 1,234 shown; 20 in quality_report.json") == 500
    rows = {"shown": [], "total": 7, "cap": 20, "note": "the engine <gx> does not say"}
    outcome = replace(first.outcome, result={**first.outcome.result, "failing_rows": rows})
    silent = Page(to_html(replace(report, results=(ExpectationResult(first.expectation, outcome),))))
    assert "Failing rows: 0 of 7 shownthe engine <gx> does not say" in silent.text


def test_a_key_that_is_judged_is_shown_once(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"id": [7, 7, 8], "other": [1, 2, 3]})
    html = to_html(validate(str(path), unique=["id"], unmasked_columns=["id"]))
    assert re.findall(r'<th scope="col">(.*?)</th>', html.split("Failing rows")[1])[:2] == ["id", "row"]
    assert html.count("<td>7</td>") == 2


def test_curves_have_dates_and_counts_their_separators(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"id": [None, *range(1999)], "year": [2024] * 2000})
    suite = [
        expect("column_max_to_be_between", column="year", max_value=2023),
        expect("table_row_count_to_equal", value=1500),
    ]
    report = validate(str(path), suite, not_null=["id"])
    past = [
        replace(entry_of(report), checked_at=report.checked_at - timedelta(days=days), rows=1000 * days)
        for days in (3, 2, 1)
    ]
    text = Page(to_html(report, history=History(tuple(past)))).text
    for shown in (
        f"{past[0].checked_at:%Y-%m-%d}{report.checked_at:%Y-%m-%d}Rows: now 2,000, from 1,000 to 3,000",
        f"{past[1].checked_at:%Y-%m-%d %H:%M}: 2,000",
        "1 of 2,000 unexpected",
        "observed 2,000",
        "value=1,500",
        "observed 2024",
        "max_value=2023",
    ):
        assert shown in text, shown


def test_one_is_no_plural(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {"id": [1]})
    html = to_html(validate(str(path), not_null=["id"]))
    assert "Show 1 expectation<" in html
    assert "1 expectation: 1 held" in html


def test_constraints_without_an_expectation_are_listed(report: QualityReport) -> None:
    object.__setattr__(report, "unsupported", tuple(f"<c{n}>" for n in range(120)))
    page = Page(to_html(report))
    assert "<c99>" in page.text
    assert "<c100>" not in page.text
    assert "and 20 more" in page.text


def test_thousands_of_expectations_are_capped_on_the_page_only(write_parquet: Writer, tmp_path: Path) -> None:
    path = write_parquet("t.parquet", {"a": [1, 2, 3]})
    suite = [expect("table_row_count_to_be_between", min_value=n % 6, max_value=9) for n in range(5000)]
    report = validate(str(path), suite)
    uri = write_report(report, str(tmp_path / "report"))
    html = (tmp_path / "report" / "quality_report.html").read_text()
    page = Page(html)
    assert page.text.count("500 of 1,666 shown; quality_report.json beside this page has all") == 1
    assert page.text.count("500 of 3,334 shown") == 1
    assert len(html) < 1_000_000
    assert Path(uri).read_text().count('"expectation_config"') == 5000


def test_many_columns_are_capped(write_parquet: Writer) -> None:
    path = write_parquet("t.parquet", {f"c{n}": [n] for n in range(205)})
    report = with_profile(validate(str(path), [expect("table_row_count_to_equal", value=1)]))
    assert "200 of 205 columns shown" in Page(to_html(report)).text
    document = report.to_gx_json()["meta"]["mlbridge"]
    assert (len(document["columns"]), document["columns_left_out"]) == (200, 5)


@pytest.mark.parametrize(
    ("observed", "low", "high"),
    [
        (0.0, 0.0, 0.0),
        (1e308, -1e308, None),
        (5.0, None, 1.0),
        (5.0, 1.0, None),
        (1e-300, 0.0, 1e300),
        (3, 3, 3),
    ],
)
def test_a_range_is_drawn_within_its_picture_or_not_at_all(
    observed: float, low: float | None, high: float | None
) -> None:
    picture = plots.range_plot(observed, low, high, "t")
    assert "nan" not in picture
    assert "inf" not in picture
    for x in re.findall(r' c?x="([^"]+)"', picture):
        assert -1 <= float(x) <= 121
