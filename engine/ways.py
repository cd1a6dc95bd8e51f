"""The ways in which people say what imq says otherwise: docker's words, SQL's, plain English; each declared once.

In the patterns, names in angle brackets are those of `Words`. In what stands instead, `<TODAY>` and `<YESTERDAY>` are
dates, and what stands between « and » is to be quoted, as a glob.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.grammar.lexer import Vocabulary

    Put = str | Callable[[re.Match[str]], str]
    """What stands instead of what a pattern finds."""

_VALUE = "(?:\ue000\\d+\ue001|[^\\s(),;|&]+)"
_FIELD = r"[A-Za-z][\w]*(?:\.[\w./-]+)*"
_SIZE = r"\d[\d.]* ?[kmgtp]i?b\b"
_DURATION = r"\d+ ?(?:s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?|months?|y|years?)\b"
_ARCHITECTURES = "amd64|arm64|arm|386|x86_64|aarch64|ppc64le|s390x|riscv64"

_KINDS_OF_ROWS = {
    "dangling": "dangling",
    "untagged": "dangling",
    "unnamed": "dangling",
    "tagged": "not dangling",
    "unused": "not in use",
    "used": "in use",
    "outdated": "outdated",
    "stale": "older than 90d and not in use",
    "old": "older than 90d",
}
"""What people put before `images`, and the condition that it is."""
_ENDS = {
    "largest": ("size", "desc"), "biggest": ("size", "desc"), "heaviest": ("size", "desc"), "smallest": ("size", ""),
    "newest": ("created", "desc"), "latest": ("created", "desc"), "most recent": ("created", "desc"),
    "last": ("created", "desc"), "oldest": ("created", ""),
}  # fmt: skip
"""What people call the rows at one end of an order."""


class Words:
    """The patterns of one sentence: what is called TABLE, VERB and the like in them depends on what is declared."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        tables = sorted(vocabulary.tables, key=len, reverse=True)
        self._for = {
            "TABLE": "(?:" + "|".join(re.escape(name) for name in tables) + ")",
            "VERB": "(?:" + "|".join(re.escape(name) for name in sorted(vocabulary.verbs, key=len, reverse=True)) + ")",
            "FORM": "(?:" + "|".join(re.escape(name) for name in sorted(vocabulary.forms, key=len, reverse=True)) + ")",
            "VALUE": _VALUE, "FIELD": _FIELD, "SIZE": _SIZE, "DURATION": _DURATION, "ARCHITECTURE": _ARCHITECTURES,
            "ROWS": "|".join(_KINDS_OF_ROWS), "ENDS": "|".join(_ENDS), "GLOB": r"[\w./:-]*\*[\w./:*-]*",
            "NAME": r"(?:[\w.-]+(?::\d+)?/)?[\w./-]+:[\w.-]+",
            "WITHOUT": "(?:without|with no|where no|that have no|having no)(?: an?| any)?",
            "TIMED": "created|pulled_at|last_used", "TOTAL": "sum|avg|min|max|list",
            "DELETE": "delete|remove|erase|drop|rmi|del|destroy|kill|purge",
        }  # fmt: skip

    def pattern(self, written: str) -> re.Pattern[str]:
        """Return a pattern in which names in angle brackets stand for what they are called."""
        return re.compile(re.sub(r"<([A-Z]+)>", lambda name: self._for[name[1]], written), re.IGNORECASE)


_CLAUSE = re.compile(
    r"(?:(?:order|sort|group)\w*|limit|skip|select|count|as|format|except|by|top|first|keep|platform|to)\b",
    re.IGNORECASE,
)
"""How what follows a condition begins."""


def _glob(before: str, value: str, after: str) -> str:
    """Return a glob around a value, to be quoted when it is put."""
    return f"«{before}{value}{after}»"


def _of_kind(found: re.Match[str]) -> str:
    condition = _KINDS_OF_ROWS[found["kind"].lower()]
    more = found["more"] or ""
    more = f" {more}" if not more or _CLAUSE.match(more) else f" and {more}"
    return f"{found['verb'] or ''}{found['table']} where {condition}{more}"


