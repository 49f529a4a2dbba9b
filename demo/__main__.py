# SPDX-License-Identifier: Apache-2.0
"""``python -m demo``: run the demonstration; ``python -m demo --stop``: stop one that was kept."""

from __future__ import annotations

import argparse
import os
import sys

from demo import launcher


def main() -> int:
    """Read the arguments; gives the exit status, see :func:`demo.launcher.run`."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="The integration DAG on real parts.")
    parser.add_argument("--stop", action="store_true", help="stop a demo that another terminal runs or keeps")
    parser.add_argument(
        "--keep",
        action="store_true",
        default=os.environ.get("KEEP", "") not in ("", "0", "no", "false"),
        help="leave the Airflow UI up afterwards (also: KEEP=1 in the environment)",
    )
    options = parser.parse_args()
    if options.stop:
        return launcher.stop()
    return launcher.run(keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
