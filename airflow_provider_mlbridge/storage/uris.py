# SPDX-License-Identifier: Apache-2.0
"""URIs of datasets: ``s3://bucket/key``, ``file:///path`` or an absolute path."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from airflow_provider_mlbridge.exceptions import ConfigurationError

URI_LIMIT_BYTES = 400
"""The longest URI of a dataset; results name up to three of them and stay under 2 kB."""


def check_uri(uri: object, *, argument: str = "uri") -> str:
    """
    Return ``uri`` when its scheme is one that can be read and its parts are there.

    :param argument: name of the user's argument, for the message.
    :raises ConfigurationError: otherwise, naming what was given and what is valid.
    """
    valid = "valid are s3://bucket/key, file:///path and an absolute path"
    if isinstance(uri, str) and len(uri.encode()) > URI_LIMIT_BYTES:
        raise ConfigurationError(
            f"{argument} has {len(uri.encode())} bytes, at most {URI_LIMIT_BYTES} are possible, since "
            f"results that name it travel in XCom: {uri[:100]}..."
        )
    if not isinstance(uri, str) or not uri:
        raise ConfigurationError(f"{argument} must be a URI, got {uri!r}; {valid}")
    if uri.startswith("s3://"):
        bucket, key = split_s3(uri)
        if not bucket or not key:
            raise ConfigurationError(f"{argument}={uri!r} names no {'key' if bucket else 'bucket'}; {valid}")
        return uri
    if uri.startswith(("file:///", "/")):
        return uri
    raise ConfigurationError(f"{argument}={uri!r} is not a URI this provider can read; {valid}")


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` URI. Keys are taken as they are: S3 has no escapes in this notation."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def local_path(uri: str) -> Path:
    """Path of a ``file://`` URI or of a plain absolute path."""
    if uri.startswith("file://"):
        return Path(unquote(uri.removeprefix("file://")))
    return Path(uri)


def as_prefix(uri: str) -> str:
    """``uri`` with exactly one slash at its end."""
    return uri.rstrip("/") + "/"


def join(prefix: str, name: str) -> str:
    """URI of ``name`` below ``prefix``."""
    return as_prefix(prefix) + name
