# SPDX-License-Identifier: Apache-2.0
"""
Columns that a model should not learn from: copies of the label, row ids, perfect predictors, times after the
event, constants.

Looked at are the training rows only, at most :data:`~.lint_sample.SAMPLE_ROWS` of them; what depends on rare
rows (times after the event, constants, different categories) is counted in all training rows. Judged are the
columns that the steps read in the row's own values, and the features. Nothing is concluded from fewer than
50 rows, or 10 of a class of the label.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import LeakageError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.allow import ERROR, SEVERITIES, Allow
from airflow_provider_mlbridge.features.lint_rules import Observed, observe
from airflow_provider_mlbridge.features.lint_sample import SAMPLE_ROWS, draw
from airflow_provider_mlbridge.features.recipe import Recipe

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.features.fitted import FittedRecipe
    from airflow_provider_mlbridge.features.session import Session
    from airflow_provider_mlbridge.results import Snapshot

LINT_VERSION = 1

WHY: Mapping[str, str] = {
    "label_copy": (
        "It is the label under another name: the model would look its answer up, and has nothing to look up "
        "when it predicts."
    ),
    "perfect_predictor": (
        "Hardly any column tells this much: most often it is filled in after the outcome, or because of it."
    ),
    "row_id": (
        "It identifies rows and says nothing about new ones; where it follows their order, it tells the "
        "model when a row was written."
    ),
    "future_timestamp": (
        "What happened after the event was not known at the event, so features made from it cannot be made "
        "when the model predicts."
    ),
    "near_unique_category": (
        "Most of its categories are seen once and never again, so there is nothing to learn about them."
    ),
    "constant": "It is the same in every row, so there is nothing to learn from it.",
}
"""Why each of the findings matters, by code."""


@dataclass(frozen=True)
class Finding:
    """
    Something that a model should not learn from.

    :param code: what it is, one of :data:`~.allow.SEVERITIES`.
    :param severity: ``error`` or ``warning``.
    :param step: place of the step in the recipe, from 1.
    :param column: the column of the datamart, or the feature.
    :param feature: whether it is a feature.
    :param seen: what was seen, without values of rows.
    :param figures: the same as numbers.
    :param allowed: the recipe's reason to let it pass; None when it has none.
    """

    code: str
    severity: str
    step: int
    column: str
    feature: bool
    seen: str
    figures: Mapping[str, float | int] = field(default_factory=dict)
    allowed: str | None = None

    @property
    def why(self) -> str:
        """Why it matters."""
        return WHY[self.code]

    @property
    def how_to_allow(self) -> str:
        """What to write into the recipe when it is right as it is."""
        column = json.dumps(self.column, ensure_ascii=False)
        return f'allow: [{{code: {self.code}, column: {column}, reason: "..."}}]'

    def __str__(self) -> str:
        what = "feature" if self.feature else "column"
        return f"{self.code}: step {self.step}, {what} {self.column!r}: {self.seen}. {self.why}"

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON."""
        return {
            "code": self.code,
            "severity": self.severity,
            "step": self.step,
            "column": self.column,
            "feature": self.feature,
            "seen": self.seen,
            "figures": dict(self.figures),
            "why": self.why,
            "how_to_allow": self.how_to_allow,
            "allowed": self.allowed,
        }


@dataclass(frozen=True)
class LintReport:
    """
    What :func:`lint` found.

    :param findings: errors first, then in the order of steps and columns; with those that are allowed.
    :param rows: rows that were looked at.
    :param train_rows: rows of the training split.
    :param columns: how many columns and features were judged.
    :param unused: entries of the recipe's ``allow`` that allow nothing that was found.
    """

    findings: tuple[Finding, ...]
    rows: int
    train_rows: int
    columns: int
    unused: tuple[Allow, ...] = ()

    @property
    def open(self) -> tuple[Finding, ...]:
        """The findings that the recipe does not allow."""
        return tuple(finding for finding in self.findings if finding.allowed is None)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those of them that are errors."""
        return tuple(finding for finding in self.open if finding.severity == ERROR)

    def raise_for_errors(self) -> None:
        """:raises LeakageError: when there are errors, with all of them and how to allow the first."""
        if not self.errors:
            return
        listed = options.shown(f"\n- {finding}" for finding in self.errors)
        raise LeakageError(
            f"the recipe makes features of {len(self.errors)} columns that a model should not learn from:"
            f"{listed}\nTake them out of the steps, or, where one is right, write into the recipe: "
            f"{self.errors[0].how_to_allow}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON."""
        return {
            "version": LINT_VERSION,
            "rows": self.rows,
            "train_rows": self.train_rows,
            "columns": self.columns,
            "findings": [finding.to_dict() for finding in self.findings],
            "unused_allow": [item.to_dict() for item in self.unused],
        }


def lint(
    datamart: str | Path | Mapping[str, Any] | Snapshot,
    recipe: Recipe | Mapping[str, Any] | str | Path,
    *,
    s3_client: S3Client | None = None,
    memory_limit: str = "2GB",
    threads: int | None = None,
    scratch_dir: str | Path | None = None,
    scratch_limit_bytes: int | None = None,
) -> LintReport:
    """
    Fit a recipe and look for columns that a model should not learn from.

    :param datamart: URI or path of the Parquet data, or a snapshot of it; see :meth:`Recipe.fit` for this and
        for the keyword arguments.
    :param recipe: a recipe, its mapping, or the path or URI of its YAML file.
    :raises MLBridgeError: what :meth:`Recipe.fit` raises.
    """
    from airflow_provider_mlbridge.features.fitting import fit_session
    from airflow_provider_mlbridge.features.session import open_session

    loaded = Recipe.load(recipe, s3_client=s3_client)
    with open_session(
        datamart,
        s3_client=s3_client,
        memory_limit=memory_limit,
        threads=threads,
        scratch_dir=scratch_dir,
        scratch_limit_bytes=scratch_limit_bytes,
    ) as session:
        return lint_session(session, fit_session(session, loaded), scratch_dir=scratch_dir)


def lint_session(
    session: Session,
    fitted: FittedRecipe,
    *,
    scratch_dir: str | Path | None = None,
    sample_rows: int = SAMPLE_ROWS,
) -> LintReport:
    """
    The same on an open snapshot, for a recipe that was fitted on it.

    :param scratch_dir: folder for the sample; the system's when None.
    :param sample_rows: the most rows to look at together.
    """
    from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

    with scratch_folder(scratch_dir, "lint") as folder:
        sample = draw(session, fitted, folder / "lint.parquet", sample_rows)
        observed = observe(session, fitted, sample)
    recipe = fitted.recipe
    findings = [_finding(item, recipe.allow) for item in observed]
    findings.sort(key=lambda item: (item.severity != ERROR, item.step, item.feature, item.column))
    found = {(finding.code, finding.column) for finding in findings}
    return LintReport(
        tuple(findings),
        sample.rows,
        sample.train_rows,
        len(sample.subjects),
        tuple(item for item in recipe.allow if (item.code, item.column) not in found),
    )


def _finding(observed: Observed, allow: Sequence[Allow]) -> Finding:
    subject = observed.subject
    reasons = [item.reason for item in allow if (item.code, item.column) == (observed.code, subject.name)]
    return Finding(
        code=observed.code,
        severity=SEVERITIES[observed.code],
        step=subject.step,
        column=subject.name,
        feature=subject.feature,
        seen=observed.seen,
        figures=observed.figures,
        allowed=reasons[0] if reasons else None,
    )
