# SPDX-License-Identifier: Apache-2.0
"""The HTTP contract."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Response
from fastapi.responses import JSONResponse

from mlbridge_training_service import __version__, schemas
from mlbridge_training_service.config import ServiceConfig
from mlbridge_training_service.folder import UnreadableResultError
from mlbridge_training_service.generations import Status
from mlbridge_training_service.payload import canonical_json, payload_digest
from mlbridge_training_service.problems import BodyLimit, ProblemError, install
from mlbridge_training_service.runner import Runner
from mlbridge_training_service.store import (
    ConflictError,
    Job,
    JobStore,
    NotOwnerError,
    NotSucceededError,
    Submission,
    UnknownJobError,
)
from mlbridge_training_service.supervisor import utc_now

PREFIX = "/api/v1/training"
REPLAYED_HEADER = "Idempotent-Replayed"

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_LOG_LIMIT_BYTES = 1024 * 1024

JobId = Annotated[str, Path(pattern="^[0-9a-f]{1,64}$")]


def build_app(config: ServiceConfig, store: JobStore, runner: Runner) -> FastAPI:
    """The application; it starts and stops the runner."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        runner.start()
        yield
        runner.stop()

    app = FastAPI(
        title="MLBridge training service",
        version=__version__,
        summary="Starts trainings on its host, each exactly once per key, and tells how they are.",
        lifespan=lifespan,
        # Their pages load scripts from elsewhere; the document itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
    )
    install(app)
    app.add_middleware(BodyLimit, limit=config.max_request_bytes)

    @app.get("/health", summary="Whether the service works")
    def health() -> schemas.Health:
        store.get_many([])
        return schemas.Health(status="ok", version=__version__)

    app.include_router(_training_routes(_Service(config, store, runner), _authenticator(config)))
    return app


def _authenticator(config: ServiceConfig) -> Callable[..., None]:
    token = config.token()
    expected = hashlib.sha256(token.encode()).digest() if token is not None else None

    def authenticate(authorization: Annotated[str, Header(include_in_schema=False)] = "") -> None:
        if expected is None:
            return
        scheme, _, given = authorization.partition(" ")
        # Digests, because comparing in constant time needs equal lengths.
        matches = hmac.compare_digest(hashlib.sha256(given.strip().encode()).digest(), expected)
        if scheme.lower() != "bearer" or not matches:
            detail = "a valid bearer token is needed: 'Authorization: Bearer <token>'"
            raise ProblemError(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})

    return authenticate


def _training_routes(service: _Service, authenticate: Callable[..., None]) -> APIRouter:
    problem: dict[str, Any] = {"model": schemas.Problem, "content": {"application/problem+json": {}}}
    router = APIRouter(
        prefix=PREFIX,
        dependencies=[Depends(authenticate)],
        responses={400: problem, 401: problem},
    )

    @router.post(
        "/trigger", status_code=202, summary="Start a training, once per key", responses={422: problem}
    )
    def trigger(
        request: schemas.TriggerRequest,
        response: Response,
        idempotency_key: Annotated[
            str, Header(description="The same key never starts two trainings beside each other.")
        ] = "",
    ) -> schemas.Triggered:
        job, attached = service.submit(request, idempotency_key)
        if attached:
            response.headers[REPLAYED_HEADER] = "true"
        return schemas.Triggered(
            status="triggered", job_id=job.job_id, key=job.key, generation=job.generation, links=_links(job)
        )

    @router.post("/status:batch", summary="Status of up to 1000 jobs")
    def status_batch(request: schemas.BatchRequest, response: Response) -> schemas.BatchAnswer:
        jobs = service.get_many(request.job_ids)
        if any(not job.status.is_terminal for job in jobs):
            response.headers["Retry-After"] = service.retry_after
        found = {job.job_id for job in jobs}
        missing = [job_id for job_id in dict.fromkeys(request.job_ids) if job_id not in found]
        return schemas.BatchAnswer(jobs=[service.describe(job) for job in jobs], missing=missing)

    @router.get("/{job_id}", summary="Status of a job", responses={404: problem})
    def status(job_id: JobId, response: Response) -> schemas.JobStatus:
        job = service.get(job_id)
        if not job.status.is_terminal:
            response.headers["Retry-After"] = service.retry_after
        return service.describe(job)

    @router.get("/{job_id}/logs", summary="Log from a byte on", responses={404: problem})
    def logs(
        job_id: JobId,
        offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=_LOG_LIMIT_BYTES, description="bytes")] = 65536,
    ) -> schemas.LogAnswer:
        return service.logs(job_id, offset, limit)

    @router.get(
        "/{job_id}/result",
        summary="What a succeeded training reported",
        response_class=JSONResponse,
        responses={404: problem, 409: problem, 422: problem},
    )
    def result(job_id: JobId) -> dict[str, Any]:
        return service.result(job_id)

    @router.post(
        "/{job_id}/cancel", status_code=202, summary="Stop a job", responses={404: problem, 409: problem}
    )
    def cancel(job_id: JobId, request: schemas.CancelRequest) -> schemas.JobStatus:
        return service.describe(service.cancel(job_id, request))

    @router.post(
        "/{job_id}/acknowledge",
        summary="Record that the result was returned",
        responses={404: problem, 409: problem},
    )
    def acknowledge(job_id: JobId, request: schemas.AcknowledgeRequest) -> schemas.JobStatus:
        return service.describe(service.acknowledge(job_id, request.owner))

    return router


