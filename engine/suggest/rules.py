"""What docker's command lines and SQL's statements are in the language. What is not known to mean the same is left.

A sentence is given with its quoted texts held back: each stands as one word between `HOLDS`. Nothing here guesses at
English: a translation says what its source says, so that an action works on the same rows, or there is none.
"""

from __future__ import annotations

import re

from imq.grammar._lalr_tables import WORDS
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imq.grammar.lexer import Vocabulary

STRING_MARKS = ("\ue000", "\ue001")
"""What stands around the number of a quoted text that is held back."""

_VALUE = f"(?:{STRING_MARKS[0]}\\d+{STRING_MARKS[1]}|[^\\s(),;|&]+)"
_CLAUSES = ("select", "from", "where", "group by", "having", "order by", "limit", "offset")
"""Clauses of SQL in the order that SQL wants."""
_CLAUSE = re.compile(r"\(|\)|\b(?:group\s+by|order\s+by|select|from|where|having|limit|offset)\b", re.IGNORECASE)
_REGEXES = re.compile(r"(?<=[\w\"\ue001])\s*(?:=~|~=|~|\b(?:rlike|regexp|similar to)\b)\s*(?=\S)", re.IGNORECASE)
_IS = re.compile(rf"\bis\s+(not\s+)?(?!known\b|unknown\b|not\b)({_VALUE})", re.IGNORECASE)
_LISTS = (re.compile(r"\bin\s*[\[{]\s*([^\]}]*?)\s*[\]}]"), re.compile(rf"\bin\s+({_VALUE}(?:\s*,\s*{_VALUE})+)"))
_LABEL = re.compile(rf"\blabel\s*=*\s*([\w./-]+)=({_VALUE})", re.IGNORECASE)
_LIKE = re.compile(r"\blike\s+(?=[^\s()]*%)([^\s()\ue000\ue001]+)", re.IGNORECASE)
_SIGNS = {"&&": "and", "||": "or", "=>": ">=", "=<": "<=", "descending": "desc", "ascending": "asc"}
_SIGN = re.compile(r"\s*(&&|\|\|)\s*|=>|=<|\b(?:de|a)scending\b", re.IGNORECASE)


def translate(said: str, vocabulary: Vocabulary, *, is_action: bool) -> str:
    """Return a sentence of docker's or of SQL in the language; the sentence itself when it is neither.

    `acts`: what is found by it is acted upon, so that only what means exactly the same is translated.
    """
    words = said.split()
    while words and words[0].lower() in ("sudo", "docker", "podman", "imq"):
        if words[0].lower() in ("docker", "podman") and words[1:] and words[1].lower() not in _OF_IMAGES:
            return said  # of containers and other things: `docker rm` removes no image
        del words[0]
    translated = _of_docker(words, vocabulary)
    if translated is None:
        said = " ".join(words)
        translated = _of_sql(said) if said[:7].lower() in ("select ", "delete ") else said
    return _operators(translated, acts=is_action)


# SQL


def _of_sql(said: str) -> str:
    """Return a statement of SQL in the language; as it was when a part of it has no meaning there."""
    deletes = re.match(r"delete\s+from\s+", said, re.IGNORECASE)
    parts = dict(_clauses(f"from {said[deletes.end() :]}" if deletes else said))
    columns, table = parts.get("select", ""), parts.get("from", "")
    if not re.fullmatch(r"\w+", table) or (not deletes and not columns):
        return said
    if deletes:
        return f"rm {table} where {parts['where']}" if parts.keys() == {"from", "where"} else said
    distinct = re.match(r"distinct\s+", columns, re.IGNORECASE)
    columns = columns[distinct.end() :] if distinct else columns
    if distinct and "group by" not in parts:
        parts["group by"] = columns
    called = {clause: "skip" if clause == "offset" else clause for clause in _CLAUSES[2:] if clause in parts}
    written = [table, *(f"{name} {parts[clause]}" for clause, name in called.items())]
    if re.fullmatch(r"count\s*\(\s*(?:\*|1)?\s*\)", columns, re.IGNORECASE) and "group by" not in parts:
        written.append("count")
    elif columns != "*":
        written.append(f"select {re.sub(r'count *[(] *[*] *[)]', 'count', columns, flags=re.IGNORECASE)}")
    return " ".join(written)


