# SPDX-License-Identifier: Apache-2.0
"""The HTTP contract."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from mlbridge_training_service import __version__, schemas
from mlbridge_training_service.config import ServiceConfig
from mlbridge_training_service.metrics import CONTENT_TYPE
from mlbridge_training_service.problems import BodyLimit, ProblemError, install
from mlbridge_training_service.service import PREFIX, Service, links_of

REPLAYED_HEADER = "Idempotent-Replayed"

_LOG_LIMIT_BYTES = 1024 * 1024
_BATCH_LIMIT_BYTES = 512 * 1024
_PROBLEM: dict[str, Any] = {"model": schemas.Problem, "content": {"application/problem+json": {}}}

JobId = Annotated[str, Path(pattern="^[0-9a-f]{1,64}$")]


def build_app(service: Service) -> FastAPI:
    """The application; it starts and stops the service."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

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
    # A question about many jobs is larger than a request may be, whose own limit is looked at again.
    app.add_middleware(BodyLimit, limit=max(service.config.max_request_bytes, _BATCH_LIMIT_BYTES))
    authenticate = _authenticator(service.config)

    @app.get("/health", summary="Whether the service works")
    def health() -> schemas.Health:
        service.check()
        return schemas.Health(status="ok", version=__version__)

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        dependencies=[Depends(authenticate)],
        response_class=PlainTextResponse,
        responses={401: _PROBLEM},
    )
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    app.include_router(_training_routes(service, authenticate))
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


def _training_routes(service: Service, authenticate: Callable[..., None]) -> APIRouter:
    problem = _PROBLEM
    router = APIRouter(
        prefix=PREFIX,
        dependencies=[Depends(authenticate)],
        responses={400: problem, 401: problem},
    )

    @router.post(
        "/trigger",
        status_code=202,
        summary="Start a training, once per key",
        responses={410: problem, 422: problem},
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
            status="triggered", job_id=job.job_id, key=job.key, generation=job.generation, links=links_of(job)
        )

    @router.post("/status:batch", summary="Status of up to 1000 jobs")
    def status_batch(request: schemas.BatchRequest, response: Response) -> schemas.BatchAnswer:
        answer, over = service.batch(request)
        if not over:
            response.headers["Retry-After"] = service.retry_after
        return answer

    @router.get("/{job_id}", summary="Status of a job", responses={404: problem})
    def status(job_id: JobId, response: Response) -> schemas.JobStatus:
        job = service.get(job_id)
        if not job.status.is_terminal:
            response.headers["Retry-After"] = service.retry_after
        return service.describe(job)

    @router.get("/{job_id}/logs", summary="Log from a byte on", responses={404: problem, 421: problem})
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
        responses={404: problem, 409: problem, 421: problem, 422: problem},
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
