# SPDX-License-Identifier: Apache-2.0
"""
What the operators tell OpenLineage, when the extra ``openlineage`` is there.

Airflow's OpenLineage provider calls ``get_openlineage_facets_on_complete`` of an operator and passes over
those that return None; without that provider nobody calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_mlbridge.storage.uris import local_path

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors.base import OperatorLineage

    from airflow_provider_mlbridge.quality import ExpectationResult, QualityReport
    from airflow_provider_mlbridge.results import FeatureSet

_SHOWN = 1000
"""Assertions of one event; a backend need not take more in one document."""


def is_listening() -> bool:
    """Whether Airflow's OpenLineage provider is there, without importing it."""
    return (
        find_spec("airflow.providers") is not None and find_spec("airflow.providers.openlineage") is not None
    )


def dataset_name(uri: str) -> tuple[str, str]:
    """
    Namespace and name of a dataset, as OpenLineage's naming says for S3 and for local files.

    Slashes at the end are left out, so that a prefix has one name.
    """
    if uri.startswith("s3://"):
        parts = urlsplit(uri)
        return f"s3://{parts.netloc}", parts.path.strip("/") or "/"
    if "://" in uri and not uri.startswith("file://"):
        scheme, rest = uri.split("://", 1)
        return scheme, rest.strip("/")
    return "file", str(local_path(uri)).rstrip("/") or "/"


def quality_lineage(report: QualityReport) -> OperatorLineage:
    """The datamart as an input, with the verdict on every expectation."""
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as metrics

    namespace, name = dataset_name(report.snapshot.uri)
    facets: dict[str, Any] = {
        "dataQualityMetrics": metrics.DataQualityMetricsInputDatasetFacet(
            columnMetrics={},
            rowCount=report.rows,
            bytes=report.snapshot.total_bytes,
            fileCount=report.snapshot.file_count,
            lastUpdated=report.snapshot.modified_at,
        ),
        "dataQualityAssertions": assertions.DataQualityAssertionsDatasetFacet(
            assertions=[
                assertions.Assertion(
                    assertion=result.type,
                    # What could not be checked is no pass.
                    success=bool(result.success),
                    column=_one_column(result),
                    severity="error" if result.severity == "critical" else "warn",
                    description=_description(result),
                    expected=result.expected,
                    actual=result.observed,
                )
                for result in (*report.not_checked, *report.failed, *report.passed)[:_SHOWN]
            ]
        ),
    }
    return OperatorLineage(inputs=[InputDataset(namespace=namespace, name=name, inputFacets=facets)])


def _one_column(result: ExpectationResult) -> str | None:
    columns = result.expectation.columns
    return columns[0] if len(columns) == 1 else None


def _description(result: ExpectationResult) -> str | None:
    description = result.expectation.extra.get("description")
    return str(description) if description else None


def feature_lineage(features: FeatureSet, sources: Mapping[str, Sequence[str]]) -> OperatorLineage:
    """
    The datamart as an input and the feature set as an output, with the columns that each feature is made of.

    The name of the feature set is that of the prefix that all its versions share.

    :param sources: columns of the datamart by feature.
    """
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage
    from openlineage.client.facet_v2 import dataset_version_dataset as versions
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    namespace, name = dataset_name(features.datamart_uri)
    columns = lineage.ColumnLineageDatasetFacet(
        fields={
            feature: lineage.Fields(
                inputFields=[
                    lineage.InputField(
                        namespace=namespace,
                        name=name,
                        field=column,
                        transformations=[lineage.Transformation(type="DIRECT", subtype="TRANSFORMATION")],
                    )
                    for column in read
                ]
            )
            for feature, read in sources.items()
        }
    )
    out_namespace, out_name = dataset_name(features.base_uri)
    output = OutputDataset(
        namespace=out_namespace,
        name=out_name,
        facets={
            "columnLineage": columns,
            "version": versions.DatasetVersionDatasetFacet(datasetVersion=features.fingerprint),
        },
        outputFacets={
            "outputStatistics": statistics.OutputStatisticsOutputDatasetFacet(rowCount=features.rows)
        },
    )
    return OperatorLineage(inputs=[InputDataset(namespace=namespace, name=name)], outputs=[output])


TRAINING_FACET = "mlbridge_training"
"""Name of the run facet of a training."""


def training_lineage(features_uri: str, facts: Mapping[str, Any], model_uri: str | None) -> OperatorLineage:
    """
    The features as an input, the model as an output where it has a place, and the training as a run facet.

    :param features_uri: the feature-set version; its dataset is named as :func:`feature_lineage` names it.
    :param facts: of the training, plain JSON.
    """
    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import RunFacet

    # What all versions share, as FeatureSet.base_uri.
    namespace, name = dataset_name(features_uri.rstrip("/").rsplit("/", 2)[0])
    outputs = []
    # A name in a registry (models:/flights/3) is no dataset.
    if model_uri is not None and "://" in model_uri:
        model_namespace, model_name = dataset_name(model_uri)
        outputs.append(OutputDataset(namespace=model_namespace, name=model_name))
    return OperatorLineage(
        inputs=[InputDataset(namespace=namespace, name=name)],
        outputs=outputs,
        run_facets={TRAINING_FACET: RunFacet().with_additional_properties(**facts)},
    )