def _at_end(found: re.Match[str]) -> str:
    field, direction = _ENDS[found["end"].lower()]
    number = found["before"] or found["after"]
    limit = f" limit {number.strip()}" if number else ""
    order = " ".join(filter(None, ("order by", field, direction)))
    return f"{found['verb'] or ''}{found['table']}{found['rest']} {order}{limit}"


def _first_of(found: re.Match[str]) -> str:
    order = f" order by {found['field']} {found['way'] or 'desc'}" if found["field"] else ""
    return f"{found['table']}{found['rest']}{order} limit {found['number']}"


def _filtered(found: re.Match[str]) -> str:
    """Return docker's filters as conditions."""
    conditions = []
    for one in re.finditer(r"(?:-f|--filter)[= ]?(\w+)=(\S+)", found[1]):
        name, value = one[1].lower(), one[2]
        key, equals, wanted = value.partition("=")
        match name:
            case "dangling":
                conditions.append("dangling" if value == "true" else "not dangling")
            case "label":
                conditions.append(f"label.{key} = {wanted}" if equals else f"has label {key}")
            case "reference":
                conditions.append(f"name like {_glob('', value, '')}")
            case "before" | "since":
                conditions.append(f"created {name} {value}")
            case "until":
                conditions.append(f"older than {value}")
            case _:
                return found[0]
    return f"images where {' and '.join(conditions)}"


def _in_year(found: re.Match[str]) -> str:
    return f"created >= {found[1]}-01-01 and created < {int(found[1]) + 1}-01-01"


_BASED = r"\1 where based on \2"


def _searched(found: re.Match[str]) -> str:
    return f"{found['table']} where name like {_glob('*', found['part'], '*')}"


