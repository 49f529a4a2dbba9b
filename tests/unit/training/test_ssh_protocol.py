# SPDX-License-Identifier: Apache-2.0
"""The shell protocol without a network: the shells of this machine read the scripts."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from importlib import resources
from pathlib import Path

import pytest

from airflow_provider_mlbridge.exceptions import (
    BackendProtocolError,
    ConfigurationError,
    InvalidTrainingRequestError,
)
from airflow_provider_mlbridge.training.backends.ssh import SSHBackend
from airflow_provider_mlbridge.training.request import SSHLaunch, TrainingJob, TrainingRequest
from airflow_provider_mlbridge.training.ssh import SSHTarget, protocol
from airflow_provider_mlbridge.training.state import JobState

PARTS = ["common", "tree", "group", "serve", "launch"]
ALL_PARTS = [*PARTS, "reap"]
SHELLS = {"dash": ["dash"], "bash": ["bash"], "busybox": ["busybox", "ash"]}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    argv = SHELLS[request.param]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    return argv


def a_job(
    command: str = "true", *, environment: dict[str, str] | None = None, **request: object
) -> TrainingJob:
    return TrainingJob(
        "key1",
        "try-1",
        0,
        TrainingRequest("s3://f/v1", "f1", "exp", "forest", **request),  # type: ignore[arg-type]
        SSHLaunch(command, environment=environment or {}),
    )


def claim_script(root: Path, command: str) -> bytes:
    functions = protocol.launch_functions(a_job(command), {})
    _, script = protocol.script(
        ["mlb_claim 1 digest 0 owner"],
        root=str(root),
        settings={
            "key": "key1",
            "brought": "1",
            "timeout": "60",
            "working_dir": "",
            "shell": "/bin/sh",
            "grace": "1",
            "patience": "60",
        },
        parts=[*PARTS, functions],
    )
    return script


@pytest.mark.parametrize("part", ALL_PARTS)
def test_every_part_is_valid_in_every_shell_and_runs_nothing(shell: list[str], part: str) -> None:
    text = resources.files("airflow_provider_mlbridge.training.ssh").joinpath(f"{part}.sh").read_text()
    assert subprocess.run([*shell, "-n"], input=text, text=True, capture_output=True).stderr == ""
    # With an empty PATH, every command that ran would complain.
    run = subprocess.run(
        [shutil.which(shell[0]) or "", *shell[1:], "-s"],
        input=text,
        text=True,
        capture_output=True,
        env={"PATH": ""},
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_stream_cut_anywhere_runs_nothing(shell: list[str], tmp_path: Path) -> None:
    root, journal = tmp_path / "root", tmp_path / "journal"
    script = claim_script(root, f"echo started >> {journal}")
    lines = script.split(b"\n")
    ends = [len(b"\n".join(lines[:count])) for count in range(0, len(lines) - 1, 29)]
    # The last line is where it matters, byte by byte; the newline at its end is not needed.
    ends += range(len(script) - len(b"}\n{ mlb_main; }\n") - 30, len(script) - 2)
    for end in ends:
        done = subprocess.run([*shell, "-s"], input=script[:end], capture_output=True, timeout=20)
        # Not even a word of the last line, which could be the name of a program.
        assert b"not found" not in done.stderr
        assert not root.exists(), f"cut after {end} of {len(script)} bytes, ending in {script[:end][-30:]!r}"
    subprocess.run([*shell, "-s"], input=script, capture_output=True, timeout=20)
    # The training starts beside the answer.
    deadline = time.monotonic() + 20
    while not journal.exists() or not journal.read_text():
        assert time.monotonic() < deadline, "the training did not start"
        time.sleep(0.02)
    assert journal.read_text() == "started\n"


def test_values_reach_the_training_unchanged_and_are_never_run_by_the_shell() -> None:
    nasty = "a'b\"c $(touch /tmp/owned) `id` \\ \n %s é"
    functions = protocol.launch_functions(a_job(nasty, environment={"VALUE": nasty}), {})
    printed = subprocess.run(
        ["dash", "-c", f'{functions}\nmlb_write_command; mlb_environment; printf %s "$VALUE"'],
        capture_output=True,
        check=True,
    )
    assert printed.stdout == f"{nasty}\n{nasty}".encode()


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (a_job("  \n"), "mode ssh needs a command"),
        (a_job("echo \0"), "command contains a NUL"),
        (a_job("x" * (1024 * 1024 + 1)), "1,048,577 bytes, more than 1,048,576"),
        (a_job(environment={"1A": "x"}), "'1A' is not a valid name"),
        (a_job(environment={"A B": "x"}), "'A B' is not a valid name"),
        (a_job(environment={"MLBRIDGE_JOB_KEY": "x"}), "'MLBRIDGE_JOB_KEY' is reserved"),
        *(
            (a_job(environment={name: "hush"}), f"'{name}' belongs to the shell")
            for name in ("PPID", "UID", "EUID", "BASHOPTS", "SHELLOPTS", "IFS")
        ),
        (a_job(environment={"TOKEN": "hush\0"}), "'TOKEN' contains a NUL"),
        (a_job(environment={"TOKEN": "hush" * 40_000}), "'TOKEN' has 160,007 bytes, more than the 131,072"),
        (a_job(environment={f"V{n}": "hush" * 30_000 for n in range(10)}), "the environment has 1,200,"),
        (a_job(params={"grid": "x" * 140_000}), "'MLBRIDGE_REQUEST' has .* bytes.*shorten params"),
    ],
)
def test_refuses_before_the_host_is_asked_and_shows_no_value(job: TrainingJob, message: str) -> None:
    async def submit() -> None:
        await SSHBackend(SSHTarget("host.invalid", "nobody")).submit(job)

    with pytest.raises(InvalidTrainingRequestError, match=message) as caught:
        asyncio.run(submit())
    assert "hush" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("key", ["", "../x", "a/b", "a b", "-x", "k" * 129])
def test_a_key_that_is_no_folder_name_is_refused(key: str) -> None:
    with pytest.raises(InvalidTrainingRequestError, match="training key"):
        protocol.require_key(key)


def test_an_answer_is_found_between_the_noise_of_start_up_files() -> None:
    stdout = (
        b"Welcome!\nJ this is not for us\nno newline\nw begin\nN\n"
        b"J key1 2 failed 3 2026-01-01T00:00:00Z - 0 d1 4 77\t/home/u/a b/jobs/key1/2\tthe reason\n"
        b"\nw end\nbye\n"
    )
    answer = protocol.parse_answer("w", stdout, b"", "h:22")
    assert answer.has("N")
    (job,) = answer.jobs
    assert (job.key, job.number, job.job_state, job.exit_code) == ("key1", 2, JobState.FAILED, 3)
    assert (job.folder, job.reason, job.finished_at) == ("/home/u/a b/jobs/key1/2", "the reason", None)
    assert job.shown == 77


def test_bytes_of_an_answer_are_kept_as_they_are() -> None:
    payload = b"\xff\n\nw begin\nJ x\nB 0\n\x00\nE storage no"
    answer = protocol.parse_answer("w", b"\nw begin\nB 1\n" + payload + b"\nw end\n", b"", "h:22")
    assert (answer.payload, answer.ended, answer.jobs, answer.words) == (payload, True, [], [])


@pytest.mark.parametrize(
    ("stdout", "message"),
    [
        (b"This account is currently not available.\n", "What came begins with b'This account"),
        (b"\nw begin\nJ key1 1 running", "cut off; it begins with"),
        (b"\nw begin\nwhat is this\n\nw end\n", "answered b'what is this'"),
        (b"\nw begin\nJ key1 1 flying 0 - - 0 d 0 -\t/j\t\n\nw end\n", "flying.*not readable"),
        (b"\nw begin\nJ key1 1 running\t/j\t\n\nw end\n", "not readable.*/j changed by hand"),
    ],
)
def test_anything_else_is_an_error_that_shows_how_it_begins(stdout: bytes, message: str) -> None:
    with pytest.raises(BackendProtocolError, match=message):
        protocol.parse_answer("w", stdout, b"", "h:22")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (3, "exit code 3"),
        (127, "exit code 127: a command was not found"),
        (143, r"exit code 143: killed by signal 15 \(SIGTERM\)"),
        (137, r"exit code 137: killed by signal 9 \(SIGKILL\); .*memory runs out"),
        (255, "exit code 255"),
    ],
)
def test_exit_codes_are_explained(code: int, sentence: str) -> None:
    import re

    assert re.fullmatch(sentence, protocol.exit_reason(code))


def test_a_reason_for_a_cancel_stays_one_line() -> None:
    assert protocol.one_line(" cleared\n\tby\x00 user ") == "cleared by user"
    assert len(protocol.one_line("x" * 999)) == 300


def test_a_target_shows_no_secret() -> None:
    target = SSHTarget("h", "u", password="hush1", private_key="hush2", passphrase="hush3")
    assert "hush" not in repr(target)
    assert SSHTarget("::1", "u", 2222).address == "[::1]:2222"


def test_a_host_key_that_is_none_is_a_configuration_error() -> None:
    async def ask() -> None:
        await SSHBackend(SSHTarget("127.0.0.1", "u", 1, host_key="ssh-ed25519 notakey")).status([])

    with pytest.raises(ConfigurationError, match=r"host_key of 127\.0\.0\.1:1 is not a public key"):
        asyncio.run(ask())
