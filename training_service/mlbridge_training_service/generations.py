# SPDX-License-Identifier: Apache-2.0
"""Statuses of a job, and what another submission of its key does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_TRY_NUMBER = re.compile(r":(\d{1,9})\Z", re.ASCII)


class Status(StrEnum):
    """
    Status of one generation of a training.

    ``orphaned``: the training runs on while its supervisor is dead; it ends as ``lost``, because nobody
    learns its exit code.
    """

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    ORPHANED = "orphaned"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"

    @property
    def is_terminal(self) -> bool:
        """Whether the generation is over."""
        return self in TERMINAL


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.TIMED_OUT, Status.LOST})


class RequestChangedError(Exception):
    """The key stands for a training of another request."""


class ForgottenError(Exception):
    """The caller knows of a later generation than this service."""


@dataclass(frozen=True)
class Newest:
    """
    The newest generation of a key.

    :param generation: 1, 2, ...
    :param status: its status.
    :param epoch: the highest epoch it was submitted in.
    :param acknowledged: whether its result was returned to whom it was for.
    """

    generation: int
    status: Status
    epoch: int
    acknowledged: bool


def generation_to_start(
    newest: Newest | None, *, epoch: int, same_request: bool, known_generation: int = 0, retired: int = 0
) -> int | None:
    """
    The generation that a submission starts, or None when it attaches to the newest.

    A generation that failed is followed by the next, whatever is asked for now. One that succeeded is
    followed by the next only in a later epoch (its task was cleared), and only when its result was returned
    or something else is asked for; until then its result is still owed. All others attach.

    :param known_generation: the latest generation that the caller was ever told of.
    :param retired: the latest generation that was over and is not kept any more; 0 for none.
    :raises ForgottenError: when the caller knows of a later one. It may still run, so nothing may be started.
    :raises RequestChangedError: when it would attach to a training of another request.
    """
    last = max(newest.generation if newest else 0, retired)
    if known_generation > last:
        raise ForgottenError
    if newest is None or newest.generation < last:
        return last + 1
    succeeded = newest.status is Status.SUCCEEDED
    if newest.status.is_terminal and not succeeded:
        return newest.generation + 1
    if succeeded and epoch > newest.epoch and (newest.acknowledged or not same_request):
        return newest.generation + 1
    if not same_request:
        raise RequestChangedError
    return None


def takes_over(owner: str | None, epoch: int, *, owner_now: str | None, epoch_now: int) -> bool:
    """
    Whether the job now belongs to the attempt that submits.

    The latest does, but neither one from before a clear whose submission was long on its way, nor an earlier
    try of the same epoch: owners may end with a colon and the number of their try.
    """
    if epoch != epoch_now:
        return epoch > epoch_now
    mine, theirs = (_TRY_NUMBER.search(text or "") for text in (owner, owner_now))
    return mine is None or theirs is None or int(mine[1]) >= int(theirs[1])
