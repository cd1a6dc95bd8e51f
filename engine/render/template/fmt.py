"""Go's package fmt for templates: Sprint, Sprintln and Sprintf, with Go's marks for verbs that do not match."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .fmt_verbs import FLOAT_VERBS, Flags, print_float, print_int, print_string
from .values import Heading, get_kind, get_own_string, get_type_name, sort_entries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_TEXT_VERBS = "vsxXq"
_MAX_WIDTH = 1_000_000  # Go ignores further digits of a width


def format_value(value: object) -> str:
    """Return a value as `%v` and as actions write it."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    return print_value(value, "v", Flags())


def sprint(values: Sequence[object]) -> str:
    """Join values, with a blank between two values of which neither is a string."""
    parts: list[str] = []
    before_is_text = True
    for value in values:
        is_text = get_kind(value) == "string"
        if parts and not is_text and not before_is_text:
            parts.append(" ")
        parts.append(format_value(value))
        before_is_text = is_text
    return "".join(parts)


def sprintln(values: Sequence[object]) -> str:
    """Join values with blanks and append a line feed."""
    return " ".join(map(format_value, values)) + "\n"


def print_value(value: object, verb: str, flags: Flags, depth: int = 0, *, plain: bool = False) -> str:
    """Return one value formatted with a verb; `plain` ignores its own `__str__`."""
    if verb == "T" and not depth:
        return print_string(get_type_name(value), "s", flags)
    if value is None:
        return _print_nil(verb, flags, depth)
    if verb == "w":
        return _format_bad_verb(value, verb, flags)
    if isinstance(value, Heading):
        return print_string(str(value), verb, flags) if verb in _TEXT_VERBS else _pad_heading(str(value), flags)
    if verb in _TEXT_VERBS and not flags.sharp_v and not plain:
        text = get_own_string(value)
        if text is not None:
            return print_string(text, verb, flags)
    kind = get_kind(value)
    if kind in {"list", "map", "record", "struct"}:
        return _print_composite(value, verb, flags, depth)
    formatted = _print_scalar(value, kind, verb, flags)
    return _format_bad_verb(value, verb, flags) if formatted is None else formatted


def _print_scalar(value: Any, kind: str, verb: str, flags: Flags) -> str | None:
    """Return a scalar formatted with a verb, None when the verb does not match its type."""
    match kind:
        case "bool":
            return flags.pad("true" if value else "false") if verb in "tv" else None
        case "int":
            return print_int(int(value), verb, flags)
        case "float":
            return print_float(float(value), verb, flags) if verb in FLOAT_VERBS else None
        case _:
            return print_string(str(value), verb, flags) if verb in _TEXT_VERBS else None


def _print_composite(value: Any, verb: str, flags: Flags, depth: int) -> str:
    kind = get_kind(value)
    if kind == "struct":
        formatted = [print_value(each, verb, flags, depth + 1) for each in value.list_values()]
        if flags.plus_v or flags.sharp_v:
            formatted = [f"{member.name}:{each}" for member, each in zip(value.type.fields, formatted, strict=True)]
        return f"{get_type_name(value) if flags.sharp_v else ''}{{{(', ' if flags.sharp_v else ' ').join(formatted)}}}"
    if kind == "list":
        opening = "[]interface {}"
        formatted = [print_value(element, verb, flags, depth + 1) for element in value]
    else:
        opening = "map[string]interface {}"
        formatted = [
            f"{print_value(key, verb, flags, depth + 1)}:{print_value(element, verb, flags, depth + 1)}"
            for key, element in sort_entries(value)
        ]
    if flags.sharp_v:
        return f"{opening}{{{', '.join(formatted)}}}"
    return f"{'' if opening == '[]interface {}' else 'map'}[{' '.join(formatted)}]"


def _print_nil(verb: str, flags: Flags, depth: int) -> str:
    if depth:
        return "interface {}(nil)" if flags.sharp_v else "<nil>"
    return flags.pad("<nil>") if verb == "v" else f"%!{verb}(<nil>)"


def _format_bad_verb(value: object, verb: str, flags: Flags) -> str:
    """Return Go's mark for a value that does not match the verb."""
    return f"%!{verb}({get_type_name(value)}={print_value(value, 'v', flags, plain=True)})"


def _pad_heading(title: str, flags: Flags) -> str:
    """Return a title padded to the width of a number; it is never truncated."""
    return title.ljust(flags.width or 0) if flags.minus else title.rjust(flags.width or 0)


