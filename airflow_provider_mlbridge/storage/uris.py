# SPDX-License-Identifier: Apache-2.0
"""URIs of datasets: ``s3://bucket/key``, ``file:///path``, an absolute path, or a table of Iceberg."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from airflow_provider_mlbridge.exceptions import ConfigurationError

URI_LIMIT_BYTES = 400
"""The longest URI of a dataset; results name up to three of them and stay under 2 kB."""

_TABLE = re.compile(
    r"iceberg://(?P<catalog>[^/?#]+)/(?P<table>[^/?#]+)(?:\?snapshot_id=(?P<snapshot>-?\d{1,19}))?"
)


@dataclass(frozen=True)
class TableName:
    """
    What an ``iceberg://`` URI names.

    :param catalog: name of the catalog in pyiceberg's own configuration.
    :param identifier: the namespace's parts, then the table.
    :param snapshot_id: the snapshot to read; the current one when None.
    """

    catalog: str
    identifier: tuple[str, ...]
    snapshot_id: int | None


def check_uri(uri: object, *, argument: str = "uri", tables: bool = False) -> str:
    """
    Return ``uri`` when its scheme is one that can be read and its parts are there.

    :param argument: name of the user's argument, for the message.
    :param tables: whether ``iceberg://`` URIs are valid, which name a table in a catalog.
    :raises ConfigurationError: otherwise, naming what was given and what is valid.
    """
    valid = "valid are s3://bucket/key, file:///path and an absolute path"
    if tables:
        valid += ", and iceberg://catalog/namespace.table for a table of Iceberg"
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
    if uri.startswith(("s3a://", "s3n://")):
        raise ConfigurationError(
            f"{argument}={uri!r} has the scheme of Hadoop's connectors; write s3://{uri.split('://', 1)[1]}"
        )
    if tables and uri.startswith("iceberg://"):
        table_name(uri, argument=argument)
        return uri
    raise ConfigurationError(f"{argument}={uri!r} is not a URI this provider can read; {valid}")


def table_name(uri: str, *, argument: str = "uri") -> TableName:
    """
    Catalog and table of an ``iceberg://`` URI.

    :raises ConfigurationError: when a part is missing or there is one too many.
    """
    match = _TABLE.fullmatch(uri)
    parts = tuple(unquote(match["table"]).split(".")) if match else ()
    if match is None or len(parts) < 2 or not all(parts):
        raise ConfigurationError(
            f"{argument}={uri!r} names no table of Iceberg; valid is iceberg://catalog/namespace.table, with "
            f"?snapshot_id=123 behind it to read an older snapshot"
        )
    snapshot_id = match["snapshot"]
    return TableName(unquote(match["catalog"]), parts, None if snapshot_id is None else int(snapshot_id))


def is_table(uri: str) -> bool:
    """Whether a URI names a table of Iceberg: by its catalog, or by its metadata file."""
    return uri.startswith("iceberg://") or uri.endswith(".metadata.json")


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` URI. Keys are taken as they are: S3 has no escapes in this notation."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def local_path(uri: str) -> Path:
    """Path of a ``file://`` URI or of a plain absolute path."""
    if uri.startswith("file://"):
        return Path(unquote(uri.removeprefix("file://")))
    return Path(uri)


def stored_path(root: str, path: str) -> str:
    """The path of a file below ``root`` as the store knows it, without the escapes of ``file://`` URIs."""
    return unquote(path) if root.startswith("file://") else path


def pattern_hint(uri: str) -> str:
    """
    What to write instead of a pattern, for a URI that names nothing; empty when it looks like none.

    The letters of patterns are valid in names, so that only what is not there is taken for one.
    """
    match = re.search(r"[*?\[]", uri)
    if match is None:
        return ""
    above = uri[: uri.rfind("/", 0, match.start()) + 1]
    return (
        f". Patterns are not expanded: give the prefix, such as {above}, below which every Parquet file is "
        f"read, and choose among its hive partitions with partitions="
    )


def as_prefix(uri: str) -> str:
    """``uri`` with exactly one slash at its end."""
    return uri.rstrip("/") + "/"


def join(prefix: str, name: str) -> str:
    """URI of ``name`` below ``prefix``."""
    return as_prefix(prefix) + name
