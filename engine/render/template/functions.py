"""The functions of templates: those of Go's text/template, and docker's."""

from __future__ import annotations

from itertools import pairwise

from imq.grammar.record import TYPE_CHECKING, Record

from .fmt import show, sprint, sprintf, sprintln
from .json import encode
from .literals import from_bytes, to_bytes
from .values import Failure, Heading, kind_of, own_text, truth, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_LONGEST_PAD = 1_000_000


class Definition(Record):
    """A function: its Python form, the kinds of its parameters, the kind of any number of further ones."""

    call: Callable[..., object]
    parameters: tuple[str, ...]
    rest: str = ""
    refuses_nil: str = ""  # what Go says when the constant nil is given
    docker: bool = False


# ---- comparison


def _comparable(value: object, other: object) -> tuple[Any, Any]:
    """Return two values as ones that Python compares as Go does; raise Failure when Go would not compare them."""
    kind, other_kind = kind_of(value), kind_of(other)
    if kind != other_kind and "string" in {kind, other_kind}:
        text, other_text = own_text(value), own_text(other)
        if text is not None and other_text is not None:  # a size compares with a number, and with its text
            return text, other_text
    if kind != other_kind:
        raise Failure("incompatible types for comparison")
    if kind == "string":
        return to_bytes(str(value)), to_bytes(str(other))
    return value, other


def _eq(value: object, *others: object) -> bool:
    if not others:
        raise Failure("missing argument for comparison")
    for other in others:
        if value is None or other is None:
            if value is other:
                return True
            continue
        left, right = _comparable(value, other)
        if kind_of(left) in {"list", "map", "record", "struct"}:
            raise Failure(f"non-comparable type {show(value)}: {type_name(value)}")
        if left == right:
            return True
    return False


def _ne(value: object, other: object) -> bool:
    return not _eq(value, other)


def _ordered(name: str) -> Callable[[object, object], bool]:
    """Make `lt`, `le`, `gt` or `ge`; an unknown value is neither less nor greater than anything."""

    def compare(value: object, other: object) -> bool:
        for side in (value, other):
            if side is not None and kind_of(side) not in {"int", "float", "string"}:
                raise Failure("invalid type for comparison")
        if value is None or other is None:
            return False
        left, right = _comparable(value, other)
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


def _position(index: object, length: int) -> int:
    """Return an index into a list or string of this length; its end counts as inside."""
    if kind_of(index) != "int":
        raise Failure(
            "cannot index slice/array with nil" if index is None
            else f"cannot index slice/array with type {type_name(index)}"
        )  # fmt: skip
    number = int(index)  # type: ignore[call-overload]
    if not 0 <= number <= length:
        raise Failure(f"index out of range: {number}")
    return int(number)


def _index(value: Any, *indexes: object) -> object:
    for index in indexes:
        kind = kind_of(value)
        match kind:
            case "nil":
                return None
            case "list" | "string":
                items = to_bytes(value) if kind == "string" else value
                number = _position(index, len(items))
                if number == len(items):
                    raise Failure(f"reflect: {'slice' if kind == 'list' else 'string'} index out of range")
                value = items[number]
            case "map" | "record":
                value = _entry(value, index)
            case _:
                raise Failure(f"can't index item of type {type_name(value)}")
    return value


def _entry(value: Any, key: object) -> object:
    """Return what a map has under exactly this key, None when it has nothing."""
    if key is None:
        raise Failure("value is nil; should be of type string")
    record = kind_of(value) == "record"
    if kind_of(key) != "string" and (record or not any(type(known) is type(key) for known in value)):
        raise Failure(f"value has type {type_name(key)}; should be string")
    try:
        return value.lookup(key) if record else value[key]
    except KeyError:
        return getattr(value, "zero", None)


def _slice(value: Any, *indexes: object) -> object:
    kind = kind_of(value)
    if len(indexes) > 3:
        raise Failure(f"too many slice indexes: {len(indexes)}")
    if kind == "nil":
        return None
    if kind not in {"list", "string"}:
        raise Failure(f"can't slice item of type {type_name(value)}")
    if kind == "string" and len(indexes) == 3:
        raise Failure("cannot 3-index slice a string")
    items = to_bytes(value) if kind == "string" else value
    bounds = [_position(index, len(items)) for index in indexes]
    for low, high in pairwise(bounds):
        if low > high:
            raise Failure(f"invalid slice index: {low} > {high}")
    part = items[bounds[0] if bounds else 0 : bounds[1] if len(bounds) > 1 else len(items)]
    return from_bytes(part) if isinstance(part, bytes) else part


def _len(value: Any) -> int:
    kind = kind_of(value)
    text = own_text(value)
    if kind == "nil":
        return 0
    if text is not None:
        return len(to_bytes(text))
    if kind == "record":
        return len(value.data())
    if kind not in {"list", "map"}:
        raise Failure(f"len of type {type_name(value)}")
    return len(value)


# ---- escapes

_HTML = str.maketrans({"'": "&#39;", '"': "&#34;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"})
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
_URL_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def _plain(values: Sequence[object]) -> str:
    """Join the arguments of an escape as `print` does."""
    return sprint(["<no value>" if value is None else value for value in values])


def _html(*values: object) -> str:
    return _plain(values).translate(_HTML)


def _js(*values: object) -> str:
    return "".join(_JS.get(c) or (c if c.isprintable() else f"\\u{ord(c):04X}") for c in _plain(values))


