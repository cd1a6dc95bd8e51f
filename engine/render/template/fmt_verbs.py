"""The verbs of Go's package fmt for one string or number: padding, quoting, bases, exponents."""

from __future__ import annotations

from math import frexp, ldexp

from imq.engine.units.go_strconv import quote

from .literals import to_bytes

_MAX_RUNE = 0x10FFFF
_FRACTION_BITS = 52
_EXPONENT_FROM, _EXPONENT_BELOW = 6, -4
_SHARP_DIGITS = 6
FLOAT_VERBS = "vbgGxXfFeE"


class Flags:
    """The flags, width and precision between `%` and the verb."""

    __slots__ = ("minus", "plus", "plus_v", "precision", "sharp", "sharp_v", "space", "width", "zero")

    def __init__(self) -> None:
        self.minus = self.plus = self.sharp = self.space = self.zero = False
        self.sharp_v = self.plus_v = False  # %#v and %+v
        self.width: int | None = None
        self.precision: int | None = None

    def pad(self, text: str, *, zero: bool = True) -> str:
        """Pad a string to the width."""
        if self.width is None or len(text) >= self.width:
            return text
        if self.minus:
            return text.ljust(self.width)
        return text.rjust(self.width, "0" if self.zero and zero else " ")


def print_string(text: str, verb: str, flags: Flags) -> str:
    """Return a string formatted with one of the verbs v, s, q, x, X."""
    if verb in "xX":
        return _print_hex(to_bytes(text), verb, flags)
    if flags.precision is not None:
        text = text[: flags.precision]
    if verb == "v" and flags.sharp_v:
        return flags.pad(quote(text))
    if verb == "q":
        if flags.sharp and all(c == "\t" or (c.isprintable() and c not in "`\ufeff") for c in text):
            return flags.pad(f"`{text}`")
        text = quote(text, ascii_only=flags.plus)
    return flags.pad(text)


def _print_hex(data: bytes, verb: str, flags: Flags) -> str:
    if flags.precision is not None:
        data = data[: flags.precision]
    prefix = ("0" + verb) if flags.sharp else ""
    formatted = (" " + prefix if flags.space else "").join(f"{byte:02x}" for byte in data)
    formatted = formatted.upper() if verb == "X" else formatted
    if flags.space and flags.sharp:
        formatted = formatted.replace("0X", prefix)
    return flags.pad(prefix + formatted if data else "")


def print_int(number: int, verb: str, flags: Flags) -> str | None:
    """Return an integer formatted with a verb, None when the verb does not match."""
    match verb:
        case "v" | "d":
            return _format_digits(number, f"{abs(number):d}", "", flags)
        case "b":
            return _format_digits(number, f"{abs(number):b}", "0b" if flags.sharp else "", flags)
        case "o" | "O":
            return _format_digits(number, f"{abs(number):o}", "0o" if verb == "O" else "", flags, octal=flags.sharp)
        case "x" | "X":
            return _format_digits(number, f"{abs(number):{verb}}", "0" + verb if flags.sharp else "", flags)
        case "c":
            return flags.pad(_to_rune(number))
        case "q":
            return flags.pad(quote(_to_rune(number), "'", ascii_only=flags.plus))
        case "U":
            formatted = (
                f"U+{number:0{max(4, flags.precision or 0)}X}" if number >= 0 else f"U+{number & ((1 << 64) - 1):X}"
            )
            rune = _to_rune(number)
            has_character = flags.sharp and rune.isprintable() and ord(rune) == number
            return flags.pad(f"{formatted} '{rune}'" if has_character else formatted, zero=False)
        case _:
            return None


def _to_rune(number: int) -> str:
    valid = 0 <= number <= _MAX_RUNE and not 0xD800 <= number <= 0xDFFF
    return chr(number) if valid else "\ufffd"


def _format_digits(number: int, digits: str, prefix: str, flags: Flags, *, octal: bool = False) -> str:
    """Return digits with sign, prefix and padding; with `octal` they have a leading zero."""
    sign = "-" if number < 0 else "+" if flags.plus else " " if flags.space else ""
    if flags.precision is not None:
        if not flags.precision and not number:
            return " " * (flags.width or 0)
        digits = digits.rjust(flags.precision, "0")
    elif flags.zero and flags.width is not None and not flags.minus:
        digits = digits.rjust(flags.width - len(sign), "0")
    if octal and digits[0] != "0":
        digits = "0" + digits
    return flags.pad(sign + prefix + digits, zero=False)


