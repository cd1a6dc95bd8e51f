"""Translates docker command lines and SQL statements into the language.

Quoted strings are masked before: each is a number between `STRING_MARKS`. A translation is exact, so that an action
works on the same rows; a statement without an exact translation stays as it is.
"""

from __future__ import annotations

import re

from imq.grammar._lalr_tables import WORDS
from imq.grammar.ast_builder import CONDITION_WORDS
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import quote

from .phrases import translate_phrases
from .wordings import translate_wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imq.grammar.lexer import Vocabulary

STRING_MARKS = ("\ue000", "\ue001")
"""The characters around the number of a masked string."""

_VALUE = f"(?:{STRING_MARKS[0]}\\d+{STRING_MARKS[1]}|[^\\s(),;|&]+)"
_CLAUSES = ("select", "from", "where", "group by", "having", "order by", "limit", "offset")
"""The clauses of SQL, in the order of SQL."""
_CLAUSE = re.compile(r"\(|\)|\b(?:group\s+by|order\s+by|select|from|where|having|limit|offset)\b", re.IGNORECASE)
_REGEXES = re.compile(r"(?<=[\w\"\ue001])\s*(?:=~|~=|~|\b(?:rlike|regexp|similar to)\b)\s*(?=\S)", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|no|except)\b|!", re.IGNORECASE)
_IS = re.compile(rf"\bis\s+(not\s+)?(?!known\b|unknown\b|not\b)({_VALUE})", re.IGNORECASE)
_LISTS = (re.compile(r"\bin\s*[\[{]\s*([^\]}]*?)\s*[\]}]"), re.compile(rf"\bin\s+({_VALUE}(?:\s*,\s*{_VALUE})+)"))
_LABEL = re.compile(rf"\blabel\s*=*\s*([\w./-]+)=({_VALUE})", re.IGNORECASE)
_LIKE = re.compile(r"\blike\s+(?=[^\s()]*%)([^\s()\ue000\ue001]+)", re.IGNORECASE)
_AGE = re.compile(rf"(\S+)\s+(older|newer)\s+than\s+(\d[\d.]*\s*[a-z]+|{_VALUE})", re.IGNORECASE)
_AGE_AGO = re.compile(r"\b((?:older|newer)\s+than\s+\d[\d.]*\s*[a-z]+)\s+ago\b", re.IGNORECASE)
_PART = re.compile(
    r"(?<=[\w.])\s+(contains|starts?|begins?|ends?)\s*(?:with)?\s+(?!(?:file|package|text)\b)([\w./:@-]+)",
    re.IGNORECASE,
)
_PART_GLOBS = {
    "contains": "*{}*", "start": "{}*", "starts": "{}*", "begin": "{}*", "begins": "{}*", "end": "*{}", "ends": "*{}",
}  # fmt: skip
_NO_LABEL = re.compile(r"\b(?:no|without)\s+label\s+(?=[\w./-]+)(?!where\b)", re.IGNORECASE)
_HAS_CONTENT = re.compile(r"\bhas\s+(package|file|text)\s+(?=\S)", re.IGNORECASE)
_UNDER = re.compile(r"\bpath\s+(?:under|below|inside|in)\s+(/[\w./-]*?)/?(?=\s|\)|$)", re.IGNORECASE)
_IN_YEAR = re.compile(r"\b(\w+)\s+(?:in|during)\s+((?:19|20)\d\d)(?![\w.:-])", re.IGNORECASE)
_FIRST_ROWS = re.compile(r"(?<=\w)\s+(?:top|first|head)\s+(\d+)(?=\s|$)", re.IGNORECASE)
_TOP_BY = re.compile(r"(?<=\S)\s+top\s+(\d+)\s+by\s+([\w.]+)(?=\s|$)", re.IGNORECASE)
_OFFSET = re.compile(r"(?<=\d)\s+offset\s+(?=\d)", re.IGNORECASE)
_COUNT = re.compile(r"count\s+(?:of\s+|all\s+)?(\w+)(.*)", re.IGNORECASE)
_AGGREGATE = re.compile(r"((?:sum|avg|min|max)\s*\([\w.]+\))\s+(?:of|in|from)\s+(\w+)(.*)", re.IGNORECASE)
_AGGREGATE_LAST = re.compile(r"(\w+)(.*?)\s+((?:sum|avg|min|max)\s*\([\w.]+\))", re.IGNORECASE)
_DISTINCT = re.compile(r"(\w+)(.*?)\s+(?:select\s+)?distinct\s+(\w+(?:\s*,\s*\w+)*)", re.IGNORECASE)
_REDIRECTION = re.compile(r"\s*>\s*([\w./-]+[.](?:csv|tsv|jsonl?|yaml|md|html|dot|svg))\s*$", re.IGNORECASE)
_SORT = re.compile(r"\bsort(?:ed)?\s+by\b", re.IGNORECASE)
_CONDITION = re.compile(r"\b(where|and|or|not)\s+(unused|untagged)\b", re.IGNORECASE)
_CONDITIONS = {"dangling": "dangling", "untagged": "dangling", "unused": "not in use"}
_QUERY_WORDS = ("list", "get", "find", "display")
"""Words that people write before a table; a query has none."""
_OPERATORS = {"&&": "and", "||": "or", "=>": ">=", "=<": "<=", "descending": "desc", "ascending": "asc"}
_OPERATOR = re.compile(r"\s*(&&|\|\|)\s*|=>|=<|\b(?:de|a)scending\b", re.IGNORECASE)