# ---- Sprintf

_INDEX = r"(\[[^\[\]%]*\]?)?"
_VERB = rf"(?s)%([#0+\- ]*){_INDEX}(\*|[0-9]*)(?:(\.){_INDEX}(\*|[0-9]*))?{_INDEX}(.?)"  # compiled at first use


def sprintf(template: str, values: Sequence[object]) -> str:
    """Return the result of Go's Sprintf."""
    printer = _Printer(values)
    parts: list[str] = []
    position = 0
    for match in re.finditer(_VERB, template):
        parts.append(template[position : match.start()])
        position = match.end()
        if any(_is_too_long(match[group]) for group in (3, 6)):
            parts.append("%!(NOVERB)")
            position = len(template)
            break
        printer.write(match, parts)
    parts.append(template[position:])
    parts.append(printer.format_extra())
    return "".join(parts)


def _is_too_long(digits: str | None) -> bool:
    return digits is not None and len(digits) > 1 and digits != "*" and int(digits[:-1][:9]) > _MAX_WIDTH


class _Printer:
    """Formats the values of one Sprintf, in order or by the index `[n]`."""

    def __init__(self, values: Sequence[object]) -> None:
        self.values = values
        self.next_index = 0
        self.reordered = False
        self.is_index_valid = True

    def write(self, match: re.Match[str], parts: list[str]) -> None:
        """Append the output of one `%…verb`."""
        flag_chars, first_index, width, dot, second_index, precision, third_index, verb = match.groups()
        flags = Flags()
        flags.minus, flags.plus, flags.sharp = "-" in flag_chars, "+" in flag_chars, "#" in flag_chars
        flags.zero, flags.space = "0" in flag_chars, " " in flag_chars
        # an index belongs before a `*` or the verb; before digits or a dot it is an error
        misplaced = (first_index and (width != "*" if width else dot)) or (second_index and precision != "*")
        self.is_index_valid = not misplaced
        self.take_index(first_index)
        self.set_width(width, flags, parts)
        if dot:
            self.take_index(second_index)
            self.set_precision(precision, flags, parts)
        self.take_index(third_index)
        if not verb:
            parts.append("%!(NOVERB)")
        elif verb == "%":
            parts.append("%")
        elif not self.is_index_valid:
            parts.append(f"%!{verb}(BADINDEX)")
        elif self.next_index >= len(self.values):
            parts.append(f"%!{verb}(MISSING)")
        else:
            self.next_index += 1
            if verb in "vw":  # for these verbs the two flags select a format of the whole value
                flags.sharp_v, flags.plus_v, flags.sharp, flags.plus = flags.sharp, flags.plus, False, False
            parts.append(print_value(self.values[self.next_index - 1], verb, flags))

    def take_index(self, index: str | None) -> None:
        if not index:
            return
        self.reordered = True
        digits = index[1:-1]
        if index[-1] == "]" and digits.isascii() and digits.isdigit() and 0 < int(digits[:9]) <= len(self.values):
            self.next_index = int(digits[:9]) - 1
        else:
            self.is_index_valid = False

    def take_star_argument(self) -> int | None:
        """Consume and return the value for a `*`."""
        value = self.values[self.next_index] if self.next_index < len(self.values) else None
        self.next_index += self.next_index < len(self.values)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_WIDTH:
            return int(value)
        return None

    def set_width(self, width: str, flags: Flags, parts: list[str]) -> None:
        if width != "*":
            flags.width = int(width) if width else None
            return
        flags.width = self.take_star_argument()
        if flags.width is None:
            parts.append("%!(BADWIDTH)")
        elif flags.width < 0:
            flags.width, flags.minus = -flags.width, True

    def set_precision(self, precision: str, flags: Flags, parts: list[str]) -> None:
        if precision != "*":
            flags.precision = int(precision or 0)
            return
        flags.precision = self.take_star_argument()
        if flags.precision is None or flags.precision < 0:
            flags.precision = None
            parts.append("%!(BADPREC)")

    def format_extra(self) -> str:
        """Return Go's mark for values without a verb."""
        if self.reordered or self.next_index >= len(self.values):
            return ""
        formatted = [
            "<nil>" if value is None else f"{get_type_name(value)}={format_value(value)}"
            for value in self.values[self.next_index :]
        ]
        return f"%!(EXTRA {', '.join(formatted)})"
