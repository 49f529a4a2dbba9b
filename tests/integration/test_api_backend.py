# SPDX-License-Identifier: Apache-2.0
"""Mode api against the real training service, and against a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendProtocolError,
    BackendUnreachableError,
    InvalidTrainingRequestError,
    InvalidTrainingResultError,
    TrainingConflictError,
)
from airflow_provider_mlbridge.training.api import APITarget, RetryPolicy
from airflow_provider_mlbridge.training.api.client import ANSWER_LIMIT_BYTES
from airflow_provider_mlbridge.training.backend import TrainingBackend
from airflow_provider_mlbridge.training.backends.api import APIBackend
from airflow_provider_mlbridge.training.request import TrainingJob, TrainingRequest
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus, ReportedResult
from demo.services.process import LOOPBACK, free_port
from tests.integration.training_service_process import TOKEN, TrainingService

pytestmark = pytest.mark.integration

T = TypeVar("T")
PATIENT = RetryPolicy(attempts=4, first_delay=0.01, longest_delay=5.0)


def job(key: str, *steps: list[Any], owner: str = "try-1", epoch: int = 1, **request: Any) -> TrainingJob:
    fields = {
        "features_uri": "s3://bucket/features/v1/",
        "features_fingerprint": "f00d",
        "experiment_name": "flights",
        "model_type": "told",
        **request,
    }
    params = {"steps": [list(step) for step in steps], **fields.pop("params", {})}
    return TrainingJob(key, owner, epoch, TrainingRequest(params=params, **fields))


def using(target: APITarget, work: Callable[[APIBackend], Awaitable[T]], **options: Any) -> T:
    """Do the work with a backend that is closed afterwards, within a bound."""

    async def run() -> T:
        backend = APIBackend(target, **{"retry": PATIENT, **options})
        try:
            return await asyncio.wait_for(work(backend), timeout=60)
        finally:
            await backend.close()

    return asyncio.run(run())


async def ended(backend: TrainingBackend, ref: JobRef) -> JobStatus:
    async with asyncio.timeout(20):
        while True:
            status = (await backend.status([ref]))[ref]
            if status.state.is_terminal:
                return status
            await asyncio.sleep(0.05)


# --- the real service ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingService]:
    running = TrainingService(tmp_path_factory.mktemp("service"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def target(service: TrainingService) -> APITarget:
    return APITarget(service.url, auth="bearer", secret=TOKEN, name="trainer")


def test_whole_life_of_a_training(service: TrainingService, target: APITarget, tmp_path: Path) -> None:
    go = tmp_path / "go"
    report = {"metrics": {"auc": 0.75, "rows": 3}, "model_uri": "s3://m/1", "extra": {"note": "ü"}}
    training = job("whole", ["print", "epoch 1"], ["wait_for", str(go)], ["result", report])

    async def work(backend: APIBackend) -> None:
        first = await backend.submit(training)
        assert (first.attached, first.ref.generation, first.state) == (False, 1, JobState.CLAIMED)
        assert first.url == f"{service.url}/api/v1/training/{first.ref.job_id}"
        retry = await backend.submit(replace(training, owner="try-2"))
        assert (retry.ref, retry.attached) == (first.ref, True)
        assert not retry.state.is_terminal
        running = (await backend.status([first.ref]))[first.ref]
        assert running.retry_after == 1.0
        go.touch()
        done = await ended(backend, first.ref)
        assert (done.state, done.exit_code, done.retry_after) == (JobState.SUCCEEDED, 0, None)
        assert done.started_at is not None
        assert done.finished_at is not None
        assert done.log_size == 8
        log = await backend.logs(first.ref, 6)
        assert (log.text, log.next_offset) == ("1\n", 8)
        assert await backend.result(first.ref) == ReportedResult(
            metrics={"auc": 0.75, "rows": 3.0}, model_uri="s3://m/1", extra={"note": "ü"}
        )
        await backend.acknowledge(first.ref, "try-1")  # stale: left to the later attempt
        cleared = await backend.submit(replace(training, owner="try-3", epoch=2))
        assert (cleared.ref, cleared.state) == (first.ref, JobState.SUCCEEDED)
        await backend.acknowledge(first.ref, "try-3")
        anew = await backend.submit(replace(training, owner="try-4", epoch=3))
        assert (anew.attached, anew.ref.generation) == (False, 2)

    using(target, work)


def test_changed_request_is_a_conflict_with_both_digests(target: APITarget) -> None:
    first = job("changed", ["wait_for", "/does/not/exist"])
    other = job("changed", ["wait_for", "/does/not/exist/either"])

    async def work(backend: APIBackend) -> None:
        ref = (await backend.submit(first)).ref
        with pytest.raises(TrainingConflictError) as caught:
            await backend.submit(other)
        for digest in (first.digest, other.digest):
            assert digest[:12] in str(caught.value)
        longer = replace(first, request=replace(first.request, timeout_seconds=1.0))
        assert (await backend.submit(longer)).ref == ref
        assert await backend.cancel(ref, "try-1", "test is over")

    using(target, work)


def test_two_hundred_submissions_of_one_key_at_once_start_one_training(
    target: APITarget, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    training = job("many", ["result", {}], params={"journal": str(journal)})

    async def work(backend: APIBackend) -> None:
        others = [APIBackend(target, retry=PATIENT) for _ in range(4)]
        everybody = [backend, *others] * 40
        submissions = await asyncio.gather(*(one.submit(training) for one in everybody))
        await asyncio.gather(*(other.close() for other in others))
        assert len({submission.ref for submission in submissions}) == 1
        assert sum(not submission.attached for submission in submissions) == 1
        await ended(backend, submissions[0].ref)

    using(target, work)
    assert journal.read_text() == "start many 1\nend many 1\n"


def test_status_of_many_in_one_round_trip(target: APITarget, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(backend: APIBackend) -> None:
        assert await backend.status([]) == {}
        good = (await backend.submit(job("batch-1", ["result", {}]))).ref
        bad = (await backend.submit(job("batch-2", ["print", "no luck"], ["exit", 3]))).ref
        gone = JobRef("batch-3", 1, "0123456789abcdef")
        await ended(backend, good)
        await ended(backend, bad)
        paths: list[str] = []
        call = backend._client.call

        async def counted(method: str, path: str, **rest: Any) -> Any:
            paths.append(path)
            return await call(method, path, **rest)

        monkeypatch.setattr(backend._client, "call", counted)
        statuses = await backend.status([good, bad, gone])
        assert paths == ["/api/v1/training/status:batch"]
        assert statuses[good].state is JobState.SUCCEEDED
        assert (statuses[bad].state, statuses[bad].exit_code) == (JobState.FAILED, 3)
        assert statuses[bad].reason == "exit code 3"
        assert statuses[gone].state is JobState.LOST
        assert "knows no job 0123456789abcdef" in statuses[gone].reason
        assert (await backend.status([gone]))[gone] == statuses[gone]

    using(target, work)


def test_cancel_is_fenced_by_the_owner(target: APITarget) -> None:
    training = job("fenced", ["wait_for", "/does/not/exist"])

    async def work(backend: APIBackend) -> None:
        ref = (await backend.submit(training)).ref
        await backend.submit(replace(training, owner="try-2"))
        assert await backend.cancel(ref, "try-1", "too late") is False
        assert not (await backend.status([ref]))[ref].state.is_terminal
        assert await backend.cancel(ref, "try-2", "cleared") is True
        status = await ended(backend, ref)
        assert (status.state, status.reason) == (JobState.CANCELLED, "cleared")
        retry = await backend.submit(replace(training, owner="try-3"))
        assert retry.ref.generation == 2
        assert await backend.cancel(retry.ref, "try-3", "test is over")

    using(target, work)


def test_log_that_is_no_utf8_arrives_whole(target: APITarget) -> None:
    raw = "ümläut €\n".encode() * 400 + bytes(range(256)) * 20 + b"\xe2\x82"

    async def work(backend: APIBackend) -> str:
        ref = (await backend.submit(job("log", ["bytes", raw.hex()]))).ref
        await ended(backend, ref)
        text, offset = "", 0
        while True:
            piece = await backend.logs(ref, offset, limit=501)
            if piece.next_offset == offset:
                return text
            assert len(piece.text.encode()) <= 3 * 501
            text, offset = text + piece.text, piece.next_offset

    assert using(target, work) == raw.decode(errors="replace")


@pytest.mark.parametrize(
    ("key", "report"),
    [("text", "not json"), ("metric", {"metrics": {"auc": "high"}}), ("field", {"metrics": {}, "typo": 1})],
)
def test_unreadable_result_is_an_error(target: APITarget, key: str, report: Any) -> None:
    async def work(backend: APIBackend) -> None:
        ref = (await backend.submit(job(key, ["result", report]))).ref
        await ended(backend, ref)
        with pytest.raises(InvalidTrainingResultError, match=ref.job_id):
            await backend.result(ref)

    using(target, work)


def test_result_of_a_failed_training_is_refused(target: APITarget) -> None:
    async def work(backend: APIBackend) -> None:
        ref = (await backend.submit(job("no-result", ["result", {}], ["exit", 1]))).ref
        await ended(backend, ref)
        with pytest.raises(InvalidTrainingResultError, match="failed"):
            await backend.result(ref)

    using(target, work)


def test_unknown_model_type_names_the_valid_ones(target: APITarget) -> None:
    with pytest.raises(InvalidTrainingRequestError, match="valid: broken, nowhere, told"):
        using(target, lambda backend: backend.submit(job("k", model_type="nonsense")))


def test_wrong_token_is_an_authentication_error_without_the_token(target: APITarget) -> None:
    wrong = replace(target, secret="a-wrong-token")
    with pytest.raises(BackendAuthenticationError) as caught:
        using(wrong, lambda backend: backend.status([]))
    assert "'trainer'" in str(caught.value)
    assert "auth='bearer'" in str(caught.value)
    assert "a-wrong-token" not in str(caught.value)


def test_training_outlives_a_crash_of_the_service(tmp_path: Path) -> None:
    service = TrainingService(tmp_path)
    go, journal = tmp_path / "go", tmp_path / "journal"
    training = job(
        "crash", ["wait_for", str(go)], ["result", {"metrics": {"a": 1}}], params={"journal": str(journal)}
    )

    async def work(backend: APIBackend) -> None:
        ref = (await backend.submit(training)).ref
        await asyncio.to_thread(service.wait_for_status, ref.job_id, "running")
        await asyncio.to_thread(service.crash)
        with pytest.raises(BackendUnreachableError, match="4 times in a row"):
            await backend.status([ref])
        go.touch()
        await asyncio.to_thread(service.start)
        assert (await ended(backend, ref)).state is JobState.SUCCEEDED
        assert (await backend.submit(replace(training, owner="try-2"))).ref == ref
        assert (await backend.result(ref)).metrics == {"a": 1.0}

    try:
        service.start()
        using(APITarget(service.url, auth="bearer", secret=TOKEN), work)
    finally:
        service.stop()
    assert journal.read_text() == "start crash 1\nend crash 1\n"


def test_certificate_is_verified(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    service = TrainingService(tmp_path, tls_certificate=str(certificate), tls_key=str(key))
    target = APITarget(service.url, auth="bearer", secret=TOKEN)
    try:
        service.start()
        with pytest.raises(BackendAuthenticationError, match="certificate is not trusted"):
            using(target, lambda backend: backend.status([]))
        assert using(replace(target, ca_file=str(certificate)), lambda backend: backend.status([])) == {}
        assert using(replace(target, verify_tls=False), lambda backend: backend.status([])) == {}
    finally:
        service.stop()


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for the loopback address that nobody has signed."""
    import ipaddress
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "training service")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "tls.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "tls.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "tls.pem", folder / "tls.key"


