"""The settings that `set` shows and changes, declared once."""

from __future__ import annotations

from imq.grammar.errors import StatementError, UnknownName, nearest
from imq.grammar.record import TYPE_CHECKING, Record

from .sizes import parse_size

if TYPE_CHECKING:
    from imq.grammar.errors import Span


class Setting(Record):
    """One setting: its name, what it is for, its default, and what it may be.

    Empty `choices` mean a whole number, or (`size`) a number of bytes or `NO_BOUND`.
    """

    name: str
    doc: str
    default: str
    choices: tuple[str, ...] = ()
    size: bool = False


NO_BOUND = "none"


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
            NO_BOUND,
            size=True,
        ),
    )
}


_COUNTS = frozenset(map(str, range(1, 65)))


def checked(name: str, value: str, span: Span | None = None) -> tuple[str, str]:
    """Return the setting's name and value in their written form, or raise what is wrong with them."""
    setting = SETTINGS.get(name.lower())
    if setting is None:
        raise UnknownName(
            f'there is no setting "{name}"',
            code="unknown-setting",
            span=span,
            hints=(nearest(name, SETTINGS), "settings: " + ", ".join(SETTINGS)),
        )
    if setting.size:
        if value.lower() != NO_BOUND and bound(value) is None:
            raise StatementError(
                f'{setting.name} cannot be "{value}"',
                code="setting",
                span=span,
                hints=("it may be: 20GB, 512MiB, none",),
            )
        return setting.name, value.lower() if value.lower() == NO_BOUND else value
    value = value.lower()
    if setting.choices and value not in setting.choices:
        raise StatementError(
            f'{setting.name} cannot be "{value}"',
            code="setting",
            span=span,
            hints=("it may be: " + ", ".join(setting.choices),),
        )
    if not setting.choices and value not in _COUNTS:
        raise StatementError(
            f'{setting.name} cannot be "{value}"', code="setting", span=span, hints=("it may be: 1 to 64",)
        )
    return setting.name, value


def bound(value: str) -> int | None:
    """Return the bytes that the value of such a setting means, None for `NO_BOUND` and for what is no size."""
    if value == NO_BOUND:
        return None
    return parse_size(value)
