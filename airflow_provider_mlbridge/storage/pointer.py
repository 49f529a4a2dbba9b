# SPDX-License-Identifier: Apache-2.0
"""Replace the pointer to the current version, unless another writer was first."""

from __future__ import annotations

import logging

from airflow_provider_mlbridge.exceptions import PublishConflictError
from airflow_provider_mlbridge.storage.manifest import POINTER_NAME, Pointer, read_pointer
from airflow_provider_mlbridge.storage.store import ConditionalWriteUnsupportedError, ObjectStore

log = logging.getLogger(__name__)


def replace_pointer(
    uri: str, body: bytes, previous: Pointer | None, store: ObjectStore, *, conditional: bool
) -> None:
    """
    Write the pointer, on condition that it is still the one that was read.

    :param previous: what was read; None when there was none.
    :param conditional: whether the store keeps to conditions, see :func:`honours_conditions`.
    :raises PublishConflictError: when another writer has replaced it.
    """
    try:
        if not conditional:
            raise ConditionalWriteUnsupportedError("a PUT with If-None-Match was not kept to")
        store.put(
            uri,
            body,
            content_type="application/json",
            if_absent=previous is None,
            if_match=None if previous is None else previous.etag,
        )
    except ConditionalWriteUnsupportedError as unsupported:
        # All that is left is to look before the leap. Two writers within that moment both succeed, and the
        # later one is current; both versions are whole.
        log.warning(
            "%s: this store does not honour conditional writes (%s); two writers at the same moment cannot "
            "be told apart here. Let only one task publish to this prefix.",
            uri,
            unsupported,
        )
        current = read_pointer(uri.removesuffix(POINTER_NAME), store)
        if (current and current.etag) != (previous and previous.etag):
            raise PublishConflictError(f"{uri} was replaced by another writer in the meantime") from None
        store.put(uri, body, content_type="application/json")


def honours_conditions(uri: str, body: bytes, store: ObjectStore) -> bool:
    """
    Probe on an object of one's own: a store that honours ``If-None-Match: *`` must refuse this PUT.

    Some stores know no such header, and say so; others overwrite the object all the same.

    :param uri: an object that exists.
    :param body: what it holds.
    """
    try:
        store.put(uri, body, content_type="application/json", if_absent=True)
    except PublishConflictError:
        return True
    except ConditionalWriteUnsupportedError as unsupported:
        log.info("%s: %s", uri, unsupported)
    return False