# --- a server that misbehaves -------------------------------------------------------------------------------


class FaultServer:
    """Answers each request with the next of the given raw answers, and remembers what was asked."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (item.partition(": ") for item in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append((line.rpartition(" ")[0], headers, json.loads(body) if body else None))
            if self._answers:
                writer.write(self._answers.pop(0))
                await writer.drain()
            else:
                await reader.read()  # silent until the client goes away
        writer.close()


@asynccontextmanager
async def serving(fault: FaultServer) -> AsyncIterator[None]:
    server = await asyncio.start_server(fault, LOOPBACK, 0)
    fault.url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    try:
        yield
    finally:
        server.close()


def raw(status: int, body: bytes | Any, headers: Mapping[str, str] | None = None) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Connection": "close",
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + content


TRIGGERED = raw(202, {"status": "triggered", "job_id": "j1", "generation": 1})
REF = JobRef("k", 1, "j1")


def against(
    fault: FaultServer, work: Callable[[APIBackend], Awaitable[T]], *, timeout: float = 10.0, **options: Any
) -> T:
    """Do the work with a backend for the fault server."""

    async def run() -> T:
        async with serving(fault):
            target = APITarget(fault.url, auth="bearer", secret=TOKEN, timeout=timeout)
            backend = APIBackend(target, **{"retry": PATIENT, **options})
            try:
                return await asyncio.wait_for(work(backend), timeout=30)
            finally:
                await backend.close()

    return asyncio.run(run())


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client wanted to wait; it does not."""
    seen: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        seen.append(seconds)
        await sleep(0)

    monkeypatch.setattr("airflow_provider_mlbridge.training.api.client.asyncio.sleep", note)
    return seen


