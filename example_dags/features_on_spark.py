# SPDX-License-Identifier: Apache-2.0
"""
The same recipe on a cluster: check a datamart, then build its features with Spark.

The connection ``spark_connect_default`` leads to a server of Spark Connect. The worker has the extra
``spark`` and the packages of ``pyspark[connect]``; the scratch folder is one that all machines of the cluster
see.
"""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_mlbridge.operators import DatamartQualityOperator, FeatureBuildOperator

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")
SHARED = os.environ.get("MLBRIDGE_EXAMPLE_SHARED_FOLDER", "/mnt/shared/mlbridge")

with DAG(
    dag_id="features_on_spark", schedule=None, catchup=False, doc_md=__doc__, tags=["mlbridge", "example"]
):
    quality = DatamartQualityOperator(
        task_id="check_quality",
        datamart=DATAMART,
        not_null=["flight_id", "arrived_late_30"],
        unique=["flight_id"],
    )
    FeatureBuildOperator(
        task_id="build_features",
        datamart=quality.output,
        recipe="flight_delay_recipe.yaml",
        output_uri=f"{ML_URI}/features/flight_delay_on_spark/",
        engine="spark",
        spark_conn_id="spark_connect_default",
        scratch_dir=SHARED,
    )
