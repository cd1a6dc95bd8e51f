"""The functions of templates: those of Go's text/template and those of docker."""

from __future__ import annotations

from itertools import pairwise

from imq.grammar.record import TYPE_CHECKING, Record

from .fmt import format_value, sprint, sprintf, sprintln
from .json import encode_json
from .literals import from_bytes, to_bytes
from .values import Heading, TemplateFunctionError, get_kind, get_own_string, get_type_name, is_true

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_MAX_PAD = 1_000_000


class FunctionDefinition(Record):
    """A function: its implementation, the types of its parameters, and the type of variadic arguments."""

    call: Callable[..., object]
    parameter_types: tuple[str, ...]
    variadic_type: str = ""
    nil_error: str = ""  # Go's message for the constant nil as the first argument
    is_docker: bool = False


# ---- comparison


def _to_comparable(value: object, other: object) -> tuple[Any, Any]:
    """Return two values that Python compares as Go would; raises `TemplateFunctionError` when Go cannot."""
    kind, other_kind = get_kind(value), get_kind(other)
    if kind != other_kind and "string" in {kind, other_kind}:
        text, other_text = get_own_string(value), get_own_string(other)
        if text is not None and other_text is not None:  # a size compares with a number and with its string
            return text, other_text
    if kind != other_kind:
        raise TemplateFunctionError("incompatible types for comparison")
    if kind == "string":
        return to_bytes(str(value)), to_bytes(str(other))
    return value, other


def _eq(value: object, *others: object) -> bool:
    if not others:
        raise TemplateFunctionError("missing argument for comparison")
    for other in others:
        if value is None or other is None:
            if value is other:
                return True
            continue
        left, right = _to_comparable(value, other)
        if get_kind(left) in {"list", "map", "record", "struct"}:
            raise TemplateFunctionError(f"non-comparable type {format_value(value)}: {get_type_name(value)}")
        if left == right:
            return True
    return False


def _ne(value: object, other: object) -> bool:
    return not _eq(value, other)


def _make_comparison(name: str) -> Callable[[object, object], bool]:
    """Return the function `lt`, `le`, `gt` or `ge`. Comparisons with nil are false."""

    def compare(value: object, other: object) -> bool:
        for side in (value, other):
            if side is not None and get_kind(side) not in {"int", "float", "string"}:
                raise TemplateFunctionError("invalid type for comparison")
        if value is None or other is None:
            return False
        left, right = _to_comparable(value, other)
        match name:
            case "lt":
                return bool(left < right)
            case "le":
                return bool(left <= right)
            case "gt":
                return bool(left > right)
            case _:
                return bool(left >= right)

    return compare


# ---- elements


def _check_index(index: object, length: int) -> int:
    """Return a valid index of a list or string of this length; the length itself is valid."""
    if get_kind(index) != "int":
        raise TemplateFunctionError(
            "cannot index slice/array with nil" if index is None
            else f"cannot index slice/array with type {get_type_name(index)}"
        )  # fmt: skip
    number = int(index)  # type: ignore[call-overload]
    if not 0 <= number <= length:
        raise TemplateFunctionError(f"index out of range: {number}")
    return int(number)


def _index(value: Any, *indexes: object) -> object:
    for index in indexes:
        kind = get_kind(value)
        match kind:
            case "nil":
                return None
            case "list" | "string":
                items = to_bytes(value) if kind == "string" else value
                number = _check_index(index, len(items))
                if number == len(items):
                    raise TemplateFunctionError(
                        f"reflect: {'slice' if kind == 'list' else 'string'} index out of range"
                    )
                value = items[number]
            case "map" | "record":
                value = _get_entry(value, index)
            case _:
                raise TemplateFunctionError(f"can't index item of type {get_type_name(value)}")
    return value


def _get_entry(value: Any, key: object) -> object:
    """Return the value of exactly this key in a map or record; the zero value, or None, when it is missing."""
    if key is None:
        raise TemplateFunctionError("value is nil; should be of type string")
    record = get_kind(value) == "record"
    if get_kind(key) != "string" and (record or not any(type(existing) is type(key) for existing in value)):
        raise TemplateFunctionError(f"value has type {get_type_name(key)}; should be string")
    try:
        return value.lookup(key) if record else value[key]
    except KeyError:
        return getattr(value, "zero", None)


