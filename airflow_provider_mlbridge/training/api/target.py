# SPDX-License-Identifier: Apache-2.0
"""Where a training service is, and how to show who asks."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import urlsplit

from airflow_provider_mlbridge.exceptions import ConfigurationError

AuthKind = Literal["none", "bearer", "basic", "api_key"]

_SHORTEST_SECRET = 4


@dataclass(frozen=True)
class APITarget:
    """
    One training service.

    :param base_url: ``http://`` or ``https://`` with host, and port and path prefix where there are such. No
        user, no query.
    :param auth: ``none``; ``bearer`` (``secret`` is the token); ``basic`` (``username`` and ``secret``);
        ``api_key`` (``secret`` in the header ``api_key_header``).
    :param username: for ``basic``.
    :param secret: token, password or key.
    :param api_key_header: for ``api_key``.
    :param verify_tls: False accepts any certificate, and with it anybody in between.
    :param ca_file: PEM file of the authorities to trust instead of the system's.
    :param timeout: seconds for one request with its answer.
    :param headers: more request headers; they may hold secrets and are not shown.
    :param name: what messages call the service, for example its Airflow connection; the URL when None.
    :raises ConfigurationError: naming the field that is wrong.
    """

    base_url: str
    auth: AuthKind = "none"
    username: str | None = None
    secret: str | None = field(default=None, repr=False)
    api_key_header: str = "X-API-Key"
    verify_tls: bool = True
    ca_file: str | None = None
    timeout: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    name: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if "@" in parts.netloc:
            # The URL itself is shown in messages, so it is not repeated here.
            raise ConfigurationError(
                "base_url holds a user or password; give them as username and secret, with auth='basic'"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"base_url={self.base_url!r} is not http(s)://host[:port][/path]")
        if parts.query or parts.fragment:
            raise ConfigurationError(f"base_url={self.base_url!r} must have neither query nor fragment")
        if self.auth not in get_args(AuthKind):
            raise ConfigurationError(f"auth={self.auth!r} is not one of {', '.join(get_args(AuthKind))}")
        if self.auth != "none" and not self.secret:
            raise ConfigurationError(f"auth={self.auth!r} for {self.base_url} needs a secret")
        if self.auth == "basic" and not self.username:
            raise ConfigurationError(f"auth='basic' for {self.base_url} needs a username")
        if self.timeout <= 0:
            raise ConfigurationError(f"timeout={self.timeout!r} must be more than 0 seconds")

    @property
    def label(self) -> str:
        """The service in a message."""
        return f"{self.name!r} ({self.base_url})" if self.name else self.base_url

    def request_headers(self) -> dict[str, str]:
        """Headers of every request, with the credentials."""
        headers = dict(self.headers)
        secret = self.secret or ""
        if self.auth == "bearer":
            headers["Authorization"] = f"Bearer {secret}"
        elif self.auth == "basic":
            pair = base64.b64encode(f"{self.username}:{secret}".encode()).decode("ascii")
            headers["Authorization"] = f"Basic {pair}"
        elif self.auth == "api_key":
            headers[self.api_key_header] = secret
        return headers

    def redact(self, text: str) -> str:
        """``text`` without the credentials, should the service repeat them."""
        secrets = [self.secret or "", *self.headers.values()]
        authorization = self.request_headers().get("Authorization", "")
        secrets.append(authorization.partition(" ")[2])
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text
