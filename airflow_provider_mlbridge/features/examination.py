# SPDX-License-Identifier: Apache-2.0
"""
What a build looks at before it publishes: leaks in the recipe, and drift from a reference.

Both leave a file in the version, so that a repeat, which builds nothing, judges the same; see
:mod:`~.repeats`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, DriftError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.batch import TransformResult
from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.published import STATISTICS_FILE, to_json
from airflow_provider_mlbridge.features.recipe import SPLIT_COLUMN
from airflow_provider_mlbridge.features.session import Session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.features.drift import Reference

log = logging.getLogger(__name__)

LINT_FILE = "lint.json"
DRIFT_FILE = "drift.json"
PAGE_FILE = "statistics.html"
LINT = ("off", "warn", "error")
NO_REFERENCE = "no_reference"
"""The verdict of ``drift.json`` where nothing had been published to compare with."""

_PREVIOUS = "previous"
_SOURCES_FILE = "sources.parquet"


@dataclass(frozen=True)
class Examination:
    """
    What to look at.

    :param lint: ``warn`` logs columns that a model should not learn from, ``error`` publishes nothing then,
        ``off`` does not look.
    :param drift_reference: what to compare with, see :func:`~.drift.load_reference`; nothing when None.
    :param fail_on_drift: publish nothing when a feature drifted, or could not be compared.
    :param on_drift: called with a comparison, as in ``drift.json``, before it is judged.
    :raises ConfigurationError: for another ``lint``, and for ``fail_on_drift`` without a reference.
    """

    lint: str = "warn"
    drift_reference: str | Mapping[str, Any] | None = None
    fail_on_drift: bool = False
    on_drift: Callable[[Mapping[str, Any]], None] | None = None

    def __post_init__(self) -> None:
        options.choice("build", "lint", self.lint, LINT)
        options.boolean("build", "fail_on_drift", self.fail_on_drift)
        if self.fail_on_drift and self.drift_reference is None:
            raise ConfigurationError(
                'fail_on_drift needs drift_reference, for example drift_reference="previous"'
            )

    @property
    def asked(self) -> dict[str, Any]:
        """The reference as it was asked for, with ``version`` and ``split``."""
        wanted = self.drift_reference
        if isinstance(wanted, Mapping):
            return {"version": wanted.get("version"), "split": wanted.get("split")}
        return {"version": wanted, "split": None}

    def asks_as(self, comparison: Mapping[str, Any]) -> bool:
        """Whether this asks for the previous version, and the comparison of an earlier build did so, too."""
        return self.asked["version"] == _PREVIOUS and comparison.get("asked") == self.asked


def reference_for(
    examination: Examination,
    output_uri: str,
    *,
    partition: Mapping[str, str] | None = None,
    s3_client: S3Client | None = None,
) -> Reference | None:
    """What to compare with; None when nothing was asked for, or nothing was published yet."""
    if examination.drift_reference is None:
        return None
    from airflow_provider_mlbridge.features.drift import load_reference

    reference = load_reference(
        examination.drift_reference, output_uri, partition=partition, s3_client=s3_client
    )
    if reference is None:
        log.info("%s has no version to compare with yet", output_uri)
    return reference


def examine(
    session: Session,
    fitted: FittedRecipe,
    written: TransformResult,
    path: Path,
    examination: Examination,
    reference: Reference | None,
    *,
    learned_here: bool,
    scratch_dir: str | Path | None = None,
) -> dict[str, bytes]:
    """
    Look at features that are written, and not yet published.

    :param path: their Parquet file.
    :param learned_here: whether the state was learned from this very datamart.
    :return: files for the version, by name.
    :raises LeakageError: when the recipe has findings that are errors, and ``lint`` says so.
    :raises DriftError: when there is drift, or features that could not be compared, and that is not accepted.
    """
    from airflow_provider_mlbridge.features.drift import measure, measure_sources, to_html

    documents: dict[str, bytes] = {}
    if examination.lint != "off":
        documents[LINT_FILE] = _lint(session, fitted, examination, scratch_dir)
    statistics = dict(written.statistics)
    statistics |= measure(
        session.connection,
        path,
        {feature.name: feature.kind for feature in fitted.features},
        split_column=SPLIT_COLUMN if SPLIT_COLUMN in written.schema else None,
        reference=reference.statistics if reference else None,
    )
    statistics |= measure_sources(
        session,
        fitted,
        written.rows,
        path.with_name(_SOURCES_FILE),
        learned_here=learned_here,
        reference=reference.statistics if reference else None,
    )
    report = reference.compare(statistics) if reference else None
    if report is None and examination.drift_reference is not None:
        documents[DRIFT_FILE] = to_json({"verdict": NO_REFERENCE, "asked": examination.asked})
    if report is not None:
        comparison = report.to_dict() | {"asked": examination.asked}
        documents[DRIFT_FILE] = to_json(comparison)
        if examination.on_drift is not None:
            examination.on_drift(comparison)
        judge_drift(report.problem(), examination)
    page = to_html(
        statistics,
        report,
        reference_statistics=reference.statistics if reference else None,
        title=fitted.recipe.name,
        facts={
            "Datamart": session.snapshot.uri,
            "Fingerprint of the datamart": session.snapshot.fingerprint,
            "Rows learned from": f"{fitted.train_rows:,}",
        },
    )
    return documents | {PAGE_FILE: page.encode(), STATISTICS_FILE: to_json(statistics)}


def content_type(name: str) -> str:
    """What a file of a version is."""
    return "text/html; charset=utf-8" if name.endswith(".html") else "application/json"


def _lint(
    session: Session, fitted: FittedRecipe, examination: Examination, scratch_dir: str | Path | None
) -> bytes:
    from airflow_provider_mlbridge.features.linter import lint_session

    found = lint_session(session, fitted, scratch_dir=scratch_dir)
    for finding in found.open:
        log.warning("%s To allow it: %s", finding, finding.how_to_allow)
    for unused in found.unused:
        log.warning("The recipe allows %s for %r, which was not found", unused.code, unused.column)
    if examination.lint == "error":
        found.raise_for_errors()
    return to_json(found.to_dict())


def judge_drift(problem: str | None, examination: Examination) -> None:
    """
    :raises DriftError: when there is a problem, and that is not accepted.
    """
    if problem is None:
        return
    if examination.fail_on_drift:
        raise DriftError(
            f"{problem}. Look at the features in the reference's {PAGE_FILE} and in the datamart; set "
            f"fail_on_drift=False to publish them all the same."
        )
    log.warning("Drift %s", problem)