TRUNCATED = raw(202, b'{"status": "trig', {"Content-Length": "500"})


@pytest.mark.parametrize(
    "fault",
    [
        raw(500, {"detail": "oops"}),
        raw(522, {}),
        raw(507, {}),
        raw(503, b"<html>", {"Content-Type": "text/html"}),
        TRUNCATED,
        b"",
    ],
    ids=["500", "522", "507", "503", "truncated", "closed"],
)
def test_submission_is_repeated_as_the_same_call(fault: bytes) -> None:
    server = FaultServer(fault, fault, TRIGGERED)
    submission = against(server, lambda backend: backend.submit(job("k")))
    assert submission.ref == REF
    assert len(server.requests) == 3
    assert {headers["idempotency-key"] for _, headers, _ in server.requests} == {"k"}
    bodies = [body for _, _, body in server.requests]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["submission_id"]
    assert (bodies[0]["owner"], bodies[0]["epoch"], bodies[0]["digest"]) == ("try-1", 1, job("k").digest)


def test_two_submissions_are_two_calls() -> None:
    server = FaultServer(TRIGGERED, TRIGGERED)

    async def work(backend: APIBackend) -> None:
        await backend.submit(job("k"))
        await backend.submit(job("k"))

    against(server, work)
    assert server.requests[0][2]["submission_id"] != server.requests[1][2]["submission_id"]


