"""What queries, scripts and output are made of, declared once for help and the reference: how each is written."""

from __future__ import annotations

from imq.grammar.record import Record


class Clause(Record):
    """One clause or statement: how it is written, what it is for, a whole statement with it."""

    name: str
    syntax: str
    doc: str
    example: str


CLAUSES: dict[str, Clause] = {
    clause.name: clause
    for clause in (
        # Queries
        Clause(
            "of",
            "TABLE of IMAGE, … | TABLE of (QUERY) | lines of FILE | FIELD of NAME",
            "whose layers, history or containers are meant; of lines and rows: which file, or stdin. FIELD of NAME is a"
            " value of one image: rows of the store are compared with the store's image of this name, and rows of"
            " registries with what its registry has under it",
            "layers of (images where label.env = prod)",
        ),
        Clause(
            "in",
            "TABLE in SOURCE, …",
            "which place is asked; without it the one that use chose, at first the store",
            "images in store where dangling",
        ),
        Clause("where", "where CONDITION", "which rows", "images where size > 1GB and not in use"),
        Clause(
            "group",
            "group by FIELD, … [having CONDITION]",
            "one row for each group of rows that are equal in these; having chooses among the groups",
            "images group by repository having count > 3 select repository, count, sum(size)",
        ),
        Clause("having", "having CONDITION", "which groups", "images group by repository having sum(size) > 1GB"),
        Clause(
            "order",
            "order by FIELD [asc | desc], …",
            "the order of the rows; what is unknown comes last either way",
            "images order by size desc, name",
        ),
        Clause(
            "limit",
            "limit N [per FIELD, …]",
            "the first N rows, or the first N of each group",
            "images order by size desc limit 2 per repository",
        ),
        Clause("skip", "skip N [per FIELD, …]", "all but the first N rows", "images order by created desc skip 5"),
        Clause(
            "except",
            "except newest N [per FIELD, …] [by FIELD]",
            "all but the N newest (by created, or by another field), as retention rules keep them; a row whose age is"
            " unknown is left out too",
            "rm images where older than 30d except newest 3 per repository",
        ),
        Clause(
            "until",
            "until total size <= SIZE",
            "the first rows, until the store without them takes no more bytes on disk; the oldest first where no order"
            " is said or the order leaves it open",
            "rm images where not in use order by created until total size <= 16GB",
        ),
        Clause(
            "select",
            "select VALUE [as NAME], … | *",
            "which columns; * is all fields",
            "images select name, size / layer_count as mean, label.env",
        ),
        Clause("count", "QUERY count", "how many rows", "images where dangling count"),
        Clause("all", "VERB all TABLE", "says that every row is meant", "verify all images"),
        Clause(
            "union",
            "QUERY union | except | intersect QUERY [by FIELD, …]",
            "rows of both, of the first and not the second, of the first and the second; by: what makes rows the same."
            " What is meant for the whole stands behind parentheses: (… union …) order by size",
            'images except (rows of "deployed.json" select image as name) by name',
        ),
        Clause("intersect", "QUERY intersect QUERY", "see help union", "images intersect images where dangling by id"),
        Clause(
            "nonempty",
            "nonempty QUERY",
            "refuses to go on when the query answers nothing, so that an empty list removes nothing",
            'rm images where name not in (nonempty lines of "keep.txt")',
        ),
        Clause(
            "any",
            "any RELATION [where CONDITION] | any (QUERY)",
            "whether the row has such a layer, step, container …; what follows where goes on to the end",
            'images where any layers where size > 100MB and created_by like "*COPY*"',
        ),
        Clause(
            "no", "no RELATION [where CONDITION] | no (QUERY)", "whether there is none", "images where no containers"
        ),
        Clause("as", "QUERY as FORM", "the output form", "images as json"),
        Clause(
            "format",
            "QUERY format TEMPLATE",
            "each row through a template in Go's language, between {{ }} or << >>; table in front aligns columns",
            'images format "table {{.Repository}}\\t{{.Size}}"',
        ),
        # Statements around statements
        Clause(
            "explain", "explain STATEMENT", "how it would run: its stages and its SQL", "explain images where dangling"
        ),
        Clause("dry", "dry run STATEMENT", "list the actions and do none", "dry run rm images where dangling"),
        # Scripts
        Clause(
            "let",
            "let NAME = VALUE | (VALUE, …) | QUERY",
            "what $NAME stands for from here on; $env.NAME is a variable of the environment",
            "let days = 30d",
        ),
        Clause(
            "view",
            "view NAME as QUERY",
            "a query that is asked like a table from here on, as long as the session lasts",
            "view stale as images where older than 90d and not in use",
        ),
        Clause("use", "use SOURCE", "where questions without in are asked from here on", "use store"),
        Clause("include", "include FILE", "the statements of another file, in this place", 'include "views.imq"'),
        Clause("on", "on error stop | continue", "what a script does when a statement fails", "on error continue"),
        Clause(
            "assert",
            "assert CONDITION",
            "whether something holds: when not, the rows against it are shown and the exit code is 1",
            "assert no images where size > 1GB",
        ),
        Clause("set", "set [NAME [= VALUE]]", "show all settings, or one, or change it", "set verify = lazy"),
        Clause(
            "help", "help [TOPIC]", "tell of a table, field, verb, function, clause, form or setting", "help images"
        ),
    )
}