class _Service:
    """What the routes do, with errors as problems."""

    def __init__(self, config: ServiceConfig, store: JobStore, runner: Runner) -> None:
        self._config = config
        self._store = store
        self._runner = runner
        self.retry_after = str(config.retry_after_seconds)

    def submit(self, request: schemas.TriggerRequest, header: str) -> tuple[Job, bool]:
        """The job that stands for the request's key, and whether it was there before."""
        key = _key(request, header)
        given = request.model_dump(exclude_unset=True)
        payload = {name: value for name, value in given.items() if name not in schemas.IDENTITY_FIELDS}
        try:
            size = len(canonical_json(payload))
        except ValueError as error:
            raise ProblemError(400, "invalid-request", f"the body is not strict JSON: {error}") from error
        if size > self._config.max_request_bytes:
            detail = f"the request takes {size} bytes, the limit is {self._config.max_request_bytes}"
            raise ProblemError(413, "too-large", f"{detail}; pass large input by URI")
        try:
            pipeline = self._config.pipeline_for(request.model_type, request.pipeline)
        except LookupError as error:
            raise ProblemError(400, "unknown-pipeline", str(error)) from error
        submission = Submission(
            key=key,
            owner=request.owner or "",
            epoch=request.epoch or 0,
            digest=request.digest or "",
            payload_digest=payload_digest(payload),
            submission_id=request.submission_id or "",
            replay_only=request.key is None,
            pipeline=pipeline,
            payload=payload,
            at=utc_now(),
        )
        try:
            job, attached = self._store.submit(submission)
        except ConflictError as error:
            raise ProblemError(422, "key-reused", str(error)) from error
        self._runner.wake()
        return job, attached

    def get(self, job_id: str) -> Job:
        """One job."""
        try:
            return self._store.get(job_id)
        except UnknownJobError:
            raise _unknown(job_id) from None

    def get_many(self, job_ids: list[str]) -> list[Job]:
        """Those that exist."""
        return self._store.get_many(set(job_ids))

    def describe(self, job: Job) -> schemas.JobStatus:
        """A job as callers see it."""
        return schemas.JobStatus(
            job_id=job.job_id,
            key=job.key,
            generation=job.generation,
            status=job.status.value,
            exit_code=job.exit_code,
            reason=job.reason,
            pipeline=job.pipeline,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            acknowledged=job.acknowledged_at is not None,
            log_size=self._runner.folder(job.job_id).log_size(),
            links=_links(job),
        )

    def logs(self, job_id: str, offset: int, limit: int) -> schemas.LogAnswer:
        """A piece of log."""
        complete = self.get(job_id).status.is_terminal  # asked first: what is complete then grows no more
        folder = self._runner.folder(job_id)
        text, next_offset = folder.read_log(offset, limit, complete=complete)
        size = folder.log_size()
        return schemas.LogAnswer(
            text=text,
            offset=offset,
            next_offset=next_offset,
            size=size,
            complete=complete and next_offset >= size,
        )

    def result(self, job_id: str) -> dict[str, Any]:
        """What the training reported."""
        job = self.get(job_id)
        if job.status is not Status.SUCCEEDED:
            detail = f"job {job_id} is {job.status.value}; only a succeeded training has a result"
            raise ProblemError(409, "no-result", detail)
        try:
            return self._runner.folder(job_id).read_result()
        except UnreadableResultError as error:
            raise ProblemError(422, "invalid-result", str(error)) from error

    def cancel(self, job_id: str, request: schemas.CancelRequest) -> Job:
        """Stop a job."""
        try:
            job = self._store.cancel(job_id, request.owner, request.reason, utc_now())
        except UnknownJobError:
            raise _unknown(job_id) from None
        except NotOwnerError as error:
            raise ProblemError(409, "not-owner", str(error)) from error
        self._runner.wake()
        return job

    def acknowledge(self, job_id: str, owner: str) -> Job:
        """Record that the result was returned."""
        try:
            return self._store.acknowledge(job_id, owner, utc_now())
        except UnknownJobError:
            raise _unknown(job_id) from None
        except NotOwnerError as error:
            raise ProblemError(409, "not-owner", str(error)) from error
        except NotSucceededError as error:
            raise ProblemError(409, "no-result", str(error)) from error


def _key(request: schemas.TriggerRequest, header: str) -> str:
    # The draft of the header makes it a quoted string; most callers send it bare.
    bare = header.strip()
    key = bare[1:-1] if len(bare) >= 2 and bare[0] == bare[-1] == '"' else bare
    if not key:
        detail = "the header Idempotency-Key is missing: send one value per training, the same in every retry"
        raise ProblemError(400, "idempotency-key-missing", detail)
    if not _KEY.fullmatch(key):
        raise ProblemError(
            400, "invalid-request", "Idempotency-Key is not 1 to 200 printable ASCII characters"
        )
    if request.key is None:
        return key
    if request.key != key:
        raise ProblemError(400, "invalid-request", f"Idempotency-Key {key!r} and key {request.key!r} differ")
    if request.owner is None or request.epoch is None:
        raise ProblemError(400, "invalid-request", "key comes with owner and epoch")
    return key


def _unknown(job_id: str) -> ProblemError:
    return ProblemError(404, "unknown-job", f"there is no job {job_id}")


def _links(job: Job) -> schemas.Links:
    path = f"{PREFIX}/{job.job_id}"
    return schemas.Links.model_validate(
        {
            "self": path,
            **{name: f"{path}/{name}" for name in ("logs", "result", "cancel", "acknowledge")},
        }
    )
