# SPDX-License-Identifier: Apache-2.0
"""
Typed parameters of a pipeline, and the argument list that they make.

A command is a template only when its pipeline declares parameters: an element ``{name}`` then stands for the
value of that parameter, as one element whatever it holds. No shell reads it. ``{{name}}`` is the text
``{name}``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Value = bool | int | float | str

ParameterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
_Kind = Literal["string", "integer", "number", "boolean"]

_LONGEST_TEXT = 4096
_SHOWN = 60
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ESCAPED = re.compile(r"\{(\{[A-Za-z_][A-Za-z0-9_]*\})\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ParameterError(ValueError):
    """
    Values of a request that its pipeline does not take.

    :param faults: parameter to what is wrong with it; the message names all.
    """

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"parameter {name!r} {fault}" for name, fault in faults.items()))
        self.faults = dict(faults)


class Parameter(BaseModel):
    """
    One parameter.

    :param type: ``string``, ``integer``, ``number`` or ``boolean``; values are not converted.
    :param min: smallest number, or shortest text in characters.
    :param max: largest number, or longest text; a text has 4096 characters at most.
    :param choices: the only values.
    :param pattern: regular expression that a whole text must match.
    :param default: value when a request does not give one.
    :param required: whether a request must give one.
    :param description: for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: _Kind = "string"
    min: float | None = None
    max: float | None = None
    choices: Annotated[list[Any], Field(min_length=1)] | None = None
    pattern: str | None = None
    default: Any = None
    required: bool = False
    description: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Parameter:
        if self.type == "boolean" and any(limit is not None for limit in (self.min, self.max, self.choices)):
            raise ValueError("min, max and choices are not for type boolean")
        if self.pattern is not None:
            if self.type != "string":
                raise ValueError(f"pattern is not for type {self.type}")
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern {self.pattern!r} is no regular expression: {error}") from error
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is greater than max {self.max:g}")
        if self.required and self.default is not None:
            raise ValueError("a required parameter has no default")
        for choice in self.choices or ():
            if not _is_a(self.type, choice):
                raise ValueError(f"choice {choice!r} is no {self.type}")
        if self.default is not None and (fault := self.fault(self.default)):
            raise ValueError(f"the default {fault}")
        return self

    def fault(self, value: Any) -> str:
        """What is wrong with a value, and what is valid; empty when nothing is."""
        if not _is_a(self.type, value):
            return f"is {_shown(value)}; valid: {self.valid()}"
        if self.choices is not None:
            return "" if value in self.choices else f"is {_shown(value)}; valid: {self.valid()}"
        size = len(value) if isinstance(value, str) else value
        too_small = self.min is not None and size < self.min
        if too_small or (self.max is not None and size > self.max):
            return f"is {_shown(value)}; valid: {self.valid()}"
        if isinstance(value, str):
            if len(value) > _LONGEST_TEXT or _CONTROL.search(value):
                return f"is {_shown(value)}; valid: {self.valid()}, without control characters"
            if self.pattern is not None and not re.fullmatch(self.pattern, value):
                return f"is {_shown(value)}; valid: {self.valid()}"
            if self.pattern is None and value.startswith("-"):
                # The program would take it for an option of its own.
                return f"is {_shown(value)}; valid: {self.valid()} that does not begin with '-'"
        return ""

    def valid(self) -> str:
        """The valid values, in words."""
        if self.choices is not None:
            shown = ", ".join(_shown(choice) for choice in self.choices[:10])
            more = f" and {len(self.choices) - 10} more" if len(self.choices) > 10 else ""
            return f"one of {shown}{more}"
        if self.type == "boolean":
            return "true or false"
        parts = [f"{'an' if self.type == 'integer' else 'a'} {self.type}"]
        unit = " characters" if self.type == "string" else ""
        if self.min is not None:
            parts.append(f"from {self.min:g}{unit}")
        if self.max is not None or self.type == "string":
            parts.append(f"to {_LONGEST_TEXT if self.max is None else self.max:g}{unit}")
        if self.pattern is not None:
            parts.append(f"that matches {self.pattern!r}")
        return " ".join(parts)


def resolve(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Value]:
    """
    Values of the parameters: those of a request, and defaults for the others.

    :raises ParameterError: naming every parameter that is unknown, missing or not valid.
    """
    faults: dict[str, str] = {}
    values: dict[str, Value] = {}
    for name in given:
        if name not in parameters:
            faults[name[:_SHOWN]] = f"is unknown; valid: {_names(parameters)}"
    for name, parameter in parameters.items():
        value = given.get(name, parameter.default)
        if value is None:
            if parameter.required:
                faults[name] = f"is missing; valid: {parameter.valid()}"
        elif fault := parameter.fault(value):
            faults[name] = fault
        else:
            values[name] = value
    if faults:
        raise ParameterError(faults)
    return values


def check_template(command: Sequence[str], parameters: Mapping[str, Parameter]) -> None:
    """
    Whether every placeholder of a command will have a value.

    :raises ValueError: naming the element that will not.
    """
    for element in command:
        rest = _ESCAPED.sub("", element)
        whole = _PLACEHOLDER.fullmatch(rest) if rest == element else None
        if whole is None:
            inside = [name for name in _PLACEHOLDER.findall(rest) if name in parameters]
            if inside:
                raise ValueError(
                    f"command element {element!r}: {{{inside[0]}}} must be an element of its own; write "
                    f"{{{{{inside[0]}}}}} for the text"
                )
            continue
        parameter = parameters.get(whole[1])
        if parameter is None:
            raise ValueError(
                f"command element {element!r} names no parameter; declared are {_names(parameters)}. Write "
                f"{{{element}}} for the text"
            )
        if not parameter.required and parameter.default is None:
            raise ValueError(
                f"command element {element!r}: the parameter must be required or have a default, for there "
                f"is no argument without a value"
            )


def fill(command: Sequence[str], values: Mapping[str, Value]) -> list[str]:
    """The argument list of a command that :func:`check_template` has passed."""
    filled = []
    for element in command:
        whole = _PLACEHOLDER.fullmatch(element)
        if whole is not None:
            filled.append(_argument(values[whole[1]]))
        else:
            filled.append(_ESCAPED.sub(r"\1", element))
    return filled


def _argument(value: Value) -> str:
    # JSON's spelling: true, not True; the shortest text that reads back as the same number.
    return value if isinstance(value, str) else json.dumps(value)


def _is_a(kind: _Kind, value: Any) -> bool:
    if isinstance(value, bool) or kind == "boolean":
        return kind == "boolean" and isinstance(value, bool)
    if kind == "string":
        return isinstance(value, str)
    if kind == "integer":
        return isinstance(value, int)
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _shown(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _names(parameters: Mapping[str, Parameter]) -> str:
    names = list(parameters)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more or "none"
