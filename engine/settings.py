"""The settings that `set` shows and changes, declared once."""

from __future__ import annotations

from imq.grammar.errors import StatementError, UnknownName, nearest
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from imq.grammar.errors import Span


class Setting(Record):
    """One setting: its name, what it is for, its default, and what it may be; empty `choices` mean a whole number."""

    name: str
    doc: str
    default: str
    choices: tuple[str, ...] = ()


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
