# SPDX-License-Identifier: Apache-2.0
"""
Scripts for the training host, and what their answers mean.

A script is text for a POSIX ``sh`` that reads it on stdin. It defines functions and calls one of them on
its last line, so that a script that was cut off runs nothing, and values travel in it as quoted words, so
that none of them is in the argument list of a process. The answer is framed by a random word, because the
start-up files of the login shell may print what they like before it.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from airflow_provider_mlbridge.exceptions import BackendProtocolError, InvalidTrainingRequestError
from airflow_provider_mlbridge.training.request import TrainingJob
from airflow_provider_mlbridge.training.state import Generation, JobState

# As the operator ends an owner: ":3" for the third try.
_TRY_NUMBER = re.compile(r":(\d{1,9})\Z", re.ASCII)

BLOCK_BYTES = 4096
"""Files are read in blocks of this size, the unit that ``mlb_log`` and ``mlb_result`` use."""

ENVIRONMENT_VALUE_LIMIT_BYTES = 128 * 1024
"""Linux refuses to start a program with a longer ``NAME=value`` (MAX_ARG_STRLEN)."""

ENVIRONMENT_LIMIT_BYTES = 1024 * 1024
"""The most that all variables may take together, well below what Linux allows for them and the arguments."""

COMMAND_LIMIT_BYTES = 1024 * 1024
"""The longest command; a longer one belongs into a file on the training host."""

PROGRESS_LIMIT = 200
"""Characters of what a training says of its progress."""

# What a shell sets itself, splits words by or refuses to change: an export of these would be lost, or end the
# shell before it has started the training.
_OF_THE_SHELL = frozenset(
    (
        *(
            "BASHOPTS",
            "BASHPID",
            "BASH_COMMAND",
            "BASH_SUBSHELL",
            "BASH_VERSINFO",
            "DIRSTACK",
            "EPOCHREALTIME",
        ),
        *(
            "EPOCHSECONDS",
            "EUID",
            "FUNCNAME",
            "GROUPS",
            "IFS",
            "LINENO",
            "OPTIND",
            "PPID",
            "RANDOM",
            "SECONDS",
        ),
        *("SHELLOPTS", "SRANDOM", "UID"),
    )
)

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_STATE = frozenset({"missing", "forgotten"})
_SIZE_LINE = re.compile(rb"^\S+\s+\d+\s+\S+\s+\S+\s+(\d+)\s.*/([^/]+)/(\d+)/log$")


@dataclass(frozen=True)
class JobLine:
    """One ``J`` line: everything the host knows of one generation."""

    key: str
    number: int
    state: str
    exit_code: int | None
    started_at: str | None
    finished_at: str | None
    acknowledged: bool
    digest: str
    epoch: int
    folder: str
    reason: str
    shown: int | None = None

    @property
    def job_state(self) -> JobState | None:
        """The state, None when the host has no trace of the generation."""
        return None if self.state in _NO_STATE else JobState(self.state)

    def generation(self) -> Generation:
        """The form in which :func:`~airflow_provider_mlbridge.training.state.next_generation` takes it."""
        return Generation(self.number, JobState(self.state), self.digest, self.epoch, self.acknowledged)

    def sentence(self) -> str:
        """Why it ended without success, else empty."""
        if self.exit_code is None or self.state != JobState.FAILED:
            return self.reason
        return exit_reason(self.exit_code, known=self.reason)


@dataclass(frozen=True)
class Answer:
    """
    What a script answered.

    :param words: the lines, each as its letter and the rest.
    :param jobs: the ``J`` lines, parsed.
    :param payload: what follows a ``B`` line, byte for byte.
    :param ended: what the ``B`` line says: no more bytes will come.
    :param sizes: bytes of log by key and generation.
    :param progress: what trainings say of their progress, by the same.
    :param parts: pieces of logs by the same, with what ``ended`` says.
    """

    words: Sequence[tuple[str, str]] = ()
    jobs: Sequence[JobLine] = ()
    payload: bytes = b""
    ended: bool = False
    sizes: Mapping[tuple[str, int], int] = field(default_factory=dict)
    progress: Mapping[tuple[str, int], str] = field(default_factory=dict)
    parts: Mapping[tuple[str, int], tuple[bytes, bool]] = field(default_factory=dict)

    def has(self, letter: str) -> bool:
        """Whether there is a line of this kind."""
        return any(word == letter for word, _ in self.words)


def exit_reason(code: int, known: str = "") -> str:
    """
    A sentence about an exit code as ``sh`` reports it (128 + n for signal n).

    :param known: what the host found out about it.
    """
    more = f"; {known}" if known else ""
    if code <= 128:
        meaning = {126: ": the command is not executable", 127: ": a command was not found"}.get(code, "")
        return f"exit code {code}{meaning}{more}"
    try:
        name = signal.Signals(code - 128).name
    except ValueError:
        return f"exit code {code}{more}"
    if name == "SIGKILL" and not known:
        more = "; the system does that when memory runs out"
    return f"exit code {code}: killed by signal {code - 128} ({name}){more}"


def script(
    calls: Sequence[str], *, root: str, settings: Mapping[str, str], parts: Sequence[str]
) -> tuple[str, bytes]:
    """
    A whole script.

    :param calls: shell lines that the script runs in the end.
    :param root: folder of all jobs on the host; relative to the home directory unless absolute.
    :param settings: shell variables, without their ``mlb_``.
    :param parts: the ``.sh`` files it needs, without the ending, and further function definitions.
    :return: the word that frames the answer, and the text.
    """
    nonce = f"mlbridge-{secrets.token_hex(12)}"
    lines = [_part(part) if _VARIABLE.fullmatch(part) else part for part in parts]
    lines.append("mlb_main() {")
    variables = {
        "nonce": nonce,
        "proc": "/proc",
        "cgroups": "/sys/fs/cgroup",
        "lingering": "/var/lib/systemd/linger",
        "brought": "0",
        **settings,
    }
    lines += [f"mlb_{name}={shlex.quote(value)}" for name, value in variables.items()]
    lines.append(r"printf '\n%s begin\n' " + nonce)
    lines.append(f"mlb_prepare {shlex.quote(root)}")
    lines += calls
    lines.append(r"printf '\n%s end\n' " + nonce)
    # The braces: no beginning of the last line is a command.
    lines += ["}", "{ mlb_main; }", ""]
    return nonce, "\n".join(lines).encode("utf-8", "surrogateescape")


@cache
def _part(name: str) -> str:
    text = resources.files(__package__).joinpath(f"{name}.sh").read_text("utf-8")
    # Comments are for readers of the file; every poll would carry them.
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def launch_functions(job: TrainingJob, extra: Mapping[str, str]) -> str:
    """
    The functions that ``launch.sh`` expects: command, request and environment.

    :param extra: variables of ours, besides those of ``job.launch.environment``.
    :raises InvalidTrainingRequestError: when something cannot be handed to a program.
    """
    launch = job.launch
    if launch is None or not launch.command.strip():
        raise InvalidTrainingRequestError(
            "mode ssh needs a command: the shell line that starts the training on the host; it is empty"
        )
    request = job.request.to_json()
    for name, text in (("command", launch.command), ("working_dir", launch.working_dir or "")):
        if "\0" in text:
            raise InvalidTrainingRequestError(f"{name} contains a NUL character")
    size = len(launch.command.encode())
    if size > COMMAND_LIMIT_BYTES:
        raise InvalidTrainingRequestError(
            f"the command has {size:,} bytes, more than {COMMAND_LIMIT_BYTES:,}; put it into a script "
            f"on the host"
        )
    variables = {**extra, "MLBRIDGE_REQUEST": request}
    require_environment(launch.environment, variables)
    exports = [
        f"export {name}={shlex.quote(value)}" for name, value in {**launch.environment, **variables}.items()
    ]
    functions = [
        f"mlb_write_command() {{\nprintf '%s\\n' {shlex.quote(launch.command)}\n}}",
        f"mlb_write_request() {{\nprintf '%s\\n' {shlex.quote(request)}\n}}",
        "mlb_environment() {\n" + "\n".join(exports) + "\n}",
    ]
    return "\n".join(functions)


def require_environment(given: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """
    Refuse variables that no program can be given; values are never part of the message.

    :raises InvalidTrainingRequestError: naming the variable.
    """
    total = 0
    for name, value in [*given.items(), *ours.items()]:
        if not _VARIABLE.fullmatch(name):
            raise InvalidTrainingRequestError(
                f"environment variable {name!r} is not a valid name (letters, digits and _, no digit first)"
            )
        if name in given and name.upper().startswith(("MLBRIDGE_", "MLB_")):
            raise InvalidTrainingRequestError(
                f"environment variable {name!r} is reserved: choose another name"
            )
        if name in _OF_THE_SHELL:
            raise InvalidTrainingRequestError(
                f"environment variable {name!r} belongs to the shell and cannot be handed over: choose "
                f"another name, or set it in the command"
            )
        if "\0" in value:
            raise InvalidTrainingRequestError(f"environment variable {name!r} contains a NUL character")
        size = len(name) + len(value.encode("utf-8", "surrogateescape")) + 2
        total += size
        if size > ENVIRONMENT_VALUE_LIMIT_BYTES:
            advice = (
                "shorten params; large inputs belong into a file that config_path names"
                if name == "MLBRIDGE_REQUEST"
                else "put the value into a file on the host"
            )
            raise InvalidTrainingRequestError(
                f"environment variable {name!r} has {size:,} bytes, more than the "
                f"{ENVIRONMENT_VALUE_LIMIT_BYTES:,} that Linux allows: {advice}"
            )
    if total > ENVIRONMENT_LIMIT_BYTES:
        raise InvalidTrainingRequestError(
            f"the environment has {total:,} bytes, more than the {ENVIRONMENT_LIMIT_BYTES:,} allowed"
        )


def require_key(key: str) -> str:
    """
    The key, if it is fit to name a folder.

    :raises InvalidTrainingRequestError: when it is not.
    """
    if not _KEY.fullmatch(key):
        raise InvalidTrainingRequestError(
            f"training key {key!r} must be 1 to 128 letters, digits, '_' or '-', "
            f"beginning with a letter or digit"
        )
    return key


def whole_seconds(seconds: float) -> str:
    """Seconds for ``sleep``, which is only bound to take whole ones; at least one."""
    return str(max(1, math.ceil(seconds)))


def one_line(text: str, limit: int = 300) -> str:
    """Text as one line of words, for a file that is read line by line."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())[:limit]


