# SPDX-License-Identifier: Apache-2.0
"""
From the text of an expression to its tree.

First the text is cut into tokens, and whatever is no number, string, name or known operator is refused where
it stands: dots, brackets, semicolons, comments, backslashes and Python's words never get further. Python's
parser then reads what is left, and of its syntax tree an allow-list is taken over.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from airflow_provider_mlbridge.exceptions import FeatureValueError, InvalidRecipeError
from airflow_provider_mlbridge.features import options
from airflow_provider_mlbridge.features.expressions.functions import OTHER_CALLS, SIGNATURES, arity
from airflow_provider_mlbridge.features.kinds import Kind, reader

MAX_LENGTH = 2_000
"""Characters of an expression."""

MAX_DEPTH = 100
"""How deeply an expression may be nested; a sum of n terms is n - 1 deep."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![\w.]))
  | (?P<name>[^\W\d]\w*(?![\w"']))
  | (?P<string>"[^"\\\x00-\x1f\x7f\ud800-\udfff]*"|'[^'\\\x00-\x1f\x7f\ud800-\udfff]*')
  | (?P<sign>\*\*|//|==|!=|<=|>=|[-+*/%<>(),])
    """,
    re.VERBOSE,
)

_WORDS = ("and", "or", "not", "True", "False", "None")
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}

_SIGN_HINTS = {
    "**": "write pow(x, y)",
    ".": "a value has no attributes and no methods",
    "[": "there are no lists and no subscripts",
    "{": "there are no sets and no mappings",
    ";": "a step has one expression",
    "#": "there are no comments in an expression",
    "=": "write == to compare",
    "&": "write and",
    "|": "write or",
    "!": "write not, or != to compare",
    "~": "write not",
    "^": "write pow(x, y)",
    "`": 'write col("name") for a column whose name is no plain word',
    '"': "a string ends on its line with the quote it begins with, and has no backslash and no prefix",
    "'": "a string ends on its line with the quote it begins with, and has no backslash and no prefix",
    "\\": "a string has no backslash",
}
_WORD_HINTS = {
    "if": "write if_else(condition, x, y)",
    "else": "write if_else(condition, x, y)",
    "in": "compare with == and join by or",
    "is": "write is_null(x)",
}
_VALID = "numbers, strings, true, false, null, columns, + - * / // %, comparisons, and, or, not, functions"

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


@dataclass(frozen=True)
class Node:
    """
    A part of an expression.

    :param op: ``constant``, ``column``, an operator's sign or word (``neg`` for the sign of a number), or the
        name of a function.
    :param args: what it works on.
    :param value: the constant, or the column's name.
    :param position: where it begins in the text, from 1; 0 when there is no text.
    """

    op: str
    args: tuple[Node, ...] = ()
    value: Any = None
    position: int = 0


def normalised(text: object) -> str:
    """
    An expression with single spaces, which are all that separates its parts.

    :raises InvalidRecipeError: when it is no text, is too long, or has a part that no expression has.
    """
    options.text("expression", "expression", text)
    source = str(text).strip()
    if len(source) > MAX_LENGTH:
        raise InvalidRecipeError(
            f"expression: the text has {len(source)} characters, {MAX_LENGTH} are allowed; compute a part of "
            f"it in an expression step of its own, and use the output of that"
        )
    parts: list[str] = []
    before = ""
    for kind, part, start in _tokens(source):
        if kind == before == "string":
            _refuse(source, start, f"{part} follows a string; put an operator between them")
        parts.append(" " if kind == "space" else part)
        before = before if kind == "space" else kind
    return "".join(parts)


def parse(text: str) -> Node:
    """
    The tree of a :func:`normalised` text.

    :raises InvalidRecipeError: naming the position, what is there and what is valid.
    """
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        # What the tokens let through may still make no sense together, like "a b" or "(a".
        position = error.offset or 1
        found = text[position - 1 : position + 9]
        what = f"{found!r} cannot stand here" if found else "something is missing here"
        _refuse(text, position, f"{what} ({error.msg})")
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidRecipeError(
            f"expression: {_excerpt(text, 1)} is nested too deeply to be read, {MAX_DEPTH} levels are allowed"
        ) from error
    return _Converter(text).node(tree.body, 1)


def columns_of(node: Node) -> tuple[str, ...]:
    """The columns that an expression reads, in order of appearance."""
    if node.op == "column":
        return (node.value,)
    return tuple(dict.fromkeys(name for arg in node.args for name in columns_of(arg)))


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """Kind, text and position (from 1) of the tokens."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        start = position + 1
        if match is None:
            _refuse_sign(text, start)
        kind, part = str(match.lastgroup), match.group()
        if part == "**":
            _refuse(text, start, f"'**' is not valid; {_SIGN_HINTS['**']}")
        if kind == "name":
            _check_word(text, part, start)
        yield kind, part, start
        position = match.end()


def _refuse_sign(text: str, start: int) -> NoReturn:
    rest = text[start - 1 :]
    word = re.match(r"\w+", rest)
    found = word.group() if word else rest[0]
    if word and found[0].isdecimal():
        hint = "a number is like 12, 0.5 or 1e-3"
    elif word:
        hint = _SIGN_HINTS['"']
    else:
        hint = _SIGN_HINTS.get(found, f"valid are {_VALID}")
    _refuse(text, start, f"{found!r} is not valid; {hint}")


def _check_word(text: str, word: str, start: int) -> None:
    if keyword.iskeyword(word) and word not in _WORDS:
        hint = _WORD_HINTS.get(word, f"for a column of this name write col({word!r})")
        _refuse(text, start, f"{word!r} is a reserved word; {hint}")
    if unicodedata.normalize("NFKC", word) != word:
        # Python would read another name than the one that is written.
        _refuse(text, start, f"{word!r} has letters that mean the same as others; write col({word!r})")


def _excerpt(text: str, position: int) -> str:
    begin = max(0, position - 40)
    part = text[begin : begin + 80]
    return repr(("..." if begin else "") + part + ("..." if begin + 80 < len(text) else ""))


def _refuse(text: str, position: int, what: str) -> NoReturn:
    raise problem(text, position, what)


def problem(text: str, position: int, what: str) -> InvalidRecipeError:
    """The error for something at this place (from 1) of an expression; for none without a text."""
    if not position:
        return InvalidRecipeError(what)
    return InvalidRecipeError(f"expression {_excerpt(text, position)}, position {position}: {what}")


class _Converter:
    """Takes over what is on the allow-list."""

    def __init__(self, text: str) -> None:
        self.text = text

    def position(self, item: ast.expr) -> int:
        # Python counts bytes.
        return len(self.text.encode()[: item.col_offset].decode()) + 1

    def problem(self, item: ast.expr, what: str) -> InvalidRecipeError:
        return problem(self.text, self.position(item), what)

    def refuse(self, item: ast.expr, what: str) -> NoReturn:
        raise self.problem(item, what)

    def node(self, item: ast.expr, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self.refuse(
                item,
                f"the expression is nested more than {MAX_DEPTH} levels deep; compute a part of it in an "
                f"expression step of its own, and use the output of that",
            )
        position = self.position(item)
        if isinstance(item, ast.Constant):
            return Node("constant", value=self.constant(item), position=position)
        if isinstance(item, ast.Name):
            if item.id in _CONSTANTS:
                return Node("constant", value=_CONSTANTS[item.id], position=position)
            return Node("column", value=item.id, position=position)
        if isinstance(item, ast.BoolOp):
            word = "and" if isinstance(item.op, ast.And) else "or"
            return Node(word, tuple(self.node(arg, depth + 1) for arg in item.values), position=position)
        if isinstance(item, ast.BinOp) and type(item.op) in _BINARY:
            args = (self.node(item.left, depth + 1), self.node(item.right, depth + 1))
            return Node(_BINARY[type(item.op)], args, position=position)
        if isinstance(item, ast.UnaryOp) and isinstance(item.op, ast.Not | ast.USub):
            operand = self.node(item.operand, depth + 1)
            if isinstance(item.op, ast.Not):
                return Node("not", (operand,), position=position)
            if operand.op == "constant" and isinstance(operand.value, float):
                return Node("constant", value=-operand.value, position=position)
            return Node("neg", (operand,), position=position)
        if isinstance(item, ast.Compare):
            return self.comparison(item, depth, position)
        if isinstance(item, ast.Call):
            return self.call(item, depth, position)
        if isinstance(item, ast.Starred):
            self.refuse(item, "'*' needs a value on both sides")
        if isinstance(item, ast.Tuple):
            self.refuse(item, "',' separates the arguments of a function and nothing else")
        raise self.problem(item, f"a {type(item).__name__} is not valid; valid are {_VALID}")

    def constant(self, item: ast.Constant) -> Any:
        value = item.value
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int | float):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return number
            self.refuse(item, "the number is too large for a 64-bit float, which ends at 1.8e308")
        raise self.problem(item, f"a {type(value).__name__} is not valid; valid are {_VALID}")

    def comparison(self, item: ast.Compare, depth: int, position: int) -> Node:
        values = [self.node(value, depth + 1) for value in (item.left, *item.comparators)]
        pairs = []
        for sign, left, right in zip(item.ops, values, values[1:], strict=False):
            if type(sign) not in _COMPARISONS:
                self.refuse(item, f"{type(sign).__name__} is not valid; valid are == != < <= > >=")
            pairs.append(Node(_COMPARISONS[type(sign)], (left, right), position=position))
        return pairs[0] if len(pairs) == 1 else Node("and", tuple(pairs), position=position)

    def call(self, item: ast.Call, depth: int, position: int) -> Node:
        if not isinstance(item.func, ast.Name):
            self.refuse(item, "only a function's name can be called")
        name = item.func.id
        if name not in SIGNATURES and name not in OTHER_CALLS:
            known = [*SIGNATURES, *OTHER_CALLS]
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            ordered = close + [other for other in known if other not in close]
            self.refuse(item, f"there is no function {name!r}; {hint}There are {options.shown(ordered)}")
        for arg in item.args:
            if isinstance(arg, ast.Starred):
                self.refuse(arg, "'*' needs a value on both sides")
        if item.keywords:
            self.refuse(item, f"{name}() takes no named arguments")
        if name in OTHER_CALLS:
            return self.quoted(item, name, position)
        least, most = arity(name)
        if not least <= len(item.args) <= (len(item.args) if most is None else most):
            signature = f"{name}({SIGNATURES[name].parameters})"
            self.refuse(item, f"{name}() has {len(item.args)} arguments here; write {signature}")
        return Node(name, tuple(self.node(arg, depth + 1) for arg in item.args), position=position)

    def quoted(self, item: ast.Call, name: str, position: int) -> Node:
        """The column, or the constant, that is written as a string."""
        arg = item.args[0] if len(item.args) == 1 else None
        value = arg.value if isinstance(arg, ast.Constant) else None
        if not isinstance(value, str) or not value:
            self.refuse(item, f"{name}() takes one string; write {name}({OTHER_CALLS[name].parameters})")
        if name == "col":
            return Node("column", value=value, position=position)
        kind: Kind = "date" if name == "date" else "timestamp"
        try:
            return Node("constant", value=reader(name, kind)(value), position=position)
        except FeatureValueError:
            self.refuse(item, f"{value!r} is no {name}; write {name}({OTHER_CALLS[name].parameters})")
