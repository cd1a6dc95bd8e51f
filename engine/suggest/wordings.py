"""Translates what people write in their own words: `images whose tag is latest`, `total size of images`.

Each wording is a regular expression and its translation. `SENTENCES` match whole statements and mean exactly the same,
so an action may be one of them. `CLAUSES` match parts of queries. Quoted strings are masked, as in `rules.py`.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.grammar.lexer import Vocabulary

    Replacement = str | Callable[[re.Match[str]], str]

_ANY = r"[^\s,()]+"
_TAGGED = r"[\w.-]+(?::\d+)?(?:/[\w.-]+)*:[\w.-]+"
"""A name with a tag."""
_TAG = r"[\w.-]+"
_AND = r"\s+(?:and|with|to)\s+"
_CONTAINING = r"containing|including|with|(?:that|which)\s+(?:contain|include|have)"
_AGE = r"\d[\d.]*\s*[a-z]+"
_SIZE = r"\d[\d.]*\s*[kmgt]?i?b"
_INSIDE = "files|all_files|layers|packages|history|texts|archive_files"
"""Tables with rows of an image."""
_KEYS = {"files": "path", "all_files": "path", "layers": "digest", "packages": "name, version", "images": "name"}
"""The fields by which rows of two images, or of two sources, are the same."""
_ACTIONS = "rm|remove|delete|rmi"
_FIELDS = {"labels": "label", "environment": "env", "command": "cmd", "size": "size", "id": "id", "digest": "digest"}
"""What is asked about an image, and its field where the names differ."""
_HEALTH = ("healthy", "unhealthy")
_STATUSES = {"stopped": "exited"}
_STATUS = r"running|stopped|exited|paused|created|dead|restarting|healthy|unhealthy"
_TIMES = {"pulled": "pulled_at", "used": "last_used"}
"""Words for the times of images, and their fields."""
_DESCENDING = (
    "size",
    "created",
    "pulled_at",
    "last_used",
    "download_size",
    "layer_count",
    "shared_size",
    "unique_size",
)
"""Fields by which people want the largest or newest rows first."""
_AGGREGATES = {"total": "sum", "sum": "sum", "average": "avg", "avg": "avg", "largest": "max", "smallest": "min"}


def _select_field(match: re.Match[str]) -> str:
    field, name = match[1].lower(), match[2]
    condition = f"name = {name}" if ":" in name.rpartition("/")[2] else f"repository = {name}"
    return f"images where {condition} select {_FIELDS.get(field, field)}"


def _remove_dangling(match: re.Match[str]) -> str:
    """Return the removal of images without a name, with a further condition or without.

    `unused` has no such translation: `docker image prune` calls the dangling images so, and with --all more.
    """
    condition = re.sub(r"^where\s+", "", match[1].strip(), flags=re.IGNORECASE)
    if re.search(r"\bor\b", condition, re.IGNORECASE):
        condition = f"({condition})"
    return f"rm images where dangling{f' and {condition}' if condition else ''}"


def _add_condition(match: re.Match[str]) -> str:
    """Return an action on one image with a condition as one on a query."""
    condition = match[3]
    if re.search(r"\bor\b", condition, re.IGNORECASE):
        condition = f"({condition})"
    return f"{match[1]} images where name = {match[2]} and {condition}"


def _select_status(match: re.Match[str]) -> str:
    """Return the containers of a status, with a further condition or without."""
    verb, word, rest = match[1] or "", match[2].lower(), re.sub(r"^where\s+", "", match[3].strip(), flags=re.IGNORECASE)
    if re.search(r"\bor\b", rest, re.IGNORECASE):
        rest = f"({rest})"
    field = "health" if word in _HEALTH else "status"
    return f"{verb}containers where {field} = {_STATUSES.get(word, word)}{f' and {rest}' if rest else ''}"


def _remove_of_repository(match: re.Match[str]) -> str:
    excluded = f" and tag != {match[2]}" if match[2] else ""
    return f"rm images where repository = {match[1]}{excluded}"


def _select_first(match: re.Match[str]) -> str:
    word, repository = match[1].lower(), match[2]
    condition = f" where repository = {repository}" if repository else ""
    field = "size" if word in ("largest", "biggest", "smallest") else "created"
    return f"images{condition} order by {field}{'' if word in ('smallest', 'oldest') else ' desc'} limit 1"


def _pull_from(match: re.Match[str]) -> str:
    names = re.split(r"[\s,]+", match[1].strip())
    return f"pull {', '.join(f'{match[2]}/{name}' for name in names)}"


def _order(match: re.Match[str]) -> str:
    field = match[2].lower()
    return f"{match[1]} order by {field}{' desc' if field in _DESCENDING else ''}"


def _combine(match: re.Match[str], operator: str) -> str:
    table, first, second = match[1].lower(), match[2], match[3]
    return f"{table} of {first} {operator} {table} of {second} by {_KEYS[table]}"


def _compare_time(match: re.Match[str], sign: str) -> str:
    field = match[1].lower()
    return f"{_TIMES.get(field, field)} {sign} {match[2]} ago"


_SHARED = rf"({'|'.join(_KEYS)})\s+(?:shared\s+by|common\s+to|in\s+both)\s+({_ANY}){_AND}({_ANY})"
_OF_BOTH = rf"({'|'.join(_KEYS)})\s+of\s+({_ANY})\s+(?:also|that\s+are\s+also)\s+(?:in|of)\s+({_ANY})"
_OF_FIRST = (
    rf"({'|'.join(_KEYS)})\s+of\s+({_ANY})\s+(?:(?:that\s+are\s+)?not|missing)\s+(?:in|from)\s+(?:\1\s+of\s+)?({_ANY})"
)
SENTENCES: tuple[tuple[str, Replacement], ...] = (
    (rf"({_ACTIONS}|untag|push)\s+({_TAGGED})\s+(?:where|if|when)\s+(.+)", _add_condition),
    (
        rf"({_ACTIONS}|untag|push)\s+({_TAGGED})\s+((?:older|newer)\s+than\s+.+|(?:not\s+)?in\s+use|dangling)",
        _add_condition,
    ),
    (
        rf"((?:\w+\s+)?)(?:all\s+)?(?:the\s+)?({_STATUS})\s+containers((?:\s+(?:where|older|newer)\s.*)?)",
        _select_status,
    ),
    (rf"((?:{_ACTIONS})\s+)containers\s+(?:(?:that|which)\s+are\s+)?({_STATUS})()", _select_status),
    (
        rf"(?:{_ACTIONS})\s+(?:all\s+)?(?:dangling|untagged)\s+images((?:\s+(?:where|older|newer)\s.*)?)",
        _remove_dangling,
    ),
    (
        rf"(?:{_ACTIONS})\s+(?:all\s+)?images\s+of\s+(?:the\s+)?repository\s+({_ANY})(?:\s+except\s+({_TAG}))?",
        _remove_of_repository,
    ),
    (
        r"((?:\w+\s+)?)tags\s+of\s+([\w.-]+(?::\d+)?)/((?:[\w.-]+/)*[\w.-]*\*)(\s.*|)",
        r'\1tags of (repositories in \2 where name like "\3")\4',
    ),
    (r"restore\s+(\S+[.]\w+)", r"load \1"),
    (rf"(diff)\s+({_ANY}?)(?:\s+(?:vs[.]?|against)\s+|[.][.])({_ANY})", r"\1 \2 \3"),
    (r"(.*\b(?:images|containers))\s+from\s+(docker|podman|containerd|store)(\s.*|)", r"\1 in \2\3"),
    (rf"rename\s+({_TAGGED})\s+(?:to|as)\s+({_TAGGED})", r"tag \1 as \2"),
    (r"(?:disk\s+usage|du|disk\s+space)", "usage"),
    (rf"(?:who|what|which\s+containers?)\s+uses?\s+(?:the\s+)?(?:image\s+)?({_ANY})", r"containers of \1"),
    (rf"(?:what(?:\s+is|'s)\s+(?:in|inside)|contents?\s+of)\s+({_ANY})", r"files of \1"),
    (rf"find\s+(?:the\s+)?files?\s+(?:named|called)\s+({_ANY})\s+in\s+({_ANY})", r"files of \2 where name = \1"),
    (rf"version\s+of\s+({_ANY})\s+in\s+({_ANY})", r"packages of \2 where name = \1 select name, version"),
    (rf"licen[cs]es\s+(?:of|in)\s+({_ANY})", r"packages of \1 select name, license"),
    (rf"when\s+was\s+({_TAGGED})\s+(?:created|built|made)", r"images where name = \1 select name, created"),
    (rf"(?:describe|show)\s+({_TAGGED})", r"inspect \1"),
    (r"(?:number\s+of|how\s+many)\s+(\w+)", r"\1 count"),
    (r"how\s+many\s+(\w+)\s+(?:per|by|in\s+each|for\s+each)\s+([\w.]+)", r"\1 group by \2 select \2, count"),
    (r"(?:(?:the\s+)?(?:first|top)\s+)?(\d+)\s+(\w+)", r"\2 limit \1"),
    (r"(?:the\s+)?last\s+(\d+)\s+(images|tags|containers)(.*)", r"\2\3 order by created desc limit \1"),
    (rf"(?:the\s+)?(newest|latest|oldest)\s+tag\s+of\s+({_ANY})",
     lambda match: f"tags of {match[2]} order by created{'' if match[1].lower() == 'oldest' else ' desc'} limit 1"),
    (
        r"(?:the\s+)?(largest|biggest|smallest|newest|latest|oldest)\s+image(?:\s+of\s+([^\s,():]+))?",
        _select_first,
    ),
    (rf"retag\s+({_ANY})\s+(?:as|to)\s+({_ANY})", r"tag \1 as \2"),
    (r"(?:mirror|sync|promote|replicate)\s+([^\s,()*]+\s+to\s+[^\s,()*]+)", r"copy \1"),
    (rf"pull\s+({_TAGGED}(?:\s*,?\s*{_TAGGED})*)\s+from\s+({_ANY})", _pull_from),
    (rf"compare\s+({_ANY}){_AND}({_ANY})", r"diff \1 \2"),
    (rf"(?:what(?:\s+has)?\s+changed|changes|differences?)\s+between\s+({_ANY}){_AND}({_ANY})", r"diff \1 \2"),
    (r"(?:how\s+much|what)\s+(?:space\s+)?(?:would|does)\s+rm\s+(.*\S)\s+free", r"reclaim of (\1)"),
    (rf"({'|'.join(_AGGREGATES)})(?:\s+of)?(?:\s+the)?\s+(\w+)\s+of\s+(?:all\s+)?(\w+)(.*)",
     lambda match: f"{match[3]}{match[4]} select {_AGGREGATES[match[1].lower()]}({match[2]})"),
    (r"(?:count|number\s+of)\s+(\w+)\s+(?:per|by|in\s+each|for\s+each)\s+([\w.]+)",
     r"\1 group by \2 select \2, count"),
    (_SHARED, lambda match: _combine(match, "intersect")),
    (_OF_BOTH, lambda match: _combine(match, "intersect")),
    (_OF_FIRST, lambda match: _combine(match, "except")),
    (rf"images\s+in\s+({_ANY})\s+(?:but\s+)?(?:not|missing)\s+(?:in|from)\s+({_ANY})",
     r"images in \1 except images in \2 by name"),
    (rf"({'|'.join(_FIELDS)}|entrypoint|cmd|user|env|workdir|architecture|created|ports)\s+of\s+({_ANY})",
     _select_field),
)  # fmt: skip
"""Wordings of whole statements."""
CLAUSES: tuple[tuple[str, Replacement], ...] = (
    (rf"^containers\s+(?:(?:that|which)\s+are\s+|where\s+)?(not\s+)?({_STATUS})$",
     lambda match: f"containers where status {'!=' if match[1] else '='} {_STATUSES.get(match[2].lower(), match[2])}"),
    (r"^(\w+)\s+(?:whose|(?:that|which)\s+(?:are|is))\s+", r"\1 where "),
    (rf"^({_INSIDE})\s+in\s+({_TAGGED})", r"\1 of \2"),
    (r"^(\w+)\s+of\s+((?:images|containers)\s.*)$", r"\1 of (\2)"),
    (rf"^containers\s+(?:using|with|from|for|that\s+use)\s+(?:the\s+)?(?:image\s+)?({_TAGGED})", r"containers of \1"),
    (r"^containers\s+(?:on|with|publishing|listening\s+on)\s+port\s+(\d+\S*)$", r"containers where ports has \1"),
    (rf"\bup(?:time)?\s*>\s*({_AGE})", r"started < \1 ago"),
    (r"\bport\s*=\s*(?=\d)", "ports has "),
    (rf"\bage\s*>=?\s*({_AGE})", r"older than \1"),
    (rf"\bage\s*<=?\s*({_AGE})", r"newer than \1"),
    (rf"^images\s+(newer|older)\s+than\s+({_TAGGED})$",
     lambda match: f"images where created {'after' if match[1].lower() == 'newer' else 'before'} {match[2]}"),
    (r"^images\s+(?:(?:that|which)\s+)?run(?:ning)?\s+as\s+root$", 'images where user in (root, 0, "")'),
    (r"^images\s+for\s+(?:platform\s+)?(\w+/\S+)", r"images where platform = \1"),
    (r"^images\s+for\s+(?:architecture\s+)?(amd64|arm64|arm|386|s390x|ppc64le|riscv64)\b",
     r"images where architecture = \1"),
    (r"^images\s+(?:with\s+no|without(?:\s+an?y?)?)\s+(healthcheck|entrypoint|cmd|user|workdir|author)$",
     r"images where \1 is unknown"),
    (r"\bis\s+(?:empty|missing|not\s+set|unset|absent)\b", "is unknown"),
    (r"\b(?:is\s+(?:set|present)|exists)\b", "is known"),
    (r"^(\w+)\s+count(?:ed)?\s+(?:by|per)\s+([\w.]+)$", r"\1 group by \2 select \2, count"),
    (r"^(logs\s+of\s+\S+)\s+(?:grep|containing|with|that\s+contain)\s+(\w+)$", r'\1 where text like "*\2*"'),
    (rf"^containers\s+where\s+image\.(\w+\s*(?:[=<>!]+|like|matches)\s*{_ANY})$", r"containers of (images where \1)"),
    (rf"^containers\s+(?:whose|where(?:\s+the)?)\s+image\s+(?:is\s+)?(older|newer)\s+than\s+({_AGE})$",
     r"containers of (images where \1 than \2)"),
    (r"^containers\s+(?:whose|where(?:\s+the)?)\s+image\s+(?:is\s+)?(?:outdated|stale)$",
     "containers join images as i on i.name = image where i.id != .image_id"),
    (rf"^containers\s+(?:that\s+)?(?:mount(?:ing|s)?|with\s+mount)\s+({_ANY})",
     r"containers where any mounts where source = \1"),
    (r"^images\s+(?:with\s+no|without(?:\s+an?)?)\s+(?:tags?|names?)\b", "images where dangling"),
    (r"^(\w+)\s+(?:with\s+no|without(?:\s+an?y?)?)\s+(containers|children|base|layers)\b", r"\1 where no \2"),
    (rf"^images\s+(?:with|having|that\s+have)\s+(?:the\s+)?label\s+([\w./-]+)\s*==?\s*({_ANY})",
     r"images where label.\1 = \2"),
    (r"^images\s+(?:with|having|that\s+have)\s+(?:the\s+)?label\s+([\w./-]+)", r"images where has label \1"),
    (rf"^images\s+(?:{_CONTAINING})\s+(?:the\s+)?(file|package|text)\s+", r"images where contains \1 "),
    (rf"^images\s+(?:that\s+)?(?:sharing|share)\s+layers\s+with\s+({_ANY})", r"images where shares layers with \1"),
    (r"^(\w+)\s+(?:sorted\s+)?by\s+([\w.]+)$", _order),
    (r"^(\w+)\s+per\s+([\w.]+)$", r"\1 group by \2 select \2, count"),
    (r"^(logs\s+of\s+\S+)\s+(?:last|tail)\s+(\d+)(?:\s+lines)?$", r"\1 order by time desc limit \2"),
    (rf"^(logs\s+of\s+\S+)\s+since\s+({_AGE})(?:\s+ago)?$", r"\1 where time > \2 ago"),
    (r"^images\s+(?:that\s+are\s+)?not\s+shared(?:\s+with\s+others)?$", "images where shared_size = 0"),
    (rf"^(tags\s.*\b)platforms?\s+(?:includes?|contains?)\s+({_ANY})", r"\1any platforms where platform = \2"),
    (r"^(search\s+\S+)\s+(?=\w+\s*[<>=])", r"\1 where "),
    (rf"\blabel\s+({_ANY})\s*(?:==?|\bis\b)\s*({_ANY})", r"label.\1 = \2"),
    (r"\bbase\s+is\s+", "based on "),
    (r"\b(?:built|derived|made)\s+(?:from|on(?:\s+top\s+of)?)\s+", "based on "),
    (r"\b(?:exposes?|exposing|expose)\s+(?:port\s+)?(?=\d)", "ports has "),
    (rf"\b(?:bigger|larger|greater|more)\s+than\s+(?={_SIZE})", "size > "),
    (rf"\b(?:smaller|less)\s+than\s+(?={_SIZE})", "size < "),
    (rf"\bnot\s+(\w+)\s+(?:in|within|for|during)\s+(?:the\s+)?(?:last\s+|past\s+)?({_AGE})\b",
     lambda match: _compare_time(match, "<")),
    (rf"\b(\w+)\s+(?:in|within|during)\s+(?:the\s+)?(?:last|past)\s+({_AGE})\b",
     lambda match: _compare_time(match, ">")),
    (rf"\b(\w+)\s+(?:more|longer|earlier)\s+than\s+({_AGE})\s+ago\b", lambda match: _compare_time(match, "<")),
    (rf"\b(\w+)\s+(?:less|later)\s+than\s+({_AGE})\s+ago\b", lambda match: _compare_time(match, ">")),
    (r"\b(\w+)\s+this\s+week\b", r"\1 within 7d"),
    (r"\b(?!(?:and|between|than|after|before|since)\b)(\w+)\s+(?:since\s+)?today\b", r"\1 > today"),
    (r"\b(?!(?:and|between|than|after|before|since)\b)(\w+)\s+yesterday\b", r"\1 between yesterday and today"),
    (r"\boffset\s+(?=\d)", "skip "),
    (r"\s(?:output|in)\s+(json|jsonl|csv|tsv|yaml|markdown)$", r" as \1"),
)  # fmt: skip
"""Wordings of parts of queries."""


def translate_wording(sentence: str, vocabulary: Vocabulary, *, is_action: bool) -> str:
    """Return a sentence with such wordings translated; an action only as a whole."""
    for pattern, replacement in SENTENCES:
        if found := re.fullmatch(pattern, sentence, re.IGNORECASE):
            return replacement(found) if callable(replacement) else found.expand(replacement)
    if is_action or sentence.partition(" ")[0].lower() not in vocabulary.tables:
        return sentence
    for pattern, replacement in CLAUSES:
        sentence = re.sub(pattern, replacement, sentence, flags=re.IGNORECASE)
    return sentence