def _slice(value: Any, *indexes: object) -> object:
    kind = get_kind(value)
    if len(indexes) > 3:
        raise TemplateFunctionError(f"too many slice indexes: {len(indexes)}")
    if kind == "nil":
        return None
    if kind not in {"list", "string"}:
        raise TemplateFunctionError(f"can't slice item of type {get_type_name(value)}")
    if kind == "string" and len(indexes) == 3:
        raise TemplateFunctionError("cannot 3-index slice a string")
    items = to_bytes(value) if kind == "string" else value
    bounds = [_check_index(index, len(items)) for index in indexes]
    for low, high in pairwise(bounds):
        if low > high:
            raise TemplateFunctionError(f"invalid slice index: {low} > {high}")
    part = items[bounds[0] if bounds else 0 : bounds[1] if len(bounds) > 1 else len(items)]
    return from_bytes(part) if isinstance(part, bytes) else part


def _len(value: Any) -> int:
    kind = get_kind(value)
    text = get_own_string(value)
    if kind == "nil":
        return 0
    if text is not None:
        return len(to_bytes(text))
    if kind == "record":
        return len(value.data())
    if kind not in {"list", "map"}:
        raise TemplateFunctionError(f"len of type {get_type_name(value)}")
    return len(value)


# ---- escapes

_HTML = str.maketrans({"'": "&#39;", '"': "&#34;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"})
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
_URL_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def _join_arguments(values: Sequence[object]) -> str:
    """Join the arguments of an escape function as `print` does."""
    return sprint(["<no value>" if value is None else value for value in values])


def _html(*values: object) -> str:
    return _join_arguments(values).translate(_HTML)


def _js(*values: object) -> str:
    return "".join(_JS.get(c) or (c if c.isprintable() else f"\\u{ord(c):04X}") for c in _join_arguments(values))


def _urlquery(*values: object) -> str:
    return "".join(
        chr(byte) if byte in _URL_SAFE else "+" if byte == ord(" ") else f"%{byte:02X}"
        for byte in to_bytes(_join_arguments(values))
    )


# ---- functions of docker


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _join(values: Sequence[object], separator: str) -> str:
    return separator.join(map(format_value, values))


def _convert_case(text: str, *converters: Callable[[str], str]) -> str:
    """Convert each character as Go does: with the first converter that returns one character."""
    if text.isascii():
        return converters[0](text)
    return "".join(next((converted for convert in converters if len(converted := convert(c)) == 1), c) for c in text)


def _lower(text: str) -> str:
    return _convert_case(text, str.lower, lambda dotted: dotted.lower()[0])  # only İ becomes two characters


def _upper(text: str) -> str:
    return _convert_case(text, str.upper, str.title)  # some have two capitals, but one title-case character


def _title(text: str) -> str:
    """Convert the first character of each word to title case. Words consist of letters, digits and underscores."""
    parts: list[str] = []
    starts_word = True
    for character in text:
        parts.append(_convert_case(character, str.title) if starts_word else character)
        in_word = character.isalnum() or character == "_"
        starts_word = not in_word and (character.isascii() or character.isspace())
    return "".join(parts)


def _pad(text: str, before: int, after: int) -> str:
    if not text:
        return text
    if before < 0 or after < 0:
        raise TemplateFunctionError("strings: negative Repeat count")
    if max(before, after) > _MAX_PAD:
        raise TemplateFunctionError(f"at most {_MAX_PAD} blanks")
    return " " * before + text + " " * after


def _truncate(text: str, length: int) -> str:
    if length < 0:
        raise TemplateFunctionError(f"runtime error: slice bounds out of range [:{length}]")
    data = to_bytes(text)
    return text if len(data) < length else from_bytes(data[:length])


def _and(*values: object) -> object:
    return next((value for value in values if not is_true(value)), values[-1])


def _or(*values: object) -> object:
    return next((value for value in values if is_true(value)), values[-1])


