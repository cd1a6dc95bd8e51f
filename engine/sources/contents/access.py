"""Finds what users can do with files of images, by modes, owners and groups, as the kernel does in a container.

Access control lists and capabilities of programs are not taken into account. A user is the one that
`docker run --user` makes of a text: a name in /etc/passwd of the image, a number, or either with a group, `USER:GROUP`.
Without a group, the user has the one of /etc/passwd and those in /etc/group that name the user as a member; with a
group, that one alone.
"""

from __future__ import annotations

import json

from imq.engine.layer_index.entry_types import DIRECTORY, IMPLIED, SYMLINK
from imq.engine.layer_index.schema import MEMBER_NOTE, SCHEMA
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imq.engine.query.searches import Search

    from .content_scan import ContentScan

_BITS = {"writable_by": 2, "executable_by": 1}
"""The bits of a mode, by field."""


class User(Record):
    """A user of a process: its number and the numbers of its groups."""

    uid: int
    groups: tuple[int, ...]


class Accounts(Record):
    """The users and groups of an image: by name, the number, and the group or the members, separated by commas."""

    users: Mapping[str, tuple[int, str]] = {}
    groups: Mapping[str, tuple[int, str]] = {}

    def find_user(self, text: str) -> User | None:
        """Return the user that a text names; None for a name that the image does not have."""
        name, _, group = text.partition(":")
        entry = self.users.get(name)
        if entry is None and _is_number(name):
            found = next(((key, value) for key, value in self.users.items() if value[0] == int(name)), None)
            name, entry = found if found is not None else ("", (int(name), ""))
        if entry is None:
            return None
        if group:
            known = self.groups.get(group)
            if known is None and not _is_number(group):
                return None
            return User(entry[0], (known[0] if known is not None else int(group),))
        own = int(entry[1]) if _is_number(entry[1]) else 0
        others = (gid for gid, members in self.groups.values() if name and name in members.split(","))
        return User(entry[0], tuple(dict.fromkeys((own, *others))))


_MAX_DIGITS = 10


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def read_accounts(scan: ContentScan, stack: str) -> dict[int, Accounts]:
    """Return the accounts of the images of a scan, by number. `stack` is the table of their layers, scanned whole."""
    hidden = scan.write_hidden("1", "note.layer", "note.directory", "note.name", stack)
    rows = scan.connection.execute(
        f"""SELECT stack.number, note.name, note.document FROM temp.{stack} AS stack
        CROSS JOIN {SCHEMA}.note ON note.layer = stack.layer AND note.kind = '{MEMBER_NOTE}'
        WHERE NOT EXISTS ({hidden})"""
    ).fetchall()
    found = {number: Accounts() for number in range(len(scan.images))}
    for number, name, document in rows:
        entries = {key: (int(value[0]), str(value[1])) for key, value in json.loads(document).items()}
        found[number] = found[number].replace(**{"users" if name == "passwd" else "groups": entries})
    return found


def find_access(scan: ContentScan, values: frozenset[str], searches: Iterable[Search]) -> None:
    """Set the fields of `_BITS` of the selected rows that are in `values`, and the results of searches for users."""
    searches = [search for search in searches if search.field in _BITS]
    stack = scan.stack_whole_layers()
    tables = _AccessTables(scan)
    accounts = read_accounts(scan, stack)
    numbers = {number for (number,) in scan.read_selected("1", "DISTINCT t._number")}
    shown = [field for field in _BITS if field in values]
    texts = dict.fromkeys(search.pattern for search in searches)
    named = (
        (number, text, accounts[number].find_user(text))
        for number in numbers
        for text in (*texts, *(accounts[number].users if shown else ()))
    )
    tables.fill((number, text, user) for number, text, user in named if user is not None)
    try:
        for field in shown:
            tables.list_users(field, accounts)
        for search in searches:
            tables.write_results(search)
    finally:
        tables.drop()