def test_retry_after_is_honoured(pauses: list[float]) -> None:
    server = FaultServer(raw(429, {}, {"Retry-After": "3"}), raw(503, {}, {"Retry-After": "2"}), TRIGGERED)
    against(server, lambda backend: backend.submit(job("k")))
    assert len(pauses) == 2
    assert 3 <= pauses[0] <= 3.75
    assert 2 <= pauses[1] <= 2.5


def test_repetitions_are_bounded_and_back_off(pauses: list[float]) -> None:
    server = FaultServer(*[raw(502, {"detail": "bad gateway"})] * 9)
    retry = RetryPolicy(4, first_delay=1, longest_delay=3)
    with pytest.raises(BackendUnreachableError, match=r"502.*bad gateway.*4 times in a row"):
        against(server, lambda backend: backend.status([REF]), retry=retry)
    assert len(server.requests) == 4
    assert [round(pause) for pause in pauses][:1] == [1]
    assert pauses[0] < pauses[1] <= pauses[2] <= 3


def test_service_that_asks_for_too_long_a_wait_is_unreachable(pauses: list[float]) -> None:
    server = FaultServer(raw(503, {}, {"Retry-After": "3600"}), TRIGGERED)
    with pytest.raises(BackendUnreachableError, match="3600 s"):
        against(server, lambda backend: backend.status([REF]))
    assert pauses == []


def test_job_that_is_still_being_created_is_asked_for_again() -> None:
    problem = {"type": "urn:mlbridge:problem:still-being-created", "title": "Conflict", "status": 409}
    creating = raw(409, problem, {"Content-Type": "application/problem+json"})
    server = FaultServer(creating, TRIGGERED)
    assert against(server, lambda backend: backend.submit(job("k"))).ref == REF


