"""Translates what people write in their own words: `images whose tag is latest`, `total size of images`.

Each wording is a pattern and its translation. `SENTENCES` match whole statements; those that are actions mean exactly
the same. `CLAUSES` match parts of queries. Quoted strings are masked, as in `rules.py`.

In a pattern, a space matches any white space, and `<name>` the regular expression `_GROUPS["name"]`.
"""

from __future__ import annotations

import re
from functools import cache

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Translation = str | Callable[[re.Match[str]], str]
    Wording = tuple[str, Translation]

_KEYS = {"files": "path", "all_files": "path", "layers": "digest", "packages": "name, version"}
"""The fields by which rows of two images are the same."""
_FIELDS = {"labels": "label", "environment": "env", "command": "cmd"}
"""What is asked about an image, and its field where the names differ."""
_TIMES = {"pulled": "pulled_at", "used": "last_used"}
"""Words for the times of images, and their fields."""
_PERIODS = {"day": "1d", "week": "7d", "month": "30d", "year": "365d"}
_STATUSES = {"stopped": "exited"}
_HEALTH = ("healthy", "unhealthy")
_CONDITIONS = {"dangling": "dangling", "untagged": "dangling", "unused": "not in use"}
_SPACED = (
    "exit code", "oom killed", "restart count", "last used", "memory limit", "cpu limit", "log size", "network mode",
    "stop signal", "download size", "shared size", "unique size", "os version", "image id", "created by", "media type",
)  # fmt: skip
"""Fields whose names people write with a space."""
_AGGREGATES = {"total": "sum", "sum": "sum", "average": "avg", "avg": "avg", "largest": "max", "smallest": "min"}
_DESCENDING = ("size", "created", "pulled_at", "last_used", "download_size", "layer_count", "shared_size")
"""Fields by which people want the largest or newest rows first."""
_GROUPS = {
    "any": r"[^\s,()]+",
    "name": r"[\w.-]+(?::\d+)?(?:/[\w.-]+)*:[\w.-]+",  # with a tag
    "host": r"[\w-]+(?:[.:][\w.:-]+)",
    "word": r"\w+",
    "field": r"[\w.]+",
    "number": r"\d+",
    "age": r"\d[\d.]*\s*[a-z]+",
    "period": "|".join(_PERIODS),
    "size": r"\d[\d.]*\s*[kmgt]?i?b",
    "inside": "|".join((*_KEYS, "history", "texts", "archive_files")),
    "keyed": "|".join(_KEYS),
    "status": r"running|stopped|exited|paused|created|dead|restarting|healthy|unhealthy",
    "kind": "|".join(_CONDITIONS),
    "fields": r"labels|environment|command|size|id|digest|entrypoint|cmd|user|env|workdir|architecture|created|ports",
    "remove": r"rm|remove|delete|rmi",
    "condition": r"(?:\s+(?:where|older|newer)\s.*)?",
    "rest": r"(?:\s.*)?",
}
"""The groups of patterns. `<rest>` and `<condition>` begin with white space, or are empty."""


_SEVERAL_NAMES = "images group by id having count > 1 select id, count, list(name)"


def _join(condition: str, further: str) -> str:
    """Return a condition and a further one, which may begin with `where` or be empty."""
    further = re.sub(r"^where\s+", "", further.strip(), flags=re.IGNORECASE)
    if re.search(r"\bor\b", further, re.IGNORECASE):
        further = f"({further})"
    return f"{condition} and {further}" if further else condition


def _match_repository(name: str) -> str:
    return f"name = {name}" if ":" in name.rpartition("/")[2] else f"repository = {name}"


def _match_field(field: str, value: str) -> str:
    return f"{field} like {value}" if "*" in value else f"{field} = {value}"


def _select_field(match: re.Match[str]) -> str:
    field = match[1].lower()
    return f"images where {_match_repository(match[2])} select {_FIELDS.get(field, field)}"


def _match_status(word: str, operator: str) -> str:
    status = word.lower()
    return f"{'health' if status in _HEALTH else 'status'} {operator} {_STATUSES.get(status, status)}"


