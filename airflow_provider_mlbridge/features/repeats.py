# SPDX-License-Identifier: Apache-2.0
"""Judge a version that is there already, as the build that would have made it would have been judged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import DriftError, LeakageError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.batch import FEATURES_FILE
from airflow_provider_mlbridge.features.examination import (
    DRIFT_FILE,
    LINT_FILE,
    NO_REFERENCE,
    Examination,
    judge_drift,
)
from airflow_provider_mlbridge.features.published import STATISTICS_FILE, published_state
from airflow_provider_mlbridge.features.session import Session
from airflow_provider_mlbridge.storage import Manifest, open_store
from airflow_provider_mlbridge.storage.scratch_folders import scratch_folder

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.features.drift import DriftReport, Reference

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repeat:
    """
    Features that were published before.

    :param manifest: of the version.
    :param folder: where their files are below the version.
    :param reference: finds what they are to be compared with; None when there is nothing.
    :param open_session: opens the datamart that they were made from.
    """

    manifest: Manifest
    reference: Callable[[], Reference | None]
    open_session: Callable[[], AbstractContextManager[Session]]
    folder: str = ""
    s3_client: S3Client | None = None
    scratch_dir: str | Path | None = None

    def judge(self, examination: Examination) -> None:
        """
        Judge them by what their version says of itself; compare them again where it says nothing of this.

        :raises LeakageError: when findings are errors, and ``lint`` says so; also when nobody looked.
        :raises DriftError: when there is drift, or features that could not be compared, and that is not
            accepted; also when nobody can tell any more what was the previous version.
        """
        if examination.lint == "error":
            self._judge_leaks()
        # Without either, nobody would learn of the verdict.
        if examination.fail_on_drift or (
            examination.on_drift is not None and examination.drift_reference is not None
        ):
            self._judge_drift(examination)

    def _document(self, name: str) -> dict[str, Any] | None:
        name = self.folder + name
        for file in self.manifest.files:
            if file.name == name:
                document: dict[str, Any] = json.loads(
                    open_store(file.uri, s3_client=self.s3_client).read(file.uri)
                )
                return document
        return None

    def _judge_leaks(self) -> None:
        found = self._document(LINT_FILE)
        if found is None:
            raise LeakageError(
                "the published version was built with lint='off', so that nothing is known of leaks in it; "
                "remove it, or give lint='warn'"
            )
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

    def _judge_drift(self, examination: Examination) -> None:
        told = self._document(DRIFT_FILE)
        if not self.folder and told is not None and examination.asks_as(told):
            # What was the previous version then is not the previous one now, which may be this very one.
            self._judge(told, examination)
            return
        reference = self.reference()
        if reference is None:
            return
        if not self.folder and reference.uri == self.manifest.version_uri:
            problem = (
                f"{self.manifest.version_uri} was not compared with the version before it when it was built, "
                f"and is the current one by now"
            )
            if examination.fail_on_drift:
                raise DriftError(f"{problem}. Give the URI of a version as drift_reference.")
            log.warning("%s", problem)
        elif told is None or (told["reference"], told.get("reference_split")) != (
            reference.uri,
            reference.split,
        ):
            report = self._compare(reference)
            if examination.on_drift is not None:
                examination.on_drift(report.to_dict())
            judge_drift(report.problem(), examination)
        else:
            self._judge(told, examination)

    def _judge(self, told: Mapping[str, Any], examination: Examination) -> None:
        if told["verdict"] == NO_REFERENCE:
            return
        if examination.on_drift is not None:
            examination.on_drift(told)
        if told["verdict"] != "no_drift":
            judge_drift(
                f"against {told['reference']}: of {len(told['features'])} features "
                f"{told['drifted']} drifted and {told['not_compared']} could not be compared",
                examination,
            )

    def _compare(self, reference: Reference) -> DriftReport:
        """Count the features that are published, and their sources, over the edges of another reference."""
        import pyarrow.parquet as pq

        from airflow_provider_mlbridge.features.drift import measure, measure_sources
        from airflow_provider_mlbridge.features.drift.sources import SOURCES

        log.info("comparing %s with %s, which its build did not", self.manifest.version_uri, reference.uri)
        file = self.manifest.file(self.folder + FEATURES_FILE)
        store = open_store(file.uri, s3_client=self.s3_client)
        fitted = published_state(self.manifest, store).fitted
        statistics = self._document(STATISTICS_FILE) or {}
        split_column = self.manifest.details.get("split_column")
        with scratch_folder(self.scratch_dir, "drift") as scratch, self.open_session() as session:
            path = scratch / FEATURES_FILE
            store.download(file.uri, path, size=file.size, etag=file.etag)
            statistics |= measure(
                session.connection,
                path,
                {feature.name: feature.kind for feature in fitted.features},
                split_column=split_column,
                reference=reference.statistics,
            )
            if SOURCES in statistics:
                statistics |= measure_sources(
                    session,
                    fitted,
                    pq.read_metadata(path).num_rows,
                    scratch / "sources.parquet",
                    learned_here=statistics[SOURCES]["learned_here"],
                    reference=reference.statistics,
                )
        return reference.compare(statistics)
