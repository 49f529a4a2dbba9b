# SPDX-License-Identifier: Apache-2.0
"""Reads one published feature set, and refuses anything but exactly the one that was asked for."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEATURES_FILE = "features.parquet"
VERSION = re.compile(r"\d{8}T\d{6}Z-[^/]+")
"""Names of versions; nothing else is followed."""


class FeatureSetError(RuntimeError):
    """The features cannot be used; the message says what was found where."""


@dataclass(frozen=True)
class Split:
    """Rows of one split: features as doubles (nulls are NaN), labels as 0 and 1."""

    features: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class LoadedFeatures:
    """
    A feature set in memory.

    :param names: feature columns in order.
    :param label: name of the label column.
    :param splits: split name to its rows.
    """

    names: list[str]
    label: str
    splits: dict[str, Split]


def load_features(uri: str, fingerprint: str, scratch: Path) -> LoadedFeatures:
    """
    Download a feature-set version and check it.

    A partitioned feature set is a file for each partition, most of them written by earlier versions.

    :param uri: prefix of the version, ``s3://...`` or ``file://...``. For S3 the credentials and the endpoint
        are those of this host: environment or AWS configuration files.
    :param fingerprint: what the manifest must say.
    :param scratch: folder for the download.
    :raises FeatureSetError: when the manifest is missing or names another fingerprint, a file is not the one
        of the manifest, or there is no label, no training split or no numeric feature.
    """
    manifest = _manifest(uri)
    if manifest.get("fingerprint") != fingerprint:
        raise FeatureSetError(
            f"{uri} has the fingerprint {manifest.get('fingerprint')!r}, but the training was asked for with "
            f"{fingerprint!r}: these are not the features that were meant"
        )
    entries = [entry for entry in manifest["files"] if f"/{entry['name']}".endswith(f"/{FEATURES_FILE}")]
    if not entries:
        names = sorted(entry["name"] for entry in manifest["files"])
        raise FeatureSetError(f"the manifest of {uri} names {names}, and no {FEATURES_FILE}")
    paths = []
    for number, entry in enumerate(sorted(entries, key=lambda entry: str(entry["name"]))):
        where, path = _place_of(uri, entry), scratch / f"{number}.parquet"
        _download(where, path)
        digest = _sha256(path)
        if digest != entry["sha256"]:
            raise FeatureSetError(
                f"{where} has the sha256 {digest}, its manifest says {entry['sha256']}: it was replaced or "
                f"cut short"
            )
        paths.append(path)
    return _read(paths, manifest["details"])


def _place_of(uri: str, entry: dict[str, Any]) -> str:
    """Where a file is: below the version, or below the one that wrote it, when that was another."""
    version = entry.get("version")
    if version is None:
        return _join(uri, entry["name"])
    if not VERSION.fullmatch(str(version)):
        raise FeatureSetError(f"the manifest of {uri} lists {entry['name']!r} as of {version!r}, no version")
    return _join(uri.rstrip("/").rsplit("/", 1)[0], f"{version}/{entry['name']}")


def _read(paths: list[Path], details: dict[str, Any]) -> LoadedFeatures:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    label, names, split_column = details.get("label"), details["features"], details["split_column"]
    if not label:
        raise FeatureSetError("the feature set has no label, so there is nothing to learn")
    columns = [*names, label, split_column]
    table = pa.concat_tables([pq.read_table(path, columns=columns) for path in paths])
    for name in names:
        kind = table.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            raise FeatureSetError(
                f"feature {name!r} is {kind}; this program needs numbers: encode it in the recipe"
            )
    table = table.filter(pc.is_valid(table[label]))
    splits = {
        name: _split(table.filter(pc.equal(table[split_column], name)), names, label)
        for name in sorted(value for value in pc.unique(table[split_column]).to_pylist() if value)
    }
    for name in ("train", "test"):
        if name not in splits or len(set(splits[name].labels.tolist())) < 2:
            raise FeatureSetError(
                f"the split {name!r} must have rows of both classes; the splits are "
                f"{ {key: len(value.labels) for key, value in splits.items()} }"
            )
    return LoadedFeatures(names=list(names), label=label, splits=splits)


def _split(table: Any, names: list[str], label: str) -> Split:
    import numpy as np

    columns = [table[name].cast("float64").to_numpy(zero_copy_only=False) for name in names]
    labels = table[label].cast("int64").to_numpy()
    unknown = sorted(set(np.unique(labels).tolist()) - {0, 1})
    if unknown:
        raise FeatureSetError(f"the label {label!r} must be 0 or 1 (or boolean), found {unknown[:5]}")
    return Split(features=np.column_stack(columns), labels=labels)


def _manifest(uri: str) -> dict[str, Any]:
    where = _join(uri, "manifest.json")
    try:
        document = json.loads(_bytes(where))
    except ValueError as error:
        raise FeatureSetError(f"{where} is not JSON: {error}") from None
    if not isinstance(document, dict) or not {"fingerprint", "files", "details"} <= document.keys():
        raise FeatureSetError(f"{where} is no manifest of a feature set")
    return document


def _join(uri: str, name: str) -> str:
    return f"{uri.rstrip('/')}/{name}"


def _place(uri: str) -> tuple[str, str]:
    """Bucket and key, or an empty bucket and a path."""
    parts = urlsplit(uri)
    if parts.scheme == "s3" and parts.netloc:
        return parts.netloc, parts.path.lstrip("/")
    if parts.scheme == "file":
        return "", unquote(parts.path)
    raise FeatureSetError(f"cannot read {uri!r}: it must be an s3:// or file:// URI")


def _bytes(uri: str) -> bytes:
    bucket, key = _place(uri)
    if not bucket:
        try:
            return Path(key).read_bytes()
        except OSError as error:
            raise FeatureSetError(f"{uri}: {error.strerror}") from None
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        data: bytes = _client().get_object(Bucket=bucket, Key=key)["Body"].read()
    except (BotoCoreError, ClientError) as error:
        raise FeatureSetError(f"{uri}: {error}") from None
    return data


def _download(uri: str, path: Path) -> None:
    bucket, key = _place(uri)
    if not bucket:
        path.write_bytes(_bytes(uri))
        return
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        _client().download_file(bucket, key, str(path))
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise FeatureSetError(f"{uri}: {error}") from None


def _client() -> Any:
    import boto3

    return boto3.session.Session().client("s3")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
