# SPDX-License-Identifier: Apache-2.0
# Methods are described once, in Split, and not every one needs all its arguments.
# ruff: noqa: ARG002, D102
"""
Which rows a recipe learns from.

Every split sorts rows into ``train``, ``validation`` and ``test``; a split by time may leave a ``gap``
between them, whose rows belong to none. Only ``train`` is ever looked at by ``fit``. Without a split all rows
are ``train``: then no honest test is possible with this feature set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any, ClassVar, Self

from airflow_provider_mlbridge.exceptions import FitError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.durations import duration, microseconds
from airflow_provider_mlbridge.features.kinds import Kind

TRAIN, VALIDATION, TEST, GAP = "train", "validation", "test", "gap"
_HASH_DIGITS = 13
"""Hexadecimal digits of the md5 that are looked at: 52 bits, which a float holds exactly."""


@dataclass(frozen=True)
class Split:
    """Base of the splits."""

    BY: ClassVar[str] = ""

    def columns(self) -> tuple[str, ...]:
        """The columns that the split reads."""
        raise NotImplementedError

    def check_kinds(self, kinds: Mapping[str, Kind | None]) -> None:
        """:raises InvalidRecipeError: when a column is of a kind that this split cannot use."""

    def fit(self, table: Any, query: Callable[[Any], list[dict[str, Any]]]) -> dict[str, Any]:
        """What must be known of the data, as plain JSON; ``table`` has the columns under their own names."""
        return {}

    def branches(self, table: Any, state: Mapping[str, Any]) -> list[tuple[Any, str]]:
        """Ibis booleans, and the part of a row for which one is the first to be true; others are test."""
        raise NotImplementedError

    def expression(self, table: Any, state: Mapping[str, Any]) -> Any:
        """Ibis string: train, validation, test or gap."""
        import ibis

        return ibis.cases(*self.branches(table, state), else_=TEST)

    def train_rows(self, table: Any, state: Mapping[str, Any]) -> Any:
        """
        Ibis boolean, true for rows of the training split.

        The same as to compare :meth:`expression`, in words that let an engine leave out files and row groups.
        """
        import ibis

        leading = takewhile(lambda branch: branch[1] == TRAIN, self.branches(table, state))
        return ibis.or_(*(condition for condition, _ in leading))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON with ``by`` first; options at their default are left out."""
        document: dict[str, Any] = {"by": self.BY}
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                document[item.name] = list(value) if isinstance(value, tuple) else value
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote."""
        given = {key: value for key, value in document.items() if key != "by"}
        options.known_keys(f"split by {cls.BY}", given, [item.name for item in fields(cls)])
        return cls(**given)


def _shares(what: str, train: object, validation: object) -> tuple[float, float]:
    first = options.number(what, "train", train, low=0, high=1)
    second = options.number(what, "validation", validation, low=0, high=1)
    if not 0 < first <= 1 or first + second > 1:
        raise InvalidRecipeError(
            f"{what}: train={train!r} must be above 0, and train and validation={validation!r} at most 1 "
            f"together"
        )
    return first, second


@dataclass(frozen=True)
class HashSplit(Split):
    """
    At random, but always alike: by the md5 of the keys.

    The bucket of a row is the first 13 hexadecimal digits of ``md5(salt + ":" + keys)``, with the keys as
    text joined by U+001F and missing ones as empty text, taken as a fraction of 16**13. Rows with equal
    keys stay together.

    :param keys: columns to hash (integers, strings, dates, booleans); the recipe's keys when empty.
    :param train: share of the training split.
    :param validation: share of the validation split; the rest is test.
    :param salt: changes which rows are where.
    """

    BY: ClassVar[str] = "hash"

    keys: Sequence[str] = ()
    train: float = 0.8
    validation: float = 0.0
    salt: str = ""

    def __post_init__(self) -> None:
        what = f"split by {self.BY}"
        object.__setattr__(self, "keys", options.texts(what, "keys", self.keys))
        train, validation = _shares(what, self.train, self.validation)
        object.__setattr__(self, "train", train)
        object.__setattr__(self, "validation", validation)
        if not isinstance(self.salt, str):
            raise InvalidRecipeError(f"{what}: salt={self.salt!r} must be a string")

    def columns(self) -> tuple[str, ...]:
        return tuple(self.keys)

    def check_kinds(self, kinds: Mapping[str, Kind | None]) -> None:
        for name in self.keys:
            if kinds[name] not in ("int", "string", "date", "bool"):
                raise InvalidRecipeError(
                    f"split by {self.BY}: column {name!r} is {kinds[name] or 'unsupported'}; valid are int, "
                    f"string, date and bool, which every engine writes as the same text"
                )

    def branches(self, table: Any, state: Mapping[str, Any]) -> list[tuple[Any, str]]:
        import ibis

        joined: Any = ibis.literal(f"{self.salt}:")
        for position, name in enumerate(self.keys):
            key = table[name].cast("string").fill_null("")
            joined = joined + key if position == 0 else joined + ibis.literal("\x1f") + key
        # Hexadecimal text of equal length sorts as the numbers do, so no engine has to parse it.
        # (The digits after the thirteenth do not matter: the threshold is shorter, so sorts before them.)
        bucket = joined.hexdigest("md5")
        branches = [(bucket < _threshold(self.train), TRAIN)]
        if self.validation:
            branches.append((bucket < _threshold(self.train + self.validation), VALIDATION))
        return branches


def _threshold(share: float) -> str:
    buckets = 16**_HASH_DIGITS
    limit = round(share * buckets)
    # "g" sorts after every hexadecimal digit: all buckets are below the whole.
    return "g" if limit >= buckets else f"{limit:0{_HASH_DIGITS}x}"


@dataclass(frozen=True)
class GroupSplit(HashSplit):
    """
    Whole groups at random, but always alike: by the md5 of what identifies the group, see :class:`HashSplit`.

    The rows of a customer, a patient or a machine are alike; with some of them in training, the others are
    no honest test. Rows whose group is missing are test: nothing shows that they belong to another one.

    :param keys: the columns that identify the group; must be given.
    :param train: share of the groups (not of the rows) in the training split.
    :param validation: share of the validation split; the rest is test.
    :param salt: changes which groups are where.
    """

    BY: ClassVar[str] = "group"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.keys:
            raise InvalidRecipeError(
                "split by group: keys is empty; name the columns that identify the group"
            )

    def branches(self, table: Any, state: Mapping[str, Any]) -> list[tuple[Any, str]]:
        import ibis

        known: Any = ibis.and_(*(table[name].notnull() for name in self.keys))
        return [(known & condition, name) for condition, name in super().branches(table, state)]


@dataclass(frozen=True)
class TimeSplit(Split):
    """
    The past to learn from, the future to test on.

    Either with cut-offs, or with shares, whose boundaries are the event times at those ranks. Rows without
    event time are test: nothing shows that they are from the past. Shares are of all rows, those included.

    :param column: event time (date or timestamp); the recipe's ``event_time`` when empty.
    :param cutoff: rows before this moment are train. ISO 8601, UTC when it has no zone.
    :param validation_cutoff: rows from ``cutoff`` to before this moment are validation.
    :param train: share of the rows, the earliest; equal times at the boundary are all train. When fewer rows
        have a time, all of those are train.
    :param validation: share of the rows after those; the rest is test.
    :param gap: length of time before each boundary whose rows are ``gap`` instead, for example ``"7d"``: what
        was known of a row in training then ends so long before the first row of what follows. With cut-offs
        it is measured back from them, with shares from the last time before the boundary.
    """

    BY: ClassVar[str] = "time"

    column: str = ""
    cutoff: str | date | None = None
    validation_cutoff: str | date | None = None
    train: float | None = None
    validation: float = 0.0
    gap: str | timedelta | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.column, str):
            raise InvalidRecipeError(f"split by time: column={self.column!r} must be a column name")
        for name in ("cutoff", "validation_cutoff"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _moment(name, getattr(self, name)).isoformat())
        if (self.cutoff is None) == (self.train is None):
            raise InvalidRecipeError("split by time: give either cutoff or train (a share), not both")
        if self.train is not None:
            train, validation = _shares("split by time", self.train, self.validation)
            object.__setattr__(self, "train", train)
            object.__setattr__(self, "validation", validation)
            if self.validation_cutoff is not None:
                raise InvalidRecipeError("split by time: validation_cutoff goes with cutoff, not with train")
        elif self.validation:
            raise InvalidRecipeError("split by time: with cutoff give validation_cutoff, not validation")
        if self.validation_cutoff is not None and str(self.validation_cutoff) < str(self.cutoff):
            raise InvalidRecipeError(
                f"split by time: validation_cutoff={self.validation_cutoff} is before cutoff={self.cutoff}"
            )
        if self.gap is not None:
            object.__setattr__(self, "gap", duration("split by time", "gap", self.gap))

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def check_kinds(self, kinds: Mapping[str, Kind | None]) -> None:
        if kinds[self.column] not in ("date", "timestamp"):
            raise InvalidRecipeError(
                f"split by time: column {self.column!r} is {kinds[self.column] or 'unsupported'}; it must be "
                f"a date or a timestamp"
            )

    def fit(self, table: Any, query: Callable[[Any], list[dict[str, Any]]]) -> dict[str, Any]:
        if self.train is None:
            return {}
        from airflow_provider_mlbridge.features.quantiles import numbered, values_of_ranks
        from airflow_provider_mlbridge.features.session import FILE_INDEX, ROW_INDEX

        time = table[self.column].cast("timestamp")
        counted = query(table.aggregate(rows=table.count(), known=time.count()))[0]
        rows, known = int(counted["rows"]), int(counted["known"])
        # The boundary is the last time inside a split, never the first one after it, and its rank is counted
        # among all rows: so nothing that happens to a row of the test split, even that it loses its time, can
        # change what is stored.
        shares = {"train_until": self.train}
        if self.validation:
            shares["validation_until"] = self.train + self.validation
        ranks = {name: min(round(share * rows), known) - 1 for name, share in shares.items()}
        for name, share in shares.items():
            if ranks[name] < 0:
                raise FitError(
                    f"split by time: {share:g} of the {rows} rows, of which {known} have a time in "
                    f"{self.column!r}, is none"
                )
        values = values_of_ranks(query, numbered(table, (FILE_INDEX, ROW_INDEX)), time, ranks.values(), known)
        state: dict[str, Any] = {}
        for name, share in shares.items():
            boundary = values[ranks[name]]
            if not isinstance(boundary, datetime):
                raise FitError(
                    f"split by time: the time in {self.column!r} at {share:g} of the rows is beyond the year "
                    f"9999. Clean the datamart, or give a cutoff."
                )
            state[name] = boundary.isoformat()
        return state

    def branches(self, table: Any, state: Mapping[str, Any]) -> list[tuple[Any, str]]:
        import ibis

        time = table[self.column].cast("timestamp")
        branches = []
        for name, until, before in (
            (TRAIN, state.get("train_until"), self.cutoff),
            (VALIDATION, state.get("validation_until"), self.validation_cutoff),
        ):
            boundary = until if until is not None else before
            if boundary is None:
                continue
            moment = datetime.fromisoformat(str(boundary))
            for end, where in (
                ((self._before(moment), name), (moment, GAP)) if self.gap else ((moment, name),)
            ):
                literal = ibis.literal(end)
                branches.append((time < literal if until is None else time <= literal, where))
        return branches

    def _before(self, moment: datetime) -> datetime:
        """The end of a split whose boundary is this moment."""
        try:
            return moment - timedelta(microseconds=microseconds(str(self.gap)))
        except OverflowError:
            return datetime.min  # noqa: DTZ901 - UTC by definition; no row is earlier


def _moment(name: str, value: object) -> datetime:
    """A UTC moment without zone. YAML turns unquoted dates into date objects, so those are fine too."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - UTC by definition
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    except ValueError:
        pass
    raise InvalidRecipeError(f"split by time: {name}={value!r} must be an ISO 8601 date or time")


