# SPDX-License-Identifier: Apache-2.0
"""
The contract with Airflow's task supervisor, which is no public interface.

The messages are Airflow's own classes, so a release that renames or changes them fails here first.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    DagResult,
    DagRunStateResult,
    ErrorResponse,
    GetDag,
    GetDagRun,
    GetDagRunState,
    OKResponse,
    TriggerDagRun,
)

from airflow_provider_mlbridge.exceptions import BackendProtocolError, BackendUnreachableError
from airflow_provider_mlbridge.hooks.dag_runs import SupervisorDagRuns


class Supervisor:
    """Answers one message, and keeps what it was sent."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.sent: list[Any] = []

    def send(self, msg: Any) -> Any:
        self.sent.append(msg)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def refusal(status: int) -> AirflowRuntimeError:
    detail = {"status_code": status, "message": "refused"}
    return AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


def ask(monkeypatch: pytest.MonkeyPatch, answer: Any, method: str, *arguments: Any) -> tuple[Any, Supervisor]:
    supervisor = Supervisor(answer)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return asyncio.run(getattr(SupervisorDagRuns(), method)(*arguments)), supervisor


def test_a_run_is_created_with_our_run_id_and_conf(monkeypatch: pytest.MonkeyPatch) -> None:
    created, supervisor = ask(monkeypatch, OKResponse(ok=True), "trigger", "train", "run-1", {"a": 1})
    assert created is True
    (message,) = supervisor.sent
    assert isinstance(message, TriggerDagRun)
    assert (message.dag_id, message.run_id, message.conf) == ("train", "run-1", {"a": 1})
    assert not message.reset_dag_run


@pytest.mark.parametrize("raised", [True, False])
def test_a_run_that_exists_is_told_not_raised(monkeypatch: pytest.MonkeyPatch, raised: bool) -> None:
    response = ErrorResponse(error=ErrorType.DAGRUN_ALREADY_EXISTS)
    answer = AirflowRuntimeError(response) if raised else response
    created, _ = ask(monkeypatch, answer, "trigger", "train", "run-1", {})
    assert created is False


@pytest.mark.parametrize(("status", "error"), [(400, BackendProtocolError), (503, BackendUnreachableError)])
def test_a_refusal_says_whether_a_retry_can_help(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
) -> None:
    with pytest.raises(error, match="to create a run of 'train'"):
        ask(monkeypatch, refusal(status), "trigger", "train", "run-1", {})


@pytest.mark.parametrize(
    ("method", "arguments", "kind"),
    [
        ("is_paused", ("train",), GetDag),
        ("conf", ("train", "run-1"), GetDagRun),
        ("state", ("train", "run-1"), GetDagRunState),
    ],
)
def test_what_is_not_there_is_none(
    monkeypatch: pytest.MonkeyPatch, method: str, arguments: tuple[str, ...], kind: type
) -> None:
    found, supervisor = ask(monkeypatch, refusal(404), method, *arguments)
    assert found is None
    assert isinstance(supervisor.sent[0], kind)


def test_state_and_pause_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    state, _ = ask(monkeypatch, DagRunStateResult(state="queued"), "state", "train", "run-1")  # type: ignore[arg-type]
    assert state == "queued"
    dag = DagResult.model_construct(dag_id="train", is_paused=True)
    assert ask(monkeypatch, dag, "is_paused", "train")[0] is True


def offers(monkeypatch: pytest.MonkeyPatch, mocker: Any, xcoms: dict[tuple[str, int, str], Any]) -> Any:
    tasks = sorted({(task_id, map_index) for task_id, map_index, _ in xcoms})
    crumbs = [{"task_id": task_id, "map_index": map_index} for task_id, map_index in tasks]
    mocker.patch.object(task_runner.RuntimeTaskInstance, "get_task_breadcrumbs", return_value=crumbs)

    def get_one(*, key: str, task_id: str, map_index: int, **_: Any) -> Any:
        value = xcoms.get((task_id, map_index, key))
        if isinstance(value, Exception):
            raise value
        return value

    mocker.patch("airflow.sdk.execution_time.xcom.XCom.get_one", get_one)
    return ask(monkeypatch, None, "reported", "train", "run-1")[0]


def test_a_mapped_task_may_report(monkeypatch: pytest.MonkeyPatch, mocker: Any) -> None:
    result = {"metrics": {"auc": 0.9}}
    assert offers(monkeypatch, mocker, {("train", 2, "return_value"): result}) == {"train[2]": result}


def test_another_teams_class_is_nobodys_result(monkeypatch: pytest.MonkeyPatch, mocker: Any) -> None:
    result = {"metrics": {"auc": 0.9}}
    xcoms = {
        ("prepare", -1, "return_value"): ImportError("not in allow list"),
        ("train", -1, "return_value"): result,
        ("other", -1, "return_value"): {"rows": 3},
    }
    assert offers(monkeypatch, mocker, xcoms) == {"train": result}


def test_the_named_xcom_decides_between_several(monkeypatch: pytest.MonkeyPatch, mocker: Any) -> None:
    xcoms = {
        ("a", -1, "return_value"): {"metrics": {"auc": 0.1}},
        ("b", -1, "return_value"): {"metrics": {"auc": 0.2}},
        ("b", -1, "training_result"): {"metrics": {"auc": 0.3}},
    }
    assert offers(monkeypatch, mocker, xcoms) == {"b": {"metrics": {"auc": 0.3}}}
