# SPDX-License-Identifier: Apache-2.0
"""Datamarts that are tables of Iceberg: pinned by their snapshot, read without the rows that were deleted."""
