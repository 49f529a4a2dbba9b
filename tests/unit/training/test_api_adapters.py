# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.training.api import APITarget, resolve_adapter
from airflow_provider_mlbridge.training.api.adapters import ADAPTERS
from airflow_provider_mlbridge.training.api.client import parse_retry_after
from airflow_provider_mlbridge.training.backends.api import APIBackend
from airflow_provider_mlbridge.training.state import JobState


@pytest.mark.parametrize("name", ["mlbridge", "seed"])
def test_shipped_adapters_are_valid(name: str) -> None:
    assert resolve_adapter({"extends": name}) == ADAPTERS[name]


def test_default_adapter_knows_every_state_of_the_service() -> None:
    from mlbridge_training_service.generations import Status

    states = resolve_adapter("mlbridge").states
    assert {status.value for status in Status} <= set(states)
    for status in Status:
        assert JobState(states[status.value]).is_terminal is status.is_terminal


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ("ray", "'mlbridge', 'seed'"),
        ({"extends": "nope"}, "'mlbridge', 'seed'"),
        (3, "mapping"),
        ({"job_idd": "x"}, "job_idd"),
        ({"dedup": "magic"}, "header, none"),
        ({"state": "a.["}, "state='a.['"),
        ({"state": None}, "state=None"),
        ({"states": {"done": "finished"}}, "finished"),
        ({"states": {"away": "unreachable"}}, "unreachable"),
        ({"states": ["done"]}, "states"),
        ({"status_path": "http://elsewhere/{job_id}"}, "begin with '/'"),
        ({"status_path": "/{jobid}"}, "{job_id}"),
        ({"status_path": "/{job_id"}, "template"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_adapters_say_what_is_valid(adapter: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_adapter(adapter)
    assert said in str(caught.value)


def test_mapping_changes_what_it_extends() -> None:
    adapter = resolve_adapter({"extends": "seed", "dedup": "header", "states": {"DONE": "succeeded"}})
    assert (adapter.dedup, adapter.states, adapter.job_id) == ("header", {"done": "succeeded"}, "job_id")


def test_paths_quote_the_job_id_and_refuse_to_climb() -> None:
    adapter = resolve_adapter("mlbridge")
    path = adapter.path(adapter.status_path, "/api/v1/training/trigger", "a/../b?c")
    assert path == "/api/v1/training/a%2F..%2Fb%3Fc"
    with pytest.raises(ConfigurationError, match="cannot be part of a path"):
        adapter.path(adapter.status_path, "/api/v1/training/trigger", "..")


@pytest.mark.parametrize("endpoint", ["trigger", "http://other/trigger", "/trigger?x=1", "/trig ger", ""])
def test_endpoint_must_be_a_path(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="endpoint="):
        APIBackend(APITarget("http://host"), endpoint=endpoint)


def test_adapter_without_deduplication_must_be_accepted_explicitly() -> None:
    with pytest.raises(ConfigurationError, match="allow_duplicate_submit=True"):
        APIBackend(APITarget("http://host"), adapter="seed")
    APIBackend(APITarget("http://host"), adapter="seed", allow_duplicate_submit=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("7", 7.0), (" 0 ", 0.0), ("-1", None), ("soon", None), ("1.5", None), ("\u0663", None)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = parse_retry_after(later)
    assert seconds is not None
    assert 50 < seconds <= 60
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT") == 0.0