def parse_answer(nonce: str, stdout: bytes, stderr: bytes, where: str) -> Answer:
    """
    Read the part of ``stdout`` that ``nonce`` frames.

    :param where: the host, for the message.
    :raises BackendProtocolError: with the first bytes, when it is not what the script prints.
    """
    _, begun, rest = stdout.partition(f"\n{nonce} begin\n".encode())
    body, ended, _ = rest.rpartition(f"\n{nonce} end\n".encode())
    if not begun or not ended:
        seen = (stdout + stderr)[:200]
        raise BackendProtocolError(
            f"{where} did not answer as expected; it must offer a POSIX shell without a forced command. "
            f"{'The answer was cut off; it' if begun else 'What came'} begins with {seen!r}"
        )
    words: list[tuple[str, str]] = []
    jobs: list[JobLine] = []
    sizes: dict[tuple[str, int], int] = {}
    progress: dict[tuple[str, int], str] = {}
    body, *pieces = body.split(f"\n{nonce} part ".encode())
    parts = dict(_part_of_a_log(piece) for piece in pieces)
    while body:
        line, _, body = body.partition(b"\n")
        letter, _, text = line.decode("utf-8", "replace").partition(" ")
        if letter == "B":
            return Answer(words, jobs, body, text == "1", sizes, progress, parts)
        if letter == "P":
            key, number, said = [*text.split(" ", 2), "", ""][:3]
            if number.isdecimal() and (line_said := one_line(said, PROGRESS_LIMIT)):
                progress[key, int(number)] = line_said
            continue
        if letter == "J":
            jobs.append(_job_line(text, where))
        elif found := _SIZE_LINE.match(line):
            sizes[found[2].decode(), int(found[3])] = int(found[1])
        elif letter in {"N", "R", "O", "E", "C"}:
            words.append((letter, text))
        elif line:
            raise BackendProtocolError(f"{where} answered {line[:200]!r}, which is not part of the protocol")
    return Answer(words, jobs, sizes=sizes, progress=progress, parts=parts)


