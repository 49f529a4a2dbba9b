# SPDX-License-Identifier: Apache-2.0
"""
Programs from Debian packages: ``python -m demo.packages`` makes sure that those of the tests are there.

Root gets them installed; others get the command to run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from demo.installation import STATE, SetupError, run_logged
from demo.services.process import ServiceError, find_program

DEMO_PROGRAMS: Mapping[str, str] = {"sshd": "openssh-server", "ssh-keygen": "openssh-client"}
"""Program to the Debian package that brings it: what the demo needs."""

TEST_PROGRAMS: Mapping[str, str] = {
    **DEMO_PROGRAMS,
    "dash": "dash",
    "busybox": "busybox",
    "initdb": "postgresql",
}
"""What the tests need: the shells of training hosts, and a database for the training service, too."""


def require_packages(say: Callable[[str], None], programs: Mapping[str, str]) -> None:
    """
    Make sure that programs are there; installs their packages when run by root.

    :param say: told when something is installed.
    :param programs: program to Debian package.
    :raises SetupError: with the command to run, when they are missing and cannot be installed.
    """
    missing = _missing(programs)
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(
            f"These Debian packages are needed: {', '.join(missing)}. Run:\n\n  sudo {' '.join(command)}\n"
        )
    say(f"installing Debian packages: {', '.join(missing)}")
    if Path("/run/systemd/system").exists() and "openssh-server" in missing:
        say("note: Debian also starts its own SSH server then; 'systemctl disable --now ssh' turns it off")
    log = STATE / "logs" / "apt-get.log"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run_logged(["apt-get", "update"], log=log, environment=environment)
    run_logged(command, log=log, environment=environment)
    still = _missing(programs)
    if still:
        raise SetupError(f"{', '.join(still)} could not be installed, see {log}")


def _missing(programs: Mapping[str, str]) -> list[str]:
    missing = set()
    for program, package in programs.items():
        try:
            find_program(program, package)
        except ServiceError:
            missing.add(package)
    return sorted(missing)


def main() -> int:
    """Make sure of :data:`TEST_PROGRAMS`; 2 when something is missing."""
    try:
        require_packages(print, TEST_PROGRAMS)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
