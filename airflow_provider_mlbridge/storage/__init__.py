# SPDX-License-Identifier: Apache-2.0
"""Datasets in S3 or on disk: pin, read, publish. Knows no Airflow."""

from __future__ import annotations

from airflow_provider_mlbridge.storage.manifest import Manifest, read_manifest
from airflow_provider_mlbridge.storage.opened import opened_snapshot
from airflow_provider_mlbridge.storage.parquet import Footer, read_footers
from airflow_provider_mlbridge.storage.partitions import PartitionColumn, partition_columns
from airflow_provider_mlbridge.storage.publish import Version, publish_version
from airflow_provider_mlbridge.storage.published import Published, find_published
from airflow_provider_mlbridge.storage.schemas import common_schema
from airflow_provider_mlbridge.storage.scratch import local_files
from airflow_provider_mlbridge.storage.selection import PartitionSelector
from airflow_provider_mlbridge.storage.snapshot import earlier_snapshot, pin_snapshot
from airflow_provider_mlbridge.storage.store import ObjectInfo, ObjectStore, open_store

__all__ = [
    "Footer",
    "Manifest",
    "ObjectInfo",
    "ObjectStore",
    "PartitionColumn",
    "PartitionSelector",
    "Published",
    "Version",
    "common_schema",
    "earlier_snapshot",
    "find_published",
    "local_files",
    "open_store",
    "opened_snapshot",
    "partition_columns",
    "pin_snapshot",
    "publish_version",
    "read_footers",
    "read_manifest",
]