def _select_status(match: re.Match[str]) -> str:
    """Return the containers of a status: after a verb or without one, and with a further condition or without."""
    return f"{match[1]}containers where {_join(_match_status(match[2], '='), match[3])}"


def _select_first(match: re.Match[str]) -> str:
    field = "size" if match[1].lower() in ("largest", "biggest", "smallest") else "created"
    order = "" if match[1].lower() in ("smallest", "oldest") else " desc"
    condition = f" where repository = {match[2]}" if match[2] else ""
    return f"images{condition} order by {field}{order} limit 1"


def _order(match: re.Match[str]) -> str:
    field = match[2].lower()
    return f"{match[1]} order by {field}{' desc' if field in _DESCENDING else ''}"


def _pull_from(match: re.Match[str]) -> str:
    names, host = re.split(r"[\s,]+", match[1].strip()), match[4]
    return f"pull {', '.join(f'{host}/{name}' for name in names)}"


def _combine(operator: str) -> Callable[[re.Match[str]], str]:
    """Return the translation to rows of two images."""

    def translate(match: re.Match[str]) -> str:
        table, first, second = match[1].lower(), match[2], match[3]
        return f"{table} of {first} {operator} {table} of {second} by {_KEYS[table]}"

    return translate


def _compare_time(sign: str) -> Callable[[re.Match[str]], str]:
    """Return the translation to a time of an image that is before or after an age."""

    def translate(match: re.Match[str]) -> str:
        field, age = match[1].lower(), match[2]
        return f"{_TIMES.get(field, field)} {sign} {_PERIODS.get(age.lower(), age)} ago"

    return translate


