"""Go's fmt for templates: Sprint, Sprintln and Sprintf, with Go's marks for verbs and values that do not fit."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .fmt_verbs import FLOAT_VERBS, Flags, print_float, print_int, print_text
from .values import Heading, entries, kind_of, own_text, type_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_TEXT_VERBS = "vsxXq"
_WIDEST = 1_000_000  # beyond it Go stops reading the digits of a width


def show(value: object) -> str:
    """Return a value as `%v` and the actions of a template write it."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    return print_value(value, "v", Flags())


def sprint(values: Sequence[object]) -> str:
    """Join values with blanks between those neighbours of which neither is a string."""
    parts: list[str] = []
    before_is_text = True
    for value in values:
        is_text = kind_of(value) == "string"
        if parts and not is_text and not before_is_text:
            parts.append(" ")
        parts.append(show(value))
        before_is_text = is_text
    return "".join(parts)


def sprintln(values: Sequence[object]) -> str:
    """Join values with blanks and end the line."""
    return " ".join(map(show, values)) + "\n"


def print_value(value: object, verb: str, flags: Flags, depth: int = 0, *, plain: bool = False) -> str:
    """Return one value as a verb writes it; `plain` passes over a value's own text."""
    if verb == "T" and not depth:
        return print_text(type_name(value), "s", flags)
    if value is None:
        return _print_nil(verb, flags, depth)
    if verb == "w":
        return _misfit(value, verb, flags)
    if isinstance(value, Heading):
        return print_text(str(value), verb, flags) if verb in _TEXT_VERBS else _heading(str(value), flags)
    if verb in _TEXT_VERBS and not flags.syntax and not plain:
        text = own_text(value)
        if text is not None:
            return print_text(text, verb, flags)
    kind = kind_of(value)
    if kind in {"list", "map", "record", "struct"}:
        return _print_many(value, verb, flags, depth)
    shown = _print_one(value, kind, verb, flags)
    return _misfit(value, verb, flags) if shown is None else shown


def _print_one(value: Any, kind: str, verb: str, flags: Flags) -> str | None:
    """Return a scalar as a verb writes it, None when the verb does not fit."""
    match kind:
        case "bool":
            return flags.pad("true" if value else "false") if verb in "tv" else None
        case "int":
            return print_int(int(value), verb, flags)
        case "float":
            return print_float(float(value), verb, flags) if verb in FLOAT_VERBS else None
        case _:
            return print_text(str(value), verb, flags) if verb in _TEXT_VERBS else None


def _print_many(value: Any, verb: str, flags: Flags, depth: int) -> str:
    kind = kind_of(value)
    if kind == "struct":
        shown = [print_value(each, verb, flags, depth + 1) for each in value.members()]
        if flags.named or flags.syntax:
            shown = [f"{member.name}:{each}" for member, each in zip(value.declared.members, shown, strict=True)]
        return f"{type_name(value) if flags.syntax else ''}{{{(', ' if flags.syntax else ' ').join(shown)}}}"
    if kind == "list":
        opening = "[]interface {}"
        shown = [print_value(element, verb, flags, depth + 1) for element in value]
    else:
        opening = "map[string]interface {}"
        shown = [
            f"{print_value(key, verb, flags, depth + 1)}:{print_value(element, verb, flags, depth + 1)}"
            for key, element in entries(value)
        ]
    if flags.syntax:
        return f"{opening}{{{', '.join(shown)}}}"
    return f"{'' if opening == '[]interface {}' else 'map'}[{' '.join(shown)}]"


def _print_nil(verb: str, flags: Flags, depth: int) -> str:
    if depth:
        return "interface {}(nil)" if flags.syntax else "<nil>"
    return flags.pad("<nil>") if verb == "v" else f"%!{verb}(<nil>)"


def _misfit(value: object, verb: str, flags: Flags) -> str:
    """Return Go's mark for a value that the verb cannot write."""
    return f"%!{verb}({type_name(value)}={print_value(value, 'v', flags, plain=True)})"


def _heading(title: str, flags: Flags) -> str:
    """Write a title where the rows have a number: as wide, but whole."""
    return title.ljust(flags.width or 0) if flags.minus else title.rjust(flags.width or 0)


