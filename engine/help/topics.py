"""The pages of `help` about subjects, such as dates or docker. Only `help` loads this module.

Every example is a statement that tests run on a store.
"""

from __future__ import annotations

from imq.grammar.record import Record

Examples = tuple[tuple[str, str], ...]


class Topic(Record):
    """One page: its name, one line about it, paragraphs, and examples with what each returns or does."""

    name: str
    summary: str
    text: str
    examples: Examples


GET_STARTED: Examples = (
    ("images", "list images"),
    ("images where size > 1GB order by size desc", "filter and sort"),
    ("dry run rm images where older than 90d and not in use", "list what a removal would do"),
    ("images group by repository select repository, count, sum(size)", "one row for each repository"),
    ("files of redis:7 where size > 1MB order by size desc", "look into an image"),
)
"""The first commands of a new user."""

_TOPICS = (
    Topic(
        "docker",
        "docker's command lines, and what to write in their place",
        """\
docker's command lines work with imq in place of docker, in a shell and in a session: imq images -q,
imq rmi redis:7, imq system df. imq COMMAND --help shows the flags.

A line is a statement of the language as soon as it has a keyword: images where …, rm images …. Filters become
conditions, and --format becomes format.""",
        (
            ("images where dangling", "images -f dangling=true"),
            ("images where created before redis:latest", "images -f before=redis:latest"),
            ("images where label.env = prod", "images -f label=env=prod"),
            ("images as ids", "images -q"),
            ("images format {{.Repository}}:{{.Tag}}", "images --format '{{.Repository}}:{{.Tag}}'"),
            ("rm team/app:1", "rmi team/app:1"),
            ("dry run prune", "image prune, as a list"),
            ("history of redis:7", "history redis:7"),
            ("usage", "system df"),
        ),
    ),
    Topic(
        "dates",
        "times, ages and durations in conditions",
        """\
A time is a date (2024-01-31), a date with a time of day (2024-01-31T10:00:00Z), a year or a month (2024, 2024-01),
or a named time: now, today, yesterday, monday to sunday, last monday, this week, last week, this month, last month,
this year, last year. A date and a named time are the beginning of the day, week, month or year in the local zone;
weeks begin on Monday. An image stands for its creation time.

A duration is a number with a unit: s, m (minutes), h, d, w, y, or a word: 2 weeks, 3 months, 1h30m. A month has
30 days, a year 365. X ago is a time.

before and after exclude the moment, since includes it. A row with an unknown time matches no condition on it; is
unknown selects such rows.""",
        (
            ("images where older than 30d", "the age is more than 30 days"),
            ("images where created after yesterday", "yesterday and today"),
            ("images where created since last week", "this week and the week before"),
            ("images where created before 2024-06", "before June 2024"),
            ("images where created between 2024-01-01 and 2024-06-30", "both ends included"),
            ("images where created before redis:latest", "older than an image"),
            ("images where created < 90d ago", "the same as: older than 90d"),
            ("images where created is unknown", "as in reproducible builds"),
            ("images group by year(created)", "also age, month and day"),
        ),
    ),
    Topic(
        "like",
        "patterns: globs with like, regular expressions with matches",
        """\
like takes a glob for the whole value: * is any characters, ? is one character, [abc] is one of these. It is quoted
where it has spaces. matches takes a regular expression for any part of the value, without backreferences, in time
that is linear in the length of the value. On a list or a map both match any of its strings; those of a map are
KEY=VALUE. path_match(VALUE, GLOB) is a glob in which * does not match a slash.

= compares whole values and takes no patterns. SQL's % and _ are not wildcards.""",
        (
            ("images where repository like team/*", "repositories under team/"),
            ("images where tag like 7* or tag like latest", "two patterns"),
            ("images where not name like *:latest", "everything but latest"),
            ("images where tag matches '^[0-9]+$'", "tags of digits only"),
            ('images where env like "*VERSION=7*"', "any variable"),
            ("files of redis:7 where path like *.conf", "files by their path"),
        ),
    ),
    Topic(
        "operators",
        "comparisons, arithmetic and their order",
        """\
=  !=  <  <=  >  >=       compare values of one type; names and versions by their own rules
like  matches  has        a glob, a regular expression, an item of a list or a key of a map
in (A, B)  in (QUERY)     one of these values
between A and B           both ends included
is known  is unknown      whether there is a value
before after since within times, see help dates
+  -  *  /  %             numbers, sizes and durations; a time minus a time is a duration

and binds more tightly than or, not more tightly than both; parentheses group. A word on the right of an operator is
a value; a field there has a dot: unique_size > .download_size. A comparison with an unknown value is false, and its
negation with not is true.""",
        (
            ("images where size > 100kB and not dangling", "both"),
            ("images where tag in (latest, 7)", "a list"),
            ("images where name in (images where label.env = prod select name)", "a query"),
            ("images where unique_size > .shared_size", "two fields"),
            ("images where size between 50kB and 200kB", "a range"),
            ("images where size * 2 > 200kB", "arithmetic"),
        ),
    ),
    Topic(
        "conditions",
        "what can follow where",
        """\
A condition is a comparison, a field that is true or false (dangling, in_use), a phrase, or conditions with and, or,
not and parentheses.

Phrases: in use, older than 30d, newer than 2 weeks, created before X, based on IMAGE, shares layers with IMAGE,
has label KEY, has layer DIGEST, contains file GLOB, contains package NAME,
contains text "10.0.0.5" (found says where), outdated, local only.

any RELATION where … and no RELATION where … look at the rows that belong to a row: layers, files, packages,
containers, history. help images lists the relations of images.""",
        (
            ("images where dangling and not in use", "fields and phrases"),
            ("images where label.env = prod", "a label by its key"),
            ("images where has label env", "any value"),
            ("images where based on reproducible:1", "built on these layers"),
            ("images where any layers where size > 50kB", "at least one large layer"),
            ("images where no containers where status = running", "nothing runs from it"),
            ("images where user in (root, 0, '')", "runs as root"),
        ),
    ),
    Topic(
        "templates",
        "format TEMPLATE: Go's templates, as docker's --format",
        """\
format takes a template of Go's text/template for each row. {{.Name}} is a field, by docker's name or by the name in
the language; << >> are other brackets, for shells and YAML. table TEMPLATE aligns columns under titles; \\t separates
them. format json is one JSON object a line.

Actions of Go: {{if}} {{else}} {{end}}, {{range}}, {{with}}, {{$x := …}}, {{/* comment */}}, {{- trim -}}, pipes.
""",
        (
            ("images format {{.Repository}}:{{.Tag}}", "a line for each row"),
            ("images format table {{.ID}}\\t{{.Size}}", "a table"),
            ("images format <<.Name>>", "the other brackets"),
            ("images format '{{json .Labels}}'", "JSON"),
            ("images format '{{.Name}} {{if .Dangling}}dangling{{else}}named{{end}}'", "a condition"),
            ("images format '{{range $key, $value := .Label}}{{$key}}={{$value}} {{end}}'", "a loop over labels"),
            ("images format '{{upper .Os}} {{pad .Tag 2 0}} {{truncate .ID 8}}'", "functions"),
        ),
    ),
    Topic(
        "tables",
        "what can be queried",
        """\
A query begins with a table. of names what the rows belong to, in the place where they are. help TABLE lists the
fields and the relations of a table; in a session \\d TABLE does.""",
        (
            ("images", "one row for each name of an image"),
            ("layers of redis:7", "the layers of an image"),
            ("history of redis:7", "the steps of its build"),
            ("files of redis:7", "its files"),
            ("packages of redis:7", "its packages"),
            ("containers", "containers of the source"),
            ("differences of team/app:1, team/app:2", "what differs between two images"),
            ("sources", "the places that hold images"),
            ("usage", "bytes on disk"),
        ),
    ),
    Topic(
        "files",
        "lists and tables from files, and results in files",
        """\
lines of FILE has one row for each line, rows of FILE one for each object of a JSON, CSV or YAML file. stdin is
standard input. Queries on them can be lists in conditions, and joined. nonempty refuses an empty list, so that a
removal does not take everything when a file is missing its content.

A result is written to a file by the shell, by \\o FILE in a session, or by to FILE of save, export and cat. files of
IMAGE is a table of its own, below.""",
        (
            ('lines of "keep.txt"', "one row for each line"),
            ('images where name in (lines of "keep.txt")', "a list from a file"),
            ('dry run rm images where name not in (nonempty lines of "keep.txt")', "everything but the list"),
            ('rows of "owners.csv"', "one row for each record"),
            ('images join (rows of "owners.csv") as o on o.repository = repository select name, o.team', "a join"),
        ),
    ),
    Topic(
        "sources",
        "where images are: the store, engines, registries, archives",
        """\
in SOURCE names where a query looks; use SOURCE sets the place of the statements that follow, --source SOURCE that of
one command.

  store                     the embedded store (--root, $IMQ_ROOT)
  docker, podman, containerd[:NAMESPACE], ssh://HOST, a docker context
  HOST[/PATTERN]            a registry: tags in registry.local:5000/team/*
  oci:DIR, oci-archive:FILE, docker-archive:FILE, dir:DIR, containers-storage:[ROOT]
  a path: backup.tar, ./layout; a pattern for several, in quotes: "backups/*.tar"

Without a choice it is the store if it has images, else the engine that responds. Several sources can be read
together, and every row has its source.""",
        (
            ("sources", "what was found, and what responds"),
            ("images in store", "the store"),
            ("use store", "the default of the session"),
            ("use", "which one it is, and why"),
            ("images in store select name, source", "every row has its source"),
        ),
    ),
    Topic(
        "retention",
        "removing old images: rules, previews and protection",
        """\
A removal is rm with a query. dry run lists it; without it the list is shown for confirmation, and exactly that list
is done. A row for which the condition is unknown stays, and the plan says why.

except newest N per F keeps the newest of each group of the rows that the condition selects; rm (images except newest
N per F) where … keeps the newest of all. until total size <= SIZE and until disk use <= 80% remove only as much as
needed; when disk use > 85% is a threshold. last_used is when a container last used an image, pulled_at when it came.
tags of REPOSITORY does the same in a registry.""",
        (
            ("dry run prune", "unnamed and unused images"),
            ("dry run rm images where older than 90d and not in use", "by age"),
            ("dry run rm images where repository like team/* except newest 1 per repository", "the newest stay"),
            ("dry run rm (images except newest 1 per repository) where older than 30d", "old ones, but not the newest"),
            ("dry run rm images where not in use and coalesce(last_used, pulled_at) < 30d ago", "by the last use"),
            ("dry run rm images where not in use order by last_used until total size <= 200kB", "by size"),
            ("dry run rm images where tag like pr-* and older than 7d", "by tag and age"),
            ("assert no images where dangling and in use", "a check for scripts: exit code 1 when it fails"),
        ),
    ),
    Topic(
        "scripts",
        "files of statements, variables, views and exit codes",
        """\
imq -f FILE runs a script, and a file whose first line is #!/usr/bin/env -S imq -f is a program. ; and line ends
separate statements, # begins a comment. --set NAME=VALUE defines a variable, $env.NAME is one of the environment.

Exit codes: 0 done, 1 an assert does not hold or some items failed, 2 a wrong statement, 3 something that it needs
failed, 130 interrupted. Without a terminal an action that destroys needs --yes.""",
        (
            ("let age = 30d; images where older than $age", "a variable"),
            ("view stale as images where older than 90d and not in use; stale where size > 1MB", "a named query"),
            ("on error continue", "go on after an error"),
            ("assert count (images where size > 350MB) = 0", "a policy"),
            ("explain images where older than 30d", "how a statement runs"),
        ),
    ),
)
TOPICS = {topic.name: topic for topic in _TOPICS}
"""The topics by name, in the order of the overview."""
