# SPDX-License-Identifier: Apache-2.0
"""A missing Debian package is installed by root, and named with the exact command to everybody else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from demo import packages
from demo.installation import SetupError, run_logged
from demo.packages import DEMO_PROGRAMS, TEST_PROGRAMS, require_packages
from demo.services.process import ServiceError, find_program

MISSING = {"mlbridge-no-such-program": "mlbridge-no-such-package", "sh": "dash"}


def test_everything_there_needs_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    require_packages(pytest.fail, {"sh": "dash"})


def test_a_plain_user_is_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    command = r"sudo apt-get install --yes --no-install-recommends mlbridge-no-such-package\n"
    with pytest.raises(SetupError, match=command):
        require_packages(pytest.fail, MISSING)


def test_root_gets_the_missing_ones_installed_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []
    said: list[str] = []
    monkeypatch.setattr(packages, "STATE", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr(packages, "run_logged", lambda command, **_: commands.append(command))
    found = iter([["mlbridge-no-such-package"], []])
    monkeypatch.setattr(packages, "_missing", lambda _: next(found))
    require_packages(said.append, MISSING)
    assert commands == [
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", "mlbridge-no-such-package"],
    ]
    assert said[0] == "installing Debian packages: mlbridge-no-such-package"


def test_the_demo_needs_no_more_than_the_tests() -> None:
    assert DEMO_PROGRAMS.items() <= TEST_PROGRAMS.items()


def test_a_missing_program_names_its_package() -> None:
    with pytest.raises(
        ServiceError, match="'mlbridge-no-such-program' is not installed: sudo apt-get install x"
    ):
        find_program("mlbridge-no-such-program", "x")


def test_a_failed_installation_ends_with_its_output_and_keeps_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "install.log"
    script = "import sys; print(*range(50), sep='\\n'); print('no such version'); sys.exit(3)"
    with pytest.raises(
        SetupError, match=r"(?s)failed with exit code 3:.*no such version\n\(see .*install\.log\)"
    ):
        run_logged([sys.executable, "-c", script], log=log)
    assert "\n0\n" in log.read_text()
