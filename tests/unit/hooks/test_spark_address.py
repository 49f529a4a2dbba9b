# SPDX-License-Identifier: Apache-2.0
"""Connections as the apache-spark provider has them, without that provider."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from airflow.sdk import Connection

from airflow_provider_mlbridge.exceptions import ConfigurationError
from airflow_provider_mlbridge.hooks.spark import spark_address, spark_address_for


def connection(**fields: Any) -> Connection:
    extra = fields.pop("extra", None)
    return Connection(conn_id="cluster", extra=None if extra is None else json.dumps(extra), **fields)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"conn_type": "spark", "host": "spark://master", "port": 7078}, "spark://master:7078"),
        ({"conn_type": "spark", "host": "spark://master:7078"}, "spark://master:7078"),
        # What AIRFLOW_CONN_CLUSTER=spark://master:7078 gives.
        ({"conn_type": "spark", "host": "master", "port": 7078}, "spark://master:7078"),
        ({"conn_type": "spark", "host": "master"}, "spark://master:7077"),
        ({"conn_type": "spark", "host": "spark://a:7077,b:7077"}, "spark://a:7077,b:7077"),
        ({"conn_type": "spark", "host": "local"}, "local"),
        ({"conn_type": "spark", "host": "local[4]"}, "local[4]"),
        ({"conn_type": "spark", "host": "local[*, 2]"}, "local[*, 2]"),
        ({"conn_type": "spark", "host": "sc://connect", "port": 15003}, "sc://connect:15003"),
        ({"conn_type": "spark_connect", "host": "connect"}, "sc://connect"),
        ({"conn_type": "spark_connect", "host": "local"}, "sc://local"),
        ({"conn_type": "spark_connect", "host": "sc://[::1]:15002/"}, "sc://[::1]:15002"),
        ({"conn_type": "spark_connect", "host": "c", "extra": {"use_ssl": True}}, "sc://c/;use_ssl=true"),
        ({"conn_type": "spark_connect", "host": "c", "extra": {"use_ssl": "False"}}, "sc://c/;use_ssl=false"),
        (
            {"conn_type": "spark_connect", "host": "c", "port": 443, "login": "me;x", "password": "a=/;b"},
            "sc://c:443/;user_id=me%3Bx;token=a%3D%2F%3Bb",
        ),
        ({"conn_type": "generic", "host": "sc://connect:15002"}, "sc://connect:15002"),
        ({"conn_type": "generic", "host": "local[2]"}, "local[2]"),
    ],
)
def test_a_connection_becomes_an_address(fields: dict[str, Any], url: str) -> None:
    assert spark_address(connection(**fields)).url == url


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"conn_type": "http", "host": "h"}, "of type 'http'; valid are spark, spark_connect, generic"),
        ({"conn_type": "spark"}, "has no host; valid are sc://host:15002, spark://host:7077 and local"),
        ({"conn_type": "spark", "host": "k8s://https://kube:443"}, "Kubernetes, by Spark Connect"),
        ({"conn_type": "spark", "host": "https://kube", "port": 443}, "has the host 'https://kube'"),
        ({"conn_type": "spark_connect", "host": "spark://master:7077"}, "has the host 'spark://master:7077'"),
        ({"conn_type": "spark", "host": "spark://m:7077", "port": 7077}, "the port in one of both places"),
        ({"conn_type": "spark", "host": "local[x]"}, r"has the host"),
        ({"conn_type": "generic", "host": "connect"}, "has the host 'connect'"),
        ({"conn_type": "spark", "host": "m", "extra": {"spark.master": "x"}}, "spark.master among its"),
        ({"conn_type": "spark", "host": "m", "extra": {"spark.x": [1]}}, "spark.x is list"),
        ({"conn_type": "spark_connect", "host": "c", "extra": {"use_ssl": "maybe"}}, "use_ssl='maybe'"),
    ],
)
def test_what_does_not_lead_to_spark_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        spark_address(connection(**fields))
    assert "'cluster'" in str(caught.value)


@pytest.mark.parametrize(
    "host", ["sc://c/;token=hidden-word", "sc://me:hidden-word@c", "c;token=hidden-word"]
)
def test_a_token_in_the_wrong_place_is_not_told(host: str) -> None:
    with pytest.raises(ConfigurationError, match="a token the password") as caught:
        spark_address(connection(conn_type="spark_connect", host=host))
    assert "hidden-word" not in str(caught.value)


def test_a_token_is_not_shown() -> None:
    made = spark_address(connection(conn_type="spark_connect", host="c", password="hidden-word"))
    assert "hidden-word" in made.url
    assert "hidden-word" not in repr(made)
    assert made.shown == "sc://c/;..."


def test_settings_are_taken_over_and_other_extras_are_named(caplog: pytest.LogCaptureFixture) -> None:
    extra = {
        "spark.executor.memory": "4g",
        "spark.executor.cores": 2,
        "spark.dynamicAllocation.enabled": False,
        "deploy-mode": "cluster",
        "queue": "hidden-word",
    }
    with caplog.at_level(logging.INFO):
        made = spark_address(connection(conn_type="spark", host="m", extra=extra))
    assert made.settings == {
        "spark.executor.memory": "4g",
        "spark.executor.cores": "2",
        "spark.dynamicAllocation.enabled": "false",
    }
    assert "The extras deploy-mode, queue of connection 'cluster' are not used" in caplog.text
    assert "hidden-word" not in caplog.text


def test_a_connection_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spark_address_for(None) is None
    assert spark_address_for("") is None
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", "spark-connect://:word%2Fword@connect:15003/?use_ssl=true")
    made = spark_address_for("cluster")
    assert made is not None
    assert made.url == "sc://connect:15003/;token=word%2Fword;use_ssl=true"
    with pytest.raises(ConfigurationError, match="spark_conn_id='nowhere': there is no such Airflow"):
        spark_address_for("nowhere")
