# SPDX-License-Identifier: Apache-2.0
"""
Which training a task instance stands for, through its retries, deferrals and clears.

The names of a task instance do not tell: two Airflows may run the same DAG against one training host, and a
run that was deleted may be made again under its old id. So the first attempt writes a random *incarnation* to
the task's state store before it submits anything. It is hashed into the training's key, stays through
retries, deferrals and clears, and goes when Airflow deletes the run.

Beside it the store keeps what the last attempt knew, from which the next one tells whether a user has cleared
the task, and whether the training's side has lost its memory.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_mlbridge.exceptions import InvalidEventError, TrainingForgottenError
from airflow_provider_mlbridge.training.request import training_key
from airflow_provider_mlbridge.training.state import JobRef, Submission

if TYPE_CHECKING:
    from airflow.sdk import Context

IDENTITY_RECORD = "mlbridge_identity"
"""Name of the record in the task's state store."""


@dataclass(frozen=True)
class Attempt:
    """
    A try of a task instance, in Airflow's numbers.

    :param try_number: 1, 2, ...; goes on counting after a clear.
    :param max_tries: the tries so far at the last clear of this task, plus ``retries`` then.
    :param clear_number: clears of any task of the run.
    :param retries: of the task, now.
    """

    try_number: int
    max_tries: int
    clear_number: int
    retries: int


@dataclass(frozen=True)
class Memory:
    """
    What the state store keeps of a task instance.

    :param incarnation: see the module.
    :param try_number: of the last attempt that submitted.
    :param max_tries: as it saw it.
    :param clear_number: as it saw it.
    :param epoch: how often the task was cleared, as far as attempts came to see it.
    :param generation: of the last submission that was answered, 0 for none.
    :param job_id: the same.
    :param owner: the attempt that submitted it.
    :param place: where it was submitted to.
    :param asked: digest of what was asked for, see ``_training_last``.
    :param over: whether it is known to have ended, with a result or without.
    :param acknowledged: whether its result was returned, or is known to be of no use.
    """

    incarnation: str
    try_number: int
    max_tries: int
    clear_number: int
    epoch: int = 0
    generation: int = 0
    job_id: str = ""
    owner: str = ""
    place: str = ""
    asked: str = ""
    over: bool = False
    acknowledged: bool = False

    @classmethod
    def first(cls, attempt: Attempt, *, epoch: int = 0) -> Memory:
        """A new incarnation."""
        return cls(
            secrets.token_hex(16), attempt.try_number, attempt.max_tries, attempt.clear_number, epoch=epoch
        )

    @classmethod
    def from_dict(cls, document: Any) -> Memory | None:
        """Read a record; None for one that is not there, or not ours."""
        names = {item.name for item in fields(cls)}
        if not isinstance(document, Mapping) or not names <= document.keys():
            return None
        return cls(**{name: document[name] for name in names})


def was_cleared(memory: Memory, now: Attempt) -> bool:
    """
    Whether a user has cleared this very task since ``memory`` was written.

    Airflow tells nobody. A clear of the task sets ``max_tries`` to the tries so far plus ``retries``, and a
    retry leaves it alone; so does the clear of another task of the run, which only adds to ``clear_number``.
    When ``retries`` was lowered meanwhile, a clear may set the very number that was there: then it counts
    that the training was over, that the run was cleared, and that ``max_tries`` less ``retries`` names a try
    since ours.

    A task that is cleared while its worker holds it may keep its ``max_tries`` and is then not seen here.
    Nothing is lost by it: its training is running or was just cancelled, and the next attempt does what a
    retry does.
    """
    if now.try_number <= memory.try_number:
        return False
    if now.max_tries != memory.max_tries:
        return True
    cleared_at = now.max_tries - now.retries
    return (
        memory.over
        and now.clear_number > memory.clear_number
        and memory.try_number <= cleared_at < now.try_number
    )


