"""The clauses and statements of the language, declared once for help and the reference."""

from __future__ import annotations

from imq.grammar.record import Record


class Clause(Record):
    """One clause or statement: its syntax, its purpose, and a complete statement with it."""

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
            "the images whose layers, history or containers are listed; for lines and rows: the file, or stdin. FIELD"
            " of NAME is a value of one image: for rows of the store, the image in the store; for rows of registries,"
            " the tag in its registry",
            "layers of (images where label.env = prod)",
        ),
        Clause(
            "in",
            "TABLE in SOURCE, … | VERB NAME, … in SOURCE, …",
            "the sources that are queried, or that have the images of an action, where from means the same; several are"
            " asked side by side. A source is the store, an engine, a group of the configuration, a registry or a place"
            " on disk; sources lists them. Default: the source that use shows",
            "images in store where dangling",
        ),
        Clause(
            "at",
            "rows of FILE at PATH",
            "the values at a path of keys in each document of a JSON or YAML file; the path goes through the items of"
            " lists, and nested lists are unnested; * is each key of a map, which the column key has",
            'rows of "compose.yaml" at services.* select key, image',
        ),
        Clause(
            "join",
            "[inner | full] join ROWS as NAME on CONDITION",
            "adds the fields NAME.FIELD of other rows, a table or a query in parentheses, to each row for which the"
            " condition holds. Rows without a partner stay with unknown values; with inner they are left out, with full"
            " the other rows without a partner stay too. In the condition a bare word may be a field on both sides",
            'images join (rows of "owners.csv") as o on o.repository = repository select name, o.team',
        ),
        Clause("left", "left join …", "the same as join", "images left join images as same on same.id = id"),
        Clause("inner", "inner join …", "see help join", "images inner join images as same on same.id = id"),
        Clause("full", "full join …", "see help join", "images full join images as same on same.id = id"),
        Clause(
            "where", "where CONDITION", "the condition that rows must meet", "images where size > 1GB and not in use"
        ),
        Clause(
            "group",
            "group by FIELD, … [having CONDITION]",
            "one row for each group of rows with equal values; having filters the groups",
            "images group by repository having count > 3 select repository, count, sum(size)",
        ),
        Clause(
            "having",
            "having CONDITION",
            "the condition that groups must meet",
            "images group by repository having sum(size) > 1GB",
        ),
        Clause(
            "order",
            "order by FIELD [asc | desc], …",
            "the order of the rows; unknown values come last in both directions",
            "images order by size desc, name",
        ),
        Clause(
            "limit",
            "limit N [per FIELD, …]",
            "the first N rows, or the first N of each group; the rows whose group is unknown are one group, so that"
            " an action on them takes N at most. A name of several platforms has a row for each of them",
            "images order by size desc limit 2 per repository",
        ),
        Clause(
            "skip",
            "skip N [per FIELD, …]",
            "all but the first N rows, or of each group; a row whose group is unknown is alone in it. A name of"
            " several platforms has a row for each of them: to keep N names, except newest",
            "images order by created desc skip 5",
        ),
        Clause(
            "except",
            "except newest N [per FIELD, …] [by FIELD]",
            "all rows but the N newest by created or by another field, as retention rules need; platforms of one name"
            " count once; rows of unknown age or unknown group are excluded too",
            "rm images where older than 30d except newest 3 per repository",
        ),
        Clause(
            "until",
            "until total size <= SIZE | disk use <= PERCENT | free >= SIZE",
            "the first rows, until the images without them take at most SIZE, or until at most PERCENT of the"
            " disk is used, or SIZE is free; the oldest first where the order is not given or leaves it open. A layer"
            " goes with the last image that has it. The size of an engine's images is that of their layers, each once;"
            " what is known of an image alone counts as freed, so that rather too few are removed than too many",
            "rm images where not in use order by created until total size <= 16GB",
        ),
        Clause(
            "when",
            "when disk use > PERCENT | free < SIZE",
            "no rows unless the disk that holds the images is this full; PERCENT as df shows it",
            "rm images where not in use order by last_used until disk use <= 80% when disk use > 85%",
        ),
        Clause(
            "select",
            "select VALUE [as NAME], … | *",
            "the columns; * is all fields, without long and slow ones. Example: diff_ids, complete",
            "images select name, size / layer_count as mean, label.env",
        ),
        Clause("count", "QUERY count", "the number of rows", "images where dangling count"),
        Clause("all", "VERB all TABLE", "selects every row; actions on all rows require it", "verify all images"),
        Clause(
            "union",
            "QUERY union | except | intersect QUERY [by FIELD, …]",
            "rows of either query, of the first but not the second, or of both; by: the fields that make rows equal."
            " Clauses for the result follow parentheses: (… union …) order by size",
            'images except (rows of "deployed.json" select image as name) by name',
        ),
        Clause("intersect", "QUERY intersect QUERY", "see help union", "images intersect images where dangling by id"),
        Clause(
            "nonempty",
            "nonempty QUERY",
            "fails when the query returns no rows, so that an empty list removes nothing",
            'rm images where name not in (nonempty lines of "keep.txt")',
        ),
        Clause(
            "any",
            "any RELATION [where CONDITION] | any (QUERY)",
            "whether the row has such a layer, step or container; where extends to the end of the condition, and"
            " parentheses end it earlier: (any layers where …) and older than 30d",
            'images where any layers where size > 100MB and created_by like "*COPY*"',
        ),
        Clause(
            "no", "no RELATION [where CONDITION] | no (QUERY)", "whether the row has none", "images where no containers"
        ),
        Clause(
            "as",
            "QUERY as FORMAT [to PATH]",
            "the output format; with to, the rows are written to a file: see help report",
            "images as json",
        ),
        Clause(
            "format",
            "QUERY format TEMPLATE",
            "formats each row with a Go template; actions are in {{ }} or << >>; table at the start aligns columns",
            'images format "table {{.Repository}}\\t{{.Size}}"',
        ),
        # Statements that contain a statement
        Clause(
            "explain",
            "explain STATEMENT",
            "shows how the statement would run: its stages and its SQL",
            "explain images where dangling",
        ),
        Clause("dry", "dry run STATEMENT", "lists the actions and executes none", "dry run rm images where dangling"),
        # Scripts
        Clause(
            "let",
            "let NAME = VALUE | (VALUE, …) | QUERY",
            "sets $NAME for the statements that follow; $env.NAME is an environment variable",
            "let days = 30d",
        ),
        Clause(
            "view",
            "view NAME as QUERY",
            "names a query; the statements that follow use the name like a table, until the session ends",
            "view stale as images where older than 90d and not in use",
        ),
        Clause(
            "use",
            "use [SOURCE]",
            "sets the source of statements without in; without SOURCE, it shows the source and why it was chosen",
            "use store",
        ),
        Clause("include", "include FILE", "runs the statements of another file", 'include "views.imq"'),
        Clause(
            "on", "on error stop | continue", "whether a script continues after a statement fails", "on error continue"
        ),
        Clause(
            "assert",
            "assert CONDITION",
            "checks a condition; if it is false, the offending rows are shown and the exit code is 1",
            "assert no images where size > 1GB",
        ),
        Clause("set", "set [NAME [= VALUE]]", "shows all settings or one, or changes one", "set verify = lazy"),
        Clause(
            "help", "help [TOPIC]", "describes a table, field, verb, function, clause, format or setting", "help images"
        ),
    )
}
