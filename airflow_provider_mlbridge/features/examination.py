# SPDX-License-Identifier: Apache-2.0
"""
What a build looks at before it publishes: leaks in the recipe, and drift from a reference.

Both leave a file in the version, so that a repeat, which builds nothing, judges the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import ConfigurationError, DriftError, LeakageError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.batch import TransformResult
from airflow_provider_mlbridge.features.fitted import FittedRecipe
from airflow_provider_mlbridge.features.published import STATISTICS_FILE, to_json
from airflow_provider_mlbridge.features.recipe import SPLIT_COLUMN
from airflow_provider_mlbridge.features.session import Session
from airflow_provider_mlbridge.storage import Manifest, open_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.features.drift import Reference

log = logging.getLogger(__name__)

LINT_FILE = "lint.json"
DRIFT_FILE = "drift.json"
PAGE_FILE = "statistics.html"
LINT = ("off", "warn", "error")
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
    if report is not None:
        comparison = report.to_dict()
        documents[DRIFT_FILE] = to_json(comparison)
        if examination.on_drift is not None:
            examination.on_drift(comparison)
        _judge_drift(report.problem(), examination)
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


def judge_published(
    examination: Examination, manifest: Manifest, *, folder: str = "", s3_client: S3Client | None = None
) -> None:
    """
    Judge a version that is there already by what it says of itself.

    :param folder: where its files are below the version.
    :raises LeakageError: see :func:`examine`; also when it was never looked at.
    :raises DriftError: see :func:`examine`.
    """
    told = examination.on_drift is not None and examination.drift_reference is not None
    wanted = {LINT_FILE: examination.lint == "error", DRIFT_FILE: examination.fail_on_drift or told}
    documents = {
        file.name.removeprefix(folder): open_store(file.uri, s3_client=s3_client).read(file.uri)
        for file in manifest.files
        if wanted.get(file.name.removeprefix(folder))
    }
    if examination.lint == "error":
        if LINT_FILE not in documents:
            raise LeakageError(
                "the published version was built with lint='off', so that nothing is known of leaks in it; "
                "remove it, or give lint='warn'"
            )
        found = json.loads(documents[LINT_FILE])
        errors = [
            finding
            for finding in found["findings"]
            if finding["severity"] == "error" and finding["allowed"] is None
        ]
        if errors:
            listed = options.shown(f"{item['code']} of {item['column']!r}" for item in errors)
            raise LeakageError(
                f"the published version has features of {len(errors)} columns that a model should not learn "
                f"from: {listed}. Take them out of the steps, or, where one is right, write into the recipe: "
                f"{errors[0]['how_to_allow']}"
            )
    if DRIFT_FILE in documents:
        verdict = json.loads(documents[DRIFT_FILE])
        if examination.on_drift is not None:
            examination.on_drift(verdict)
        if examination.fail_on_drift and verdict["verdict"] != "no_drift":
            _judge_drift(
                f"against {verdict['reference']}: of {len(verdict['features'])} features "
                f"{verdict['drifted']} drifted and {verdict['not_compared']} could not be compared",
                examination,
            )


def _judge_drift(problem: str | None, examination: Examination) -> None:
    if problem is None:
        return
    if examination.fail_on_drift:
        raise DriftError(
            f"{problem}. Look at the features in the reference's {PAGE_FILE} and in the datamart; set "
            f"fail_on_drift=False to publish them all the same."
        )
    log.warning("Drift %s", problem)
