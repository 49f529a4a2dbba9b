# SPDX-License-Identifier: Apache-2.0
"""
Quality by objects of Great Expectations, made by a callable when the task runs.

Great Expectations is imported inside of the callable, so that parsing this file does not cost it. The objects
are turned into plain expectations, and judged by DuckDB where it can.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from airflow_provider_mlbridge.operators import DatamartQualityOperator

DATAMART = os.environ.get("MLBRIDGE_EXAMPLE_DATAMART", "s3://datalake/datamarts/flight_delays/")
ML_URI = os.environ.get("MLBRIDGE_EXAMPLE_ML_URI", "s3://datalake/ml")

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite


def flight_delays_suite() -> ExpectationSuite:
    import great_expectations as gx
    import great_expectations.expectations as gxe

    return gx.ExpectationSuite(
        name="flight_delays",
        expectations=[
            gxe.ExpectColumnValuesToBeUnique(column="flight_id"),
            gxe.ExpectColumnValuesToBeInSet(column="origin", value_set=["EWR", "JFK", "LGA"]),
            gxe.ExpectColumnValuesToBeBetween(column="distance", min_value=0, max_value=6000),
            gxe.ExpectColumnMeanToBeBetween(column="temp", min_value=20, max_value=100, severity="warning"),
        ],
    )


with DAG(
    dag_id="quality_by_gx_objects",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["mlbridge", "example"],
):
    DatamartQualityOperator(
        task_id="check_quality",
        datamart=DATAMART,
        suite=flight_delays_suite,
        fail_on="warn",
        report_uri=f"{ML_URI}/reports/quality_by_gx_objects/",
    )