def translate(sentence: str, vocabulary: Vocabulary, *, is_action: bool) -> str:
    """Return the translation of a docker command or of SQL; the sentence itself when it is neither.

    `is_action`: only operators with exactly the same meaning are translated.
    """
    sentence = translate_wording(sentence, is_action=is_action)
    words = translate_phrases(sentence, vocabulary).split()
    while words and words[0].lower() in ("sudo", "docker", "podman", "imq"):
        if words[0].lower() in ("docker", "podman") and words[1:] and words[1].lower() not in _IMAGE_COMMANDS:
            return sentence  # a command for containers: `docker rm` removes no image
        del words[0]
    if len(words) > 1 and words[0].lower() in (*_QUERY_WORDS, *_CONDITIONS):
        words = _translate_first_word(words, vocabulary)
    sentence = " ".join(words)
    query = _translate_first_aggregate(sentence, vocabulary)
    query = query if is_action else _translate_query(query, vocabulary)
    translated = _translate_docker(words, vocabulary) if query == sentence else query
    if translated is None:
        translated = _translate_sql(sentence) if sentence[:7].lower() in ("select ", "delete ") else sentence
    return _translate_operators(translated, is_action=is_action)


def _translate_first_aggregate(sentence: str, vocabulary: Vocabulary) -> str:
    """Return the query for a sentence that begins with an aggregate: `count images`."""
    if (found := _COUNT.fullmatch(sentence)) and found[1].lower() in vocabulary.tables:
        return f"{found[1]}{found[2]} count"
    if (found := _AGGREGATE.fullmatch(sentence)) and found[2].lower() in vocabulary.tables:
        return f"{found[2]}{found[3]} select {found[1]}"
    return sentence


def _translate_query(sentence: str, vocabulary: Vocabulary) -> str:
    """Return a query with `distinct`, or with an aggregate without `select`."""
    if sentence.partition(" ")[0].lower() not in vocabulary.tables:
        return sentence
    if found := _DISTINCT.fullmatch(sentence):
        return f"{found[1]}{found[2]} group by {found[3]} select {found[3]}"
    found = _AGGREGATE_LAST.fullmatch(sentence)
    if found and not re.search(r"\b(?:select|having|by|where)\b", found[2], re.IGNORECASE):
        return f"{found[1]}{found[2]} select {found[3]}"
    return sentence