WAYS: tuple[tuple[str, Put], ...] = (
    # How it begins
    (r"^(rm|untag) (?:all )?(?:the )?(tags (?:of|in) <VALUE>) except (?!newest\b)(<VALUE>)$", r"\1 \2 where tag != \3"),
    (r"^image prune$", "prune"),
    (r"^image prune (?:-a|--all)$", "rm images where not in use"),
    (r"^image prune (?:-a|--all) (?:-f|--filter)[= ]?until=(\S+)$", r"rm images where not in use and older than \1"),
    (r"^image prune (?:-f|--filter)[= ]?until=(\S+)$", r"prune images where older than \1"),
    (r"^(?:sudo )?(?:docker|podman|imq)(?: |$)", ""),
    (r"^(?:please|give me|i want|what are|where are|which are)(?: the)? ", ""),
    (r"^(?:\?|h|man|commands)$", "help"),
    (r"(?<=\w)[?.!]$", ""),
    (r"^(?:ls|list|show|image)$", "images"),
    (r"^images? (?:ls|list)\b", "images"),
    (r"^image (?=(?:rm|pull|push|tag|save|load|import|inspect|prune|history)\b)", ""),
    (
        (
            r"^(?:clean(?: ?up)?|gc|tidy(?: up)?|(?:image|system) prune(?: .*)?"
            r"|prune (?:all|(?:dangling|unused)(?: images)?))$"
        ),
        "prune",
    ),
    (r"^(?:system )?(?:df|du|disk(?: usage| space)?|space|stats)$", "usage"),
    (r"^ps$", "containers"),
    (
        (r"^(?:examples?|what can i (?:do|say)|help"
        r" (?:me|examples?|verbs?|tables?|fields|functions|forms|settings|commands))$"),
        "help",
    ),
    (
        (r"^(?:show|list|ls|get|find|display|print|view|see)(?: me)?(?: all)?(?: of)?(?: the| my)? (?=(?:\S+"
        r" ){0,4}<TABLE>\b)"),
        "",
    ),
    (r"^all (?:the |my )?(?=<TABLE>\b)", ""),
    (
        r"^(?:(?:show|describe|info|details of) (<VALUE>)|([\w./-]+:[\w.-]+))$",
        lambda found: f"inspect {found[1] or found[2]}",
    ),
    (r"^(?:what is |which is |what's )?(?:the )?(<ENDS>) (image|layer|tag|container|manifest)\b", r"\1 1 \2s"),
    (r"^(?:the )?(<ROWS>) (image|layer|tag)\b", r"\1 \2s"),
    (r"^(<TABLE>)(?: count)? per (<FIELD>)(?: count)?$", r"\1 group by \2"),
    (r"^(<TABLE>) by (<FIELD>) count$", r"\1 group by \2"),
    (r"^(<TABLE>) count by (<FIELD>)$", r"\1 group by \2"),
    (r"^(?:total )?(size) (?:per|by) (<FIELD>)$", r"images group by \2 select \2, sum(\1)"),
    (r"^(?!<TABLE> )(<FIELD>) of (<NAME>)$", r"images where name = \2 select \1"),
    (r" (?:are there|do i have|exist)$", ""),
    (r"^(?:how many|count|number of)(?: of)?(?: the| all)? (?=(?:\S+ ){0,2}<TABLE>\b)(.+?)(?: count)?$", r"\1 count"),
    (r"^count ?\( ?(.+?) ?\)$", r"\1 count"),
    (r"^(?:the )?(?:newest|latest|highest|last) version(?: tag)? of (<VALUE>)$",
     r"tags of \1 where version is known order by version desc limit 1"),
    (r"^(?:compare|diff) (<VALUE>) (?:with|and|to|against) (<VALUE>)$", r"layers of \1 except layers of \2 by digest"),
    (r"^(?:does )?(<NAME>) exists?$", r"assert any images where name = \1"),
    (r"^(?:exists?|is there|has image) (?:an? image )?(<NAME>)$", r"assert any images where name = \1"),
    (r"^assert (<NAME>) (?:where|is|has) (.+)$", r"assert any images where name = \1 and \2"),
    # As SQL has it
    (r"^select count ?\( ?\*? ?\) from (.+)$", r"\1 count"),
    (r"^select \* from ", ""),
    (r"^select distinct (<FIELD>) from (.+)$", r"\2 group by \1"),
    (r"^select (.+?) from (.+)$", r"\2 select \1"),
    (r"^(.*?) group by (\S+)(.*) select \2$", r"\1 group by \2\3"),
    (r"^(<TABLE>) (?:select )?(?:distinct|unique) (<FIELD>)$", r"\1 group by \2"),
    (r"^(<TABLE>) select (<FIELD>) distinct$", r"\1 group by \2"),
    (r"^delete from ", "rm "),
    (
        r"^(?:total|sum(?: of)?)(?: of)?(?: the)? (<FIELD>) (?:of|for)(?: all)?(?: the)? (<TABLE>.*)$",
        r"\2 select sum(\1)",
    ),
    (r"^((?:<TOTAL>)\(<FIELD>\)) (?:of|from|for)(?: all)? (<TABLE>.*)$", r"\2 select \1"),
    (r"^(?:the )?(?:average|avg|mean) (<FIELD>) (?:of|for)(?: all)?(?: the)? (<TABLE>.*)$", r"\2 select avg(\1)"),
    (r"^(<TABLE>) ((?:<TOTAL>)\(<FIELD>\))$", r"\1 select \2"),
    (r"^(<TABLE>) (sum|avg|min|max) (?:of )?(<FIELD>)$", r"\1 select \2(\3)"),
    (r"\bgroup by (<FIELD>) (sum|avg|min|max) ?\(? ?(<FIELD>) ?\)?$", r"group by \1 select \1, \2(\3)"),
    (
        r"^(<TABLE>) where (<FIELD>) = (max|min)\(\2\)$",
        lambda found: f"{found[1]} order by {found[2]}{' desc' if found[3].lower() == 'max' else ''} limit 1",
    ),
    # Verbs
    (r"^prune (?!images\b|all\b|\()(?:where )?(.+)$", r"prune images where \1"),
    (r"^(?:<DELETE>|rm)(?: (?:everything|all|it all)|(?: all)(?: the| my)? images)$", "rm all images"),
    (r"^(?:<DELETE>)(?: all)?(?: the| my)? ", "rm "),
    (r"^rm (?:-f|--force) (.+)$", r"rm \1 force"),
    (r"^rm (?:all )?\*$", "rm all images"),
    (r"^pull ([\w.-]+(?::\d+)?(?:/[\w.-]+)+):\*$", r"pull all tags of \1"),
    (r"^(rm|untag|pull|save|inspect|verify) (<GLOB>)$", r"\1 images where name like «\2»"),
    (r"^(?:download|fetch) ", "pull "),
    (r"^upload ", "push "),
    (r"^(?:cp|clone|mirror|sync) ", "copy "),
    (r"^mv ", "rename "),
    (r"^check ", "verify "),
    (r"^(?:backup|archive|dump) ", "save "),
    (r"^(load|import) < ?", r"\1 "),
    (r"^search for ", "search "),
    (r"^(?:update|upgrade|refresh)(?: all)? images$", "pull images where outdated"),
    (r"^pull (<VALUE>) from (<VALUE>)$", r"pull \2/\1"),
    (r"^(tag|rename) (<VALUE>) (?:to|into|=) (<VALUE>)$", r"\1 \2 as \3"),
    (r"^(save|export) (<VALUE>) (?:(?:into|in|-o|>) )?(?!to\b)(<VALUE>)$", r"\1 \2 to \3"),
    (r"^(push|copy) (<VALUE>) (?:into|in) (<VALUE>)$", r"\1 \2 to \3"),
    (r"^keep\b", "rm images keep"),
    (r"\b(?:except|but)(?: the)? (?:newest|latest|last)(?: one)?$", "except newest 1"),
    (r"^(pull|push|rm|save|inspect|untag|verify) (<VALUE>) and (<VALUE>)$", r"\1 \2, \3"),
    (r"^tag (<VALUE>) as (<VALUE>) ?, ?(<VALUE>)$", r"tag \1 as \2; tag \1 as \3"),
    (
        r"\b(?:keep(?:ing)?|but)(?: only)?(?: the)?(?: newest| latest| last)? (\d+)\b(?: newest| latest| images)*",
        r"except newest \1",
    ),
    # Rows by one word
    (
        (r"^(?P<verb>rm |pull |push |verify |untag )?(?:all )?(?P<kind><ROWS>) (?P<table><TABLE>)\b(?:"
        r" (?:where |that (?:are|is) |which are )?(?P<more>.+))?$"),
        _of_kind,
    ),
    (
        (r"^(?P<verb>rm )?(?:the )?(?:(?P<before>\d+) )?(?P<end><ENDS>) (?:(?P<after>\d+)"
        r" )?(?P<table><TABLE>)\b(?P<rest>.*)$"),
        _at_end,
    ),
    (
        (r"^(?P<table><TABLE>)(?P<rest>(?: (?:of|in) <VALUE>)?) (?:where"
        r" )?(?P<end>newest|latest|oldest|largest|biggest|smallest|last)(?P<verb>)(?P<before>)(?: (?P<after>\d+))?$"),
        _at_end,
    ),
    (
        (r"^(?:the )?(?:top|first|head) (?P<number>\d+) (?P<table><TABLE>)\b(?P<rest>.*?)(?: (?:order(?:ed)?"
        r" |sort(?:ed)? )?by (?P<field><FIELD>)(?: (?P<way>asc|desc))?)?$"),
        _first_of,
    ),
    (
        r"^(?P<table><TABLE>)\b(?P<rest>.*?) (?:top|first|head) (?P<number>\d+)(?: by (?P<field><FIELD>)(?P<way>))?$",
        _first_of,
    ),
    (r"^images?(?: where)? ([\w./-]+:(?!\d{4,5}$)[\w.-]+)$", r"images where name = \1"),
    (
        r"^images (?:of|for|called|named) (?!linux\b|windows\b|(?:<ARCHITECTURE>)$)([\w/-]+)$",
        r"images where repository = \1",
    ),
    (r"^(?:repositories|repos|catalog)(?: of| in)? (?!in\b|where\b|of\b)(<VALUE>)$", r"repositories in \1"),
    # What is done with it in the shell
    (r"^(?P<table><TABLE>) ?\| ?grep (?:-\w+ )*(?P<part><VALUE>)$", _searched),
    (r" ?\| ?jq\b.*$", " as json"),
    (r" ?\| ?wc(?: -l)?$", " count"),
    (r" ?\| ?(?:head|tail)(?: -n)?(?: ?-?(\d+))?$", lambda found: f" limit {found[1] or 10}"),
    (r" ?\| ?(?:less|more|cat)$", ""),
    (r" ?\| ?sort\b(?: -\w+)*$", " order by name"),
    (r" (?:--format|--output|-o|output|in|format)[= ](<FORM>)(?: format)?$", r" as \1"),
    (r"^(<TABLE>\b[^|]*?)(?<! as) (json|yaml|csv|jsonl|tsv|markdown|html)$", r"\1 as \2"),
    (r" (?:-q|--quiet)$", " as ids"),
    (r"^(<TABLE>) (?:-a|--all|-l|-la)$", r"\1"),
    (r"^images((?: (?:-f|--filter)[= ]?\w+=[^\s]+)+)$", _filtered),
    (r"^(<TABLE>) (?:show|columns|fields|only|with columns) (?=<FIELD>)", r"\1 select "),
    (r"\bselect (<FIELD>(?: <FIELD>)+)$", lambda found: f"select {', '.join(found[1].split())}"),
    (r"^(<TABLE>\b.*?) as (<FORM>) ((?:where|order by|group by|limit|select)\b.+)$", r"\1 \3 as \2"),
    (r"\bcolumns? (?=<FIELD>|count\b)", "select "),
    (r"\ball (?:platforms|architectures)$", "platform all"),
    # Order and groups
    (r"\bgroup by (day|month|year)\b(?! ?\()", r"group by \1(created)"),
    (r",? (?:newest|latest|largest|biggest|highest) first$", " desc"),
    (r",? (?:oldest|smallest|lowest) first$", ""),
    (r"\border by (?:newest|latest)\b", "order by created desc"),
    (r"\border by (?:largest|biggest)\b", "order by size desc"),
    (r"\border by oldest\b", "order by created"),
    (r"\border by (?:date|time|age)\b", "order by created"),
    (r"\bdate (?=[<>=])", "created "),
    (r"\b(?:sort(?:ed)?|ordered|order(?! by))(?: by)? ", "order by "),
    (r"\b(?:grouped|group(?! by))(?: by)? ", "group by "),
    (r"^(<TABLE>) by (?=<FIELD>)(?!.* count$)", r"\1 order by "),
    (r"\b(?:descending|reversed?)\b", "desc"),
    (r"\bascending\b", "asc"),
    (r"\border by (<FIELD>) limit (\d+) (desc|asc)\b", r"order by \1 \3 limit \2"),
    # Conditions
    (r"^(manifests\b.*?)\b(?:untagged|dangling)\b", r"\1no tags"),
    (r"^(layers\b.*?)\bcount\(images\)", r"\1images"),
    (r"\bparent ?= ?(<VALUE>)", r"based on \1"),
    (r"\b(?:has|have) no label (<VALUE>)", r"not has label \1"),
    (r" ?&& ?", " and "),
    (r" ?\|\| ?", " or "),
    (r"!(?![=~])", "not "),
    (r"<>", "!="),
    (r"=>", ">="),
    (r"=<", "<="),
    (r"\b(and|or) \1\b", r"\1"),
    (r"\b(\d+),(\d+ ?[kmgt]i?b)\b", r"\1.\2"),
    (r"^(<TABLE>) <WITHOUT> label ([\w./-]+)", r"\1 where not has label \2"),
    (r"^(<TABLE>) <WITHOUT> (?:tags?|names?)\b", r"\1 where dangling"),
    (r"\b(?:with |having |has )?(?:more than|over) (\d+) layers\b", r"layer_count > \1"),
    (r"\b(?:with |having |has )?(?:less|fewer) than (\d+) layers\b", r"layer_count < \1"),
    (r"\b(?:that )?runs?(?:ning)? as (<VALUE>)", r"user = \1"),
    (r"\b(?:exposed |exposing |exposes? )?ports? ?=? ?(\d+)\b", r"ports has \1"),
    (r"\b(<FIELD>) = (<VALUE>) or (<VALUE>)(?=$| order | limit | select | and )", r"\1 in (\2, \3)"),
    (r"\b(<FIELD>) not in (?!use\b)(<VALUE>)(?=$| )", r"\1 != \2"),
    (r"\b(<FIELD>) ?!= ?(<GLOB>)", r"not \1 like «\2»"),
    (r"\b(<FIELD>) ?(?<!!)=+ ?(<GLOB>)", r"\1 like «\2»"),
    (
        (r"^((?:<VERB> )?<TABLE>) (?:(?:that|which|who)"
        r" (?:are|is|have|has|were)|that|which|with|if|when|having|are|is|whose)(?= )"),
        r"\1 where",
    ),
    (r"\bwhere (?:where|are|is|have) ", "where "),
    (r"^(<TABLE>)(?: where)? tagged (?:as |with )?(<VALUE>)", r"\1 where tag = \2"),
    (r"^(<TABLE>)(?: where)? (?:named|called) (<VALUE>)", r"\1 where name = \2"),
    (r"^(<TABLE>) (?:for|on) (<VALUE>/<VALUE>)", r"\1 where platform = \2"),
    (r"^(<TABLE>) (?:for|on) (<ARCHITECTURE>)\b", r"\1 where architecture = \2"),
    (r"^((?:rm )?images) (?:like|matching) (<GLOB>)", r"\1 where name like «\2»"),
    (r"^((?:rm )?images) (?:like|matching) (<VALUE>)", r"\1 where name like «*\2*»"),
    (r"^((?:<VERB> )?<TABLE>) (?:made |built )?(since|after|before) ", r"\1 where created \2 "),
    (r"\bcreated (?:in|during) (\d{4})\b", _in_year),
    (r"\bsharing layers with\b", "shares layers with"),
    (r"^(<TABLE>)(?: where| that)? (?:use|using|built on|derived from|made from) (<VALUE>)(?: as base)?", _BASED),
    (r"^(<TABLE>) from (<VALUE>)", r"\1 in \2"),
    (r"\bcreated (?=(?:older|newer) th)", ""),
    (r"\b(older|newer|bigger|larger|greater|smaller|less|more) (?:then|that|as)\b", r"\1 than"),
    (r"\b(?:size )?(?:is )?(?:bigger|larger|greater|more|heavier) than (<SIZE>)", r"size > \1"),
    (r"\b(?:size )?(?:is )?(?:smaller|less|lighter) than (<SIZE>)", r"size < \1"),
    (r"\b(?:size )?(?:over|above|exceeding) (<SIZE>)", r"size > \1"),
    (r"\b(?:size )?(?:under|below) (<SIZE>)", r"size < \1"),
    (r"\b(?:size )?at least (<SIZE>)", r"size >= \1"),
    (r"\b(?:size )?at most (<SIZE>)", r"size <= \1"),
    (r"\b(<FIELD>) (?:is )?(?:bigger|larger|greater|more|higher|later) than (?=<VALUE>)", r"\1 > "),
    (r"\b(<FIELD>) (?:is )?(?:smaller|less|lower|fewer) than (?=<VALUE>)", r"\1 < "),
    (r"\bage ?>=? ?(<DURATION>)", r"older than \1"),
    (r"\bage ?<=? ?(<DURATION>)", r"newer than \1"),
    (r"\bolder (?=<DURATION>)", "older than "),
    (r"\bnewer (?=<DURATION>)", "newer than "),
    (r"\bcreated (?:more than |over )(<DURATION>)(?: ago)?", r"older than \1"),
    (
        r"\bcreated (?:(?:less than |under |<=? ?)(<DURATION>)(?: ago)?|(<DURATION>) ago)",
        lambda found: f"newer than {found[1] or found[2]}",
    ),
    (r"\b(?:created )?(?:in|during|of|from) (?:the )?(?:last|past) (<DURATION>)", r"newer than \1"),
    (r"\b(?:created )?(?:in|during|of|from) (?:the )?(?:last|past) (day|week|month|year)\b", r"newer than 1 \1"),
    (r"\bpulled (?=today|yesterday|since|before|after)", "pulled_at "),
    (r"\b(<TIMED>) ?(?:(?:=+|>=?|since|after|is|on) ?)?today\b", r"\1 >= <TODAY>"),
    (r"\b(<TIMED>) ?(?:(?:>=?|since|after) ?)yesterday\b", r"\1 >= <YESTERDAY>"),
    (r"\b(<TIMED>) ?(?:(?:=+|is|on) ?)?yesterday\b", r"\1 >= <YESTERDAY> and \1 < <TODAY>"),
    (r"\b(<TIMED>) ?(?:<=?|before) ?(today|yesterday)\b", lambda found: f"{found[1]} < <{found[2].upper()}>"),
    (r"\b(?:is |are )?(?:not |never )(?:being )?used\b|(?<![\w./:@-])(?:is |are )?unused(?![\w./:@-])", "not in use"),
    (r"(?<!in )(?<![\w./:@-])used(?![\w./:@-])", "in use"),
    (r"(?<![\w./:@-])(?:un|not )tagged(?![\w./:@-])", "dangling"),
    (r"\b(?:is|are) (?=(?:not )?(?:dangling|in use|outdated|older than|newer than|based on|local only)\b)", ""),
    (r"\bis not (?:null|none|nil|empty|set)\b|\bis set\b|(?:!=) ?null\b", "is known"),
    (r"\bis (?:null|none|nil|unset|empty|missing)\b|(?<![!<>])=+ ?null\b", "is unknown"),
    (r"\b(<FIELD>) exists\b", r"\1 is known"),
    (r"\bis (true|false)\b", r"= \1"),
    (r"\bis not (?!known|unknown)(?=<VALUE>)", "!= "),
    (r"\b(?:is|equals?(?: to)?|eq) (?!known|unknown|not\b)(?=<VALUE>)", "= "),
    (r"\b(<FIELD>) (?:contains?|includes?|containing) (?!file\b|package\b)(<VALUE>)", r"\1 like «*\2*»"),
    (r"\b(<FIELD>) (?:(?:starts?|begins?|starting|beginning) ?with) (<VALUE>)", r"\1 like «\2*»"),
    (r"\b(<FIELD>) (?:(?:ends?|ending) ?with) (<VALUE>)", r"\1 like «*\2»"),
    (r"\blike (%[^\s()]*|[^\s()%]+%)", r"like «\1»"),
    (r"\b(<FIELD>) ?(?:=~|~=|~|rlike|regexp?) ?(<VALUE>)", r"\1 matches \2"),
    (r"\bin [\[{] ?(.*?) ?[\]}]", r"in (\1)"),
    (r"\bin (<VALUE>(?: ?, ?<VALUE>)+)", r"in (\1)"),
    (r"\blabel ?=+ ?([\w./-]+)=(<VALUE>)", r"label.\1 = \2"),
    (r"\b(?:has )?label ([\w./-]+) ?=+ ?(<VALUE>)", r"label.\1 = \2"),
    (r"(?<!has )\b(?:a )?label ([\w./-]+)(?=$| and | or | order | limit | select )", r"has label \1"),
)  # fmt: skip
"""Ways to say it that imq has not got, and the way that it has. Names in angle brackets are those of `Words`."""

LAST: tuple[tuple[str, str, Put], ...] = (
    ("syntax", r"^images ([\w./-]+)$", r"images where repository = \1"),
    ("syntax", r"^images(?: where)? (<GLOB>)$", r"images where name like «\1»"),
    ("unknown-field", r"^images where ([\w./-]+)$", r"images where name like «*\1*»"),
)
"""The same, each for errors with one code, of what is tried when nothing else is known."""