def _part_of_a_log(piece: bytes) -> tuple[tuple[str, int], tuple[bytes, bool]]:
    head, _, data = piece.partition(b"\n")
    key, number, ended = head.decode().split(" ")
    return (key, int(number)), (data, ended == "1")


def _job_line(text: str, where: str) -> JobLine:
    values, folder, reason = [*text.split("\t", 2), "", ""][:3]
    try:
        key, number, state, code, started, finished, acknowledged, digest, epoch, shown = values.split(" ")
        if state not in _NO_STATE:
            JobState(state)
        return JobLine(
            key=key,
            number=int(number),
            state=state,
            exit_code=None if code == "-" else int(code),
            started_at=None if started == "-" else started,
            finished_at=None if finished == "-" else finished,
            acknowledged=acknowledged == "1",
            digest=digest,
            epoch=int(epoch),
            folder=folder,
            reason=reason,
            shown=int(shown) if shown.isdecimal() else None,
        )
    except ValueError as error:
        raise BackendProtocolError(
            f"{where} answered {text[:200]!r} for a job, which is not readable ({error}); were files in "
            f"{folder or 'its folder'} changed by hand?"
        ) from error


def owner_word(owner: str) -> str:
    """
    An owner as one word: a hash, since any text will do, and the number of the try that it ends with, if any.

    Of the tries of one epoch, the host lets no earlier one take over from a later one.
    """
    digest = hashlib.sha256(owner.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    number = _TRY_NUMBER.search(owner)
    return f"{digest}.{number[1]}" if number else digest
