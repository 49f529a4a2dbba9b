# SPDX-License-Identifier: Apache-2.0
"""
Ends what a launcher started, when the launcher is gone.

Runs as ``python -m demo.services.watchdog MARK`` with its standard input connected to the launcher, which
writes one line of JSON for each server it starts. Reading ends when the launcher does, however it ended,
``kill -9`` included; then those servers and every process that carries the launcher's mark are stopped.
"""

from __future__ import annotations

import json
import signal
import sys

from demo.services.process_table import Identity, is_alive, stop_processes


def main() -> None:
    """Wait for the end of standard input, then stop every process with the mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    servers = [Identity(**json.loads(line)) for line in sys.stdin.buffer]
    stop_processes(sys.argv[1], [server.pid for server in servers if is_alive(server)], grace=5.0)


if __name__ == "__main__":
    main()
