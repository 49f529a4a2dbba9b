# SPDX-License-Identifier: Apache-2.0
"""What the trigger tells the task when the waiting is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from airflow_provider_mlbridge.exceptions import InvalidEventError
from airflow_provider_mlbridge.training.state import JobRef, JobState, JobStatus

EVENT_VERSION = 2

_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "key": str,
    "generation": int,
    "job_id": str,
    "state": str,
    "exit_code": (int, type(None)),
    "reason": str,
    "started_at": (str, type(None)),
    "finished_at": (str, type(None)),
    "log_offset": int,
    "progress": (str, type(None)),
    "error": (str, type(None)),
}


@dataclass(frozen=True)
class CompletionEvent:
    """
    End of a wait.

    ``state`` is a terminal state, or ``unreachable`` when the wait was given up: the job may then still run.

    :param log_offset: bytes of log that were already shown.
    :param progress: what the training last said of its progress.
    :param error: name of the class of :mod:`~airflow_provider_mlbridge.exceptions` that ended the wait.
    """

    key: str
    generation: int
    job_id: str
    state: str
    exit_code: int | None
    reason: str
    started_at: str | None
    finished_at: str | None
    log_offset: int
    progress: str | None = None
    error: str | None = None
    event_version: int = EVENT_VERSION

    @classmethod
    def of(cls, status: JobStatus, *, log_offset: int, error: Exception | None = None) -> CompletionEvent:
        """The event that tells ``status``."""
        return cls(
            key=status.ref.key,
            generation=status.ref.generation,
            job_id=status.ref.job_id,
            state=status.state.value,
            exit_code=status.exit_code,
            reason=status.reason,
            started_at=status.started_at,
            finished_at=status.finished_at,
            log_offset=log_offset,
            progress=status.progress,
            error=None if error is None else type(error).__name__,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Any) -> CompletionEvent:
        """
        Read an event.

        :raises InvalidEventError: when a field is missing, unknown or of another type, or the state is not
            one that ends a wait.
        """
        names = {item.name for item in fields(cls)}
        if not isinstance(document, dict) or document.keys() != names:
            found = sorted(document) if isinstance(document, dict) else type(document).__name__
            raise InvalidEventError(f"the trigger's event has {found}, expected {sorted(names)}")
        if document["event_version"] != EVENT_VERSION:
            raise InvalidEventError(
                f"the trigger's event has version {document['event_version']!r}, this task reads "
                f"{EVENT_VERSION}: triggerer and worker run different versions of the provider"
            )
        event = cls(**document)
        for name, kinds in _KINDS.items():
            value = document[name]
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise InvalidEventError(f"the trigger's event has {name}={value!r}")
        for name in ("started_at", "finished_at"):
            if document[name] is not None and not _is_aware(document[name]):
                raise InvalidEventError(f"the trigger's event has {name}={document[name]!r}, not a UTC time")
        ending = {state.value for state in JobState if state.is_terminal} | {JobState.UNREACHABLE.value}
        if event.state not in ending:
            raise InvalidEventError(
                f"the trigger's event has state {event.state!r}, expected {sorted(ending)}"
            )
        return event

    @property
    def ref(self) -> JobRef:
        """The job that the event is about."""
        return JobRef(self.key, self.generation, self.job_id)


def _is_aware(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
