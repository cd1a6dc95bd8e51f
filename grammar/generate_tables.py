"""Generates `_lalr_tables.py`, the LALR tables of `imq.lark`: `python -m imq.grammar.generate_tables`.

Lark reads the grammar and computes the tables. They are stored as plain data, because importing lark takes 45 ms
and building the tables 30 ms more, longer than a query. A test fails when they are out of date.
"""

from __future__ import annotations

import hashlib
import os

from .record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
GRAMMAR = os.path.join(_HERE, "imq.lark")
TABLES = os.path.join(_HERE, "_lalr_tables.py")


def compute_fingerprint(grammar: str) -> str:
    """Return the hash of the grammar that generated tables carry."""
    return hashlib.sha256(grammar.encode()).hexdigest()


def make_lark_parser(grammar: str) -> Any:
    """Return Lark's own parser for the grammar; its contextual lexer is not used."""
    from lark import Lark

    return Lark(grammar, parser="lalr", lexer="basic", maybe_placeholders=False)


def generate(grammar: str) -> str:
    """Return the text of `_lalr_tables.py` for this grammar."""
    from lark.lexer import PatternStr
    from lark.parsers.lalr_analysis import Shift

    parser = make_lark_parser(grammar)
    table = parser.parser.parser._parse_table  # noqa: SLF001 - lark has no public way to its tables
    rules = sorted({rule for row in table.states.values() for kind, rule in row.values() if kind is not Shift}, key=str)
    positions = {rule: position for position, rule in enumerate(rules)}
    states = {
        state: {str(name): (kind is Shift, argument) for name, (kind, argument) in row.items()}
        for state, row in table.states.items()
    }
    numbers = _number_states(states, table.start_states["start"])
    rows = []
    for state in numbers:
        row = {
            name: numbers[argument] if shifts else -1 - positions[argument]
            for name, (shifts, argument) in states[state].items()
        }
        rows.append((tuple(sorted(row)), tuple(row[name] for name in sorted(row))))
    productions = [
        (
            str(rule.origin.name),
            len(rule.expansion),
            str(rule.alias),
            tuple(at for at, s in enumerate(rule.expansion) if not (s.is_term and s.filter_out)),
        )
        for rule in rules
    ]
    words = {t.pattern.value: t.name for t in parser.terminals if isinstance(t.pattern, PatternStr)}
    lines = [
        '"""The LALR tables of imq.lark, made by `python -m imq.grammar.generate_tables`. Not to be edited."""',
        "",
        f"GRAMMAR = {compute_fingerprint(grammar)!r}",
        f"START = {numbers[table.start_states['start']]!r}",
        f"END = {numbers[table.end_states['start']]!r}",
        "# text of each keyword and sign -> terminal",
        f"WORDS = {dict(sorted(words.items()))!r}",
        "# production -> (what it makes, its length, the builder's method, which of its parts are handed over)",
        "PRODUCTIONS = (",
        *(f"    {production!r}," for production in productions),
        ")",
        "# state -> (terminals and rules; for each the next state, or -1 - production to reduce); tuples, because they",
        "# are constants of the compiled module and load ten times as fast as dicts that are built",
        "ROWS = (",
        *(f"    {row!r}," for row in rows),
        ")",
        "",
    ]
    return "\n".join(lines)


def _number_states(states: dict[Any, dict[str, tuple[bool, Any]]], start: Any) -> dict[Any, int]:
    """Return a number for each state, in the order in which they are met from the start: Lark's own order varies."""
    reached = [start]
    numbers = {start: 0}
    for state in reached:
        for _, (shifts, argument) in sorted(states[state].items(), key=lambda step: step[0]):
            if shifts and argument not in numbers:
                numbers[argument] = len(reached)
                reached.append(argument)
    return numbers


def main() -> None:
    """Write the tables beside the grammar."""
    with open(GRAMMAR, encoding="utf-8") as source:
        text = generate(source.read())
    with open(TABLES, "w", encoding="utf-8") as target:
        target.write(text)


if __name__ == "__main__":
    main()
