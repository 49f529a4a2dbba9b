# SPDX-License-Identifier: Apache-2.0
"""Which engine computes a recipe; Spark itself is in tests/spark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import ConfigurationError, MissingExtraError
from airflow_provider_mlbridge.features import Passthrough, Recipe, build_feature_set, engines
from airflow_provider_mlbridge.features.engines import SparkAddress

RECIPE = Recipe("r", [Passthrough("x")])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engine": "dask"}, ConfigurationError, "engine='dask': valid are duckdb, spark"),
        ({"spark": "local[2]"}, ConfigurationError, "the engine is duckdb; set engine='spark'"),
        ({"engine": "spark"}, MissingExtraError, r"pip install 'airflow-provider-mlbridge\[spark\]'"),
    ],
)
def test_an_engine_that_cannot_do_is_refused_before_anything_is_read(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(error, match=message):
        build_feature_set(f"{tmp_path}/not-there/", RECIPE, f"{tmp_path}/out", **options)
    with pytest.raises(error, match=message):
        RECIPE.fit(f"{tmp_path}/not-there/", **options)


def test_an_address_and_messages_about_it_keep_the_token() -> None:
    address = SparkAddress("sc://host:1/;user_id=me;token=word%3Dword;use_ssl=true")
    assert address.shown == "sc://host:1/;..."
    assert "word" not in repr(address)
    # What Spark's client says of a URL, with its own scheme in it; and gRPC, of the token itself.
    for said in (
        "Hostname is missing in the URL: 'http://host:1/;user_id=me;token=word%3Dword;use_ssl=true'",
        "Parameter 'token=word%3Dword' should be provided as a key-value pair",
        "metadata was invalid: [('authorization', 'Bearer word=word')]",
    ):
        assert "word" not in address.without_secrets(said)
    assert SparkAddress("local[2]").without_secrets("JAVA_GATEWAY_EXITED") == "JAVA_GATEWAY_EXITED"