class Identity:
    """
    The training of one task instance, as its present attempt sees it.

    :param context: of the task.
    :param retries: of the task.
    :param durable: with False every try stands for a training of its own.
    :param place: where trainings are submitted to, a word or two.
    """

    def __init__(self, context: Context, *, retries: int | None, durable: bool, place: str) -> None:
        self._store = context["task_state_store"]
        self._ti = context["ti"]
        self._durable = durable
        self._place = place
        self._attempt = Attempt(
            try_number=int(self._ti.try_number),
            max_tries=int(self._ti.max_tries),
            clear_number=int(getattr(context["dag_run"], "clear_number", None) or 0),
            retries=int(retries or 0),
        )
        self._before = Memory.from_dict(self._store.get(IDENTITY_RECORD, None))
        self._now = self._before

    @property
    def memory(self) -> Memory:
        """
        What is known.

        :raises InvalidEventError: when nothing is: the task was resumed, but never submitted.
        """
        if self._now is None:
            raise InvalidEventError(
                f"the task's state store has no {IDENTITY_RECORD!r}, so it is not known which training this "
                f"task started; was it deleted? Clear the task to train again."
            )
        return self._now

    @property
    def is_new(self) -> bool:
        """Whether no attempt came to submit before, and nobody has cleared the task."""
        return self._before is None and self._attempt.max_tries <= self._attempt.retries

    @property
    def cleared(self) -> bool:
        """Whether a user has cleared the task since the last attempt."""
        return self._before is not None and was_cleared(self._before, self._attempt)

    @property
    def owner(self) -> str:
        """The task-instance attempt; Airflow gives every try an id of its own."""
        return f"{self._ti.id}:{self._ti.try_number}"

    @property
    def key(self) -> str:
        """Key of the training."""
        ti = self._ti
        task_id = ti.task_id if self._durable else f"{ti.task_id} try {ti.try_number}"
        map_index = -1 if ti.map_index is None else ti.map_index
        return training_key(ti.dag_id, ti.run_id, task_id, map_index, self.memory.incarnation)

    @property
    def next_epoch(self) -> int:
        """The epoch of this attempt, also before :meth:`begin`."""
        return 0 if self._before is None else self._before.epoch + self.cleared

    @property
    def known_generation(self) -> int:
        """
        The generation that the training's side must know, 0 for none.

        It may forget a training that failed, or that was returned before the task was cleared: it removes
        such after a while.
        """
        memory = self.memory
        return 0 if memory.over and not memory.acknowledged else memory.generation

    @property
    def to_acknowledge(self) -> tuple[JobRef, str] | None:
        """
        The training whose result was returned before the clear that led here, and its owner then.

        Its acknowledgement may not have come through; before :meth:`begin` only.
        """
        before = self._before
        if before is None or not self.cleared or not before.acknowledged or not self._durable:
            return None
        return JobRef(self.key, before.generation, before.job_id), before.owner

    def begin(self, *, anew: bool = False) -> None:
        """
        Write what must be known before anything is submitted.

        :param anew: give up on a training that is not known any more where it was submitted to: what is
            submitted now is another one.
        :raises TrainingForgottenError: when a training that may still run was submitted to another place.
        """
        before, attempt = self._before, self._attempt
        if before is None or anew:
            self._save(Memory.first(attempt, epoch=self.next_epoch))
            return
        kept = before
        if not self._durable and before.try_number != attempt.try_number:
            kept = Memory(before.incarnation, 0, 0, 0)
        elif self.cleared:
            kept = replace(before, acknowledged=False)
        self._now = kept
        if self.known_generation and kept.place != self._place:
            raise TrainingForgottenError(
                f"training {self.key}: generation {kept.generation} was started by {kept.place} and may "
                f"still run, but the task now trains by {self._place}, which does not know of it. Change it "
                f"back; or see that nothing runs, and clear the task with forgotten='train'."
            )
        self._save(
            replace(
                kept,
                try_number=attempt.try_number,
                max_tries=attempt.max_tries,
                clear_number=attempt.clear_number,
                epoch=self.next_epoch,
            )
        )

    def submitted(self, submission: Submission, asked: str) -> None:
        """Remember which training stands for the task now, and what was asked for."""
        self._save(
            replace(
                self.memory,
                generation=submission.ref.generation,
                job_id=submission.ref.job_id,
                owner=self.owner,
                place=self._place,
                asked=asked,
                over=False,
                acknowledged=False,
            )
        )

    def ended(self, *, acknowledged: bool) -> None:
        """
        Remember that the training has ended.

        :param acknowledged: whether its result was returned, or is of no use.
        """
        self._save(replace(self.memory, over=True, acknowledged=acknowledged))

    def _save(self, memory: Memory) -> None:
        # Kept as long as the run itself: by default Airflow removes it after a month, and a clear would then
        # find that nothing was ever trained.
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        self._store.set(IDENTITY_RECORD, asdict(memory), retention=NEVER_EXPIRE)
        self._now = memory