def print_float(number: float, verb: str, flags: Flags) -> str:
    """Return a float formatted with one of `FLOAT_VERBS`."""
    special = number != number or number in {float("inf"), float("-inf")}  # noqa: PLR0124 - NaN
    formatted = ("NaN" if number != number else "Inf") if special else _format_unsigned(abs(number), verb, flags)  # noqa: PLR0124
    negative = number < 0 or (number == 0 and str(number)[0] == "-")
    sign = "-" if negative else "+" if flags.plus or formatted == "Inf" else " " if flags.space else ""
    if flags.space and formatted == "Inf" and not negative and not flags.plus:
        sign = " "
    if flags.zero and not flags.minus and flags.width is not None and not special:
        return sign + formatted.rjust(flags.width - len(sign), "0")
    return flags.pad(sign + formatted, zero=False)


def _format_unsigned(number: float, verb: str, flags: Flags) -> str:
    precision = flags.precision
    sharp = "#" if flags.sharp else ""
    if verb in "fFeE":
        return f"{number:{sharp}.{6 if precision is None else precision}{verb.lower() if verb == 'F' else verb}}"
    if verb in "xX":
        formatted = _format_hexadecimal(number, precision)
        return formatted.upper() if verb == "X" else formatted
    if verb == "b":
        return _format_binary(number)
    if precision is None:
        formatted = _format_shortest(number).replace("e", "E" if verb == "G" else "e")
        return _pad_digits(formatted) if sharp else formatted
    return f"{number:{sharp}.{precision}{'g' if verb == 'v' else verb}}"


def _format_shortest(number: float) -> str:
    """Return the shortest digits that represent the number; below 1e-4 and from 1e6 on with an exponent."""
    mantissa, _, exponent = repr(number).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = len(whole) - 1 + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if not digits:
        return "0"
    if power < _EXPONENT_BELOW or power >= _EXPONENT_FROM:
        return f"{digits[0]}{'.' + digits[1:] if len(digits) > 1 else ''}e{power:+03d}"
    if power < 0:
        return "0." + "0" * (-1 - power) + digits
    digits = digits.ljust(power + 1, "0")
    return digits[: power + 1] + ("." + digits[power + 1 :] if len(digits) > power + 1 else "")


def _pad_digits(formatted: str) -> str:
    """Return a number padded with zeros to six digits, with a point, for the flag `#`."""
    digits, exponent, power = formatted.partition("E" if "E" in formatted else "e")
    point = "" if "." in digits else "."
    missing = _SHARP_DIGITS - len(digits.replace(".", "").lstrip("0") or "0")
    return f"{digits}{point}{'0' * missing}{exponent}{power}"


def _format_hexadecimal(number: float, precision: int | None) -> str:
    lead, fraction, power = _split_float(number)
    if precision is None:
        digits = f"{fraction:013x}".rstrip("0")
    else:
        digit_count = min(precision, 13)
        shift = _FRACTION_BITS - 4 * digit_count
        whole = (lead << _FRACTION_BITS) + fraction
        rounded, rest = whole >> shift, whole & ((1 << shift) - 1)
        half = 1 << (shift - 1) if shift else 1
        rounded += rest > half or (rest == half and rounded & 1 == 1)
        lead = rounded >> (4 * digit_count)
        if lead > 1:
            lead, power = 1, power + 1
        digits = (
            f"{rounded & ((1 << (4 * digit_count)) - 1):0{digit_count}x}"[:digit_count].ljust(precision, "0")
            if precision
            else ""
        )
    return f"0x{lead}{'.' + digits if digits else ''}p{power:+03d}"


def _format_binary(number: float) -> str:
    if not number:
        return "0p-1074"
    lead, fraction, power = _split_float(number)
    return f"{(lead << _FRACTION_BITS) + fraction}p{power - _FRACTION_BITS:+d}"


def _split_float(number: float) -> tuple[int, int, int]:
    """Return the leading digit, fraction (52 bits) and power of two of a non-negative number."""
    if not number:
        return 0, 0, 0
    fraction, power = frexp(number)  # exact for subnormal numbers too
    return 1, int(ldexp(fraction, _FRACTION_BITS + 1)) - (1 << _FRACTION_BITS), power - 1
