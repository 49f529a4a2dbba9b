# SPDX-License-Identifier: Apache-2.0
"""
Python's regular expressions in the dialect of DuckDB (RE2), where both can say the same.

Great Expectations searches with Python's ``re``. RE2 differs quietly: its ``\\d``, ``\\w`` and ``\\s`` know
ASCII only, and its ``$`` does not match before a final newline. So a pattern is taken apart by Python's own
parser and written anew without these. What RE2 cannot say exactly (look-around, references back, word
boundaries, possessive repeats) is left to Great Expectations.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

# Python's \s: what str.isspace() accepts.
_SPACE = r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_CLASSES = {
    "CATEGORY_DIGIT": r"\p{Nd}",
    "CATEGORY_WORD": r"\p{L}\p{N}_",
    "CATEGORY_SPACE": _SPACE,
}
_ASCII_CLASSES = {
    "CATEGORY_DIGIT": "0-9",
    "CATEGORY_WORD": "0-9A-Za-z_",
    "CATEGORY_SPACE": r"\t-\r\x20",
}
_MAX_REPEAT = 1000
"""RE2 refuses more."""


class UntranslatableError(Exception):
    """RE2 cannot say this exactly."""


def to_re2(pattern: str) -> str:
    """
    An RE2 pattern that is found in exactly the texts in which Python's ``re.search`` finds ``pattern``.

    :param pattern: a valid Python pattern.
    :raises UntranslatableError: when there is none.
    """
    tree = _parse(pattern)
    return _sequence(tree, tree.state.flags, last=True)


def may_be_empty(pattern: str) -> bool:
    """Whether the pattern, one that Python can read, matches an empty text anywhere."""
    return int(_parse(pattern).getwidth()[0]) == 0


def _parse(pattern: str) -> Any:
    from re import _parser  # type: ignore[attr-defined]

    with warnings.catch_warnings():
        # "Possible nested set": what Python will do one day does not concern the check of today.
        warnings.simplefilter("ignore", FutureWarning)
        return _parser.parse(pattern)


def _sequence(nodes: Iterable[tuple[Any, Any]], flags: int, *, last: bool) -> str:
    items: Sequence[tuple[Any, Any]] = list(nodes)
    return "".join(
        _node(str(op), argument, flags, last=last and position == len(items) - 1)
        for position, (op, argument) in enumerate(items)
    )


def _node(op: str, argument: Any, flags: int, *, last: bool) -> str:
    match op:
        case "LITERAL":
            return _span_set([(argument, argument)], flags)
        case "NOT_LITERAL":
            return _span_set([(argument, argument)], flags, negated=True)
        case "ANY":
            return r"(?s:.)" if flags & re.DOTALL else r"[^\n]"
        case "IN":
            return _set(argument, flags)
        case "AT":
            return _anchor(str(argument), flags, last=last)
        case "BRANCH":
            return f"(?:{'|'.join(_sequence(branch, flags, last=last) for branch in argument[1])})"
        case "SUBPATTERN":
            _, added, removed, inner = argument
            return f"(?:{_sequence(inner, (flags | added) & ~removed, last=last)})"
        case "MAX_REPEAT" | "MIN_REPEAT":
            return _repeat(argument, flags)
    raise UntranslatableError(op)


def _repeat(argument: Any, flags: int) -> str:
    # Whether a repeat is greedy decides where a match ends, not whether there is one.
    low, high, inner = int(argument[0]), argument[1], argument[2]
    unbounded = str(high) == "MAXREPEAT"
    if low > _MAX_REPEAT or (not unbounded and int(high) > _MAX_REPEAT):
        raise UntranslatableError("repeat")
    body = f"(?:{_sequence(inner, flags, last=False)})"
    return f"{body}{{{low},{'' if unbounded else int(high)}}}"


def _anchor(name: str, flags: int, *, last: bool) -> str:
    if name == "AT_BEGINNING":
        return "(?m:^)" if flags & re.MULTILINE else r"\A"
    if name == "AT_BEGINNING_STRING":
        return r"\A"
    if name == "AT_END_STRING":
        return r"\z"
    if name == "AT_END":
        if flags & re.MULTILINE:
            return "(?m:$)"
        if last:
            # The newline is consumed here but only looked at by Python: the same when nothing follows.
            return r"(?:\n?\z)"
    raise UntranslatableError(name)


def _set(items: Sequence[tuple[Any, Any]], flags: int) -> str:
    """A character set; RE2 has no complement inside one, so ``[\\Wx]`` becomes ``(?:[^\\w]|[x])``."""
    negated = bool(items) and str(items[0][0]) == "NEGATE"
    classes = _ASCII_CLASSES if flags & re.ASCII else _CLASSES
    spans: list[tuple[int, int]] = []
    categories: list[str] = []
    complements: list[str] = []
    for op, argument in items[1:] if negated else items:
        match str(op):
            case "LITERAL":
                spans.append((argument, argument))
            case "RANGE":
                spans.append(argument)
            case "CATEGORY":
                name = str(argument)
                (complements if "_NOT_" in name else categories).append(classes[name.replace("_NOT_", "_")])
            case other:
                raise UntranslatableError(other)
    folded = bool(flags & re.IGNORECASE)
    if negated:
        # What is not in a complement is in the class, but two of them would have to hold at once, and RE2
        # folds the case of a whole set or of nothing in it.
        if len(complements) == 1 and not spans and not categories:
            return f"[{complements[0]}]"
        if complements or (categories and spans and folded):
            raise UntranslatableError("set")
    sets = []
    if folded and spans:
        sets.append(_span_set(spans, flags, negated=negated))
        spans = []
    if categories or spans:
        inside = "".join(categories) + "".join(_span(span) for span in spans)
        sets.append(f"[{'^' if negated else ''}{inside}]")
    sets.extend(f"[^{item}]" for item in complements)
    return sets[0] if len(sets) == 1 else f"(?:{'|'.join(sets)})"


def _span_set(spans: Sequence[tuple[int, int]], flags: int, *, negated: bool = False) -> str:
    """A set of characters, in any case when the flags say so."""
    folded = bool(flags & re.IGNORECASE)
    if folded and flags & re.ASCII:
        # RE2 would take letters beyond ASCII for the same as well, such as the Kelvin sign for k.
        raise UntranslatableError("ASCII without case")
    if folded and any(low <= code <= high for low, high in spans for code in _LETTERS_I):
        spans = [*spans, *((code, code) for code in _LETTERS_I)]
    text = f"[{'^' if negated else ''}{''.join(map(_span, spans))}]"
    return f"(?i:{text})" if folded else text


_LETTERS_I = (0x49, 0x69, 0x130, 0x131)
"""I, i, and the Turkish ones with and without a dot: one letter for Python, but not for RE2, without case."""


def _span(span: tuple[int, int]) -> str:
    low, high = span
    return _character(low) if low == high else f"{_character(low)}-{_character(high)}"


def _character(code: int) -> str:
    return f"\\x{{{code:x}}}"
