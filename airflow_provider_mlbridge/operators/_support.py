# SPDX-License-Identifier: Apache-2.0
"""What the operators share: error translation, the S3 client, results into XCom and asset events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTerminated

from airflow_provider_mlbridge.exceptions import ConfigurationError, MLBridgeError, SnapshotChangedError

if TYPE_CHECKING:
    from airflow.sdk import Context


@contextmanager
def failing_fast(*, pins: bool = False) -> Iterator[None]:
    """
    Turn errors that a retry cannot help into ``AirflowFailException``, which uses up no retries.

    :param pins: whether it is this task that pins the datamart: a retry pins it anew when it was replaced.
    """
    try:
        yield
    except MLBridgeError as error:
        if error.retryable or (pins and isinstance(error, SnapshotChangedError)):
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error


class LeavesWhenKilled:
    """
    An operator whose ``execute`` ends by an error when Airflow kills the task.

    Airflow calls ``on_kill`` from a signal handler and goes on with ``execute`` until it kills the process
    some seconds later, which leaves temporary files of the datamart behind, and what is half written.
    """

    _running = False

    @contextmanager
    def leaving_when_killed(self) -> Iterator[None]:
        """Mark the block that is to be left."""
        self._running = True
        try:
            yield
        finally:
            self._running = False

    def on_kill(self) -> None:
        """Leave the block; after a time-out it is left already."""
        if self._running:
            raise AirflowTaskTerminated("the task was killed")


def is_template(value: object) -> bool:
    """Whether a value is rendered only when the task runs, so that it cannot be checked in the DAG file."""
    return not isinstance(value, str | int | float | bool | None) or (isinstance(value, str) and "{" in value)


def check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    """
    Check an argument of a closed set.

    :raises ConfigurationError: naming the argument, what was given and what is valid.
    """
    if value not in choices:
        raise ConfigurationError(
            f"{argument}={value!r} is not valid; valid are {', '.join(map(repr, choices))}"
        )


def whole_number(argument: str, value: object) -> int | None:
    """
    A number that may have been rendered to text.

    :raises ConfigurationError: naming the argument and what was given.
    """
    if value is None:
        return None
    try:
        return int(str(value))
    except ValueError as error:
        raise ConfigurationError(f"{argument}={value!r} is not valid; valid is a whole number") from error


Given = TypeVar("Given")


def beside_dag_file(path: Given, context: Context) -> Given | str:
    """A relative path below the folder of the DAG file; a URI, and what is no text, as it is."""
    if not isinstance(path, str) or "://" in path or path.startswith("/"):
        return path
    return str(Path(context["dag"].fileloc).parent / path)


def add_to_outlets(context: Context, outlets: Any, extra: Mapping[str, Any]) -> None:
    """Attach ``extra`` to the event of every asset among the task's outlets."""
    from airflow.sdk import Asset

    for outlet in outlets or ():
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = dict(extra)
