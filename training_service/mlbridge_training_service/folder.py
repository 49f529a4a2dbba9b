# SPDX-License-Identifier: Apache-2.0
"""
The folder of one job, through which service and supervisor talk.

Every fact is a file that can be made only once: it is written under another name and then given its own by
``link(2)``, which fails when the name exists. The first writer wins, nothing is ever half there, and there
is no lock that a dead process could hold.

======================  =====================================================================
``launch.json``         what the supervisor starts; written before the supervisor is
``request.json``        the request, for the training (``MLBRIDGE_REQUEST_FILE``)
``supervisor.json``     fact: this supervisor, and no other, runs the job
``child.json``          fact: this is the training's process; or nobody may start one any more
``cancel.json``         fact: the job shall end, and why
``end.json``            fact: how the job ended
``training.log``        output of the training
``supervisor.log``      output of the supervisor; empty unless it has a bug or no resources
``result.json``         what the training reports (``MLBRIDGE_RESULT_FILE``)
``progress``            what the training says of its progress (``MLBRIDGE_PROGRESS_FILE``)
``work/``               working directory of pipelines that name none
======================  =====================================================================
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

from mlbridge_training_service.processes import ProcessIdentity

RESULT_LIMIT_BYTES = 64 * 1024

_PROGRESS_TAIL_BYTES = 4096
_PROGRESS_CHARACTERS = 200

Fact = Literal["supervisor", "child", "cancel", "end"]


class UnreadableResultError(Exception):
    """The result file is not one JSON document of acceptable size."""


class JobFolder:
    """One folder; see the module."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.launch = path / "launch.json"
        self.request = path / "request.json"
        self.log = path / "training.log"
        self.supervisor_log = path / "supervisor.log"
        self.result = path / "result.json"
        self.progress = path / "progress"
        self.work = path / "work"

    def create(self, launch: Mapping[str, Any], request_json: str) -> None:
        """Make the folder and what the supervisor reads. Repeating it changes nothing."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.work.mkdir(mode=0o700, exist_ok=True)
        self._link_once(self.request, request_json)
        self._link_once(self.launch, json.dumps(launch))

    def state(self, fact: Fact, document: Mapping[str, Any]) -> bool:
        """State a fact; False when it was stated before, by whomever."""
        return self._link_once(self.path / f"{fact}.json", json.dumps(document))

    def known(self, fact: Fact) -> dict[str, Any] | None:
        """A fact, or None."""
        try:
            text = (self.path / f"{fact}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        document: dict[str, Any] = json.loads(text)
        return document

    def process(self, fact: Literal["supervisor", "child"]) -> ProcessIdentity | None:
        """The process that a fact names; None when there is no such fact or it is void."""
        document = self.known(fact)
        if document is None or document.get("void"):
            return None
        return ProcessIdentity.from_dict(document["process"])

    def log_size(self) -> int:
        """Bytes of log written so far."""
        try:
            return self.log.stat().st_size
        except FileNotFoundError:
            return 0

    def read_log(self, offset: int, limit: int, *, complete: bool) -> tuple[str, int]:
        """
        Text of at most ``limit`` bytes of log from byte ``offset``, and the offset to go on from.

        Bytes that are no UTF-8 become U+FFFD. A character whose last bytes are not there yet is left for the
        next call, unless the log is complete.
        """
        try:
            with self.log.open("rb") as stream:
                stream.seek(offset)
                chunk = stream.read(limit)
        except FileNotFoundError:
            return "", offset
        at_end = offset + len(chunk) >= self.log_size()
        cut = _cut_character(chunk)
        # A limit smaller than one character must not stop the reader for ever.
        if cut and not (complete and at_end) and (cut < len(chunk) or at_end):
            chunk = chunk[:-cut]
        return chunk.decode("utf-8", errors="replace"), offset + len(chunk)

    def read_result(self) -> dict[str, Any]:
        """
        What the training reported; empty when it wrote nothing.

        :raises UnreadableResultError: when the file is no JSON object of acceptable size.
        """
        try:
            with _open_regular(self.result) as stream:
                content = stream.read(RESULT_LIMIT_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UnreadableResultError(f"the result file cannot be read: {error.strerror}") from error
        if len(content) > RESULT_LIMIT_BYTES:
            raise UnreadableResultError(f"the result file is larger than {RESULT_LIMIT_BYTES} bytes")
        if not content.strip():
            return {}
        try:
            document = json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise UnreadableResultError(f"the result file is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise UnreadableResultError(
                f"the result file holds a JSON {type(document).__name__}, expected an object"
            )
        return document

    def read_progress(self) -> str | None:
        """The last line of text in the progress file, at most 200 characters; None when there is none."""
        try:
            with _open_regular(self.progress) as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - _PROGRESS_TAIL_BYTES))
                content = stream.read(_PROGRESS_TAIL_BYTES)
        except OSError:
            return None
        for line in reversed(content.decode("utf-8", errors="replace").splitlines()):
            printable = "".join(sign if sign.isprintable() else " " for sign in line).strip()
            if printable:
                return printable[:_PROGRESS_CHARACTERS]
        return None

    def _link_once(self, path: Path, text: str) -> bool:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            return True
        finally:
            temporary.unlink()


def _open_regular(path: Path) -> BinaryIO:
    # The training made this file: it may as well have made a FIFO or a link to something else.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return os.fdopen(descriptor, "rb")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _cut_character(chunk: bytes) -> int:
    """How many bytes at the end are the beginning of a UTF-8 character that is cut off."""
    for length in range(1, min(3, len(chunk)) + 1):
        lead = chunk[-length]
        if lead & 0b1100_0000 == 0b1000_0000:
            continue  # a continuation byte: the lead byte is further left
        needs = 4 if 0xF0 <= lead <= 0xF4 else 3 if 0xE0 <= lead < 0xF0 else 2 if 0xC2 <= lead < 0xE0 else 1
        return length if needs > length else 0
    return 0
