"""The dialect of SQLite: globs, maps, lists, dates, joins."""

from __future__ import annotations

from imq.engine.catalog.schema import parse_equal_fields
from imq.engine.catalog.tables import DataType
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    AddParameter = Callable[[str], str]

_SECOND = 1_000_000_000
_CONVERTED_TYPES = frozenset(
    {DataType.TIME, DataType.DURATION, DataType.BOOLEAN, DataType.VERSION, DataType.PACKAGE_VERSION}
)
"""The types whose values are not stored as JSON shows them."""
_CHAIN_KEYS = {"chain_id": "_top", "base_chain_id": "_base_chain"}
"""The hidden columns with the keys of chain IDs in the store, by the field that has the chain ID."""
FREES = "_frees"
"""The hidden column with the bytes that the removal of a row frees after that of the rows before it."""
_BASE_COLUMNS = [("_top", "_base_chain")]
_CHILDREN_COLUMNS = [("_base_chain", "_top")]


class Dialect:
    """Writes the parts of SQL that are specific to SQLite. Another dialect overrides these methods."""

    shares_parameters = False
    """Whether equal values have one parameter, so that expressions with them are equal."""
    names_group_keys = False
    """Whether the keys of groups need names, because equal subqueries are different expressions."""
    counts_keys = True
    """Whether rows are counted by keys alone, and all columns of those that remain are read later, even short ones."""
    has_null_tests_in_indexes = True
    """Whether the indexes of the store have, before a column, whether it is NULL."""
    truth_values = ("1", "0")
    no_limit = "-1"
    """The operand of LIMIT for no limit."""

    registered = frozenset({
        "matches", "path_match", "capture", "split", "basename", "dirname", "as_name", "as_repository", "as_digest",
        "list", "version", "compare_package_versions", "date", "number", "size", "duration",
        "bar",
    })  # fmt: skip
    """Functions of the language that imq registers with SQLite."""

    def write_parameter(self, name: str, _value: str | float | None, _kind: DataType | None) -> str:
        """Write the placeholder of a parameter. Its type is that of the value, or `kind`."""
        return f":{name}"

    def write_single_value(self, query: str) -> str:
        """Write the value of the first row of a query."""
        return f"({query})"

    def write_key(self, values: str) -> str:
        """Write values as one value that is never NULL; equal values have equal ones."""
        return f"json_array({values})"

    def write_arithmetic(self, left: str, operator: str, right: str) -> str:
        """Write arithmetic of numbers. A division by zero is NULL, and a quotient is a floating-point number."""
        return f"({left} * 1.0 / {right})" if operator == "/" else f"({left} {operator} {right})"

    def write_unlikely(self, test: str) -> str:
        """Write a test that holds for few rows, so that the index of its column is read first."""
        return f"likelihood({test}, 0.01)"

    def write_rounded(self, number: str) -> str:
        """Write a number in parentheses, rounded to an integer: half away from zero."""
        return f"cast(round{number} AS INTEGER)"

    def write_search_result(self, column: str, key: str) -> str:
        """Write the result of a search (see `query/searches.py`)."""
        return f"{column} ->> {key}"

    def write_any(self, test: str) -> str:
        """Write the aggregate whether a test holds for any row."""
        return f"max({test})"

    def write_regex_match(self, text: str, pattern: str, add_parameter: AddParameter) -> str:
        """Write whether a constant regular expression matches anywhere in a string."""
        return self.write_function("matches", [text, add_parameter(pattern)], [DataType.TEXT, DataType.TEXT], "")

    def write_glob_match(self, text: str, pattern: str, add_parameter: AddParameter) -> str:
        """Write whether a constant glob matches a whole string."""
        return f"{text} GLOB {add_parameter(self.convert_glob(pattern))}"

    def write_dynamic_glob_match(self, text: str, pattern: str) -> str:
        """Write whether a glob that is a value of the row matches a whole string."""
        return f"{text} GLOB {pattern}"

    def write_items(self, items: str, _kind: DataType) -> str:
        """Write the query for the items of a JSON array, which have one type."""
        return f"SELECT value FROM json_each({items})"

    def write_pattern_function(
        self, name: str, arguments: list[str], _patterns: list[str | None], _add_parameter: AddParameter
    ) -> str:
        """Write a call of a function with a pattern. `patterns` are the arguments that are constant."""
        return self.write_function(name, arguments, [DataType.TEXT] * len(arguments), "")

    def write_function(self, name: str, arguments: list[str], kinds: list[DataType], now: str) -> str:
        """Write a call of a function of the language."""
        if name in ("year", "month", "day"):
            part = {"year": "%Y", "month": "%m", "day": "%d"}[name]
            return f"cast(strftime('{part}', {arguments[0]} / {_SECOND}, 'unixepoch', 'localtime') AS INTEGER)"
        if name == "date" and kinds[0] is DataType.TIME:
            return f"strftime('%Y-%m-%d', {arguments[0]} / {_SECOND}, 'unixepoch', 'localtime')"
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
        return f"{'imq_' if name in self.registered else ''}{name}({', '.join(arguments)})"

    def write_aggregate(self, name: str, argument: str, kind: DataType, *, distinct: bool) -> str:
        """Write a call of an aggregate of the language. A mean of bytes or nanoseconds is rounded to an integer."""
        argument = f"DISTINCT {argument}" if distinct else argument
        if name == "avg" and kind is not DataType.NUMBER:
            return f"cast(round(avg({argument})) AS INTEGER)"
        return f"{name}({argument})"

    def write_list(self, argument: str, kind: DataType, aligned_with: list[str], *, distinct: bool) -> str:
        """Write a call that collects values into a JSON array; `aligned_with` orders the rows of several lists.

        json_group_array is not used: its order depends on the query plan. Without rows the aggregate is NULL.
        """
        values = ", ".join([f"DISTINCT {argument}" if distinct else argument, *aligned_with])
        variant = "version" if kind.is_version else kind.name.lower() if kind in _CONVERTED_TYPES else "plain"
        return f"coalesce(imq_list_{variant}({values}), '[]')"

    def write_map_item(self, row: str, native: str, column: str, key: str) -> str:
        """Write the value of `key` in a map: from the table `native` of the store, or from a JSON object."""
        if native:
            return f"(SELECT value FROM {native} WHERE image = {row}._image AND key = {key})"
        return f"(SELECT value FROM json_each({column}) WHERE key = {key})"

    def write_has_key(self, row: str, native: str, column: str, key: str) -> str:
        """Write a test whether a map has `key`; for `native` see `write_map_item`."""
        if native:
            return f"{row}._image IN (SELECT image FROM {native} WHERE key = {key})"
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE key = {key})"

    def write_map_test(self, row: str, native: str, key: str, test: str) -> str:
        """Write a test of the `value` of `key` in a map that the store keeps in the table `native`.

        One scan of the index of that table is faster than a lookup for each row.
        """
        return f"{row}._image IN (SELECT image FROM {native} WHERE key = {key} AND {test})"

    def write_command_test(self, row: str, test: str) -> str:
        """Write a test of the `text` of the command of a layer or step. The store has each command once."""
        return f"{row}._command IN (SELECT key FROM command WHERE text <> '' AND {test})"

    def write_has_item(self, column: str, item: str) -> str:
        """Write a test whether a list (a JSON array) has an item."""
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE value = {item})"

    def write_any_item(self, column: str, test: Callable[[str], str], *, pairs: bool) -> str:
        """Write whether any item of a list passes a test, or any pair of a map as KEY=VALUE (`pairs`)."""
        text = "key || '=' || value" if pairs else "value"
        return f"EXISTS (SELECT 1 FROM json_each({column}) WHERE {test(f'({text})')})"

    def write_join(self, join: str, inner: str, outer: str, *, is_native: bool) -> str:
        """Write the condition that joins a row of a relation to the outer row.

        For a union, `join` holds the join of each member, separated by `|`. For `is_native` see `list_join_columns`.
        """
        if "|" in join:
            whens = (
                f"WHEN {at} THEN {self.write_join(one, inner, outer, is_native=False)}"
                for at, one in enumerate(join.split("|"))
            )
            return f"{inner}._member = {outer}._member AND CASE {outer}._member {' '.join(whens)} END"
        columns = self.list_join_columns(join, is_native=is_native)
        if columns == _BASE_COLUMNS:  # narrows the images by an index, as the next one does
            return f"{inner}._image IN (SELECT key FROM image WHERE top = {outer}._base_chain)"
        same = " AND ".join(f"{inner}.{own} = {outer}.{its}" for own, its in columns)
        if columns == _CHILDREN_COLUMNS:
            return f"{inner}._image IN (SELECT image FROM stack WHERE chain = {outer}._top) AND {same}"
        return same

    def list_join_columns(self, join: str, *, is_native: bool) -> list[tuple[str, str]]:
        """Return the equal columns of a join: of the row of the relation, and of the outer row.

        `is_native`: both are rows of the store, which has the keys of chain IDs in hidden columns.
        """
        if pairs := parse_equal_fields(join):
            return [(_CHAIN_KEYS[own], _CHAIN_KEYS[its]) for own, its in pairs[:1]] if is_native else list(pairs)
        match join:
            case lookup if lookup.startswith("lookup "):
                _, first, *rest = lookup.split()
                return [("_lookup", first), *((name.partition("=")[0], name.rpartition("=")[2]) for name in rest)]
            case _:
                return [("_image", "_image")]

    def write_image_relation(self, how: str, row: str, image: str) -> str:
        """Write a test whether the image of a row is based on another image, or shares layers with it."""
        if how == "based on":
            images = f"SELECT image FROM layer WHERE chain = (SELECT chain FROM image WHERE key = {image})"
        else:
            images = f"SELECT image FROM layer WHERE digest IN (SELECT digest FROM layer WHERE image = {image})"
        return f"{row}._image IN ({images}) AND {row}._image <> {image}"

    def write_based_on(self, row: str, chains: str, top: str, bases: str, *, is_native: bool) -> str:
        """Write whether any image of `bases` is a base of a row: one with fewer layers, all of them the lowest.

        `chains` and `top` are the chain IDs of all layers and of the top layer; `bases` has chain IDs in column `c0`.
        """
        if is_native:
            return f"""{row}._image IN (SELECT stack.image FROM chain JOIN stack ON stack.chain = chain.key
 JOIN image ON image.key = stack.image WHERE chain.id IN (SELECT c0 FROM {bases}) AND image.top <> stack.chain)"""
        return f"""EXISTS (SELECT 1 FROM json_each({chains})
 WHERE value <> {top} AND value IN (SELECT c0 FROM {bases}))"""

    def write_layer_owners(self, images: str) -> str:
        """Write the query for the layers of `images`, which has diff IDs in column `c0` and image IDs in `c1`.

        `low` and `high` are the lowest and the highest ID of the images with a layer.
        """
        return f"""SELECT one.value AS layer, min(coalesce(c1, '')) AS low, max(coalesce(c1, '')) AS high
 FROM {images}, json_each(c0) AS one GROUP BY one.value"""

    def write_shares_layers(self, row: str, layers: str, id_: str, owners: str, *, is_native: bool) -> str:
        """Write whether a row has a layer that another image has. `owners`: see `write_layer_owners`.

        `layers` are the diff IDs of the row, and `id_` is its image ID.
        """
        if is_native:
            return f"""{row}._image IN (SELECT stack.image FROM {owners} AS owners
 JOIN chain ON chain.diff_id = owners.layer JOIN stack ON stack.chain = chain.key
 JOIN image ON image.key = stack.image WHERE owners.low <> image.id OR owners.high <> image.id)"""
        return f"""EXISTS (SELECT 1 FROM json_each({layers}) WHERE value IN (SELECT layer FROM {owners})
 AND value || coalesce({id_}, '') NOT IN (SELECT layer || low FROM {owners} WHERE low = high))"""

    def convert_glob(self, pattern: str) -> str:
        """Convert a pattern to the syntax of GLOB: `[!…]` becomes `[^…]`, a backslash escapes the next character."""
        parts: list[str] = []
        characters = iter(pattern)
        for character in characters:
            if character == "\\":
                escaped = next(characters, "\\")
                parts.append(f"[{escaped}]" if escaped in "*?[" else escaped)
            else:
                parts.append("^" if character == "!" and parts and parts[-1] == "[" else character)
        return "".join(parts)

    def write_version_key(self, value: str) -> str:
        """Write the sort key of a version; see oci/tag_version.py."""
        return f"substr({value}, 1, instr({value}, char(31)) - 1)"

    def write_version_text(self, value: str) -> str:
        """Write the text of a version."""
        return f"substr({value}, instr({value}, char(31)) + 1)"

    def write_until_freed(
        self, rows: str, order: str, limit: str, images: str, layers: str, *, is_strict: bool, frees: bool
    ) -> str:
        """Write the query for the first of these rows whose removal leaves at most `limit` bytes, or `frees` that many.

        The rows have the columns `_until__row`, `_until_id`, `_until_source` and `_until_size`, which are those of the
        view `images`. `layers` has image, source, chain_id and size of every layer of every image there. An image goes
        with its last name, and a layer with the last image that has it. What an image takes in addition to its layers,
        or in layers of unknown size, counts as freed with the image but not as a part of the total: rather too few rows
        are taken than too many.
        """
        enough = ">=" if is_strict else ">"
        total = "0" if frees else "(SELECT coalesce(sum(size), 0) FROM blobs)"
        limit = f"-{limit}" if frees else limit
        return f"""WITH removed AS (SELECT *, row_number() OVER (ORDER BY {order}) AS _step FROM ({rows})),
 gone AS (SELECT _until_source AS source, _until_id AS image, max(_step) AS step, max(_until_size) AS size
  FROM removed GROUP BY _until_source, _until_id
  HAVING count(DISTINCT _until__row) = (SELECT count(*) FROM {images} AS named
   WHERE named.id = _until_id AND named.source = _until_source)),
 stacked AS (SELECT source, image, chain_id, max(size) AS size FROM {layers} GROUP BY source, image, chain_id),
 blobs AS (SELECT max(stacked.size) AS size, max(gone.step) AS step, count(*) = count(gone.step) AS is_freed
  FROM stacked LEFT JOIN gone ON gone.source = stacked.source AND gone.image = stacked.image
  GROUP BY stacked.source, stacked.chain_id),
 parts AS (SELECT step, size FROM blobs WHERE is_freed
  UNION ALL SELECT step, max(size - coalesce((SELECT sum(stacked.size) FROM stacked
   WHERE stacked.source = gone.source AND stacked.image = gone.image), 0), 0) FROM gone),
 freed AS (SELECT step, sum(size) AS size FROM parts GROUP BY step),
 remaining AS (SELECT removed.*, {total}
  - coalesce(sum(freed.size) OVER (ORDER BY _step ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS _remaining
  FROM removed LEFT JOIN freed ON freed.step = removed._step)
SELECT * FROM remaining WHERE _remaining {enough} {limit}"""

    def write_until_size(
        self, rows: str, columns: str, order: str, limit: str, *, is_strict: bool, frees: bool = False
    ) -> str:
        """Write the query for the first of these rows whose removal leaves at most `limit` bytes, or `frees` that many.

        `columns` are those of the result, besides `_step`, the number of a row, and `FREES`. The rows have the column
        `_entry`. A blob is freed by the row that removes the last name of the last image with this blob. A row is taken
        while the blobs that the rows before it leave are still too large. Blobs are read in the order of an index;
        those whose digest has several descriptors are grouped by digest.
        """
        enough = ">=" if is_strict else ">"
        if frees:
            limit = f"(SELECT coalesce(sum(size), 0) FROM blobs) - {limit}"
        return f"""WITH removed AS (SELECT {columns}, row_number() OVER (ORDER BY {order}) AS _step FROM ({rows})),
 removed_roots AS MATERIALIZED (SELECT descriptor.key AS root, step FROM (
  SELECT entry.root AS digest, max(_step) AS step FROM entry LEFT JOIN removed ON removed._entry = entry.key
  GROUP BY entry.root HAVING count(*) = count(_step)) AS gone
  CROSS JOIN descriptor ON descriptor.digest = gone.digest),
 reached AS MATERIALIZED (SELECT blob, max(step) AS step, count(*) = count(step) AS is_freed
  FROM reaching LEFT JOIN removed_roots ON removed_roots.root = reaching.root GROUP BY blob),
 repeated AS MATERIALIZED (SELECT key, digest, size FROM descriptor WHERE is_repeated),
 blobs AS MATERIALIZED (SELECT size, step, is_freed FROM reached CROSS JOIN descriptor ON descriptor.key = reached.blob
  WHERE blob NOT IN (SELECT key FROM repeated)
  UNION ALL SELECT max(size), max(step), min(is_freed)
  FROM repeated CROSS JOIN reached ON reached.blob = repeated.key GROUP BY digest),
 freed AS (SELECT step, sum(size) AS size FROM blobs WHERE is_freed GROUP BY step),
 remaining AS (SELECT removed.*, coalesce(freed.size, 0) AS {FREES}, (SELECT coalesce(sum(size), 0) FROM blobs)
  - coalesce(sum(freed.size) OVER (ORDER BY _step ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS _remaining
  FROM removed LEFT JOIN freed ON freed.step = removed._step)
SELECT * FROM remaining WHERE _remaining {enough} {limit}"""