def _translate_first_word(words: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """Return the words of a query without a verb before its table, and with a condition there behind it."""
    first, *rest = words
    if rest[0].lower() == "all" and len(rest) > 1:
        del rest[0]
    if rest[0].lower() not in vocabulary.tables:
        return list(words)
    condition = _CONDITIONS.get(first.lower())
    if condition is None:
        return rest
    return list(words) if len(rest) > 1 else [rest[0], "where", *condition.split()]


# SQL


def _translate_sql(sentence: str) -> str:
    """Return the translation of an SQL statement; the statement itself when a clause has no translation."""
    deletes = re.match(r"delete\s+from\s+", sentence, re.IGNORECASE)
    parts = dict(_split_clauses(f"from {sentence[deletes.end() :]}" if deletes else sentence))
    columns, table = parts.get("select", ""), parts.get("from", "")
    if not re.fullmatch(r"\w+", table) or (not deletes and not columns):
        return sentence
    if deletes:
        return f"rm {table} where {parts['where']}" if parts.keys() == {"from", "where"} else sentence
    distinct = re.match(r"distinct\s+", columns, re.IGNORECASE)
    columns = columns[distinct.end() :] if distinct else columns
    if distinct and "group by" not in parts:
        parts["group by"] = columns
    clause_names = {clause: "skip" if clause == "offset" else clause for clause in _CLAUSES[2:] if clause in parts}
    query = [table, *(f"{name} {parts[clause]}" for clause, name in clause_names.items())]
    if re.fullmatch(r"count\s*\(\s*(?:\*|1)?\s*\)", columns, re.IGNORECASE) and "group by" not in parts:
        query.append("count")
    elif columns != "*":
        query.append(f"select {re.sub(r'count *[(] *[*] *[)]', 'count', columns, flags=re.IGNORECASE)}")
    return " ".join(query)


def _split_clauses(sentence: str) -> Iterator[tuple[str, str]]:
    """Yield the clauses of an SQL statement. Subqueries stay within their clause."""
    depth, name, start = 0, "", 0
    for match in _CLAUSE.finditer(sentence):
        if match[0] in "()":
            depth += 1 if match[0] == "(" else -1
        elif not depth:
            if name:
                yield name, sentence[start : match.start()].strip()
            name, start = " ".join(match[0].lower().split()), match.end()
    if name:
        yield name, sentence[start:].strip()


def _translate_operators(sentence: str, *, is_action: bool) -> str:
    """Return a sentence with the operators of SQL and C translated."""

    def replace_operator(match: re.Match[str]) -> str:
        parts = _OPERATORS[match[0].strip().lower()]
        return f" {parts} " if match[1] else parts

    def replace_is(match: re.Match[str]) -> str:
        negated, value = bool(match[1]), match[2].lower()
        if value == "null":
            return "is known" if negated else "is unknown"
        if is_action and (negated or _NEGATION.search(sentence)):
            return match[0]  # a misspelled null or unknown: within `not`, `=` holds for every unknown value
        return f"{'!=' if negated else '='} {match[2]}"

    def replace_age(match: re.Match[str]) -> str:
        if match[1].lower().lstrip("(") in ("where", "and", "or", "not", "images"):
            return match[0]  # the age of the row
        return f"{match[1]} {'<' if match[2].lower() == 'older' else '>'} {match[3]} ago"

    sentence = _AGE.sub(replace_age, _AGE_AGO.sub(r"\1", sentence))
    if not is_action:
        sentence = _SORT.sub("order by", sentence)
        sentence = _TOP_BY.sub(r" order by \2 desc limit \1", sentence)
        sentence = _OFFSET.sub(" skip ", _FIRST_ROWS.sub(r" limit \1", sentence))
        sentence = _REDIRECTION.sub(r" to \1", sentence)
        sentence = _PART.sub(lambda match: f" like {quote(_PART_GLOBS[match[1].lower()].format(match[2]))}", sentence)
        sentence = _NO_LABEL.sub("not has label ", sentence)
        sentence = _HAS_CONTENT.sub(lambda match: f"contains {match[1].lower()} ", sentence)
        sentence = _UNDER.sub(lambda match: f"path like {quote(f'{match[1]}/*')}", sentence)
        sentence = _IN_YEAR.sub(r"year(\1) = \2", sentence)
        sentence = _CONDITION.sub(lambda match: f"{match[1]} {_CONDITIONS[match[2].lower()]}", sentence)
    sentence = _OPERATOR.sub(replace_operator, sentence)
    sentence = _IS.sub(replace_is, sentence)
    sentence = _REGEXES.sub(" matches ", sentence)
    for pattern in _LISTS:
        sentence = pattern.sub(r"in (\1)", sentence)
    sentence = _LIKE.sub(lambda match: f"like {quote(match[1])}", sentence)
    sentence = _LABEL.sub(r"label.\1 = \2", sentence)
    return sentence if is_action else re.sub(r"(?<![^\s(])!(?=[\w(])", "not ", sentence)


# docker


def _translate_docker(words: Sequence[str], vocabulary: Vocabulary) -> str | None:
    """Return the translation of a docker command line; None for another text and for unknown options."""
    lower = [word.lower() for word in words]
    for start in (2, 1):
        name = " ".join(lower[:start])
        if len(words) >= start and name in _COMMANDS:
            parsed = _parse_options(words[start:])
            reserved = {*vocabulary.tables, *vocabulary.formats, *WORDS, *CONDITION_WORDS}
            if parsed is None or not reserved.isdisjoint(map(str.lower, parsed[0])):
                is_query = name in _REMOVE_COMMANDS and lower[start] in (*vocabulary.tables, "all")
                return f"rm {' '.join(words[start:])}" if is_query else None  # a sentence, but for its first word
            return _COMMANDS[name](*parsed)
    return None


_FLAGS = {
    "-a": "all", "--all": "all", "-q": "quiet", "--quiet": "quiet", "-f": "f", "--force": "force", "--filter": "filter",
    "--format": "format", "--no-trunc": "", "--digests": "", "-o": "output", "--output": "output", "-i": "input",
    "--input": "input", ">": "output", "<": "input", "--platform": "platform", "--all-tags": "all", "-v": "",
}  # fmt: skip
_FLAGS_WITH_VALUE = ("filter", "format", "output", "input", "platform")


def _parse_options(words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]] | None:
    """Return the operands and options of a command line; None for an unknown option."""
    operands: list[str] = []
    options: dict[str, list[str]] = {}
    pending = list(words)
    while pending:
        word = pending.pop(0)
        flag, equals, value = word.partition("=") if word.startswith("-") else (word, "", "")
        name = _FLAGS.get(flag)
        if name is None:
            if word.startswith("-"):
                return None
            operands.append(word)
            continue
        if name == "f":  # --filter when a string with `=` follows, otherwise --force
            name = "filter" if equals or (pending and "=" in pending[0]) else "force"
        if name in _FLAGS_WITH_VALUE and not equals:
            if not pending:
                return None
            value = pending.pop(0)
        options.setdefault(name, []).append(value)
    return operands, options


