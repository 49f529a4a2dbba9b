# SPDX-License-Identifier: Apache-2.0
"""Datasets in S3, through boto3."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import (
    DatasetNotFoundError,
    PublishConflictError,
    SnapshotChangedError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
)
from airflow_provider_mlbridge.storage.disk import scratch_errors
from airflow_provider_mlbridge.storage.store import ConditionalWriteUnsupportedError, ObjectInfo
from airflow_provider_mlbridge.storage.uris import split_s3

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

_REFUSED = frozenset(
    {
        "403",
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
_PART_BYTES = 8 * 1024 * 1024
_PARALLEL_PARTS = 8
_BODY_ATTEMPTS = 3
_MISSING = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchVersion"})


class S3Store:
    """
    Objects below ``s3://`` URIs.

    :param client: boto3 S3 client; made from boto3's default session at the first use when None.
    """

    def __init__(self, client: S3Client | None = None) -> None:
        self._given = client

    @property
    def _client(self) -> S3Client:
        if self._given is None:
            import boto3

            self._given = boto3.client("s3")
        return self._given

    def list(self, prefix_uri: str) -> Iterator[ObjectInfo]:
        """All objects below the prefix, in S3's own order, which is that of the keys' UTF-8 bytes."""
        bucket, prefix = split_s3(prefix_uri)
        with _errors(prefix_uri):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            for page in pages:
                for item in page.get("Contents", ()):
                    yield _listed(bucket, item)

    def level(self, prefix_uri: str) -> tuple[Sequence[str], Sequence[ObjectInfo]]:
        """The folders and the objects directly below the prefix."""
        bucket, prefix = split_s3(prefix_uri)
        folders: list[str] = []
        objects: list[ObjectInfo] = []
        with _errors(prefix_uri):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, Delimiter="/"
            )
            for page in pages:
                folders += [f"s3://{bucket}/{item['Prefix']}" for item in page.get("CommonPrefixes", ())]
                objects += [_listed(bucket, item) for item in page.get("Contents", ())]
        return folders, objects

    def head(self, uri: str) -> ObjectInfo | None:
        """The object, or None when there is none."""
        bucket, key = split_s3(uri)
        from botocore.exceptions import ClientError

        try:
            with _errors(uri):
                try:
                    answer = self._client.head_object(Bucket=bucket, Key=key)
                except ClientError as error:
                    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 400:
                        # An answer to HEAD has no body to say that the token has expired; one to GET has.
                        self._client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")
                    raise
        except DatasetNotFoundError:
            return None
        return ObjectInfo(
            uri,
            answer["ContentLength"],
            answer["ETag"].strip('"'),
            answer.get("VersionId"),
            answer["LastModified"],
        )

    def read(
        self,
        uri: str,
        *,
        etag: str | None = None,
        version_id: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        """Bytes of the object, by one GET with ``Range`` and ``If-Match``; again when its body breaks off."""
        from botocore.exceptions import BotoCoreError

        bucket, key = split_s3(uri)
        options: dict[str, Any] = {}
        if etag is not None:
            options["IfMatch"] = f'"{etag}"'
        if version_id is not None:
            options["VersionId"] = version_id
        if length is not None:
            options["Range"] = f"bytes={start}-{start + length - 1}"
        elif start:
            options["Range"] = f"bytes={start}-"
        with _errors(uri, etag=etag):
            # boto3 repeats a request that fails, but not the reading of a body that breaks off.
            for _ in range(_BODY_ATTEMPTS - 1):
                body = self._client.get_object(Bucket=bucket, Key=key, **options)["Body"]
                try:
                    return body.read()
                except BotoCoreError:
                    body.close()
            return self._client.get_object(Bucket=bucket, Key=key, **options)["Body"].read()

    def download(self, uri: str, path: Path, *, size: int, etag: str, version_id: str | None = None) -> None:
        """
        Parallel ranged GETs, every one with ``If-Match``, into ``path``.

        boto3's own ``download_file`` asks with ``If-Match`` for large objects only, and with the ETag of its
        own first answer under ``response_checksum_validation=when_required``; a pin must hold for every byte.
        """
        from concurrent.futures import ThreadPoolExecutor

        with scratch_errors(uri, path), path.open("wb") as file:
            file.truncate(size)

            def fetch(start: int) -> None:
                length = min(_PART_BYTES, size - start)
                data = self._read_part(uri, etag=etag, version_id=version_id, start=start, length=length)
                os.pwrite(file.fileno(), data, start)

            with ThreadPoolExecutor(max_workers=_PARALLEL_PARTS) as pool:
                for _ in pool.map(fetch, range(0, size, _PART_BYTES)):
                    pass

    def _read_part(self, uri: str, *, etag: str, version_id: str | None, start: int, length: int) -> bytes:
        for _ in range(_BODY_ATTEMPTS):
            data = self.read(uri, etag=etag, version_id=version_id, start=start, length=length)
            if len(data) == length:
                return data
        raise StorageUnavailableError(
            f"{uri}: the store sent {len(data)} of the {length} bytes from {start} on, {_BODY_ATTEMPTS} times"
        )

    def put(
        self,
        uri: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """One PUT, with ``If-None-Match: *`` or ``If-Match`` when a condition is asked for."""
        bucket, key = split_s3(uri)
        options: dict[str, Any] = {}
        if if_absent:
            options["IfNoneMatch"] = "*"
        if if_match is not None:
            options["IfMatch"] = f'"{if_match}"'
        with _errors(uri, conditional=bool(options)):
            self._client.put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type, **options)
        return self._stored(uri)

    def upload(self, path: Path, uri: str, *, content_type: str = "application/octet-stream") -> ObjectInfo:
        """Upload a file, multipart when it is large."""
        bucket, key = split_s3(uri)
        with _errors(uri):
            self._client.upload_file(str(path), bucket, key, ExtraArgs={"ContentType": content_type})
        return self._stored(uri)

    def copy(self, source_uri: str, target_uri: str) -> ObjectInfo:
        """Server-side copy, multipart above 5 GiB."""
        source_bucket, source_key = split_s3(source_uri)
        bucket, key = split_s3(target_uri)
        with _errors(target_uri):
            self._client.copy({"Bucket": source_bucket, "Key": source_key}, bucket, key)
        return self._stored(target_uri)

    def delete(self, uris: Iterable[str]) -> None:
        """Delete in batches of a thousand, S3's own limit."""
        for batch in _batches(uris, 1000):
            bucket = split_s3(batch[0])[0]
            with _errors(batch[0]):
                answer = self._client.delete_objects(
                    Bucket=bucket,
                    Delete={"Objects": [{"Key": split_s3(uri)[1]} for uri in batch], "Quiet": True},
                )
            failures = answer.get("Errors", [])
            if failures:
                first = failures[0]
                raise StorageAccessError(
                    f"{len(failures)} of {len(batch)} objects below {batch[0]} could not be deleted; first: "
                    f"{first.get('Key')}: {first.get('Code')} {first.get('Message')}"
                )

    def delete_below(self, prefix_uri: str) -> None:
        """Delete all objects below the prefix."""
        self.delete([info.uri for info in self.list(prefix_uri)])

    def _stored(self, uri: str) -> ObjectInfo:
        info = self.head(uri)
        if info is None:
            raise StorageError(
                f"{uri} was written but is not there: does something delete behind the writer?"
            )
        return info