@dataclass(frozen=True)
class ColumnSplit(Split):
    """
    As a column of the datamart says.

    :param column: its name.
    :param train: values that mean train.
    :param validation: values that mean validation; all others, and missing ones, mean test.
    """

    BY: ClassVar[str] = "column"

    column: str = ""
    train: Sequence[str | int | bool] = (TRAIN,)
    validation: Sequence[str | int | bool] = ()

    def __post_init__(self) -> None:
        options.text("split by column", "column", self.column)
        object.__setattr__(self, "train", options.scalars("split by column", "train", self.train))
        if self.validation:
            values = options.scalars("split by column", "validation", self.validation)
            object.__setattr__(self, "validation", values)
        else:
            object.__setattr__(self, "validation", ())
        both = sorted(map(str, set(self.train) & set(self.validation)))
        if both:
            raise InvalidRecipeError(f"split by column: {options.shown(both)} is both train and validation")

    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def check_kinds(self, kinds: Mapping[str, Kind | None]) -> None:
        expected = {str: "string", bool: "bool", int: "int"}
        for value in (*self.train, *self.validation):
            if kinds[self.column] != expected[type(value)]:
                raise InvalidRecipeError(
                    f"split by column: {self.column!r} is {kinds[self.column] or 'unsupported'}, but "
                    f"{value!r} is {expected[type(value)]}"
                )

    def branches(self, table: Any, state: Mapping[str, Any]) -> list[tuple[Any, str]]:
        import ibis

        value = table[self.column]
        branches = [(value == ibis.literal(item), TRAIN) for item in self.train]
        branches += [(value == ibis.literal(item), VALIDATION) for item in self.validation]
        return branches


SPLITS: dict[str, type[Split]] = {
    split.BY: split for split in (HashSplit, GroupSplit, TimeSplit, ColumnSplit)
}


def parse_split(document: object) -> Split | None:
    """A split from its mapping with ``by`` and options; None stays None."""
    if document is None or isinstance(document, Split):
        return document
    if not isinstance(document, Mapping):
        raise InvalidRecipeError(f"split must be a mapping with by, got {document!r}")
    by: Any = document.get("by")
    if not isinstance(by, str) or by not in SPLITS:
        raise InvalidRecipeError(f"split: by={by!r} is not valid; use one of {', '.join(SPLITS)}")
    return SPLITS[by].from_dict(document)