# ---- Sprintf

_INDEX = r"(\[[^\[\]%]*\]?)?"
_VERB = rf"(?s)%([#0+\- ]*){_INDEX}(\*|[0-9]*)(?:(\.){_INDEX}(\*|[0-9]*))?{_INDEX}(.?)"  # compiled when it is needed


def sprintf(template: str, values: Sequence[object]) -> str:
    """Return the text that Go's Sprintf makes of a format and values."""
    printer = _Printer(values)
    parts: list[str] = []
    position = 0
    for match in re.finditer(_VERB, template):
        parts.append(template[position : match.start()])
        position = match.end()
        if any(_too_long(match[group]) for group in (3, 6)):
            parts.append("%!(NOVERB)")
            position = len(template)
            break
        printer.write(match, parts)
    parts.append(template[position:])
    parts.append(printer.rest())
    return "".join(parts)


def _too_long(digits: str | None) -> bool:
    return digits is not None and len(digits) > 1 and digits != "*" and int(digits[:-1][:9]) > _WIDEST


class _Printer:
    """Goes through the values of one Sprintf, in order or as `[n]` says."""

    def __init__(self, values: Sequence[object]) -> None:
        self.values = values
        self.number = 0
        self.reordered = False
        self.good = True

    def write(self, match: re.Match[str], parts: list[str]) -> None:
        """Write what one `%…verb` stands for."""
        signs, first, width, dot, second, precision, third, verb = match.groups()
        flags = Flags()
        flags.minus, flags.plus, flags.sharp = "-" in signs, "+" in signs, "#" in signs
        flags.zero, flags.space = "0" in signs, " " in signs
        # an index belongs to a `*` or to the verb: before plain digits or a dot it is misplaced
        misplaced = (first and (width != "*" if width else dot)) or (second and precision != "*")
        self.good = not misplaced
        self.take_index(first)
        self.width(width, flags, parts)
        if dot:
            self.take_index(second)
            self.precision(precision, flags, parts)
        self.take_index(third)
        if not verb:
            parts.append("%!(NOVERB)")
        elif verb == "%":
            parts.append("%")
        elif not self.good:
            parts.append(f"%!{verb}(BADINDEX)")
        elif self.number >= len(self.values):
            parts.append(f"%!{verb}(MISSING)")
        else:
            self.number += 1
            if verb in "vw":  # for these the two flags choose the form of the whole value
                flags.syntax, flags.named, flags.sharp, flags.plus = flags.sharp, flags.plus, False, False
            parts.append(print_value(self.values[self.number - 1], verb, flags))

    def take_index(self, index: str | None) -> None:
        if not index:
            return
        self.reordered = True
        digits = index[1:-1]
        if index[-1] == "]" and digits.isascii() and digits.isdigit() and 0 < int(digits[:9]) <= len(self.values):
            self.number = int(digits[:9]) - 1
        else:
            self.good = False

    def star(self) -> int | None:
        """Take the value that a `*` stands for."""
        value = self.values[self.number] if self.number < len(self.values) else None
        self.number += self.number < len(self.values)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _WIDEST:
            return int(value)
        return None

    def width(self, width: str, flags: Flags, parts: list[str]) -> None:
        if width != "*":
            flags.width = int(width) if width else None
            return
        flags.width = self.star()
        if flags.width is None:
            parts.append("%!(BADWIDTH)")
        elif flags.width < 0:
            flags.width, flags.minus = -flags.width, True

    def precision(self, precision: str, flags: Flags, parts: list[str]) -> None:
        if precision != "*":
            flags.precision = int(precision or 0)
            return
        flags.precision = self.star()
        if flags.precision is None or flags.precision < 0:
            flags.precision = None
            parts.append("%!(BADPREC)")

    def rest(self) -> str:
        """Return Go's mark for values that no verb took."""
        if self.reordered or self.number >= len(self.values):
            return ""
        shown = [
            "<nil>" if value is None else f"{type_name(value)}={show(value)}" for value in self.values[self.number :]
        ]
        return f"%!(EXTRA {', '.join(shown)})"
