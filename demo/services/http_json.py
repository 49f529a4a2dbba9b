# SPDX-License-Identifier: Apache-2.0
"""JSON over HTTP on loopback, with the standard library only and past any proxy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HttpError(RuntimeError):
    """
    The server answered with an error, or not at all.

    :param status: HTTP status; 0 when there was no answer.
    :param detail: what the body says.
    """

    def __init__(self, request: str, status: int, detail: str) -> None:
        super().__init__(f"{request}: {status or 'no answer'}: {detail[:2000]}")
        self.status = status
        self.detail = detail


def call(
    method: str,
    url: str,
    *,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> Any:
    """
    Send a request and read the JSON answer; None when it is empty.

    :param body: anything that is JSON; no body when None.
    :param timeout: seconds.
    :raises HttpError: for a status of 400 or more, an unreadable answer and a broken connection.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url,
        data=data,
        method=method,
        headers={"Accept": "application/json", "Content-Type": "application/json", **(headers or {})},
    )
    name = f"{method} {url}"
    try:
        with _OPENER.open(request, timeout=timeout) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        with error:
            detail = error.read().decode(errors="replace")
        raise HttpError(name, error.code, detail) from None
    except OSError as error:  # also URLError, time-outs and connections cut short
        raise HttpError(name, 0, str(error)) from None
    try:
        return json.loads(text) if text else None
    except ValueError:
        raise HttpError(name, 0, f"not JSON: {text[:200]!r}") from None
