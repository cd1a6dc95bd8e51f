"""The settings that `set` shows and changes, declared once."""

from __future__ import annotations

from imq.engine.oci.manifest import LARGEST_ALLOWED, LARGEST_DOCUMENT
from imq.engine.units.size import parse_size
from imq.grammar.errors import StatementError, UnknownName, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from imq.grammar.errors import Span


class Setting(Record):
    """One setting: its name, what it is for, its default, and what it may be.

    Empty `choices` mean a whole number, or (`size`) a number of bytes: from `least` to `most`, or, where nothing is
    the most, any or `NO_BOUND`; or (`duration`) a time.
    """

    name: str
    doc: str
    default: str
    choices: tuple[str, ...] = ()
    is_size: bool = False
    minimum: int = 0
    maximum: int = 0
    is_duration: bool = False

    @property
    def describe_values(self) -> str:
        """What it may be, in words."""
        if self.maximum:
            return f"{self.minimum >> 10}KiB to {self.maximum >> 20}MiB"
        if self.is_size:
            return "20GB, 512MiB, none"
        if self.is_duration:
            return "10m, 2 hours, 0"
        return ", ".join(self.choices) or "1 to 64"

    @property
    def syntax(self) -> str:
        """What it may be, as help shows it."""
        return " | ".join(self.choices) or ("SIZE" if self.is_size else "DURATION" if self.is_duration else "N")


NO_LIMIT = "none"


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "verify",
            "full: a pull unpacks each layer to check its diff ID; lazy: digests only, unpacking when a question asks",
            "full",
            ("full", "lazy"),
        ),
        Setting("jobs", "how many layers travel or unpack at once", "4"),
        Setting(
            "quota",
            "the most bytes that the store's blobs may take, such as 20GB: what would be more is refused; or none",
            NO_LIMIT,
            is_size=True,
        ),
        Setting(
            "largest_document",
            "the most bytes of a manifest or config, such as 16MiB: a larger one is refused wherever it comes from",
            f"{LARGEST_DOCUMENT >> 20}MiB",
            is_size=True,
            minimum=64 << 10,
            maximum=LARGEST_ALLOWED,
        ),
        Setting(
            "fresh",
            "for how long what a tag of a registry stood for counts as known, such as 10m: till then questions do not"
            " ask for it again; actions always do, and so does 0",
            "0",
            is_duration=True,
        ),
    )
}


_COUNTS = frozenset(map(str, range(1, 65)))


def check_setting(name: str, value: str, span: Span | None = None) -> tuple[str, str]:
    """Return the setting's name and value in their written form, or raise what is wrong with them."""
    setting = SETTINGS.get(name.lower())
    if setting is None:
        raise UnknownName(
            f'there is no setting "{name}"',
            code="unknown-setting",
            span=span,
            hints=(closest_hint(name, SETTINGS), "settings: " + ", ".join(SETTINGS)),
        )
    lower = value.lower()
    if setting.is_size:
        size = parse_size_limit(value)
        if setting.maximum:
            is_valid = size is not None and setting.minimum <= size <= setting.maximum
        else:
            is_valid = size is not None or lower == NO_LIMIT
        normalized = lower if lower == NO_LIMIT else value
    elif setting.is_duration:
        is_valid, normalized = parse_duration_setting(value) is not None, value
    else:
        is_valid = lower in (setting.choices or _COUNTS)
        normalized = lower
    if not is_valid:
        raise StatementError(
            f'{setting.name} cannot be "{value}"',
            code="setting",
            span=span,
            hints=(f"it may be: {setting.describe_values}",),
        )
    return setting.name, normalized


def parse_size_limit(value: str) -> int | None:
    """Return the bytes that the value of such a setting means, None for `NO_BOUND` and for what is no size."""
    if value == NO_LIMIT:
        return None
    return parse_size(value)


def parse_size_setting(value: str) -> int:
    """Return the bytes that the value of a setting means which always has a bound."""
    size = parse_size(value)
    assert size is not None, value
    return size


def parse_duration_setting(value: str) -> int | None:
    """Return the nanoseconds that the value of such a setting means, None for what is no duration."""
    if value == "0":
        return 0
    from imq.engine.units.time import parse_duration  # only those who set it pay for it

    return parse_duration(value)
