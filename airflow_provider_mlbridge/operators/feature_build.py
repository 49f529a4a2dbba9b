# SPDX-License-Identifier: Apache-2.0
"""Build features from a datamart, fitted on the training split only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator

from airflow_provider_mlbridge.exceptions import ConfigurationError, MLBridgeError
from airflow_provider_mlbridge.hooks.s3 import s3_client_for
from airflow_provider_mlbridge.hooks.spark import spark_address_for
from airflow_provider_mlbridge.observability import DRIFT_FEATURES, drift_metrics, emit, feature_metrics
from airflow_provider_mlbridge.operators._lineage import feature_lineage, is_listening
from airflow_provider_mlbridge.operators._support import (
    LeavesWhenKilled,
    add_to_outlets,
    beside_dag_file,
    check_choice,
    failing_fast,
    is_template,
    whole_number,
)

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from airflow.sdk import Context
    from mypy_boto3_s3 import S3Client

    from airflow_provider_mlbridge.features import Recipe
    from airflow_provider_mlbridge.results import FeatureSet


LINT = ("warn", "error", "off")
ENGINES = ("duckdb", "spark")


class FeatureBuildOperator(LeavesWhenKilled, BaseOperator):
    """
    Fit a recipe on the training split, transform the whole datamart and publish the features as a new
    version.

    Published means: the files, then the manifest, then the pointer ``_latest.json``. A task that dies
    anywhere leaves the previous version as it was, and a repeat with the same datamart and recipe returns the
    version that is there. Of builds at the same time the first to publish stays current; the others fail, and
    their retries build on top of it, unless that would put older data over newer, which fails at once.

    :param datamart: the output of :class:`DatamartQualityOperator`, whose very objects are read, or a URI.
        (templated)
    :param partitions: hive partition to value, or list of values: only these are read. (templated)
    :param partitioned: build the one partition that is selected, and publish it together with those built
        before; instances of a mapped task may do so at the same time. The recipe then says ``refit: never``,
        or ``state_uri`` is given. (templated)
    :param state_uri: take over what this version has learned instead of fitting: its URI, the prefix of its
        versions, or a ``state.json``. (templated)
    :param schema_evolution: ``strict`` or ``union``, as for quality; that of the given output when None.
        (templated)
    :param recipe: a :class:`~airflow_provider_mlbridge.features.Recipe`, its dictionary, or the path or URI
        of its YAML; a relative path is below the DAG file's folder. (templated)
    :param output_uri: prefix below which versions are published. (templated)
    :param latest_parquet: also keep a copy of the newest features at ``<output_uri>/latest.parquet``.
        (templated)
    :param keep_versions: how many versions to keep, at least 1. (templated)
    :param lint: ``warn`` logs columns that a model should not learn from, such as a copy of the label or a
        row id; with ``error`` the task fails and nothing is published; ``off`` does not look.
    :param drift_reference: compare the features with another version: ``"previous"``, the URI of a version,
        or ``{"version": one of both, "split": "train"}``. (templated)
    :param fail_on_drift: publish nothing, and fail, when a feature drifted or could not be compared.
    :param drift_metrics: of how many features, at most, the distance from the reference is sent as a metric,
        the largest first; the numbers of features that drifted, and of those not compared, are sent anyway.
    :param aws_conn_id: Airflow connection for S3; None for boto3's own credential chain. (templated)
    :param engine: ``duckdb``, in the task's own process, or ``spark`` (extra ``spark``), for data that one
        machine cannot hold. A version that is there already is returned whichever has made it.
    :param spark_conn_id: Airflow connection to Spark, with ``engine="spark"``: of type ``spark_connect``, or
        of type ``spark`` with a master (``spark://host:7077``, ``local[4]``). None for ``local[*]``, Spark on
        the worker. (templated)
    :param memory_limit: memory that DuckDB may use, for example ``"2GB"``. (templated)
    :param scratch_dir: folder for downloads, spilling and the files before their upload; all machines of a
        Spark cluster must see it under the same path. (templated)
    :param scratch_limit_bytes: the most that may be downloaded.
    :return: a :class:`~airflow_provider_mlbridge.results.FeatureSet` as JSON, under 2 kB.

    .. seealso:: :doc:`/guides/features`
    """

    template_fields: Sequence[str] = (
        "datamart",
        "partitions",
        "partitioned",
        "state_uri",
        "schema_evolution",
        "recipe",
        "output_uri",
        "latest_parquet",
        "keep_versions",
        "drift_reference",
        "aws_conn_id",
        "spark_conn_id",
        "memory_limit",
        "scratch_dir",
    )
    template_fields_renderers = {"recipe": "yaml"}
    ui_color = "#e8f0fb"

    def __init__(
        self,
        *,
        datamart: Any,
        recipe: Recipe | Mapping[str, Any] | str,
        output_uri: str,
        partitions: Mapping[str, Any] | None = None,
        partitioned: bool = False,
        state_uri: str | None = None,
        schema_evolution: Literal["strict", "union"] | None = None,
        latest_parquet: bool = False,
        keep_versions: int = 5,
        lint: Literal["warn", "error", "off"] = "warn",
        drift_reference: str | Mapping[str, Any] | None = None,
        fail_on_drift: bool = False,
        drift_metrics: int = DRIFT_FEATURES,
        aws_conn_id: str | None = "aws_default",
        engine: Literal["duckdb", "spark"] = "duckdb",
        spark_conn_id: str | None = None,
        memory_limit: str = "2GB",
        scratch_dir: str | None = None,
        scratch_limit_bytes: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.datamart = datamart
        self.partitions = partitions
        self.partitioned = partitioned
        self.state_uri = state_uri
        self.schema_evolution = schema_evolution
        self.recipe = recipe
        self.output_uri = output_uri
        self.latest_parquet = latest_parquet
        if not is_template(keep_versions):
            self._checked_versions(keep_versions)
        self.keep_versions = keep_versions
        check_choice("lint", lint, LINT)
        self.lint = lint
        self.drift_reference = drift_reference
        self.fail_on_drift = fail_on_drift
        if isinstance(drift_metrics, bool) or not isinstance(drift_metrics, int) or drift_metrics < 0:
            raise ConfigurationError(
                f"drift_metrics={drift_metrics!r} is not valid; valid is a number of features, such as "
                f"{DRIFT_FEATURES}, or 0 for none"
            )
        self.drift_metrics = drift_metrics
        self.aws_conn_id = aws_conn_id
        check_choice("engine", engine, ENGINES)
        if spark_conn_id is not None and engine != "spark":
            raise ConfigurationError(
                f"spark_conn_id={spark_conn_id!r} is given, but the engine is {engine}; set "
                f"engine='spark', or leave spark_conn_id out"
            )
        self.engine = engine
        self.spark_conn_id = spark_conn_id
        self.memory_limit = memory_limit
        self.scratch_dir = scratch_dir
        self.scratch_limit_bytes = scratch_limit_bytes
        self._lineage: OperatorLineage | None = None

    @staticmethod
    def _checked_versions(value: object) -> int:
        from airflow_provider_mlbridge.storage.publish import check_keep_versions

        return check_keep_versions(whole_number("keep_versions", value))

    def execute(self, context: Context) -> dict[str, Any]:
        """Pin, fit, transform, publish."""
        from airflow_provider_mlbridge.features.build import build_feature_set

        with failing_fast(pins=not isinstance(self.datamart, Mapping)), self.leaving_when_killed():
            recipe = beside_dag_file(self.recipe, context)
            client = s3_client_for(
                self.aws_conn_id, self.datamart, self.output_uri, recipe, self.state_uri, self.drift_reference
            )
            comparisons: list[Mapping[str, Any]] = []
            try:
                features = build_feature_set(
                    self.datamart,
                    recipe,
                    self.output_uri,
                    partitions=self.partitions,
                    partitioned=_truth("partitioned", self.partitioned),
                    state_uri=self.state_uri or None,
                    schema_evolution=self.schema_evolution,
                    s3_client=client,
                    latest_parquet=_truth("latest_parquet", self.latest_parquet),
                    keep_versions=self._checked_versions(self.keep_versions),
                    lint=self.lint,
                    drift_reference=self.drift_reference or None,
                    fail_on_drift=self.fail_on_drift,
                    on_drift=comparisons.append,
                    engine=self.engine,
                    spark=spark_address_for(self.spark_conn_id),
                    memory_limit=self.memory_limit,
                    scratch_dir=self.scratch_dir,
                    scratch_limit_bytes=self.scratch_limit_bytes,
                )
            finally:
                # Drift that fails the task is what somebody watches for; a build may have compared twice.
                for comparison in comparisons[-1:]:
                    emit(drift_metrics(comparison, features=self.drift_metrics), context)
            self._note_lineage(features, client)
        self.log.info(
            "%d features of %d rows (%d to train on) in %.1f s: %s",
            features.feature_count,
            features.rows,
            features.train_rows,
            features.duration_seconds,
            features.uri,
        )
        emit(feature_metrics(features), context)
        document = features.to_dict()
        add_to_outlets(
            context,
            self.outlets,
            {"uri": features.uri, "fingerprint": features.fingerprint, "rows": features.rows},
        )
        return document

    def _note_lineage(self, features: FeatureSet, client: S3Client | None) -> None:
        """Look up now what OpenLineage will be told: whoever asks later has no connection to S3."""
        if not is_listening():
            return
        from airflow_provider_mlbridge.features.lineage import published_sources

        try:
            sources = published_sources(features, s3_client=client)
        except MLBridgeError as error:
            # The features are published; what is said about them is not worth losing them.
            self.log.warning("OpenLineage is not told which columns the features come from: %s", error)
            sources = {}
        self._lineage = feature_lineage(features, sources)

    def get_openlineage_facets_on_complete(self, _: Any) -> OperatorLineage | None:
        """What OpenLineage is told; called by its provider only."""
        return self._lineage


def _truth(argument: str, value: object) -> bool:
    """
    True or false, which may have been rendered to text.

    :raises ConfigurationError: for anything else, naming the argument and what was given.
    """
    word = str(value).strip().lower()
    if word not in ("true", "false"):
        raise ConfigurationError(f"{argument}={value!r} is not valid; valid is true or false")
    return word == "true"