def _call(function: object, *_arguments: object) -> object:
    raise TemplateFunctionError(
        "call of nil" if function is None else f"non-function of type {get_type_name(function)}"
    )


_ANY = ("any",)
_PAIR = ("any", "any")
_COMPARISON_ERROR = "invalid type for comparison"

FUNCTIONS: dict[str, FunctionDefinition] = {
    "and": FunctionDefinition(_and, _ANY, "any"),
    "or": FunctionDefinition(_or, _ANY, "any"),
    "not": FunctionDefinition(lambda value: not is_true(value), _ANY),
    "eq": FunctionDefinition(_eq, _ANY, "any"),
    "ne": FunctionDefinition(_ne, _PAIR),
    "lt": FunctionDefinition(_make_comparison("lt"), _PAIR, nil_error=_COMPARISON_ERROR),
    "le": FunctionDefinition(_make_comparison("le"), _PAIR, nil_error=_COMPARISON_ERROR),
    "gt": FunctionDefinition(_make_comparison("gt"), _PAIR, nil_error=_COMPARISON_ERROR),
    "ge": FunctionDefinition(_make_comparison("ge"), _PAIR, nil_error=_COMPARISON_ERROR),
    "index": FunctionDefinition(_index, _ANY, "any", "index of untyped nil"),
    "slice": FunctionDefinition(_slice, _ANY, "any", "slice of untyped nil"),
    "len": FunctionDefinition(_len, _ANY, nil_error="len of untyped nil"),
    "print": FunctionDefinition(lambda *values: sprint(values), (), "any"),
    "printf": FunctionDefinition(lambda template, *values: sprintf(template, values), ("string",), "any"),
    "println": FunctionDefinition(lambda *values: sprintln(values), (), "any"),
    "html": FunctionDefinition(_html, (), "any"),
    "js": FunctionDefinition(_js, (), "any"),
    "urlquery": FunctionDefinition(_urlquery, (), "any"),
    "call": FunctionDefinition(_call, _ANY, "any", "call of nil"),
    "json": FunctionDefinition(encode_json, _ANY, is_docker=True),
    "split": FunctionDefinition(_split, ("string", "string"), is_docker=True),
    "join": FunctionDefinition(_join, ("list", "string"), is_docker=True),
    "title": FunctionDefinition(_title, ("string",), is_docker=True),
    "lower": FunctionDefinition(_lower, ("string",), is_docker=True),
    "upper": FunctionDefinition(_upper, ("string",), is_docker=True),
    "pad": FunctionDefinition(_pad, ("string", "int", "int")),
    "truncate": FunctionDefinition(_truncate, ("string", "int"), is_docker=True),
}
PRINTERS = frozenset(("print", "printf", "println", "pad"))


_COMPARISONS = frozenset(("not", "eq", "ne", "lt", "le", "gt", "ge"))
_ACCESSORS = frozenset(("index", "slice", "len"))


def call_for_heading(name: str, arguments: Sequence[object], *, in_condition: bool) -> object | None:
    """Return the result of a function in the heading row of a table; None: call it as in any row.

    Docker's functions except `pad` return the title unchanged. Comparisons use the title as a string, as docker does,
    and so do `index`, `slice` and `len` in a condition. Other functions, and those that fail for a string because the
    rows have numbers or lists, return the title unchanged.
    """
    definition = FUNCTIONS[name]
    if definition.is_docker:
        return arguments[0]
    title = next((argument for argument in arguments if isinstance(argument, Heading)), None)
    if title is None:
        return None
    if name in PRINTERS:
        kinds = (*definition.parameter_types, *[definition.variadic_type] * len(arguments))
        arguments = [
            str(value) if isinstance(value, Heading) and kind == "string" else value
            for value, kind in zip(arguments, kinds, strict=False)
        ]
    elif name in _COMPARISONS or (in_condition and name in _ACCESSORS):
        arguments = [str(value) if isinstance(value, Heading) else value for value in arguments]
    else:
        return title
    try:
        return definition.call(*arguments)
    except TemplateFunctionError:
        return title