def _clauses(said: str) -> Iterator[tuple[str, str]]:
    """Yield the clauses of a statement of SQL, those of queries inside it left in theirs."""
    depth, name, start = 0, "", 0
    for found in _CLAUSE.finditer(said):
        if found[0] in "()":
            depth += 1 if found[0] == "(" else -1
        elif not depth:
            if name:
                yield name, said[start : found.start()].strip()
            name, start = " ".join(found[0].lower().split()), found.end()
    if name:
        yield name, said[start:].strip()


def _operators(said: str, *, acts: bool) -> str:
    """Return a sentence with the operators of SQL and of C as the language has them."""

    def sign(found: re.Match[str]) -> str:
        written = _SIGNS[found[0].strip().lower()]
        return f" {written} " if found[1] else written

    def is_(found: re.Match[str]) -> str:
        negated, value = bool(found[1]), found[2].lower()
        if value == "null":
            return "is known" if negated else "is unknown"
        if negated and acts:
            return found[0]  # in SQL what is unknown is not the value: within `not` more rows would be found
        return f"{'!=' if negated else '='} {found[2]}"

    said = _SIGN.sub(sign, said)
    said = _IS.sub(is_, said)
    said = _REGEXES.sub(" matches ", said)
    for listed in _LISTS:
        said = listed.sub(r"in (\1)", said)
    said = _LIKE.sub(lambda found: f"like {quote(found[1])}", said)
    said = _LABEL.sub(r"label.\1 = \2", said)
    return said if acts else re.sub(r"(?<![^\s(])!(?=[\w(])", "not ", said)


# docker


def _of_docker(words: Sequence[str], vocabulary: Vocabulary) -> str | None:
    """Return a command line of docker as a sentence; None when it is none, or has more than is known here."""
    lower = [word.lower() for word in words]
    for start in (2, 1):
        name = " ".join(lower[:start])
        if len(words) >= start and name in _COMMANDS:
            given = _given(words[start:])
            reserved = {*vocabulary.tables, *vocabulary.formats, *WORDS}
            if given is None or not reserved.isdisjoint(map(str.lower, given[0])):
                queried = name in _REMOVING and lower[start] in (*vocabulary.tables, "all")
                return f"rm {' '.join(words[start:])}" if queried else None  # a sentence, but for its first word
            return _COMMANDS[name](*given)
    return None


_FLAGS = {
    "-a": "all", "--all": "all", "-q": "quiet", "--quiet": "quiet", "-f": "f", "--force": "force", "--filter": "filter",
    "--format": "format", "--no-trunc": "", "--digests": "", "-o": "output", "--output": "output", "-i": "input",
    "--input": "input", ">": "output", "<": "input", "--platform": "platform", "--all-tags": "all", "-v": "",
}  # fmt: skip
_VALUED = ("filter", "format", "output", "input", "platform")


def _given(words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]] | None:
    """Return the operands and the options of a command line; None when an option is none of these."""
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
        if name == "f":  # a filter where a text with `=` follows, else what forces
            name = "filter" if equals or (pending and "=" in pending[0]) else "force"
        if name in _VALUED and not equals:
            if not pending:
                return None
            value = pending.pop(0)
        options.setdefault(name, []).append(value)
    return operands, options


def _images(operands: list[str], options: dict[str, list[str]]) -> str | None:
    if len(operands) > 1 or options.keys() - {"", "all", "quiet", "filter", "format"}:
        return None
    conditions = _conditions(options.get("filter", []), prunes=False)
    if conditions is None:
        return None
    for name in operands:
        field = "name" if ":" in name.rpartition("/")[2] else "repository"
        conditions.append(_fits(name) if "*" in name else f"{field} = {name}")
    form = options.get("format", [""])[-1]
    output = f"as {form}" if form in ("json", "table") else f"format {form}" if form else ""
    output = output or ("as ids" if "quiet" in options else "")
    return " ".join(filter(None, ("images", _where(conditions), output)))


