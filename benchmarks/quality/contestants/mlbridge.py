# SPDX-License-Identifier: Apache-2.0
"""``validate()`` of this provider."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from airflow_provider_mlbridge.quality import validate


def main() -> None:
    """Validate as the job says and write down the verdicts."""
    job = json.loads(Path(sys.argv[1]).read_text())
    report = validate(
        job["folder"],
        suite=job["suite"],
        memory_limit=job["memory_limit"],
        # Without this, samples would be masked, and nothing would have to be read for them.
        unmasked_columns=job["columns"] if job["samples"] else (),
    )
    found = {}
    for result in report.results:
        found[result.expectation.extra["meta"]["id"]] = {
            "success": result.success,
            "error": result.exception_message,
            "unexpected_count": result.unexpected_count,
            "samples": len(result.result.get("partial_unexpected_list") or ()),
            "engine": result.engine,
        }
    names = ("airflow-provider-mlbridge", "duckdb", "pyarrow")
    answer = {"found": found, "versions": {name: version(name) for name in names}}
    Path(job["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