class _AccessTables:
    """Temporary tables: `users` to check, the folders on the `way` to the selected rows, and those that are `blocked`.

    A user cannot reach what is below a blocked folder.
    """

    def __init__(self, scan: ContentScan) -> None:
        self._scan = scan
        view = scan.scan.view
        self._users, self._way, self._blocked = (f"temp.{view}_{name}" for name in ("users", "way", "blocked"))

    def fill(self, users: Iterable[tuple[int, str, User]]) -> None:
        """Write the tables for users of images, by the number of the image and the text that names the user."""
        connection, scan = self._scan.connection, self._scan
        connection.execute(f"CREATE TABLE {self._users} (number, text, uid, groups, PRIMARY KEY (number, text))")
        rows = [(number, text, user.uid, json.dumps(user.groups)) for number, text, user in users]
        connection.executemany(f"INSERT OR IGNORE INTO {self._users} VALUES (?, ?, ?, ?)", rows)
        hidden = scan.write_hidden("1", "entry.layer", "entry.directory", "entry.name")
        connection.execute(
            f"""CREATE TABLE {self._way} AS WITH RECURSIVE way (number, key) AS (
                SELECT DISTINCT t._number, t._directory FROM temp.{scan.rows} AS t
                JOIN temp.{scan.selected} USING (_row)
                UNION SELECT way.number, directory.parent FROM way JOIN {SCHEMA}.directory USING (key)
                WHERE directory.parent IS NOT NULL)
            SELECT way.number, way.key, directory.parent, entry.mode, entry.uid, entry.gid FROM way
            CROSS JOIN {SCHEMA}.directory ON directory.key = way.key
            CROSS JOIN temp.{scan.stack} AS stack ON stack.number = way.number
            CROSS JOIN {SCHEMA}.entry ON entry.layer = stack.layer AND entry.directory = directory.parent
                AND entry.name = directory.name AND entry.type IN ({DIRECTORY}, {IMPLIED})
            WHERE NOT EXISTS ({hidden})"""
        )
        name = self._way.partition(".")[2]
        connection.execute(f"CREATE INDEX temp.{name}_parent ON {name} (number, parent)")
        connection.execute(
            f"""CREATE TABLE {self._blocked} AS WITH RECURSIVE blocked (number, text, key) AS (
                SELECT way.number, user.text, way.key FROM {self._way} AS way
                JOIN {self._users} AS user USING (number) WHERE NOT {_write_access("way", 1, "1")}
                UNION SELECT way.number, blocked.text, way.key FROM blocked
                JOIN {self._way} AS way ON way.number = blocked.number AND way.parent = blocked.key)
            SELECT number, text, key FROM blocked"""
        )
        name = self._blocked.partition(".")[2]
        connection.execute(f"CREATE INDEX temp.{name}_key ON {name} (number, text, key)")

    def drop(self) -> None:
        """Drop the tables."""
        for table in (self._users, self._way, self._blocked):
            self._scan.connection.execute(f"DROP TABLE IF EXISTS {table}")

    def list_users(self, field: str, accounts: Mapping[int, Accounts]) -> None:
        """Set a field to the users in /etc/passwd of the image that have access to each of the selected rows."""
        names = [(number, name) for number, one in accounts.items() for name in one.users]
        table = f"{self._users}_named"
        self._scan.connection.execute(f"CREATE TABLE {table} (number, text, PRIMARY KEY (number, text))")
        self._scan.connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", names)
        self._scan.connection.execute(
            f"""UPDATE temp.{self._scan.rows} AS t SET {field} = (
                SELECT json_group_array(text) FROM (
                    SELECT user.text FROM {self._users} AS user JOIN {table} USING (number, text)
                    CROSS JOIN {self._write_entry()}
                    WHERE user.number = t._number AND {self._write_test(field)} ORDER BY user.text))
            WHERE _row IN (SELECT _row FROM temp.{self._scan.selected})"""
        )
        self._scan.connection.execute(f"DROP TABLE {table}")

    def write_results(self, search: Search) -> None:
        """Add whether the user of a search has access to each of the selected rows; unknown for an unknown user."""
        result = f"""(SELECT {self._write_test(search.field)} FROM {self._users} AS user
            CROSS JOIN {self._write_entry()} WHERE user.number = t._number AND user.text = :text)"""
        self._scan.connection.execute(
            f"""UPDATE temp.{self._scan.rows} AS t
            SET _found = json_set(coalesce(_found, '{{}}'), '$.' || :key, {result})
            WHERE _row IN (SELECT _row FROM temp.{self._scan.selected})""",
            {"text": search.pattern, "key": search.key},
        )

    @staticmethod
    def _write_entry() -> str:
        return f"""{SCHEMA}.entry ON entry.layer = t._layer AND entry.directory = t._directory
            AND entry.name = t._entry_name"""

    def _write_test(self, field: str) -> str:
        any_file = "1" if field == "writable_by" else f"entry.type IN ({DIRECTORY}, {IMPLIED})"
        return f"""(entry.type <> {SYMLINK} AND {_write_access("entry", _BITS[field], any_file)}
            AND NOT EXISTS (SELECT 1 FROM {self._blocked} AS blocked WHERE blocked.number = t._number
                AND blocked.text = user.text AND blocked.key = t._directory))"""


def _write_access(row: str, bit: int, root_always: str) -> str:
    """Return the SQL of whether the mode of `row` gives `user` the access of a bit.

    `root_always` is when root has it whatever the mode is: root executes files that someone can execute.
    """
    return f"""(CASE WHEN user.uid = 0 THEN {root_always} OR {row}.mode & {bit * 0o111} > 0
        WHEN user.uid = {row}.uid THEN {row}.mode & {bit << 6} > 0
        WHEN {row}.gid IN (SELECT value FROM json_each(user.groups)) THEN {row}.mode & {bit << 3} > 0
        ELSE {row}.mode & {bit} > 0 END)"""