def _prune(operands: list[str], options: dict[str, list[str]]) -> str | None:
    conditions = _conditions(options.get("filter", []), prunes=True)
    if operands or conditions is None or options.keys() - {"all", "filter", "force"}:
        return None
    if "all" in options:
        return f"rm images {_where(['not in use', *conditions])}"
    return f"prune images {_where(conditions)}" if conditions else "prune"


def _fits(pattern: str) -> str:
    """Return docker's test of a name; its `*` crosses no slash."""
    text = pattern if pattern.startswith(STRING_MARKS[0]) else quote(pattern)
    return f"(path_match(name, {text}) or path_match(repository, {text}))"


def _where(conditions: Sequence[str]) -> str:
    return f"where {' and '.join(conditions)}" if conditions else ""


def _conditions(filters: Sequence[str], *, prunes: bool) -> list[str] | None:
    """Return docker's filters as conditions; None when one of them is none of these."""
    conditions = []
    for text in filters:
        name, _, value = text.partition("=")
        key, equals, wanted = value.partition("=")
        match name.lower():
            case "dangling" if value in ("true", "false") and not prunes:
                conditions.append("dangling" if value == "true" else "not dangling")
            case "label" if key:
                conditions.append(f"label.{key} = {wanted}" if equals else f"has label {key}")
            case "before" | "since" if value and not prunes:
                conditions.append(f"created {name.lower()} {value}")
            case "reference" if value and not prunes:
                conditions.append(_fits(value))
            case "until" if value:
                conditions.append(f"older than {value}" if value[:1].isdigit() and "-" not in value else "")
            case _:
                return None
    return None if "" in conditions else conditions


def _rm(operands: list[str], options: dict[str, list[str]]) -> str | None:
    if not operands or options.keys() - {"force"} or any("*" in name for name in operands):
        return None  # what the shell would have made of a pattern nobody knows
    return f"rm {', '.join(name.rstrip(',') for name in operands)}{' force' if options else ''}"


def _pull(operands: list[str], options: dict[str, list[str]]) -> str | None:
    if len(operands) != 1 or options.keys() - {"all", "quiet", "platform"}:
        return None
    if "all" in options:
        return f"pull all tags of {operands[0]}"
    platform = f" platform {options['platform'][-1]}" if "platform" in options else ""
    return f"pull {operands[0]}{platform}"


def _save(operands: list[str], options: dict[str, list[str]]) -> str | None:
    if not operands or options.keys() != {"output"}:
        return None
    return f"save {', '.join(operands)} to {options['output'][-1]}"


def _load(operands: list[str], options: dict[str, list[str]]) -> str | None:
    return None if operands or options.keys() - {"quiet"} != {"input"} else f"load {options['input'][-1]}"


def _plain(sentence: str) -> Callable[[list[str], dict[str, list[str]]], str | None]:
    """Return what makes a sentence of a command that takes nothing."""
    return lambda operands, options: None if operands or options.keys() - {"", "all"} else sentence


_REMOVING = ("rmi", "image rm", "image remove", "remove", "delete")
_COMMANDS: dict[str, Callable[[list[str], dict[str, list[str]]], str | None]] = {
    **dict.fromkeys(("images", "image ls", "image list", "ls"), _images),
    **dict.fromkeys(("image prune", "system prune"), _prune),
    **dict.fromkeys(_REMOVING, _rm),
    **dict.fromkeys(("rm",), _rm),
    **dict.fromkeys(("pull", "image pull"), _pull),
    **dict.fromkeys(("save", "image save"), _save),
    **dict.fromkeys(("load", "image load"), _load),
    **dict.fromkeys(("system df",), _plain("usage")),
    **dict.fromkeys(("ps", "container ls"), _plain("containers")),
}
"""Commands of docker, and what each of them is as a sentence. The others are known by their own names."""
_OF_IMAGES = frozenset({
    *(name.partition(" ")[0] for name in _COMMANDS if name != "rm"), "push", "tag", "history", "inspect", "import",
    "search", "login", "logout",
}) - {"container"}  # fmt: skip
"""First words of docker's commands that are about images."""