def test_silent_service_is_unreachable_within_the_timeout() -> None:
    server = FaultServer()
    with pytest.raises(BackendUnreachableError, match=r"no answer within 0\.1 s"):
        against(server, lambda backend: backend.status([REF]), timeout=0.1)
    assert len(server.requests) == 4


def test_nobody_listens() -> None:
    target = APITarget(f"http://{LOOPBACK}:{free_port()}", name="trainer")
    with pytest.raises(BackendUnreachableError, match="'trainer'"):
        using(target, lambda backend: backend.submit(job("k")))


@pytest.mark.parametrize("fault", [raw(500, {}), TRUNCATED, b""], ids=["500", "truncated", "closed"])
def test_lost_answer_is_not_repeated_without_deduplication(fault: bytes) -> None:
    server = FaultServer(fault, TRIGGERED)
    with pytest.raises(BackendUnreachableError, match="unknown whether the service acted"):
        against(server, lambda backend: backend.submit(job("k")), adapter="seed", allow_duplicate_submit=True)
    assert len(server.requests) == 1


def test_refusal_to_act_is_repeated_even_without_deduplication() -> None:
    server = FaultServer(raw(429, {}), TRIGGERED)
    against(server, lambda backend: backend.submit(job("k")), adapter="seed", allow_duplicate_submit=True)
    assert len(server.requests) == 2


def test_html_is_not_a_training_service() -> None:
    page = raw(200, b"<html><h1>Welcome to nginx!</h1>", {"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(BackendProtocolError, match=r"'text/html'.*Welcome to nginx"):
        against(FaultServer(page), lambda backend: backend.submit(job("k")))


def test_text_that_is_not_json() -> None:
    with pytest.raises(BackendProtocolError, match=r"begins with '\{oops'"):
        against(FaultServer(raw(200, b"{oops")), lambda backend: backend.status([REF]))


def test_redirect_is_not_followed() -> None:
    other = FaultServer(TRIGGERED)

    async def work() -> None:
        async with serving(other):
            fault = FaultServer(raw(307, b"", {"Location": f"{other.url}/x"}))
            async with serving(fault):
                backend = APIBackend(APITarget(fault.url, auth="bearer", secret=TOKEN), retry=PATIENT)
                try:
                    with pytest.raises(BackendProtocolError, match=f"307.*{other.url}/x"):
                        await backend.submit(job("k"))
                finally:
                    await backend.close()

    asyncio.run(work())
    assert other.requests == []


@pytest.mark.parametrize("kind", ["announced", "unannounced", "gzip"])
def test_huge_answer_is_not_read_into_memory(kind: str) -> None:
    content = b" " * (ANSWER_LIMIT_BYTES + 1)
    if kind == "announced":
        answer = raw(200, content)
    elif kind == "unannounced":
        answer = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + content
    else:
        answer = raw(200, gzip.compress(content), {"Content-Encoding": "gzip"})
    with pytest.raises(BackendProtocolError, match=f"larger than {ANSWER_LIMIT_BYTES} bytes"):
        against(FaultServer(answer), lambda backend: backend.status([REF]))


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_not_repeated_in_the_message(status: int) -> None:
    answer = raw(status, {"detail": f"token {TOKEN} is not valid"})
    server = FaultServer(answer, TRIGGERED)
    with pytest.raises(BackendAuthenticationError, match=rf"{status}.*token \*\*\* is not valid") as caught:
        against(server, lambda backend: backend.submit(job("k")))
    assert TOKEN not in str(caught.value)
    assert server.requests[0][1]["authorization"] == f"Bearer {TOKEN}"
    assert len(server.requests) == 1


def test_unknown_state_is_waited_for_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    server = FaultServer(*[raw(200, {"job_id": "j1", "status": "Compacting"})] * 2)

    async def work(backend: APIBackend) -> list[JobStatus]:
        return [(await backend.status([REF]))[REF] for _ in range(2)]

    with caplog.at_level(logging.WARNING):
        statuses = against(server, work)
    assert {status.state for status in statuses} == {JobState.RUNNING}
    assert "Compacting" in statuses[0].reason
    assert len([record for record in caplog.records if "Compacting" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raw(200, {"error": "not today"}), "the state is None"),
        (raw(200, ["running"]), "a JSON list"),
        (raw(200, {"job_id": "j2", "status": "running"}), "about job 'j2'"),
        (raw(404, {"detail": "Not Found"}), "HTTP 404"),
        (raw(400, {"detail": "what?"}), "what?"),
        (raw(501, {"detail": "later"}), "later"),
    ],
    ids=["error body", "list", "other job", "404 of something else", "400", "501"],
)
def test_status_outside_of_the_contract(answer: bytes, said: str) -> None:
    with pytest.raises(BackendProtocolError) as caught:
        against(FaultServer(answer), lambda backend: backend.status([REF]))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"status": "triggered", "generation": 1}, "no job id"),
        ({"status": "triggered", "job_id": "", "generation": 1}, "no job id"),
        ({"status": "triggered", "job_id": "x" * 501, "generation": 1}, "no job id"),
        ({"status": "triggered", "job_id": "j1", "generation": 0}, "the generation is 0"),
        ({"status": "triggered", "job_id": "j1"}, "the generation is None"),
    ],
)
def test_submission_answered_outside_of_the_contract(body: Any, said: str) -> None:
    with pytest.raises(BackendProtocolError, match=said):
        against(FaultServer(raw(202, body)), lambda backend: backend.submit(job("k")))


