# SPDX-License-Identifier: Apache-2.0
"""What a training over SSH does when nothing is broken, in every shell."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlbridge.exceptions import InvalidTrainingResultError, TrainingConflictError
from airflow_provider_mlbridge.training.state import JobRef, JobState, ReportedResult

pytestmark = pytest.mark.integration

Run = Callable[[Any], Any]
UNTIL_GO = "until [ -e go ]; do sleep 0.05; done"
REPORT = """
echo training
printf '{"metrics": {"auc": 0.9}, "model_uri": "s3://m/1"}' > "$MLBRIDGE_RESULT_FILE"
"""


def test_from_submit_to_a_second_generation_after_a_clear(any_host: Any, run: Run) -> None:
    host = any_host
    command = f"echo started >> journal\n{UNTIL_GO}\n{REPORT}"

    async def scenario() -> None:
        async with host.backend() as backend:
            first = await backend.submit(host.job(command))
            assert (first.state, first.attached, first.ref.generation) == (JobState.RUNNING, False, 1)
            assert first.ref.job_id == str(host.root / "jobs/key1/1")
            again = await backend.submit(host.job(command, owner="try-2"))
            assert (again.ref, again.attached) == (first.ref, True)
            (host.folder / "go").touch()
            status = await host.until(backend, first.ref)
            assert (status.state, status.exit_code, status.reason) == (JobState.SUCCEEDED, 0, "")
            assert status.started_at <= status.finished_at
            assert status.log_size == len("training\n")
            assert await host.log(backend, first.ref) == "training\n"
            expected = ReportedResult(metrics={"auc": 0.9}, model_uri="s3://m/1")
            assert await backend.result(first.ref) == expected

            lost_answer = await backend.submit(host.job(command, owner="try-3", epoch=1))
            assert (lost_answer.ref, lost_answer.state) == (first.ref, JobState.SUCCEEDED)
            await backend.acknowledge(first.ref, "try-2")  # a stale attempt: without effect
            unchanged = await backend.submit(host.job(command, owner="try-3", epoch=2))
            assert unchanged.ref == first.ref
            await backend.acknowledge(first.ref, "try-3")
            assert (await backend.submit(host.job(command, owner="try-3", epoch=2))).ref == first.ref
            cleared = await backend.submit(host.job(command, owner="try-4", epoch=3))
            assert (cleared.ref.generation, cleared.attached) == (2, False)
            await host.until(backend, cleared.ref)
            assert (host.folder / "journal").read_text() == "started\n" * 2

    run(scenario())


@pytest.mark.parametrize(
    ("command", "code", "log", "reason"),
    [
        ("echo A; echo B >&2; exit 3", 3, "A\nB\n", "exit code 3"),
        ("echo A\nset -e; false\necho never", 1, "A\n", "exit code 1"),
        ("(exit 5); echo B; exit 4", 4, "B\n", "exit code 4"),
        ("no-such-program-here", 127, "not found", "exit code 127: a command was not found"),
        ("cd /nowhere || exit 9", 9, "/nowhere", "exit code 9"),
        ("printf 'no newline'; kill -SEGV $$", 139, "no newline", "killed by signal 11 (SIGSEGV)"),
    ],
)
def test_exit_code_and_full_log_are_reported(
    any_host: Any, run: Run, command: str, code: int, log: str, reason: str
) -> None:
    async def scenario() -> None:
        async with any_host.backend() as backend:
            ref = (await backend.submit(any_host.job(command))).ref
            status = await any_host.until(backend, ref)
            assert (status.state, status.exit_code) == (JobState.FAILED, code)
            assert reason in status.reason
            text = await any_host.log(backend, ref)
            assert text == log if log.endswith("\n") else log in text
            retry = await backend.submit(any_host.job(command))
            assert (retry.ref.generation, retry.attached) == (2, False)
            with pytest.raises(InvalidTrainingResultError, match="only a succeeded training has a result"):
                await backend.result(ref)

    run(scenario())


def test_a_working_directory_that_is_not_there_fails_the_training_and_says_so(
    any_host: Any, run: Run
) -> None:
    async def scenario() -> None:
        async with any_host.backend() as backend:
            ref = (await backend.submit(any_host.job("echo never", working_dir="/nowhere/at all"))).ref
            status = await any_host.until(backend, ref)
            assert (status.state, status.exit_code) == (JobState.FAILED, 1)
            log = await any_host.log(backend, ref)
            assert "/nowhere/at all" in log
            assert "never" not in log

    run(scenario())


def test_the_training_gets_the_request_and_its_environment(host: Any, run: Run) -> None:
    command = 'env -0 > env; cp "$MLBRIDGE_REQUEST_FILE" request; pwd > pwd; cat > stdin; umask > umask'
    job = host.job(command, environment={"TOKEN": "two\nlines 'quoted'", "PATH": "/usr/bin:/bin:/opt/mine"})

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(job)).ref
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED
            assert await backend.result(ref) == ReportedResult()

    run(scenario())
    found = dict(item.split("=", 1) for item in (host.folder / "env").read_text().split("\0") if item)
    assert found["TOKEN"] == "two\nlines 'quoted'"
    assert found["PATH"] == "/usr/bin:/bin:/opt/mine"
    assert found["MLBRIDGE_FEATURES_URI"] == "s3://f/v1"
    assert found["MLBRIDGE_FEATURES_FINGERPRINT"] == "f1"
    assert (found["MLBRIDGE_JOB_KEY"], found["MLBRIDGE_JOB_GENERATION"]) == ("key1", "1")
    assert json.loads(found["MLBRIDGE_REQUEST"]) == job.request.to_dict()
    assert json.loads((host.folder / "request").read_text()) == job.request.to_dict()
    assert (host.folder / "pwd").read_text().strip() == str(host.folder)
    assert (host.folder / "stdin").read_text() == ""


def test_secrets_are_in_no_argument_list_and_in_no_file(any_host: Any, run: Run) -> None:
    host, secret = any_host, "hush-7c1f"
    job = host.job(
        f'touch seen; {UNTIL_GO}; [ "$TOKEN" = {secret[:4]}"-7c1f" ]', environment={"TOKEN": secret}
    )
    arguments: set[bytes] = set()

    def sample() -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                arguments.add(path.read_bytes())
            except OSError:
                continue

    async def scenario() -> None:
        async with host.backend() as backend:
            submitting = asyncio.create_task(backend.submit(job))
            while not submitting.done():
                sample()
                await asyncio.sleep(0.005)
            ref = submitting.result().ref
            await host.appears("seen")
            sample()
            (host.folder / "go").touch()
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(scenario())
    assert len(arguments) > 5
    assert not [line for line in arguments if secret.encode() in line]
    files = [path for path in host.root.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"claim", "command", "child", "end", "log", "request.json"}
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert not [path for path in [host.root, *host.root.rglob("*")] if path.stat().st_mode & 0o077]
    assert not [path for path in files if path.name.startswith(".") and ".spare." not in path.name]


def test_another_request_under_the_same_key_is_a_conflict(host: Any, run: Run) -> None:
    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(UNTIL_GO))).ref
            with pytest.raises(
                TrainingConflictError, match="key1 generation 1 is running with request digest"
            ):
                await backend.submit(host.job(f"{UNTIL_GO}; true"))
            (host.folder / "go").touch()
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED

    run(scenario())


def test_parallel_submits_over_five_connections_start_once(any_host: Any, run: Run) -> None:
    host = any_host
    # Targets that differ are different connections.
    targets = [host.target(keepalive_interval=30.0 + number) for number in range(5)]

    async def submit(number: int) -> Any:
        async with host.backend(targets[number % 5]) as backend:
            return await backend.submit(
                host.job(f"echo started >> journal; {UNTIL_GO}", owner=f"o{number % 3}")
            )

    async def scenario() -> None:
        count = 200 if host.shell.endswith("dash") else 50
        submissions = await asyncio.gather(*(submit(number) for number in range(count)))
        assert {submission.ref.generation for submission in submissions} == {1}
        assert sum(not submission.attached for submission in submissions) == 1
        (host.folder / "go").touch()
        async with host.backend() as backend:
            assert (await host.until(backend, submissions[0].ref)).state is JobState.SUCCEEDED

    run(scenario())
    assert (host.folder / "journal").read_text() == "started\n"


def test_many_jobs_are_asked_about_in_one_round_trip(host: Any, run: Run, mocker: Any) -> None:
    from airflow_provider_mlbridge.training.ssh.registry import HostConnection

    async def scenario() -> None:
        async with host.backend() as backend:
            commands = ["exit 0", "exit 7", UNTIL_GO]
            refs = [
                (await backend.submit(host.job(command, key=f"key{number}"))).ref
                for number, command in enumerate(commands)
            ]
            for ref in refs[:2]:
                await host.until(backend, ref)
            asked = mocker.spy(HostConnection, "run")
            never = JobRef("key9", 1, "elsewhere")
            found = await backend.status([*refs, never])
            assert asked.call_count == 1
            states = [JobState.SUCCEEDED, JobState.FAILED, JobState.RUNNING]
            assert [found[ref].state for ref in refs] == states
            assert [found[ref].log_size for ref in refs] == [0, 0, 0]
            # Not even the key is known: the memory of the host may be gone, and the training run on.
            assert found[never].state is JobState.UNREACHABLE
            assert "has no folder" in found[never].reason
            removed = JobRef("key0", 9, "elsewhere")
            found = await backend.status([removed])
            assert found[removed].state is JobState.LOST
            assert "was removed" in found[removed].reason
            (host.folder / "go").touch()
            await host.until(backend, refs[2])

    run(scenario())


def test_a_log_of_300_kb_that_is_not_text_comes_complete(any_host: Any, run: Run) -> None:
    host = any_host
    data = os.urandom(100_000) + "ä€😀".encode() * 12_000 + b"\xf0\x9f" + os.urandom(92_000)
    (host.folder / "data").write_bytes(data)

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job("cat data"))).ref
            await host.until(backend, ref)
            offset, text, calls = 0, "", 0
            while True:
                chunk = await backend.logs(ref, offset, 50_001)
                if chunk.next_offset == offset:
                    break
                assert chunk.next_offset <= offset + 50_001
                offset, text, calls = chunk.next_offset, text + chunk.text, calls + 1
            assert offset == len(data)
            assert calls >= 6
            # A character is never torn apart by the end of a chunk.
            assert "ä€😀" * 12_000 in text
            assert text.count("\ufffd") <= data.decode("utf-8", "replace").count("\ufffd") + calls * 3

    run(scenario())


def test_a_character_that_is_half_written_waits_for_its_other_half(host: Any, run: Run) -> None:
    command = r"printf 'x\303'; touch half; until [ -e go ]; do sleep 0.05; done; printf '\244y\303'"

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(command))).ref
            await host.appears("half")
            first = await backend.logs(ref, 0)
            assert (first.text, first.next_offset) == ("x", 1)
            assert (await backend.logs(ref, 1)).next_offset == 1
            (host.folder / "go").touch()
            await host.until(backend, ref)
            rest = await backend.logs(ref, 1)
            assert (rest.text, rest.next_offset) == ("äy\ufffd", 5)
            assert (await backend.logs(ref, 0, 2)).text == "x"
            assert (await backend.logs(ref, 99)).text == ""

    run(scenario())


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ('{"metrics": {"auc": NaN}}', "contains NaN"),
        ("{", "is not JSON"),
        ('{"extra": "' + "x" * 70_000 + '"}', "more than the 65,536 allowed"),
    ],
)
def test_a_result_that_is_not_readable_is_an_error_that_names_the_file(
    host: Any, run: Run, report: str, message: str
) -> None:
    (host.folder / "report").write_text(report)

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job('cat report > "$MLBRIDGE_RESULT_FILE"'))).ref
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED
            with pytest.raises(InvalidTrainingResultError, match=message) as caught:
                await backend.result(ref)
            assert f"{ref.job_id}/result.json" in str(caught.value)

    run(scenario())


def test_the_log_has_an_address(host: Any, run: Run) -> None:
    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job("true"))).ref
            folder = str(host.root).replace(" ", "%20")
            address = f"{host.server.user}@127.0.0.1:{host.server.port}"
            assert backend.log_uri(ref) == f"ssh://{address}{folder}/jobs/key1/1/log"
            await host.until(backend, ref)

    run(scenario())


def test_nothing_of_a_finished_training_stays_behind(any_host: Any, run: Run, gone: Any) -> None:
    host = any_host
    command = "setsid sleep 300 & echo $! > left; sh -c 'sleep 300 & echo $! > left2'; exit 0"

    async def scenario() -> None:
        async with host.backend() as backend:
            ref = (await backend.submit(host.job(command))).ref
            started = time.monotonic()
            assert (await host.until(backend, ref)).state is JobState.SUCCEEDED
            assert time.monotonic() - started < 20
            await gone(*(int((host.folder / name).read_text()) for name in ("left", "left2")))
            await gone(host.pid(ref, "supervisor"))

    run(scenario())
