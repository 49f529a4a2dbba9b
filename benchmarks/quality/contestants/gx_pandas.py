# SPDX-License-Identifier: Apache-2.0
"""Great Expectations on pandas, which reads only the needed columns."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd  # noqa: TID253
from gx_common import answer, context


def main() -> None:
    """Validate as the job says and write down the verdicts."""
    job = json.loads(Path(sys.argv[1]).read_text())
    frame = pd.read_parquet(job["folder"], columns=job["columns"], engine="pyarrow")
    asset = context().data_sources.add_pandas("files").add_dataframe_asset("orders")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    answer(batch, job, ("pandas", "pyarrow"))


if __name__ == "__main__":
    main()
