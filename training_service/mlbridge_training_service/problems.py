# SPDX-License-Identifier: Apache-2.0
"""Every error as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger(__name__)
_SHOWN = 10
_RETRY_SECONDS = "5"


class ProblemError(Exception):
    """
    An answer that is an error.

    :param status: HTTP status.
    :param kind: last part of the problem's ``type``; part of the contract.
    :param detail: what happened and what to do.
    :param headers: extra response headers.
    :param members: extra members of the document.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers
        self.members = dict(members or {})

    def response(self) -> JSONResponse:
        """The HTTP answer."""
        body = {
            "type": f"urn:mlbridge:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        return JSONResponse(
            body,
            status_code=self.status,
            headers=dict(self.headers or {}),
            media_type="application/problem+json",
        )


def install(app: FastAPI) -> None:
    """Let the application answer every error, its own and the framework's, as a problem."""

    @app.exception_handler(ProblemError)
    async def on_problem(_request: Request, error: ProblemError) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: HTTPException) -> JSONResponse:
        return ProblemError(error.status_code, "http", str(error.detail), headers=error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        # 400, because 422 says in this contract that the key stands for another request.
        return ProblemError(400, "invalid-request", "; ".join(faults[:_SHOWN]) + more).response()

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(PoolTimeout)
    async def on_database(_request: Request, error: Exception) -> JSONResponse:
        _LOG.error("The database does not answer: %s", getattr(error, "orig", None) or error)
        detail = "the database of the service does not answer; nothing was changed by this call, or all of it"
        return ProblemError(503, "database", detail, headers={"Retry-After": _RETRY_SECONDS}).response()

    @app.exception_handler(Exception)
    async def on_bug(_request: Request, error: Exception) -> JSONResponse:
        _LOG.error("Unexpected error", exc_info=error)
        return ProblemError(500, "internal", "unexpected error; see the log of the service").response()


class BodyLimit:
    """
    Refuses request bodies over a limit before they are read into memory.

    :param app: the application behind it.
    :param limit: bytes.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > self._limit:
            await self._refuse(scope, receive, send)
            return
        # Read here, because a refusal in the middle of the application would come out as its error.
        messages: list[Message] = []
        size = 0
        while True:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self._limit:
                await self._refuse(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
        pending = iter(messages)

        async def replay() -> Message:
            return next(pending, None) or await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the request body is larger than {self._limit} bytes; pass large input by URI"
        await ProblemError(413, "too-large", detail).response()(scope, receive, send)
