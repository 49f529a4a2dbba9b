# SPDX-License-Identifier: Apache-2.0
"""Links beside a task in Airflow's UI."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

log = logging.getLogger(__name__)

JOB_XCOM = "training_job"
"""XCom in which the training operator tells where its training is, before it waits."""


class TrainingRunLink(BaseOperatorLink):
    """
    The page of a task's training: of the service, or of the DAG run in mode dag.

    Airflow asks for it on the worker at the end of every part of a task and keeps the answer as an XCom,
    which is the same for all tries. A training without a page (mode ssh) has no link.
    """

    @property
    def name(self) -> str:
        """The button's label."""
        return "Training run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """URL of the page; empty when there is none, or when it cannot be told."""
        try:
            from airflow.sdk.execution_time.xcom import XCom

            told = XCom.get_value(ti_key=ti_key, key=JOB_XCOM)
            return page_of(told)
        except Exception as error:  # noqa: BLE001 - a link must not leave a trace in a task that is well
            log.debug("There is no link to the training: %s", error)
            return ""


def page_of(told: Any) -> str:
    """
    The page that the XCom ``training_job`` names, empty when there is none.

    Only a web page: what comes from a training service is not put behind a button as it is.
    """
    if not isinstance(told, Mapping):
        return ""
    url = told.get("url")
    if isinstance(url, str) and urlsplit(url).scheme in ("http", "https"):
        return url
    if told.get("mode") == "dag" and isinstance(told.get("job_id"), str):
        return _page_of_run(*told["job_id"].rsplit("/", 1))
    return ""


def _page_of_run(dag_id: str, run_id: str) -> str:
    from airflow.sdk.configuration import conf

    base = conf.get("api", "base_url", fallback="") or ""
    return f"{base.rstrip('/')}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
