"""Translates what people write in place of a clause: `keep 3 newest`, `largest 5 images`, `children of redis:7`.

Quoted strings are masked, as in `rules.py`.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.grammar.lexer import Vocabulary

_NEWEST = r"(?:newest|latest|most\s+recent|last)"
_KEEP = r"\b(?:and\s+)?(?:except|keep(?:ing)?)\s+(?:the\s+)?"
_KEEP_NEWEST = re.compile(rf"{_KEEP}(?:{_NEWEST}\s+(\d+)|(\d+)\s+{_NEWEST})(?!\S)", re.IGNORECASE)
_KEEP_HIGHEST = re.compile(
    rf"{_KEEP}(?:highest\s+(\d+)|(\d+)\s+highest)(?:\s+versions?)?(\s+per\s+[\w.]+)?(?:\s+by\s+version)?(?!\S)",
    re.IGNORECASE,
)
_NAME = r"[\w.-]+(?::\d+)?(?:/[\w.-]+)*:[\w.-]+"
"""A name with a tag."""
_EXCEPT_NAMES = re.compile(rf"\b(images)\s+except\s+({_NAME}(?:\s*,\s*{_NAME})*)\s*$", re.IGNORECASE)
_BETWEEN = re.compile(
    r"(differences|diff)\s+(?:between|of|from)\s+([^\s,]+)\s+(?:and|to|with)\s+([^\s,]+)(\s.*)?", re.IGNORECASE
)
_READ_FILE = re.compile(r"cat\s+(\S+)\s+(?:from|in|of)\s+(\S+)", re.IGNORECASE)
_EXTRACT = re.compile(r"(?:extract|cp|copy)\s+(/\S+)\s+(?:from|of)\s+(\S+)(\s+to\s+\S+)", re.IGNORECASE)
_RELATIVES = {"children": "base", "base": "children", "parent": "children", "parents": "children"}
"""What is asked about an image, and the relation by which its relatives have it."""
_RELATIVE = re.compile(
    rf"({'|'.join(_RELATIVES)})\s+of\s+([^\s,()]+)((?:\s+(?:select|order|as|count)\b.*)?)", re.IGNORECASE
)
_ORDERS = {
    "largest": "size desc", "biggest": "size desc", "smallest": "size", "newest": "{time} desc",
    "latest": "{time} desc", "oldest": "{time}", "top": "",
}  # fmt: skip
_FIRST = re.compile(
    rf"(?:the\s+)?(?:({'|'.join(_ORDERS)})(?:\s+(\d+))?|(\d+)\s+({'|'.join(_ORDERS)}))\s+(\w+)(.*)", re.IGNORECASE
)
_BY = re.compile(r"\s+by\s+([\w.]+)\s*$", re.IGNORECASE)
_LAST_CLAUSES = re.compile(r"\s(?:select|as|format|to|count)\s.*|$", re.IGNORECASE)
_FILE_TABLES = frozenset({"files", "all_files", "archive_files"})


def translate_phrases(sentence: str, vocabulary: Vocabulary) -> str:
    """Return a sentence with such phrases replaced by clauses.

    Those that an action may have keep their exact meaning; the others make a query of the sentence.
    """
    sentence = _KEEP_NEWEST.sub(lambda match: f"except newest {match[1] or match[2]}", sentence)
    sentence = _KEEP_HIGHEST.sub(
        lambda match: f"except newest {match[1] or match[2]}{match[3] or ''} by version", sentence
    )
    sentence = _EXCEPT_NAMES.sub(_exclude_names, sentence)
    if found := _BETWEEN.fullmatch(sentence):
        return (
            f"{found[1]} of {found[2]}, {found[3]}{found[4]}" if found[1] != "diff" else f"diff {found[2]} {found[3]}"
        )
    if found := _EXTRACT.fullmatch(sentence):
        return f"extract files of {found[2]} where path = {found[1]}{found[3]}"
    if found := _READ_FILE.fullmatch(sentence):
        return f"cat {found[2]} {found[1]}"
    if found := _RELATIVE.fullmatch(sentence):
        return f"images where any {_RELATIVES[found[1].lower()]} where name = {found[2]}{found[3]}"
    found = _FIRST.fullmatch(sentence)
    if found and found[5].lower() in vocabulary.tables:
        return _order(found) or sentence
    return sentence


def _exclude_names(match: re.Match[str]) -> str:
    condition = f"not in ({match[2]})" if "," in match[2] else f"!= {match[2]}"
    return f"{match[1]} where name {condition}"


def _order(found: re.Match[str]) -> str:
    """Return the query for its first rows in an order; "" when the order is not known."""
    table, rest = found[5], found[6]
    order = _ORDERS[(found[1] or found[4]).lower()].format(time="mtime" if table.lower() in _FILE_TABLES else "created")
    if by := _BY.search(rest):
        rest = rest[: by.start()]
        order = f"{by[1]} desc" if not order or order.endswith(" desc") else by[1]
    if not order:
        return ""
    limit = f" limit {found[2] or found[3]}" if found[2] or found[3] else ""
    last = _LAST_CLAUSES.search(rest)
    assert last is not None
    return f"{table}{rest[: last.start()]} order by {order}{limit}{rest[last.start() :]}"
