# SPDX-License-Identifier: Apache-2.0
"""One HTTP session to one training service: bounded, patient, and suspicious of what comes back."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendProtocolError,
    BackendUnreachableError,
    ConfigurationError,
)
from airflow_provider_mlbridge.training.api.target import APITarget

if TYPE_CHECKING:
    import ssl

    import aiohttp

ANSWER_LIMIT_BYTES = 8 * 1024 * 1024
"""The largest answer that is read; a batch of 500 statuses takes about 400 kB."""

STILL_CREATING = "still-being-created"
"""Last part of the problem type that asks to repeat a submission, with status 409."""

_SHOWN_BYTES = 200
_SHOWN_CHARACTERS = 500
_PASSING = frozenset({408, 425, 429})
# What asking again cannot mend: not implemented, HTTP version, network login. Any other status from 500 on
# may pass, also those that proxies made up (520 to 529).
_LASTING = frozenset({501, 505, 511})
# The service says that it has done nothing yet, so even a submission may be sent again.
_NOT_DONE = frozenset({425, 429})


@dataclass(frozen=True)
class RetryPolicy:
    """
    How often and how patiently a call that failed in passing is repeated.

    :param attempts: calls in all.
    :param first_delay: seconds before the first repetition; doubled each time, with jitter.
    :param longest_delay: seconds; a service that asks for more with ``Retry-After`` is not waited for.
    """

    attempts: int = 4
    first_delay: float = 0.5
    longest_delay: float = 30.0


@dataclass(frozen=True)
class Answer:
    """
    A JSON answer.

    :param status: HTTP status, below 500.
    :param headers: response headers, names in lower case.
    :param body: the JSON, or None when the answer had no content.
    """

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def ok(self) -> bool:
        """Whether the service did as asked."""
        return 200 <= self.status < 300

    @property
    def problem(self) -> str:
        """Last part of the problem's type, for example ``not-owner``; empty when there is none."""
        kind = self.body.get("type") if isinstance(self.body, Mapping) else None
        return str(kind).rpartition(":")[2] if isinstance(kind, str) else ""

    @property
    def retry_after(self) -> float | None:
        """Seconds that the service asks to wait."""
        return parse_retry_after(self.headers.get("retry-after"))


