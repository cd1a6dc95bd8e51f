"""The dialect of SQLite: globs, maps, lists, dates, joins. Another SQL engine needs another one."""

from __future__ import annotations

from imq.engine.catalog.tables import DataType
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable

_SECOND = 1_000_000_000
_LISTED_AS = frozenset({DataType.TIME, DataType.DURATION, DataType.BOOLEAN, DataType.VERSION})
"""The types whose values are stored otherwise than JSON shows them."""


class Dialect(Record):
    """SQLite's own ways."""

    name: str = "sqlite"
    registered: frozenset[str] = frozenset({
        "matches", "path_match", "capture", "split", "basename", "dirname", "as_name", "as_repository", "as_digest",
        "list", "version",
    })  # fmt: skip

    def function(self, name: str, arguments: list[str], kinds: list[DataType], now: str) -> str:
        """Return a call of one of the language's functions."""
        if name in ("year", "month", "day"):
            part = {"year": "%Y", "month": "%m", "day": "%d"}[name]
            return f"cast(strftime('{part}', {arguments[0]} / {_SECOND}, 'unixepoch', 'localtime') AS INTEGER)"
        if name == "age":
            return f"({now} - {arguments[0]})"
        if name == "now":
            return now
        if name == "if":
            return f"iif({', '.join(arguments)})"
        if name == "length" and kinds[0] is DataType.LIST:
            return f"json_array_length({arguments[0]})"
        if name == "join":
            return f"(SELECT group_concat(value, {arguments[1]}) FROM json_each({arguments[0]}))"
        return f"{'lent_' if name in self.registered else ''}{name}({', '.join(arguments)})"

    def aggregate(self, name: str, argument: str, kind: DataType, *, distinct: bool) -> str:
        """Return a call of one of the language's aggregates; the mean of bytes or nanoseconds is whole ones."""
        argument = f"DISTINCT {argument}" if distinct else argument
        if name == "avg" and kind is not DataType.NUMBER:
            return f"cast(round(avg({argument})) AS INTEGER)"
        return f"{name}({argument})"

    def listed(self, argument: str, kind: DataType, beside: list[str], *, distinct: bool) -> str:
        """Return a call that lists values as a JSON array; `beside` orders the rows of several lists.

        json_group_array leaves the order to the plan; of no rows at all nothing is asked.
        """
        values = ", ".join([f"DISTINCT {argument}" if distinct else argument, *beside])
        form = kind.name.lower() if kind in _LISTED_AS else "plain"
        return f"coalesce(lent_list_{form}({values}), '[]')"

    def item(self, row: str, native: str, column: str, key: str) -> str:
        """Return the value under `key` of a map.

        The store keeps maps of images as tables, one row a key (`native`: which); others are JSON objects.
        """
        if native:
            return f"(SELECT value FROM {native} WHERE image = {row}._image AND key = {key})"
        return f"(SELECT value FROM json_each({column}) WHERE key = {key})"

    def has_key(self, row: str, native: str, column: str, key: str) -> str:
        """Return whether a map has `key`; the rest as `item`."""
        if native:
            return f"{row}._image IN (SELECT image FROM {native} WHERE key = {key})"
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE key = {key})"

    def item_found(self, row: str, native: str, key: str, test: str) -> str:
        """Return whether a map that the store keeps as the table `native` has a `value` under `key` that passes a test.

        One walk of that table's index takes less than looking into it for each row.
        """
        return f"{row}._image IN (SELECT image FROM {native} WHERE key = {key} AND {test})"

    def command_found(self, row: str, test: str) -> str:
        """Return whether the `text` of the command of a layer or step passes a test: each command is kept once."""
        return f"{row}._command IN (SELECT key FROM command WHERE text <> '' AND {test})"

    def has_item(self, column: str, item: str) -> str:
        """Return whether a list (a JSON array) has an item."""
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE value = {item})"

    def any_text(self, column: str, test: Callable[[str], str], *, pairs: bool) -> str:
        """Return whether a list has an item that passes a test, or a map a pair that does, said as KEY=VALUE."""
        text = "key || '=' || value" if pairs else "value"
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE {test(f'({text})')})"

    def join(self, word: str, inner: str, outer: str) -> str:
        """Return the condition by which a row of a relation belongs to the row outside.

        Of unions, `word` has the word of each member, with bars between them.
        """
        if "|" in word:
            whens = (f"WHEN {at} THEN {self.join(one, inner, outer)}" for at, one in enumerate(word.split("|")))
            return f"{inner}._member = {outer}._member AND CASE {outer}._member {' '.join(whens)} END"
        same = " AND ".join(f"{inner}.{own} = {outer}.{its}" for own, its in self.linked(word))
        if word == "children":  # a short way to few images
            return f"{inner}._image IN (SELECT image FROM layer WHERE chain = {outer}.chain_id) AND {same}"
        return same

    def linked(self, word: str) -> list[tuple[str, str]]:
        """Return the columns of a row of a relation, each with the one of the row outside that it is the same as."""
        match word:
            case "base":
                return [("_image", "_base")]
            case "children":
                return [("_base", "_image")]
            case lookup if lookup.startswith("lookup "):
                _, first, *rest = lookup.split()
                return [("_lookup", first), *((name.partition("=")[0], name.rpartition("=")[2]) for name in rest)]
            case _:
                return [("_image", "_image")]

    def image_relation(self, how: str, row: str, image: str) -> str:
        """Return whether the image of a row is based on another one, or shares layers with it."""
        if how == "based on":
            wanted = f"SELECT image FROM layer WHERE chain = (SELECT chain FROM image WHERE key = {image})"
        else:
            wanted = f"SELECT image FROM layer WHERE digest IN (SELECT digest FROM layer WHERE image = {image})"
        return f"{row}._image IN ({wanted}) AND {row}._image <> {image}"

    def glob(self, pattern: str) -> str:
        """Return the pattern as SQLite's GLOB reads it: `[!…]` is `[^…]`, a backslash makes the next sign plain."""
        parts: list[str] = []
        signs = iter(pattern)
        for sign in signs:
            if sign == "\\":
                plain = next(signs, "\\")
                parts.append(f"[{plain}]" if plain in "*?[" else plain)
            else:
                parts.append("^" if sign == "!" and parts and parts[-1] == "[" else sign)
        return "".join(parts)

    def version_key(self, value: str) -> str:
        """Return what versions are compared by; see oci/tag_version.py."""
        return f"substr({value}, 1, instr({value}, char(31)) - 1)"

    def version_text(self, value: str) -> str:
        """Return how a version is written."""
        return f"substr({value}, instr({value}, char(31)) + 1)"

    def until(self, rows: str, order: str, limit: str, *, below: bool) -> str:
        """Return the first of these rows (`_root`, `_entry` among their columns) whose removal leaves enough room.

        A blob is freed by the row that takes the last name of the last image that has it. A row is taken as long as
        the bytes of all blobs, less those that the rows before it free, are still too many.
        """
        enough = ">=" if below else ">"
        return f"""WITH going AS (SELECT *, row_number() OVER (ORDER BY {order}) AS _step FROM ({rows})),
 gone AS (SELECT _root AS root, max(_step) AS step FROM going GROUP BY _root
  HAVING count(DISTINCT _entry) = (SELECT count(*) FROM entry WHERE entry.root = going._root)),
 blobs AS (SELECT max(reach.size) AS size, max(gone.step) AS step, count(*) = count(gone.step) AS goes
  FROM reach LEFT JOIN gone ON gone.root = reach.root GROUP BY reach.digest),
 freed AS (SELECT step, sum(size) AS size FROM blobs WHERE goes GROUP BY step),
 left_over AS (SELECT going.*, (SELECT coalesce(sum(size), 0) FROM blobs)
  - coalesce(sum(freed.size) OVER (ORDER BY _step ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS _left
  FROM going LEFT JOIN freed ON freed.step = going._step)
SELECT * FROM left_over WHERE _left {enough} {limit}"""
