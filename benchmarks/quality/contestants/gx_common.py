# SPDX-License-Identifier: Apache-2.0
"""What both ways of running Great Expectations share."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import great_expectations as gx  # noqa: E402, TID253
from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: E402, TID253
from great_expectations.expectations.expectation_configuration import (  # noqa: E402, TID253
    ExpectationConfiguration,
)


def context() -> Any:
    """A context without a project, files or progress bars."""
    made = gx.get_context(mode="ephemeral")
    made.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return made


def answer(
    batch: Any, job: Mapping[str, Any], packages: tuple[str, ...], left_out: frozenset[str] = frozenset()
) -> None:
    """
    Validate the suite on the batch, with the details that a checkpoint asks for, and write down the verdicts.

    :param left_out: types of expectations that cannot be judged here.
    """
    written = json.loads(Path(job["suite"]).read_text())
    suite = gx.ExpectationSuite(
        name=written["name"],
        expectations=[
            ExpectationConfiguration(type=item["type"], kwargs=item["kwargs"], meta=item["meta"])
            for item in written["expectations"]
            if item["type"] not in left_out
        ],
    )
    validation = batch.validate(suite, result_format="SUMMARY")
    found = {}
    for result in validation.results:
        error = _error(result.exception_info)
        found[result.expectation_config.meta["id"]] = {
            "success": None if error else bool(result.success),
            "error": error,
            "unexpected_count": result.result.get("unexpected_count"),
            "samples": len(result.result.get("partial_unexpected_list") or ()),
        }
    versions = {name: version(name) for name in ("great-expectations", *packages)}
    Path(job["answer"]).write_text(json.dumps({"found": found, "versions": versions}))


def _error(info: Mapping[str, Any]) -> str | None:
    for entry in [item for item in info.values() if isinstance(item, Mapping)] or [info]:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message"))[:500]
    return None
