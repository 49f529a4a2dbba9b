# SPDX-License-Identifier: Apache-2.0
"""
Mode ssh: trainings on a host that offers nothing but a login and a POSIX ``sh``.

The folder ``~/.mlbridge/jobs/KEY/GENERATION`` on the host is the only memory; ``training/ssh/common.sh``
describes its files. It must be on a disk of that host: between hosts that share a home directory, process
numbers mean nothing.
"""

from __future__ import annotations

import codecs
import logging
import random
import shlex
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from airflow_provider_mlbridge.exceptions import (
    BackendProtocolError,
    BackendRefusedError,
    InvalidTrainingResultError,
    MLBridgeError,
)
from airflow_provider_mlbridge.training.backend import Capability
from airflow_provider_mlbridge.training.reported import RESULT_LIMIT_BYTES, parse_reported_result
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.ssh import protocol
from airflow_provider_mlbridge.training.ssh.protocol import Answer, JobLine
from airflow_provider_mlbridge.training.ssh.registry import HostConnection, acquire, release
from airflow_provider_mlbridge.training.ssh.target import SSHTarget
from airflow_provider_mlbridge.training.state import (
    JobRef,
    JobState,
    JobStatus,
    LogChunk,
    ReportedResult,
    Submission,
    next_generation,
)

__all__ = ["SSHBackend", "SSHTarget"]

STATUS_BATCH = 500
"""Jobs asked about in one round trip."""

LOG_CHUNK_LIMIT_BYTES = 4 * 1024 * 1024
"""The most log that one call returns."""

LOG_ANSWER_BYTES = 8 * 1024 * 1024
"""The most that one round trip brings of many logs."""

REAP_BATCH = 200
"""Jobs that one call of :meth:`SSHBackend.reap` removes at most."""

_SUBMIT_ROUNDS = 20

# One submission in so many looks for what is too old; nobody has to remember it.
_REAP_CHANCE = 0.02

log = logging.getLogger(__name__)