def _translate_images(operands: list[str], options: dict[str, list[str]]) -> str | None:
    if len(operands) > 1 or options.keys() - {"", "all", "quiet", "filter", "format"}:
        return None
    conditions = _translate_filters(options.get("filter", []), prunes=False)
    if conditions is None:
        return None
    for name in operands:
        field = "name" if ":" in name.rpartition("/")[2] else "repository"
        conditions.append(_match_name(name) if "*" in name else f"{field} = {name}")
    output_format = options.get("format", [""])[-1]
    output = (
        f"as {output_format}"
        if output_format in ("json", "table")
        else f"format {output_format}"
        if output_format
        else ""
    )
    output = output or ("as ids" if "quiet" in options else "")
    return " ".join(filter(None, ("images", _join_conditions(conditions), output)))


def _translate_prune(operands: list[str], options: dict[str, list[str]]) -> str | None:
    conditions = _translate_filters(options.get("filter", []), prunes=True)
    if operands or conditions is None or options.keys() - {"all", "filter", "force"}:
        return None
    if "all" in options:
        return f"rm images {_join_conditions(['not in use', *conditions])}"
    return f"prune images {_join_conditions(conditions)}" if conditions else "prune"


def _match_name(pattern: str) -> str:
    """Return the condition of docker's reference filter, in which `*` matches no slash."""
    text = pattern if pattern.startswith(STRING_MARKS[0]) else quote(pattern)
    return f"(path_match(name, {text}) or path_match(repository, {text}))"


