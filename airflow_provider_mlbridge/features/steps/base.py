# SPDX-License-Identifier: Apache-2.0
"""
What a step is.

A step holds options only. What it learns is a plain JSON object, its *state*; with that it can say the same
thing twice: as Ibis expressions for tables and as a Python function for single rows. Both must agree, so
they stand next to each other in each class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

from airflow_provider_mlbridge.exceptions import InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.kinds import KINDS, Kind
from airflow_provider_mlbridge.features.selectors import Selector
from airflow_provider_mlbridge.features.steps.summary import Needs, Summary

State = Mapping[str, Any]
Monotone = Literal["", "exact", "rounded"]
RowFunction = Callable[..., Sequence[Any]]
"""
The results of one row: of the value of the step's column, and after it those of :meth:`Step.reads`.
"""
HistoryFunction = Callable[[Sequence[Any], Sequence[Sequence[Any]]], Sequence[Any]]
"""The results of one row, given the same values as a row, and those of all rows there are."""


@dataclass(frozen=True)
class Roles:
    """
    What columns mean in a recipe.

    :param keys: what identifies a row.
    :param label: what is to be predicted.
    :param event_time: when the row happened.
    :param known_time: when its values were known.
    """

    keys: tuple[str, ...] = ()
    label: str | None = None
    event_time: str | None = None
    known_time: str | None = None


@dataclass(frozen=True)
class Input:
    """
    What a step works on in a table, as Ibis expressions.

    :param value: its column.
    :param kind: the kind of that.
    :param others: the columns of :meth:`Step.reads`, by name.
    :param kinds: their kinds, by name.
    :param code: place of the value among :meth:`Step.categories`, NULL when it is not there; None when the
        step has no categories.
    :param fold: a whole number from 0 for rows of the training split, by which they are shared out to folds,
        NULL for all others; None when the rows are not those that the step was fitted on.
    :param found: what stands at ``code`` in each column of :meth:`Step.lookups`, NULL where ``code`` is.
    """

    value: Any
    kind: Kind
    others: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    code: Any = None
    fold: Any = None
    found: Sequence[Any] = ()


@dataclass(frozen=True)
class Check:
    """
    Something to count among the rows that are transformed. Values of rows never stand in errors.

    :param name: what is counted, for example ``unknown``; the key in the statistics.
    :param matches: Ibis boolean, never NULL.
    :param fatal: whether one match is an error.
    :param advice: what to do about it, for the error.
    """

    name: str
    matches: Any
    fatal: bool
    advice: str


@dataclass(frozen=True)
class Step:
    """
    Base of the steps.

    :param columns: the columns to work on: a name, names, or a :class:`~..selectors.Selector`.
    :param output: name of the result, in which ``{column}`` stands for the column, for example
        ``"{column}_bin"``. Without it the step replaces its column.
    """

    TYPE: ClassVar[str] = ""
    KINDS: ClassVar[tuple[Kind, ...]] = KINDS
    REPLACES: ClassVar[bool] = True
    """Whether the first output takes the column's place; if not, all outputs are new columns."""
    DISCRETE: ClassVar[bool] = False
    """Whether the outputs are codes, whose different values are worth counting."""

    FLAGS: ClassVar[bool] = False
    """Whether all outputs are 0 or 1 and never missing."""

    KEEPS: ClassVar[bool] = False
    """Whether the column stays what it is, a feature or none, when the outputs are new columns."""

    PER_COLUMN: ClassVar[bool] = True
    """Whether the step works on its columns one by one; if not, on all of them at once."""

    SUPERVISED: ClassVar[bool] = False
    """Whether it learns from the label."""

    HISTORY: ClassVar[bool] = False
    """Whether it looks at other rows, and so extends a table instead of computing expressions."""

    MONOTONE: ClassVar[Monotone] = ""
    """
    Whether the first output, a number, never falls when the value rises: ``exact`` if that holds for floats
    as computed, in tables to the same bit as in rows; ``rounded`` if but for the last bits.
    """

    CATEGORIES: ClassVar[bool] = False
    """Whether it takes the column's values for categories."""

    FILLS: ClassVar[bool] = False
    """Whether missing values may get a value."""

    columns: Any
    output: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", Selector.of(self.columns))
        if self.output is not None:
            options.text(self.TYPE, "output", self.output)
            many = len(self.selector.names) != 1
            if "{column}" not in self.output and many:
                raise InvalidRecipeError(
                    f"{self.TYPE}: output={self.output!r} must contain {{column}}, because the step may "
                    f"work on several columns"
                )
        self.validate()

    @property
    def selector(self) -> Selector:
        """The columns, as a selector."""
        selector: Selector = self.columns
        return selector

    def validate(self) -> None:
        """Check and normalise the options. :raises InvalidRecipeError: naming option, value, valid ones."""

    def set(self, name: str, value: object) -> None:
        """Normalise an option from :meth:`validate`, while the object is being made."""
        object.__setattr__(self, name, value)

    def stem(self, column: str) -> str:
        """Name of the result, or what the names of several results begin with."""
        return column if self.output is None else self.output.replace("{column}", column)

    def reads(self, roles: Roles) -> Sequence[str]:  # noqa: ARG002
        """
        Columns that are read beside the step's own.

        :raises InvalidRecipeError: when the recipe does not name a column that the step cannot do without.
        """
        return ()

    def admit_label(self, roles: Roles) -> None:
        """:raises InvalidRecipeError: unless the label may be one of the step's own columns."""
        raise InvalidRecipeError(
            f"{roles.label!r} is the label; a feature made from it would give the answer away"
        )

    def check_kinds(self, kinds: Mapping[str, Kind]) -> None:
        """:raises InvalidRecipeError: when a column of :meth:`reads` is of a kind that is of no use."""

    def check_target(self, label: str, kind: Kind) -> None:
        """:raises InvalidRecipeError: when a step with :data:`SUPERVISED` can do nothing with this label."""

    def needs(self, kind: Kind) -> Needs:  # noqa: ARG002
        """What must be known before :meth:`fit`."""
        return Needs()

    def fit(self, summary: Summary, kind: Kind) -> dict[str, Any]:  # noqa: ARG002
        """The state: plain JSON. :raises FitError: when nothing can be learned."""
        return {}

    def outputs(self, stem: str, kind: Kind, state: State | None) -> list[tuple[str, Kind]]:
        """Names and kinds of the results; empty when they depend on a state that is not there yet."""
        raise NotImplementedError

    def indicators(self, stem: str) -> Sequence[str]:  # noqa: ARG002
        """Those of the results that say only whether the value was missing."""
        return ()

    def expressions(self, x: Input, state: State) -> list[Any]:
        """The results as Ibis expressions, as in :meth:`outputs`."""
        raise NotImplementedError

    def extend(
        self, table: Any, columns: Mapping[str, str], outputs: Sequence[str], state: State, roles: Roles
    ) -> Any:
        """
        ``table`` with the results added, for a step with :data:`HISTORY`; rows may come in another order.

        :param columns: the alias in the table of the step's column, which comes first, and of those of
            :meth:`reads`, by name.
        :param outputs: the aliases of the results.
        """
        raise NotImplementedError

    def history_function(
        self, columns: Sequence[str], kinds: Mapping[str, Kind], state: State, roles: Roles
    ) -> HistoryFunction:
        """
        The results as a function of Python values, for a step with :data:`HISTORY`.

        :param columns: names of the values that it is given, in order; the step's column comes first.
        :param kinds: their kinds.
        """
        raise NotImplementedError

    def categories(self, state: State) -> Sequence[Any] | None:  # noqa: ARG002
        """Different values whose places the step wants to know as ``code``."""
        return None

    def lookups(self, state: State, *, folds: bool) -> Sequence[Sequence[float | int]]:  # noqa: ARG002
        """
        Columns of numbers to be looked up as ``found``; each has one number for each of :meth:`categories`.

        :param folds: whether the rows are those that the step was fitted on.
        """
        return ()

    def row_function(self, where: str, kind: Kind, state: State) -> RowFunction:
        """The results as a function of Python values or None, as in :meth:`outputs`."""
        raise NotImplementedError

    def checks(self, x: Input, state: State) -> list[Check]:  # noqa: ARG002
        """What to count in a transform."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON with ``type`` and ``columns`` first; options at their default are left out."""
        document: dict[str, Any] = {"type": self.TYPE, "columns": self.selector.to_plain()}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "columns" or value == _default(item):
                continue
            document[item.name] = list(value) if isinstance(value, tuple) else value
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote. :raises InvalidRecipeError: for anything else."""
        names = [item.name for item in fields(cls)]
        options.known_keys(cls.TYPE, {key: None for key in document if key != "type"}, names)
        for item in fields(cls):
            if item.name not in document and item.default is MISSING:
                raise InvalidRecipeError(f"{cls.TYPE}: {item.name!r} is missing")
        return cls(**{key: value for key, value in document.items() if key != "type"})


def _default(item: Any) -> Any:
    return item.default


def literal(value: Any) -> Any:
    """
    An Ibis literal that has exactly this value in the engine.

    A float is written as text and cast. Bare, ``0.5`` is a DECIMAL to DuckDB: together with an integer it
    stays one, and how DECIMAL is rounded to DOUBLE differs between engines.
    """
    import ibis

    if isinstance(value, float):
        return ibis.literal(repr(value)).cast("float64")
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**63:
        return ibis.literal(value, "uint64")
    return ibis.literal(value)


def as_float(value: Any, kind: Kind) -> Any:
    """``value`` as 64-bit float; booleans are 0 and 1."""
    return value if kind == "float" else value.cast("float64")


def as_int(value: Any, ibis_type: str) -> Any:
    """
    ``value`` as an integer of exactly this type.

    Ibis leaves a cast out when it takes the value to be of that type already, and is wrong about DuckDB's
    types of literals and date parts; so there is a cast to another type in between.
    """
    return value.cast("int64").cast(ibis_type)


def flag(condition: Any) -> Any:
    """A condition as int8: 1 when true, 0 when false or NULL."""
    import ibis

    return as_int(ibis.ifelse(condition, literal(1), literal(0)), "int8")