SENTENCES: tuple[Wording, ...] = (
    # actions: exactly the same rows. `unused` is none: docker calls dangling images so, and with --all more
    ("<remove> (?:all )?(?:dangling|untagged) images<condition>",
     lambda m: f"rm images where {_join('dangling', m[2])}"),
    ("clean(?: ?up)? (?:all )?(?:dangling|untagged) images", "rm images where dangling"),
    ("<remove> images older than <age> except <any>", r"rm images where older than \2 and tag != \3"),
    ("<remove> (?:all )?images of (?:the )?repository <any>", r"rm images where repository = \2"),
    ("<remove> (?:all )?images of (?:the )?repository <any> except newest <number>",
     r"rm images where repository = \2 except newest \3"),
    ("<remove> (?:all )?images of (?:the )?repository <any> except <any>",
     r"rm images where repository = \2 and tag != \3"),
    ("<remove> (?:all )?images (?:tagged|with (?:the )?tag) <any>",
     lambda m: f"rm images where {_match_field('tag', m[2])}"),
    ("(<remove>|untag|push) <name> (?:where|if|when) (.+)",
     lambda m: f"{m[1]} images where {_join(f'name = {m[3]}', m[4])}"),
    ("(<remove>|untag|push) <name> ((?:older|newer) than .+|(?:not )?in use|dangling)",
     lambda m: f"{m[1]} images where {_join(f'name = {m[3]}', m[4])}"),
    ("<remove> tag <name>", r"untag \2"),
    ("<remove> tag <any> of <any>", r"rm tags of \3 where tag = \2"),
    (r"((?:\w+ )?)(?:all )?(?:the )?<status> containers<condition>", _select_status),
    ("((?:rm|remove|delete) )containers (?:(?:that|which) are )?<status>()", _select_status),
    (r"(.*\b(?:images|containers)) from (docker|podman|containerd|store)<rest>", r"\1 in \2\3"),
    ("(?:retag|rename) <name> (?:as|to) <name>", r"tag \1 as \2"),
    (r"(?:mirror|sync|promote|replicate) ([^\s,()*]+ to [^\s,()*]+)", r"copy \1"),
    ("(?:copy|push) <any> as <any>", r"copy \1 to \2"),
    (r"copy <any> ([^\s,()]+[.:][^\s,()]*/[^\s,()]+)", r"copy \1 to \2"),
    ("pull (<name>(?: ?,? ?<name>)*) from <host>", _pull_from),
    (r"restore (\S+[.]\w+)", r"load \1"),
    # no action: whether a pattern crosses slashes, only a condition says
    (r"tags of ([\w.-]+(?::\d+)?)/((?:[\w.-]+/)*[\w.-]*\*)<rest>",
     r'tags of (repositories in \1 where name like "\2")\3'),
    # images and their differences
    ("compare <any> (?:and|with|to) <any>", r"diff \1 \2"),
    (r"diff ([^\s,()]+?)(?: (?:vs[.]?|against|and) |[.][.])<any>", r"diff \1 \2"),
    ("(?:what(?: has)? changed|changes|differences?) between <any> (?:and|with) <any>", r"diff \1 \2"),
    ("<keyed> (?:shared by|common to|in both) <any> (?:and|with) <any>", _combine("intersect")),
    ("<keyed> of <any> (?:also|that are also) (?:in|of) <any>", _combine("intersect")),
    (r"<keyed> of <any> (?:(?:that are )?not|missing) (?:in|from) (?:\1 of )?<any>", _combine("except")),
    ("images in <any> (?:but )?(?:not|missing) (?:in|from) <any>", r"images in \1 except images in \2 by name"),
    ("(?:all )?<kind> images<condition>", lambda m: f"images where {_join(_CONDITIONS[m[1].lower()], m[2])}"),
    # numbers
    ("(?:how much|what) (?:space )?(?:would|does) rm (.+) free", r"reclaim of (\1)"),
    (f"({'|'.join(_AGGREGATES)})(?: of)?(?: the)? <word> of (?:all )?<word><rest>",
     lambda m: f"{m[3]}{m[4]} select {_AGGREGATES[m[1].lower()]}({m[2]})"),
    ("(?:number of|how many) <word>", r"\1 count"),
    ("(?:count|number of|how many) <word> (?:per|by|(?:in|for) each) <field>", r"\1 group by \2 select \2, count"),
    ("(?:disk usage|disk space|total size|du)", "usage"),
    ("duplicate images", _SEVERAL_NAMES),
    ("(?:all |list )?(?:distinct|unique|different) repositor(?:y|ies)(?: of (?:all )?images)?",
     "images group by repository select repository"),
    # the first rows
    ("(?:(?:the )?(?:first|top) )?<number> <word>", r"\2 limit \1"),
    ("(?:the )?last <number> (images|tags|containers)<rest>", r"\2\3 order by created desc limit \1"),
    (r"(?:the )?(largest|biggest|smallest|newest|latest|oldest) image(?: of ([^\s,():]+))?", _select_first),
    ("(?:the )?(?:newest|latest) tag of <any>", r"tags of \1 order by created desc limit 1"),
    ("(?:the )?oldest tag of <any>", r"tags of \1 order by created limit 1"),
    ("(?:the )?(?:highest|latest|newest) version of <any>", r"tags of \1 order by version desc limit 1"),
    ("(?:the )?(?:largest|biggest) layer (?:of|in) <any>", r"layers of \1 order by size desc limit 1"),
    ("(?:the )?(?:largest|biggest|top)(?: <number>)? files in <name>",
     lambda m: f"files of {m[2]} order by size desc limit {m[1] or 10}"),
    # one image
    ("<fields> of <any>", _select_field),
    ("when was <name> (?:created|built|made)", r"images where name = \1 select name, created"),
    ("(?:describe|show) <name>", r"inspect \1"),
    ("(?:who|what|which containers?) uses? (?:the )?(?:image )?<any>", r"containers of \1"),
    ("(?:what(?: is|'s) (?:in|inside)|contents? of) <any>", r"files of \1"),
    ("find (?:the )?files? (?:named|called) <any> in <any>", r"files of \2 where name = \1"),
    ("version of <any> in <any>", r"packages of \2 where name = \1 select name, version"),
    ("licen[cs]es (?:of|in) <any>", r"packages of \1 select name, license"),
    ("(?:the )?dockerfile (?:of|for) <any>", r"history of \1 select created_by"),
    ("(?:os|distro|distribution) of <any>", r"os_releases of \1"),
    (r"cat ([\w./-]+:[\w.-]+):(/\S+)", r"cat \1 \2"),
    ("(?:repositories of|repos (?:of|in)|catalog(?: of)?) <any>", r"repositories in \1"),
)  # fmt: skip
"""Wordings of whole statements."""
CLAUSES: tuple[Wording, ...] = (
    # names of fields
    (rf"\b({'|'.join(_SPACED)})\b", lambda m: re.sub(r"\s+", "_", m[1].lower())),
    (r"\bmemory (?=[<>=])", "memory_limit "),
    (r"\bnetwork (?==)", "network_mode "),
    (r"\bstate (?==)", "status "),
    (r"\bcompose project ?= ?", 'label."com.docker.compose.project" = '),
    # from relative clauses to conditions
    ("^containers (?:(?:that|which) are |where )?(not )?<status>$",
     lambda m: f"containers where {_match_status(m[2], '!=' if m[1] else '=')}"),
    (r"^<word> (?:whose|(?:that|which) (?:are|is)) ", r"\1 where "),
    ("^<inside> in <name>", r"\1 of \2"),
    ("^<word> of ((?:images|containers) .*)$", r"\1 of (\2)"),
    # images by what they have
    ("^images (?:with no|without(?: an?)?) (?:tags?|names?)$", "images where dangling"),
    ("^<word> (?:with no|without(?: any?)?) (containers|children|base|layers)$", r"\1 where no \2"),
    ("^images (?:(?:that )?have|with) (?:any )?(containers|children)$", r"images where any \1"),
    ("^images (?:with no|without(?: an?)?) (healthcheck|entrypoint|cmd|user|workdir|author)$",
     r"images where \1 is unknown"),
    ("^images missing (?:the )?label ", "images where not has label "),
    (r"^images (?:labell?ed|(?:with|having|that have) (?:the )?label) ([\w./-]+) ?==? ?<any>",
     r"images where label.\1 = \2"),
    ("^images (?:with|having|that have) (?:the )?label <any>", r"images where has label \1"),
    (r"\blabels? (?:contains?|includes?) <any>", r"has label \1"),
    (r"\blabel <any> is (missing|empty|unknown|known|set)\b",
     lambda m: f"label.{m[1]} is {'known' if m[2].lower() in ('known', 'set') else 'unknown'}"),
    (r"\blabel <any> ?(?:==?|\bis\b) ?(?!known\b|unknown\b|not\b|missing\b|empty\b)<any>", r"label.\1 = \2"),
    ("^images (?:where|with|(?:that|which) have) (?:the )?package <any> (?:older than|<) ?<any>$",
     r"images where any packages where name = \1 and version < \2"),
    ("^images (?:containing|including|with|(?:that|which) (?:contain|include|have)) (?:the )?(file|text|package) ",
     r"images where contains \1 "),
    ("^images (?:that )?shar(?:e|ing) layers with ", "images where shares layers with "),
    ("^images (?:that are )?not shared(?: with others)?$", "images where shared_size = 0"),
    ("^images (?:with|having) (?:more than|over) <number> layers", r"images where layer_count > \1"),
    ("^images (?:with|having) at least <number> layers", r"images where layer_count >= \1"),
    (r"\b(?:layer count|number of layers)\b", "layer_count"),
    ("^images (?:(?:that|which) )?run(?:ning)? as root$", 'images where user in (root, 0, "")'),
    (r"^images for (?:platform )?(\w+/\S+)", r"images where platform = \1"),
    (r"^images for (?:architecture )?(amd64|arm64|arm|386|s390x|ppc64le|riscv64)\b", r"images where architecture = \1"),
    ("^images (?:from|of|in) (?:the )?registry <any>", r"images where registry = \1"),
    ("^images from <host>$", r"images where registry = \1"),
    ("^images (?:from|of|in) (?:the )?repository <any>", r"images where repository = \1"),
    ("^images of <any>$", lambda m: f"images where {_match_repository(m[1])}"),
    ("^images (?:tagged(?: with)?|with (?:the )?tag) <any>", lambda m: f"images where {_match_field('tag', m[1])}"),
    ("^images (?:named|called) <any>",
     lambda m: f"images where {_match_field('name' if '*' in m[1] else 'repository', m[1])}"),
    ("^images (?:matching|like) <any>", r"images where name like \1"),
    (r"\b(?:any|largest|biggest) (file|layer)s? ?> ?(?=<size>)", lambda m: f"any {m[1].lower()}s where size > "),
    (r"\bhistory (?:contains|like) <any>", r'any history where created_by like "*\1*"'),
    (r"\bfile <any> exists\b", r"contains file \1"),
    (r"\b(?:contains|files? contain) (?=/|id_)", "contains file "),
    ("\\bhas package <any> (?:older than|<) ?<any>", r"any packages where name = \1 and version < \2"),
    (r"\bbase is ", "based on "),
    (r"\b(?:built|derived|made) (?:from|on(?: top of)?) ", "based on "),
    (r"\b(?:exposes?|exposing) (?:port )?(?=\d)", "ports has "),
    # images by their use
    ("^images (?:(?:that|which) are )?(?:in use|used(?: by (?:any )?containers?)?)$", "images where in use"),
    ("^images not (?:in use|used)(?: by any containers?)?$", "images where not in use"),
    ("^images used by (?:the )?container <any>$", r"images where any containers where name = \1"),
    (r"\bin use = (?:no|false)\b", "not in use"),
    (r"\bin use = (?:yes|true)\b", "in use"),
    # containers
    (r"^containers where image is (dangling|in use)$", r"containers of (images where \1)"),
    (r"^containers exited with (?:code )?<number>$", r"containers where exit_code = \1"),
    (r"\bstatus (?=running\b|exited\b|paused\b|created\b|dead\b)", "status = "),
    (r"\bmounts (?:contains?|includes?) <any>", r"any mounts where target = \1"),
    ("^containers (?:using|with|from|for|that use) (?:the )?(?:image )?<name>", r"containers of \1"),
    (r"^containers where image\.(\w+ ?(?:[=<>!]+|like|matches) ?[^\s,()]+)$", r"containers of (images where \1)"),
    ("^containers (?:whose|where(?: the)?) image (?:is )?(older|newer) than <age>$",
     r"containers of (images where \1 than \2)"),
    ("^containers (?:whose|where(?: the)?) image (?:is )?(?:outdated|stale)$",
     "containers join images as i on i.name = image where i.id != .image_id"),
    ("^containers (?:that )?(?:mount(?:ing|s)?|with mount) <any>", r"containers where any mounts where source = \1"),
    (r"^containers (?:on|with|publishing|listening on) port (\d+\S*)$", r"containers where ports has \1"),
    (r"\bport ?= ?(?=\d)", "ports has "),
    (r"\bup(?:time)? ?> ?<age>", r"started < \1 ago"),
    (r"^(logs of \S+) (?:last|tail) <number>(?: lines)?$", r"\1 order by time desc limit \2"),
    (r"^(logs of \S+) since <age>(?: ago)?$", r"\1 where time > \2 ago"),
    (r"^(logs of \S+) (?:grep|containing|with|that contain) <word>$", r'\1 where text like "*\2*"'),
    # files, packages, tags
    (r"^(files of \S+) (?:ending (?:with|in)|with extension) (\S+)$", r'\1 where path like "*\2"'),
    (r"^(files of \S+) (?:under|below|in) (/\S*?)/?$", r'\1 where path like "\2/*"'),
    (r"^((?:files|packages) of \S+) (?:named|called) <any>", r"\1 where name = \2"),
    (r"^(files of \S+) with (setuid|setgid)", r"\1 where \2"),
    (r"^(history of \S+) without empty layers$", r"\1 where not empty"),
    (r"^(tags .*\b)platforms? (?:includes?|contains?) <any>", r"\1any platforms where platform = \2"),
    (r"^(tags of \S+) (?:like|matching) <any>$", r"\1 where tag like \2"),
    (r"^(search \S+) (?=\w+ ?[<>=])", r"\1 where "),
    # order, groups and further conditions
    (r"^(images|containers) [|] grep <any>$", r'\1 where name like "*\2*"'),
    (r"^(tags of \S+) [|] grep <any>$", r'\1 where tag like "*\2*"'),
    ("^images (?:with|having) (?:several|multiple|many) (?:names|tags)$", _SEVERAL_NAMES),
    ("^images with (?:the )?same id$", _SEVERAL_NAMES),
    (r" and where ", " and "),
    (r"(where [^,()]+?), (?=\w+ ?[<>=])", r"\1 and "),
    (r"^(<word> group by \S+) where (count.*)$", r"\1 having \3"),
    (r"^images (.*[<>=]) (avg|max|min)\(<word>\)$", r"images \1 (images select \2(\3))"),
    (r" into (\S+[.]\w+)$", r" to \1"),
    (r"^(\w+(?: of \S+)?) (?:sorted )?by <field>$", _order),
    ("^<word> per <field>$", r"\1 group by \2 select \2, count"),
    ("^<word> count(?:ed)? (?:by|per) <field>$", r"\1 group by \2 select \2, count"),
    (r"\boffset (?=\d)", "skip "),
    (" (?:output|in) (json|jsonl|csv|tsv|yaml|markdown)$", r" as \1"),
    # sizes
    (r"\b(?:size )?(?:is )?(?:bigger|larger|greater|more|higher) than (?=<size>)", "size > "),
    (r"\b(?:size )?(?:is )?(?:smaller|less|lower) than (?=<size>)", "size < "),
    (r"\b(?:size )(?:is )?(?:over|above) (?=<size>)", "size > "),
    (r"\b(?:size )(?:is )?(?:under|below) (?=<size>)", "size < "),
    (r"\bsize (?:is )?at least (?=<size>)", "size >= "),
    (r"\bsize (?:is )?at most (?=<size>)", "size <= "),
    # times
    (r"\bage ?>=? ?<age>", r"older than \1"),
    (r"\bage ?<=? ?<age>", r"newer than \1"),
    ("^images newer than <name>$", r"images where created after \1"),
    ("^images older than <name>$", r"images where created before \1"),
    (r"\b((?:older|newer) than \d\S*(?: (?:hour|day|week|month|year)s?)?) ((?:not )?in use|dangling)$", r"\1 and \2"),
    (r"\bbut not\b", "and not"),
    (r"\bnot <word> (?:in|within|for|during) (?:the )?(?:last |past )?<age>\b", _compare_time("<")),
    (r"\b<word> (?:in|within|during) (?:the )?(?:last|past) <age>\b", _compare_time(">")),
    (r"\b<word> (?:in|within|during) (?:the )?(?:last|past) <period>\b", _compare_time(">")),
    (r"\b<word> (?:more than|longer than|earlier than|over) <age> ago\b", _compare_time("<")),
    (r"\b<word> (?:less than|later than|under) <age> ago\b", _compare_time(">")),
    ("^images (?:where )?(pulled|used) (before|after|since) ",
     lambda m: f"images where {_TIMES[m[1].lower()]} {m[2]} "),
    (r"\b<word> this week\b", r"\1 within 7d"),
    (r"\b(?!(?:and|between|than|after|before|since)\b)<word> (?:since )?today\b", r"\1 > today"),
    (r"\b(?!(?:and|between|than|after|before|since)\b)<word> yesterday\b", r"\1 between yesterday and today"),
    # values
    (r"\bcontainers exist\b", "any containers"),
    (r"\bequals(?: to)? ", "= "),
    (r"\bis (?:empty|missing|not set|unset|absent)\b", "is unknown"),
    (r"\b(?:is (?:set|present)|exists)\b", "is known"),
)  # fmt: skip
"""Wordings of parts of queries."""


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern."""
    pattern = re.sub(r" (\??)", lambda space: r"\s*" if space[1] else r"\s+", pattern)
    return re.compile(re.sub(r"<(\w+)>", lambda group: f"({_GROUPS[group[1]]})", pattern), re.IGNORECASE)


def translate_wording(sentence: str, *, is_action: bool) -> str:
    """Return a sentence with such wordings translated; an action only as a whole."""
    for pattern, translation in SENTENCES:
        if found := _compile(pattern).fullmatch(sentence):
            return translation(found) if callable(translation) else found.expand(translation)
    if is_action:
        return sentence
    for pattern, translation in CLAUSES:
        sentence = _compile(pattern).sub(translation, sentence)
    return sentence