def _join_conditions(conditions: Sequence[str]) -> str:
    return f"where {' and '.join(conditions)}" if conditions else ""


def _translate_filters(filters: Sequence[str], *, prunes: bool) -> list[str] | None:
    """Return docker's filters as conditions; None for an unknown filter."""
    conditions = []
    for text in filters:
        name, _, value = text.partition("=")
        key, equals, label_value = value.partition("=")
        match name.lower():
            case "dangling" if value in ("true", "false") and not prunes:
                conditions.append("dangling" if value == "true" else "not dangling")
            case "label" if key:
                conditions.append(f"label.{key} = {label_value}" if equals else f"has label {key}")
            case "before" | "since" if value and not prunes:
                conditions.append(f"created {name.lower()} {value}")
            case "reference" if value and not prunes:
                conditions.append(_match_name(value))
            case "until" if value:
                conditions.append(f"older than {value}" if value[:1].isdigit() and "-" not in value else "")
            case _:
                return None
    return None if "" in conditions else conditions


def _translate_rm(operands: list[str], options: dict[str, list[str]]) -> str | None:
    if not operands or options.keys() - {"force"} or any("*" in name for name in operands):
        return None  # the shell would have expanded the pattern
    return f"rm {', '.join(name.rstrip(',') for name in operands)}{' force' if options else ''}"


def _translate_pull(operands: list[str], options: dict[str, list[str]]) -> str | None:
    if len(operands) != 1 or options.keys() - {"all", "quiet", "platform"}:
        return None
    if "all" in options:
        return f"pull all tags of {operands[0]}"
    platform = f" platform {options['platform'][-1]}" if "platform" in options else ""
    return f"pull {operands[0]}{platform}"


def _translate_save(operands: list[str], options: dict[str, list[str]]) -> str | None:
    if not operands or options.keys() != {"output"}:
        return None
    return f"save {', '.join(operands)} to {options['output'][-1]}"


def _translate_load(operands: list[str], options: dict[str, list[str]]) -> str | None:
    return None if operands or options.keys() - {"quiet"} != {"input"} else f"load {options['input'][-1]}"


def _translate_grep(operands: list[str], options: dict[str, list[str]]) -> str | None:
    if len(operands) != 2 or options:
        return None
    pattern, image = operands
    return f"texts of {image} where text matches {pattern}"


def _make_translation(sentence: str) -> Callable[[list[str], dict[str, list[str]]], str | None]:
    """Return the translation of a command without operands."""
    return lambda operands, options: None if operands or options.keys() - {"", "all"} else sentence


_REMOVE_COMMANDS = ("rmi", "image rm", "image remove", "remove", "delete")
_COMMANDS: dict[str, Callable[[list[str], dict[str, list[str]]], str | None]] = {
    **dict.fromkeys(("images", "image ls", "image list", "ls"), _translate_images),
    **dict.fromkeys(("image prune", "system prune"), _translate_prune),
    **dict.fromkeys(_REMOVE_COMMANDS, _translate_rm),
    **dict.fromkeys(("rm",), _translate_rm),
    **dict.fromkeys(("pull", "image pull"), _translate_pull),
    **dict.fromkeys(("save", "image save"), _translate_save),
    **dict.fromkeys(("load", "image load"), _translate_load),
    **dict.fromkeys(("grep",), _translate_grep),
    **dict.fromkeys(("system df",), _make_translation("usage")),
    **dict.fromkeys(("ps", "container ls"), _make_translation("containers")),
}
"""The commands of docker with a translation. Other commands have the same name in the language."""
_IMAGE_COMMANDS = frozenset({
    *(name.partition(" ")[0] for name in _COMMANDS if name != "rm"), "push", "tag", "history", "inspect", "import",
    "search", "login", "logout",
}) - {"container"}  # fmt: skip
"""The first words of docker's image commands."""