class _PassingFaultError(Exception):
    """The call failed in a way that another try may not."""

    def __init__(self, what: str, *, sent: bool, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.sent = sent
        self.retry_after = retry_after


class APIClient:
    """
    Calls to one service.

    :param target: the service.
    :param retry: see :class:`RetryPolicy`.
    """

    def __init__(self, target: APITarget, retry: RetryPolicy) -> None:
        self._target = target
        self._retry = retry
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Release the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """
        One call, repeated while it fails in passing.

        :param repeatable: whether the call may be sent again when the service may already have acted on it.
        :return: an answer below 500 that is not a refusal of the credentials; the caller judges it.
        :raises BackendUnreachableError: when no repetition helped.
        :raises BackendAuthenticationError: for 401 and 403.
        :raises BackendProtocolError: for a redirect, an answer that is not JSON, or one that is too large.
        """
        what = f"{method} {path} of the training service {self._target.label}"
        delay = self._retry.first_delay
        for attempt in range(1, self._retry.attempts + 1):
            try:
                return await self._call_once(what, method, path, body, query, headers or {})
            except _PassingFaultError as fault:
                text = f"{what} failed: {fault}"
                if fault.sent and not repeatable:
                    raise BackendUnreachableError(
                        f"{text}. It is unknown whether the service acted on it, and it cannot tell a "
                        f"repetition from a new request: look at the service before you try again."
                    ) from fault
                pause = max(delay, fault.retry_after or 0.0) * random.uniform(1.0, 1.25)  # noqa: S311
                if (fault.retry_after or 0.0) > self._retry.longest_delay:
                    raise BackendUnreachableError(
                        f"{text}; it asks to wait {fault.retry_after:g} s, more than the "
                        f"{self._retry.longest_delay:g} s that one call waits"
                    ) from fault
                if attempt == self._retry.attempts:
                    raise BackendUnreachableError(f"{text}, {attempt} times in a row") from fault
                await asyncio.sleep(min(pause, self._retry.longest_delay))
                delay *= 2
        raise BackendUnreachableError(f"{what}: no attempt allowed")

    async def _call_once(
        self,
        what: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> Answer:
        import aiohttp
        from yarl import URL

        url = URL(self._target.base_url.rstrip("/") + path, encoded=True)
        session = self._open()
        try:
            async with session.request(
                method,
                url.update_query(query) if query else url,
                data=None if body is None else json.dumps(body, allow_nan=False).encode(),
                headers={"Content-Type": "application/json", **headers}
                if body is not None
                else dict(headers),
                # A redirect could take the credentials, and the request, to another host.
                allow_redirects=False,
            ) as response:
                content = await _read_limited(response, what)
        except aiohttp.ClientConnectorCertificateError as error:
            raise BackendAuthenticationError(
                f"{what}: its TLS certificate is not trusted ({error.certificate_error}). Give the PEM file "
                f"of its authority as ca_file"
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise _PassingFaultError(self._target.redact(str(error)), sent=False) from error
        except TimeoutError as error:
            raise _PassingFaultError(f"no answer within {self._target.timeout:g} s", sent=True) from error
        except aiohttp.InvalidURL as error:
            raise ConfigurationError(f"{what}: {error} is not a URL") from error
        except (aiohttp.ClientError, OSError) as error:
            # Cut off in the answer, among others: the service may have acted.
            text = self._target.redact(f"{type(error).__name__}: {error}")
            raise _PassingFaultError(text, sent=True) from error
        # Outside of the block above: some of our own errors are OSErrors too.
        return self._judge(what, response, content)

    def _judge(self, what: str, response: aiohttp.ClientResponse, content: bytes) -> Answer:
        status = response.status
        headers = {name.lower(): value for name, value in response.headers.items()}
        if status in (401, 403):
            raise BackendAuthenticationError(
                f"{what}: refused with HTTP {status} ({self._explain(response.content_type, content)}). It "
                f"was asked with auth={self._target.auth!r}: check the credentials of the connection"
            )
        if 300 <= status < 400:
            location = self._target.redact(headers.get("location", "nowhere"))
            raise BackendProtocolError(
                f"{what}: redirected (HTTP {status}) to {location!r}. Redirects are not followed, because "
                f"they would take the credentials along: put the final address into the connection"
            )
        if status in _PASSING or (status >= 500 and status not in _LASTING):
            explained = self._explain(response.content_type, content)
            raise _PassingFaultError(
                f"HTTP {status} ({explained})",
                sent=status not in _NOT_DONE,
                retry_after=parse_retry_after(headers.get("retry-after")),
            )
        if status >= 500:
            raise BackendProtocolError(
                f"{what}: HTTP {status} ({self._explain(response.content_type, content)})"
            )
        if not content and (status == 204 or status >= 400):
            return Answer(status, headers, None)
        answer = Answer(status, headers, self._parse(what, response, content))
        if status == 409 and answer.problem == STILL_CREATING:
            raise _PassingFaultError(
                "the job is still being created", sent=False, retry_after=answer.retry_after
            )
        return answer

    def _parse(self, what: str, response: aiohttp.ClientResponse, content: bytes) -> Any:
        kind = response.content_type
        if not _is_json(kind):
            raise BackendProtocolError(
                f"{what}: HTTP {response.status} with content type {kind!r}, expected JSON; is this the "
                f"address of a training service? The answer begins with {self._begin(content)}"
            )
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BackendProtocolError(
                f"{what}: HTTP {response.status} with text that is not JSON ({error}); it begins with "
                f"{self._begin(content)}"
            ) from error

    def explain(self, answer: Answer) -> str:
        """What the service says about an error, short and without credentials."""
        body = answer.body
        if isinstance(body, Mapping):
            texts = [str(body[name]) for name in ("title", "detail", "message", "error") if body.get(name)]
            text = ": ".join(texts) or json.dumps(body)
        else:
            text = json.dumps(body)
        return self._short(text)

    def _explain(self, content_type: str, content: bytes) -> str:
        if _is_json(content_type):
            try:
                return self.explain(Answer(0, {}, json.loads(content)))
            except (ValueError, RecursionError):
                pass
        return self._begin(content) if content else "no text"

    def _begin(self, content: bytes) -> str:
        return self._target.redact(repr(content[:_SHOWN_BYTES].decode("utf-8", errors="replace")))

    def _short(self, text: str) -> str:
        printable = "".join(letter if letter.isprintable() else " " for letter in text)
        return self._target.redact(printable)[:_SHOWN_CHARACTERS]

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls()),
                # Sessions of one service must not carry another's cookies, nor need any.
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._target.timeout),
                headers={"Accept": "application/json", **self._target.request_headers()},
            )
        return self._session

    def _tls(self) -> ssl.SSLContext | bool:
        if not self._target.verify_tls:
            return False
        if self._target.ca_file is None:
            return True
        import ssl

        try:
            return ssl.create_default_context(cafile=self._target.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"ca_file={self._target.ca_file!r} is not usable: {error}") from error


async def _read_limited(response: aiohttp.ClientResponse, what: str) -> bytes:
    """The answer's bytes, as unpacked: a small answer may be a large one in a gzip."""
    announced = response.content_length or 0
    chunks: list[bytes] = []
    size = 0
    if announced > ANSWER_LIMIT_BYTES:
        _refuse_size(response, what)
    async for chunk in response.content.iter_chunked(65536):
        size += len(chunk)
        if size > ANSWER_LIMIT_BYTES:
            _refuse_size(response, what)
        chunks.append(chunk)
    return b"".join(chunks)


def _refuse_size(response: aiohttp.ClientResponse, what: str) -> NoReturn:
    response.close()
    raise BackendProtocolError(f"{what}: the answer is larger than {ANSWER_LIMIT_BYTES} bytes")


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or (
        content_type.startswith("application/") and content_type.endswith("+json")
    )


def parse_retry_after(value: str | None) -> float | None:
    """Seconds from a ``Retry-After`` header (a number or an HTTP date); None when it says nothing usable."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