class SSHBackend:
    """
    :class:`~airflow_provider_mlbridge.training.backend.TrainingBackend` over SSH.

    All instances with the same target in one event loop share one connection. ``JobRef.job_id`` is the
    job's folder on the host.

    :param target: host and account.
    :param root: folder for jobs on the host, relative to the home directory unless absolute; mode 0700.
    :param grace_seconds: between TERM and KILL when a training is stopped.
    :param command_timeout: seconds for one round trip.
    :param shell: absolute path of the POSIX shell on the host that runs protocol and command.
    :param claim_patience_seconds: after this time a generation that was claimed but not started counts as
        lost.
    :param busy_patience_seconds: how long submit, result, acknowledge and cancel try again when the host is
        there, but hangs up because too many want in at once.
    :param keep_seconds: some of the submissions remove what is kept of trainings that ended longer ago than
        this, see :meth:`reap`; None: never.
    """

    def __init__(
        self,
        target: SSHTarget,
        *,
        root: str = "~/.mlbridge",
        grace_seconds: float = 10.0,
        command_timeout: float = 60.0,
        shell: str = "/bin/sh",
        claim_patience_seconds: float = 60.0,
        busy_patience_seconds: float = 20.0,
        keep_seconds: float | None = 30 * 86400.0,
    ) -> None:
        self.target = target
        self._root = root
        self._command_timeout = command_timeout
        self._shell = shell
        self._keep_seconds = keep_seconds
        self._busy_patience = busy_patience_seconds
        self._settings = {
            "shell": shell,
            "grace": protocol.whole_seconds(grace_seconds),
            "patience": protocol.whole_seconds(claim_patience_seconds),
        }
        self._host: HostConnection | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Everything but a page to look at."""
        return frozenset({"cancel", "logs", "result", "progress"})

    async def submit(self, job: TrainingJob) -> Submission:
        """
        Start the training, or attach to the one that is there.

        :raises InvalidTrainingRequestError: when the command or the environment cannot be handed over.
        :raises TrainingConflictError: when the key is in use with another request.
        :raises TrainingForgottenError: when the host does not know ``job.known_generation``; nothing is
            created there then.
        :raises BackendRefusedError: when the host refuses: disk full, no hard links, not writable.
        """
        protocol.require_key(job.key)
        features = {
            "MLBRIDGE_FEATURES_URI": job.request.features_uri,
            "MLBRIDGE_FEATURES_FINGERPRINT": job.request.features_fingerprint,
            "MLBRIDGE_JOB_KEY": job.key,
        }
        protocol.launch_functions(job, features)  # refuses what cannot be started before the host is asked
        owner = protocol.owner_word(job.owner)
        for _ in range(_SUBMIT_ROUNDS):
            found = await self._ask(f"mlb_newest {job.key}", patient=True)
            newest = found.jobs[0] if found.jobs else None
            number = next_generation(job, newest.generation() if newest else None)
            if number is None and newest is not None:
                attached, started_by = True, newest.number
                call = f"mlb_adopt {started_by} {job.epoch} {owner}"
                launches = newest.state == JobState.CLAIMED
            else:
                attached, started_by, launches = False, number or 1, True
                call = f"mlb_claim {started_by} {job.digest} {job.epoch} {owner}"
            functions = protocol.launch_functions(
                job, {**features, "MLBRIDGE_JOB_GENERATION": str(started_by)}
            )
            answer = await self._ask(
                call,
                parts=["launch", functions] if launches else ["launch"],
                settings={
                    "key": job.key,
                    "brought": "1" if launches else "0",
                    "timeout": protocol.whole_seconds(job.request.timeout_seconds),
                    "working_dir": (job.launch.working_dir if job.launch else None) or "",
                },
                patient=True,
            )
            if answer.jobs:
                submission = self._submission(answer.jobs[0], attached=attached)
                await self._keep_house()
                return submission
            # Somebody else changed the job in between: decide again on what is there now.
        raise BackendProtocolError(
            f"training {job.key} on {self.target.address} changed {_SUBMIT_ROUNDS} times while "
            f"it was submitted"
        )

    async def status(
        self,
        refs: Sequence[JobRef],
        shown: Mapping[JobRef, int] | None = None,
    ) -> Mapping[JobRef, JobStatus]:
        """
        State of many jobs in one round trip per 500.

        Without any ref it still makes one, and so shows that the host is there and lets us in. A job whose
        folder was removed is ``LOST``; one of which not even the key is known is ``UNREACHABLE``, because
        the host, or the disk, is not the one that it was.
        """
        found: dict[JobRef, JobStatus] = {}
        for start in range(0, max(1, len(refs)), STATUS_BATCH):
            batch = refs[start : start + STATUS_BATCH]
            found.update(await self._status(batch, shown or {}))
        return found

    async def logs(self, ref: JobRef, offset: int, limit: int = 65536) -> LogChunk:
        """
        At most ``limit`` bytes (4 MiB at most) of stdout and stderr of the training, from byte ``offset``.

        Bytes that are not UTF-8 come as U+FFFD. A character whose last bytes are not written yet is left
        to the next call.
        """
        return (await self.logs_many({ref: offset}, limit)).get(ref, LogChunk("", offset))

    async def logs_many(self, offsets: Mapping[JobRef, int], limit: int = 65536) -> Mapping[JobRef, LogChunk]:
        """
        The same of many jobs, in one round trip for every 8 MiB that they may bring.

        :return: without the jobs whose folder is not there.
        """
        limit = max(1, min(limit, LOG_CHUNK_LIMIT_BYTES))
        batch = max(1, min(STATUS_BATCH, LOG_ANSWER_BYTES // (limit + 2 * protocol.BLOCK_BYTES)))
        refs, chunks = list(offsets), {}
        for start in range(0, len(refs), batch):
            asked = refs[start : start + batch]
            words = [self._log_words(ref, offsets[ref], limit) for ref in asked]
            answer = await self._ask(f"mlb_logs {' '.join(words)}")
            for ref in asked:
                part = answer.parts.get((ref.key, ref.generation))
                if part is not None:
                    chunks[ref] = _chunk(*part, offsets[ref], limit)
        return chunks

    async def cancel(self, ref: JobRef, owner: str, reason: str) -> bool:
        """
        Stop the job and its process tree, if ``owner`` still is its owner; False when it is not.

        Returns once the stop is recorded and under way; the job is ``CANCELLING`` until all its processes
        are gone. True also for a job that is over.
        """
        why = shlex.quote(protocol.one_line(reason) or "cancelled")
        call = f"mlb_cancel {self._words(ref)} {protocol.owner_word(owner)} {why}"
        answer = await self._ask(call, patient=True, urgent=True)
        return ("O", "1") in answer.words

    async def result(self, ref: JobRef) -> ReportedResult:
        """
        What the succeeded training wrote to its ``MLBRIDGE_RESULT_FILE``; nothing, if it wrote nothing.

        :raises InvalidTrainingResultError: when it is not readable, or the training has not succeeded.
        """
        blocks = RESULT_LIMIT_BYTES // protocol.BLOCK_BYTES + 1
        answer = await self._ask(f"mlb_result {self._words(ref)} {blocks}", patient=True)
        job = self._only(answer)
        if job.state != JobState.SUCCEEDED:
            raise InvalidTrainingResultError(
                f"training {ref.key} generation {ref.generation} on {self.target.address} is {job.state}: "
                f"only a succeeded training has a result"
            )
        return parse_reported_result(answer.payload, source=f"{self.target.host}:{job.folder}/result.json")

    async def acknowledge(self, ref: JobRef, owner: str) -> None:
        """Record that the result was returned; without effect when ``owner`` is not the owner any more."""
        await self._ask(f"mlb_acknowledge {self._words(ref)} {protocol.owner_word(owner)}", patient=True)

    async def reap(self, keep_seconds: float) -> int:
        """
        Remove the folders of trainings that ended longer ago than this, 200 at most.

        A success that was not acknowledged stays, unless a later generation has taken its place. Of every
        removed generation a line of some 40 bytes remains in the file ``reaped`` below the root.
        """
        call = f"mlb_reap {int(protocol.whole_seconds(keep_seconds))} {REAP_BATCH}"
        answer = await self._ask(f"mlb_home && {call}", parts=["reap"])
        return next((int(text) for letter, text in answer.words if letter == "C"), 0)

    async def close(self) -> None:
        """Give the connection back; the last user of it closes it. Trainings are not affected."""
        host, self._host = self._host, None
        if host is not None:
            await release(host)

    def log_uri(self, ref: JobRef) -> str:
        """Where the full log is: ``ssh://user@host:port/folder/log``."""
        return f"ssh://{quote(self.target.username)}@{self.target.address}{quote(ref.job_id)}/log"

    async def _keep_house(self) -> None:
        if self._keep_seconds is None or random.random() >= _REAP_CHANCE:  # noqa: S311
            return
        try:
            removed = await self.reap(self._keep_seconds)
        except MLBridgeError as error:
            log.debug("Old trainings on %s are kept: %s", self.target.address, error)
        else:
            log.debug("Removed the folders of %d old trainings on %s", removed, self.target.address)

    def _log_words(self, ref: JobRef, offset: int, limit: int) -> str:
        first, skipped = divmod(offset, protocol.BLOCK_BYTES)
        return f"{self._words(ref)} {first} {-(-(skipped + limit) // protocol.BLOCK_BYTES)}"

    async def _status(self, refs: Sequence[JobRef], shown: Mapping[JobRef, int]) -> dict[JobRef, JobStatus]:
        words = " ".join(self._words(ref) for ref in refs)
        calls = [f"mlb_status {words}", f"mlb_sizes {words}", f"mlb_progress {words}"]
        if told := [f"{self._words(ref)} {int(shown[ref])}" for ref in refs if ref in shown]:
            calls.insert(0, f"mlb_note_shown {' '.join(told)}")
        answer = await self._ask(f"mlb_home && {{ {'; '.join(calls)}; }}")
        gone = next((text for letter, text in answer.words if letter == "E"), None)
        if gone is not None:
            reason = f"{gone.partition(' ')[2]} on {self.target.address}; is a disk not mounted?"
            return {ref: JobStatus(ref, JobState.UNREACHABLE, reason=reason) for ref in refs}
        lines = {(job.key, job.number): job for job in answer.jobs}
        found = {}
        for ref in refs:
            job = lines.get((ref.key, ref.generation))
            if job is None:
                raise BackendProtocolError(f"{self.target.address} did not answer for {ref.job_id}")
            found[ref] = self._job_status(ref, job, answer)
        return found

    def _job_status(self, ref: JobRef, job: JobLine, answer: Answer) -> JobStatus:
        if job.state == "forgotten":
            reason = (
                f"{self.target.address} has no folder {job.folder.rpartition('/')[0]}: it does not remember "
                f"what it knew; is a disk not mounted, or is it another host?"
            )
            return JobStatus(ref, JobState.UNREACHABLE, reason=reason)
        state = job.job_state
        if state is None:
            return JobStatus(
                ref, JobState.LOST, reason=f"the folder {job.folder} on {self.target.address} was removed"
            )
        return JobStatus(
            ref,
            state,
            job.exit_code,
            job.sentence(),
            job.started_at,
            job.finished_at,
            log_size=answer.sizes.get((ref.key, ref.generation), 0),
            progress=answer.progress.get((ref.key, ref.generation)),
            log_shown=job.shown,
        )

    def _submission(self, job: JobLine, *, attached: bool) -> Submission:
        ref = JobRef(job.key, job.number, job.folder)
        state = job.job_state
        if state is None:
            raise BackendProtocolError(f"{self.target.address} lost {job.folder} while it was submitted")
        return Submission(ref, state, attached)

    def _words(self, ref: JobRef) -> str:
        return f"{protocol.require_key(ref.key)} {int(ref.generation)}"

    def _only(self, answer: Answer) -> JobLine:
        if len(answer.jobs) != 1:
            raise BackendProtocolError(
                f"{self.target.address} answered for {len(answer.jobs)} jobs instead of one"
            )
        return answer.jobs[0]

    async def _ask(
        self,
        call: str,
        *,
        parts: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        patient: bool = False,
        urgent: bool = False,
    ) -> Answer:
        """Run one call of the shell protocol; every one is safe to repeat."""
        nonce, script = protocol.script(
            [call],
            root=self._root,
            settings={**self._settings, **(settings or {})},
            parts=["common", "tree", "group", "serve", *parts],
        )
        if self._host is None:
            self._host = acquire(self.target)
        # "exec sh -s" means the same to every login shell, also to csh and fish.
        stdout, stderr = await self._host.run(
            f"exec {shlex.quote(self._shell)} -s",
            script,
            limit_seconds=self._command_timeout,
            urgent=urgent,
            patience_seconds=self._busy_patience if patient else 0.0,
        )
        answer = protocol.parse_answer(nonce, stdout, stderr, self.target.address)
        for letter, text in answer.words:
            if letter == "E" and text.startswith("storage "):
                raise BackendRefusedError(
                    f"{self.target.address} cannot record the state of a training below {self._root}, so "
                    f"nothing was changed: {text.removeprefix('storage ')}. The folder must be writable, on "
                    f"a file system with hard links, and have free space; set another root if it is not."
                )
        return answer


def _chunk(data: bytes, ended: bool, offset: int, limit: int) -> LogChunk:
    """The text of ``limit`` bytes of ``data``, which begins at the block that holds ``offset``."""
    skipped = offset % protocol.BLOCK_BYTES
    data = data[skipped : skipped + limit]
    at_end = len(data) < limit and ended
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=at_end)
    pending = len(decoder.getstate()[0])
    if pending and pending == len(data) == limit:
        # A limit smaller than one character: there would be no progress otherwise.
        text, pending = decoder.decode(b"", final=True), 0
    return LogChunk(text, offset + len(data) - pending)
