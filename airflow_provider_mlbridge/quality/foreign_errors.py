# SPDX-License-Identifier: Apache-2.0
"""
Errors that other libraries raise while they read or judge rows, told without the values of those rows.

Such a message may quote a value in any form: in quotes, without, as ``repr``, cut in the middle. Nothing of
it is therefore repeated, unless the whole of it is a sentence that is known to hold only names of types,
sizes or words of the user's own. Of every other one, the class is told and a sentence of ours.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection

_LONGEST = 500

_T = (
    r"(?:dtype=)?['\"]?(?:str|string|large_string|bytes|bytearray|binary|large_binary|object|category|Categorical"
    r"|bool|date|time|list|dict|set|tuple|(?:numpy\.)?ndarray|NoneType|NAType|(?:decimal\.)?Decimal|Timestamp"
    r"|Timedelta|DatetimeArray|TimedeltaArray|datetime\.(?:date|datetime|time|timedelta)|date(?:32|64)\[\w+\]"
    r"|(?:u?int|float|complex|datetime|timedelta|duration|timestamp|double)\d*"
    r"(?:\[(?:pyarrow|[munsD]{1,2}(?:, ?(?:tz=)?UTC)?)\])?)['\"]?"
)
"""Names of types, which no value of a row is."""
_SIZE = r"\d+(?:\.\d+)? (?:bytes?|[KMGT]i?B)"
_HARMLESS = re.compile(
    "|".join(
        (
            rf"'(?:<|<=|>|>=|==|!=)' not supported between instances of {_T} and {_T}",
            rf"Invalid comparison between {_T} and {_T}",
            rf"Cannot compare {_T} (?:and|with|to) {_T}",
            r"Cannot compare tz-naive and tz-aware (?:timestamps|datetime-like objects)",
            rf"unsupported operand type\(s\) for \S{{1,3}}: {_T} and {_T}",
            rf"operation '[a-z_]{{1,20}}' not supported for dtype {_T} with dtype {_T}",
            rf"Cannot perform reduction '[a-z]{{1,20}}' with {_T} dtype",
            r"'Categorical' with dtype category does not support operation '[a-z]{1,20}'",
            rf"Function '[a-z_]{{1,40}}' has no kernel matching input types \({_T}(?:, {_T})*\)",
            rf"unhashable type: {_T}",
            rf"can only concatenate {_T} \(not {_T}\) to {_T}",
            rf"can't concat {_T} to {_T}",
            rf"the JSON object must be str, bytes or bytearray, not {_T}",
            r"Values passed to expect_[a-z_]{1,80} must be of type string\.",
            rf"Out of Memory Error: [a-z ]{{1,80}} of size {_SIZE} \({_SIZE}/{_SIZE} used\)\.?",
            (
                r"Binder Error: No function matches the given name and argument types "
                r"'[a-z0-9_]{1,40}\([A-Z0-9_, ()\[\]]{1,200}\)'\. You might need to add explicit type casts\."
            ),
        )
    )
)
_OWN_WORD = re.compile(r"(?:'[A-Za-z]{1,40}' object has no attribute|name) '(\w+)'(?: is not defined)?")
"""A name that a condition of the user uses; it is shown when that condition indeed has it."""

_BY_TEXT = {
    r"could not convert|invalid literal for": "a value cannot be converted to the type that is needed",
    r"unknown datetime|time data|could not parse string|out of bounds": (
        "a value cannot be read as a date or point in time, or lies beyond them"
    ),
    r"(?:invalid input error: )?(?:missing [)\]]|invalid escape sequence|bad repetition|no argument for rep|"
    r"invalid character class|invalid perl operator|invalid named capture|pattern too large|unterminated|"
    r"unbalanced parenthesis|nothing to repeat)": "a regular expression is not understood",
    r"(?:.{0,40})(?:page header|tprotocolexception|snappy|decompress|end of stream|couldn't deserialize|"
    r"invalid data)": "a page cannot be decoded: the file is corrupt",
}
"""How messages begin, in lower case, and what is said in their place."""
_BY_CLASS = {
    "ArithmeticError": "a calculation with the values failed",
    "ArrowInvalid": "a value does not fit its type, or a page of a file is corrupt",
    "ArrowNotImplementedError": "the types of the columns do not allow it",
    "ArrowTypeError": "the types of the columns do not allow it",
    "AttributeError": "values of this type do not have what a condition or a function asks for",
    "BinderException": "the types of the columns do not allow it",
    "ConversionException": "a value cannot be converted to the type that it is compared with",
    "DateParseError": "a value cannot be read as a date",
    "FloatingPointError": "a calculation with the values failed",
    "IOException": "a file cannot be read",
    "IndexError": "what is looked up is not there",
    "InternalException": "it met an error of its own",
    "InterruptException": "the query was interrupted",
    "InvalidInputException": "a function does not accept a value or a pattern",
    "JSONDecodeError": "a value is no JSON",
    "KeyError": "what is looked up is not there",
    "MemoryError": "there is not enough memory",
    "NotImplementedException": "the types of the columns do not allow it",
    "OSError": "a file cannot be read",
    "OutOfBoundsDatetime": "a point in time lies beyond what the type can hold",
    "OutOfBoundsTimedelta": "a length of time lies beyond what the type can hold",
    "OutOfRangeException": "a number lies beyond what its type can hold",
    "OverflowError": "a number lies beyond what its type can hold",
    "ParserError": "a value cannot be read as a date",
    "RecursionError": "a value or a pattern is nested too deeply",
    "SchemaError": "the JSON schema is none",
    "SyntaxError": "a condition is not well formed",
    "TypeError": "values of these types do not go together",
    "TypeMismatchException": "values of these types do not go together",
    "UndefinedVariableError": "a condition names what is not there",
    "UnicodeDecodeError": "text is no valid UTF-8",
    "UnicodeEncodeError": "text cannot be written as UTF-8",
    "ValueError": "a value is not of the form that is needed",
    "ZeroDivisionError": "a calculation divides by zero",
    "error": "a page cannot be decoded, or a regular expression is not understood",
}
_KNOWN = frozenset(_BY_CLASS) | {
    name for name, item in vars(builtins).items() if isinstance(item, type) and issubclass(item, Exception)
}
_RAISED = re.compile(r"^(?:\w+\.)*(\w+)(?=:|$)", re.MULTILINE)


def first_class(traceback: str, otherwise: str) -> str:
    """
    The class of the first error in a traceback: the cause, where errors are chained.

    :param otherwise: returned when it is none that is known here. Any other word could be one of a row.
    """
    return next((name for name in _RAISED.findall(traceback) if name in _KNOWN), otherwise)


def first_line(message: str) -> str:
    """The first line of a message, cut when it is long."""
    lines = message.strip().splitlines()
    return lines[0][:_LONGEST] if lines else "no message"


def is_harmless(message: str, own_words: Collection[str] = ()) -> bool:
    """
    Whether the first line of a message is known to hold nothing of any row.

    :param own_words: texts of the user, such as a condition, whose words may be repeated.
    """
    line = first_line(message)
    if _HARMLESS.fullmatch(line):
        return True
    own = _OWN_WORD.fullmatch(line)
    return own is not None and any(re.search(rf"\b{own[1]}\b", text) for text in own_words)


def without_values(class_name: str, message: str, own_words: Collection[str] = ()) -> str:
    """
    An error that was raised over rows, in words that hold nothing of them.

    :param class_name: the class of the error.
    :param message: its text.
    :param own_words: as for :func:`is_harmless`.
    """
    line = first_line(message)
    if is_harmless(line, own_words):
        return f"{class_name}: {line}"
    hint = next((hint for start, hint in _BY_TEXT.items() if re.match(start, line.lower())), None)
    hint = hint or _BY_CLASS.get(class_name)
    return f"{class_name}: {hint}" if hint else class_name