def _urlquery(*values: object) -> str:
    return "".join(
        chr(byte) if byte in _URL_SAFE else "+" if byte == ord(" ") else f"%{byte:02X}"
        for byte in to_bytes(_plain(values))
    )


# ---- docker's


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _join(values: Sequence[object], separator: str) -> str:
    return separator.join(map(show, values))


def _by_rune(text: str, *converters: Callable[[str], str]) -> str:
    """Change the case of single characters, as Go does: by the first way in which no character becomes two."""
    if text.isascii():
        return converters[0](text)
    return "".join(next((new for convert in converters if len(new := convert(c)) == 1), c) for c in text)


def _lower(text: str) -> str:
    return _by_rune(text, str.lower, lambda dotted: dotted.lower()[0])  # of all characters only İ becomes two


def _upper(text: str) -> str:
    return _by_rune(text, str.upper, str.title)  # some are two capitals, but one in a title


def _title(text: str) -> str:
    """Begin each word with a capital; a word ends where no letter, digit or underscore stands."""
    parts: list[str] = []
    starts = True
    for character in text:
        parts.append(_by_rune(character, str.title) if starts else character)
        inside = character.isalnum() or character == "_"
        starts = not inside and (character.isascii() or character.isspace())
    return "".join(parts)


def _pad(text: str, before: int, after: int) -> str:
    if not text:
        return text
    if before < 0 or after < 0:
        raise Failure("strings: negative Repeat count")
    if max(before, after) > _LONGEST_PAD:
        raise Failure(f"at most {_LONGEST_PAD} blanks")
    return " " * before + text + " " * after


def _truncate(text: str, length: int) -> str:
    if length < 0:
        raise Failure(f"runtime error: slice bounds out of range [:{length}]")
    data = to_bytes(text)
    return text if len(data) < length else from_bytes(data[:length])


def _and(*values: object) -> object:
    return next((value for value in values if not truth(value)), values[-1])


def _or(*values: object) -> object:
    return next((value for value in values if truth(value)), values[-1])


def _call(function: object, *_arguments: object) -> object:
    raise Failure("call of nil" if function is None else f"non-function of type {type_name(function)}")


_ANY = ("any",)
_PAIR = ("any", "any")
_COMPARED = "invalid type for comparison"

FUNCTIONS: dict[str, Definition] = {
    "and": Definition(_and, _ANY, "any"),
    "or": Definition(_or, _ANY, "any"),
    "not": Definition(lambda value: not truth(value), _ANY),
    "eq": Definition(_eq, _ANY, "any"),
    "ne": Definition(_ne, _PAIR),
    "lt": Definition(_ordered("lt"), _PAIR, refuses_nil=_COMPARED),
    "le": Definition(_ordered("le"), _PAIR, refuses_nil=_COMPARED),
    "gt": Definition(_ordered("gt"), _PAIR, refuses_nil=_COMPARED),
    "ge": Definition(_ordered("ge"), _PAIR, refuses_nil=_COMPARED),
    "index": Definition(_index, _ANY, "any", "index of untyped nil"),
    "slice": Definition(_slice, _ANY, "any", "slice of untyped nil"),
    "len": Definition(_len, _ANY, refuses_nil="len of untyped nil"),
    "print": Definition(lambda *values: sprint(values), (), "any"),
    "printf": Definition(lambda template, *values: sprintf(template, values), ("string",), "any"),
    "println": Definition(lambda *values: sprintln(values), (), "any"),
    "html": Definition(_html, (), "any"),
    "js": Definition(_js, (), "any"),
    "urlquery": Definition(_urlquery, (), "any"),
    "call": Definition(_call, _ANY, "any", "call of nil"),
    "json": Definition(encode, _ANY, docker=True),
    "split": Definition(_split, ("string", "string"), docker=True),
    "join": Definition(_join, ("list", "string"), docker=True),
    "title": Definition(_title, ("string",), docker=True),
    "lower": Definition(_lower, ("string",), docker=True),
    "upper": Definition(_upper, ("string",), docker=True),
    "pad": Definition(_pad, ("string", "int", "int")),
    "truncate": Definition(_truncate, ("string", "int"), docker=True),
}
PRINTERS = frozenset(("print", "printf", "println", "pad"))


_DECIDING = frozenset(("not", "eq", "ne", "lt", "le", "gt", "ge"))
_READING = frozenset(("index", "slice", "len"))


def call_in_heading(name: str, arguments: Sequence[object], *, decides: bool) -> object | None:
    """Return what a function gives in the heading of a table, None when it is called as in a row.

    Docker's own functions leave a title alone, but for `pad`. Comparisons compare the title itself, as docker's do; so
    does what looks into a value when its result `decides` a condition. Written out it leaves the title whole, and so
    does what cannot be done with a title, where the rows have numbers or lists.
    """
    definition = FUNCTIONS[name]
    if definition.docker:
        return arguments[0]
    title = next((argument for argument in arguments if isinstance(argument, Heading)), None)
    if title is None:
        return None
    if name in PRINTERS:
        kinds = (*definition.parameters, *[definition.rest] * len(arguments))
        arguments = [
            str(value) if isinstance(value, Heading) and kind == "string" else value
            for value, kind in zip(arguments, kinds, strict=False)
        ]
    elif name in _DECIDING or (decides and name in _READING):
        arguments = [str(value) if isinstance(value, Heading) else value for value in arguments]
    else:
        return title
    try:
        return definition.call(*arguments)
    except Failure:
        return title