def test_seed_contract_is_enough() -> None:
    server = FaultServer(
        raw(200, {"status": "triggered", "job_id": 17}),
        raw(200, {"status": "RUNNING"}),
        raw(200, {"status": "completed"}),
        raw(200, {"status": "completed", "metrics": {"auc": 0.5}}),
        raw(404, {"detail": "no such job"}),
        raw(200, {"status": "running"}),
        raw(404, {"detail": "no such job"}),
        raw(404, {"detail": "no such job"}),
    )

    async def work(backend: APIBackend) -> None:
        submission = await backend.submit(job("k"))
        ref = submission.ref
        assert (ref, submission.attached) == (JobRef("k", 1, "17"), False)
        assert (await backend.status([ref]))[ref].state is JobState.RUNNING
        assert (await backend.status([ref]))[ref].state is JobState.SUCCEEDED
        assert (await backend.logs(ref, 5)).next_offset == 5
        assert await backend.result(ref) == ReportedResult(metrics={"auc": 0.5})
        await backend.acknowledge(ref, "try-1")
        assert await backend.cancel(ref, "try-1", "no way") is False
        # One 404 may come from a proxy: it takes two in a row.
        states = [(await backend.status([ref]))[ref].state for _ in range(4)]
        missing = JobState.UNREACHABLE
        assert states == [missing, JobState.RUNNING, missing, JobState.LOST]

    against(server, work, adapter="seed", allow_duplicate_submit=True, endpoint="/v2/train/trigger")
    lines = [line for line, _, _ in server.requests]
    assert lines == ["POST /v2/train/trigger", *["GET /v2/train/17"] * 7]
    assert server.requests[0][2] == job("k").request.to_dict()


def test_adapter_of_plain_data_reads_another_service() -> None:
    adapter = {
        "name": "other",
        "dedup": "header",
        "job_id": "data.id",
        "state": "data.phase",
        "states": {"DONE": "succeeded", "BROKEN": "failed"},
        "reason": "data.why",
        "status_path": "/jobs/{job_id}/phase",
        "conflict_statuses": [412],
    }
    server = FaultServer(
        raw(201, {"data": {"id": "a/b"}}),
        raw(200, {"data": {"id": "a/b", "phase": "Broken", "why": "no memory"}}),
        raw(412, {"message": "used"}),
    )

    async def work(backend: APIBackend) -> None:
        ref = (await backend.submit(job("k"))).ref
        status = (await backend.status([ref]))[ref]
        assert (status.state, status.reason) == (JobState.FAILED, "no memory")
        with pytest.raises(TrainingConflictError, match="used"):
            await backend.submit(job("k"))

    against(server, work, adapter=adapter)
    assert server.requests[1][0] == "GET /jobs/a%2Fb/phase"
