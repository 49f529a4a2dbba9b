# SPDX-License-Identifier: Apache-2.0
"""Ask for many jobs in one question, so that one bad answer does not stand for all of them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence

from airflow_provider_mlbridge.exceptions import (
    BackendAuthenticationError,
    BackendProtocolError,
    BackendUnreachableError,
    HostKeyError,
    MLBridgeError,
)
from airflow_provider_mlbridge.training.backend import TrainingBackend
from airflow_provider_mlbridge.training.state import JobRef, JobStatus

_LOG = logging.getLogger(__name__)

HOPELESS_QUESTIONS = 8
"""After so many questions without one good answer, it is not about single jobs."""

MOST_QUESTIONS = 64

_CONCERNS_ALL = (BackendUnreachableError, BackendAuthenticationError, HostKeyError)


async def ask_each(
    backend: TrainingBackend,
    refs: Sequence[JobRef],
    shown: Mapping[JobRef, int],
    apart: set[JobRef],
) -> dict[JobRef, JobStatus | MLBridgeError]:
    """
    State of each job, or why there is none.

    When an answer cannot be read, the question is split in halves until the jobs are found that spoil it;
    from then on these are asked for by themselves.

    :param shown: see :meth:`~airflow_provider_mlbridge.training.backend.TrainingBackend.status`.
    :param apart: jobs that spoiled an answer before; kept up to date.
    """
    found: dict[JobRef, JobStatus | MLBridgeError] = {}
    together = [ref for ref in refs if ref not in apart]
    groups = deque([together] if together else [])
    groups.extend([ref] for ref in refs if ref in apart)
    questions, answered = 0, False
    while groups:
        group = groups.popleft()
        questions += 1
        error = await _ask(backend, group, shown, found)
        if error is None:
            answered = True
            apart.difference_update(group)
        elif isinstance(error, _CONCERNS_ALL):
            _give_up([group, *groups], error, found)
            break
        elif len(group) == 1:
            apart.update(group)
            found[group[0]] = error
        elif questions >= (MOST_QUESTIONS if answered else HOPELESS_QUESTIONS):
            _give_up([group, *groups], error, found)
            break
        else:
            middle = len(group) // 2
            groups.extend((group[:middle], group[middle:]))
    return found


def _give_up(
    groups: Sequence[Sequence[JobRef]],
    error: MLBridgeError,
    found: dict[JobRef, JobStatus | MLBridgeError],
) -> None:
    for group in groups:
        found.update(dict.fromkeys(group, error))


async def _ask(
    backend: TrainingBackend,
    group: Sequence[JobRef],
    shown: Mapping[JobRef, int],
    found: dict[JobRef, JobStatus | MLBridgeError],
) -> MLBridgeError | None:
    try:
        answers = await backend.status(group, {ref: shown[ref] for ref in group if ref in shown})
        found.update({ref: answers[ref] for ref in group})
    except MLBridgeError as error:
        return error
    except Exception as error:  # noqa: BLE001 - one answer that nobody thought of must not end all waits
        _LOG.warning("The answer for %d trainings cannot be read", len(group), exc_info=True)
        return BackendProtocolError(f"the answer cannot be read: {type(error).__name__}: {error}")
    return None