def _listed(bucket: str, item: ObjectTypeDef) -> ObjectInfo:
    return ObjectInfo(
        f"s3://{bucket}/{item['Key']}", item["Size"], item["ETag"].strip('"'), None, item["LastModified"]
    )


def _batches(uris: Iterable[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for uri in uris:
        batch.append(uri)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _errors(uri: str, *, etag: str | None = None, conditional: bool = False) -> Iterator[None]:
    """Translate boto3's errors; the caller says whether the request was pinned or conditional."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except ClientError as error:
        raise _translated(uri, error, etag=etag, conditional=conditional) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageAccessError(
            f"{uri}: no usable AWS credentials ({error}). Set them in the Airflow connection named by "
            f"aws_conn_id, or give the worker a role."
        ) from error
    except (BotoCoreError, Boto3Error) as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ClientError):
            raise _translated(uri, cause, etag=etag, conditional=conditional) from error
        raise StorageUnavailableError(
            f"{uri}: the store did not answer properly ({_one_line(error)})"
        ) from error


def _translated(uri: str, error: ClientError, *, etag: str | None, conditional: bool) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = _one_line(error)
    if code == "NoSuchBucket":
        return DatasetNotFoundError(f"{uri}: the bucket {split_s3(uri)[0]!r} does not exist")
    if code in _MISSING or status == 404:
        if etag is not None:
            return SnapshotChangedError(f"{uri} was removed after it was pinned (ETag {etag})")
        return DatasetNotFoundError(f"{uri} does not exist")
    if code in _REFUSED or status in (401, 403):
        return StorageAccessError(f"{uri}: access refused ({text}). Check credentials, region and policy.")
    if status == 412:
        if etag is not None:
            return SnapshotChangedError(
                f"{uri} was replaced since it was pinned (ETag {etag} then). Run the chain again from its "
                f"first task."
            )
        return PublishConflictError(f"{uri} was written by another writer in the meantime")
    if status == 409:
        return PublishConflictError(f"{uri} is being written by another writer at this moment ({text})")
    if conditional and status == 501:
        return ConditionalWriteUnsupportedError(text)
    if status >= 500 or code in ("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"):
        return StorageUnavailableError(f"{uri}: the store answered {status} {code} ({text})")
    return StorageError(f"{uri}: {text}")


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))
