"""Shell completion: words of the language and of docker's command lines, and names from the store.

    imq completion bash|zsh|fish     prints the completion script of a shell
    imq __complete SHELL LINE        is run by the script: LINE is the command line up to the cursor

The output is one candidate per line, for fish and zsh with a tab and a description. After an error there are no
candidates, since a shell cannot show errors during completion.
"""

from __future__ import annotations

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .open_session import open_session
from .options import OPTIONS, VALUED, Options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imq.docker.commands import Command
    from imq.docker.flags import Flag
    from imq.engine.help.completion import Completion
    from imq.engine.session.session import Session
    from imq.repl.value_completion import ValueRequest

    from .output import Console

_BASH = r"""# bash completion of imq: put `eval "$(imq completion bash)"` in ~/.bashrc
_imq() {
    local IFS=$'\n'
    COMPREPLY=($(imq __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null </dev/null))
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/.=] ]] && compopt -o nospace
    return 0
}
complete -F _imq imq
"""
_ZSH = r"""#compdef imq
# zsh completion of imq: put `eval "$(imq completion zsh)"` after compinit in ~/.zshrc
_imq() {
    local line text doc
    local -a texts docs
    line="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX"
    while IFS=$'\t' read -r text doc; do
        texts+=("$text")
        docs+=("$text${doc:+  -- $doc}")
    done < <(imq __complete zsh "$line" 2>/dev/null </dev/null)
    (( $#texts )) || return 1
    if [[ $#texts == 1 && $texts[1] == *[/.=] ]]; then
        compadd -S '' -l -d docs -a texts
    else
        compadd -l -d docs -a texts
    fi
}
compdef _imq imq
"""
_FISH = r"""# fish completion of imq: imq completion fish > ~/.config/fish/completions/imq.fish
complete -c imq -f -a '(imq __complete fish (commandline -cp) 2>/dev/null </dev/null)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
MAX_CANDIDATES = 200
"""The most values that are offered at once."""
_BASH_SPECIAL = frozenset(" \t\n\\'\"`$&|;<>()*?[]{}!#~")
"""Characters that bash interprets outside of quotes."""


class Candidate(Record):
    """A completion of the word at the cursor, and its description."""

    text: str
    doc: str = ""


class CommandLine(Record):
    """A command line up to the cursor: its complete words, the word at the cursor, and the open quote of that word.

    `raw` is the word at the cursor as it was typed, with backslashes.
    """

    words: tuple[str, ...]
    word: str
    quote: str = ""
    raw: str = ""


def completion_script(arguments: Sequence[str]) -> str:
    """Return the completion script of a shell. Raises `StatementError` for an unknown shell."""
    if len(arguments) == 1 and arguments[0] in SCRIPTS:
        return SCRIPTS[arguments[0]]
    raise StatementError(
        f'unknown shell "{" ".join(arguments)}"' if arguments else "imq completion needs the name of a shell",
        code="option",
        hints=(f"expected one of: {', '.join(SCRIPTS)}", 'example: eval "$(imq completion bash)"'),
    )


def complete_line(console: Console, arguments: Sequence[str]) -> list[str]:
    """Return the lines for a shell; an empty list after any error."""
    from imq.engine.render.text_table import replace_controls

    try:
        shell, line, *breaks = arguments
        typed = read_line(line)
        docs: dict[str, str] = {}
        for one in _find_candidates(console, typed):
            if not one.text.isprintable():
                continue  # a shell would write its control characters to the terminal
            docs[one.text] = docs.get(one.text) or one.doc
    except Exception:  # noqa: BLE001 - a shell cannot show errors during completion
        return []
    if shell != "bash":
        return [f"{text}\t{replace_controls(doc)}\n" for text, doc in docs.items()]
    return [f"{_escape_for_bash(text, typed, ''.join(breaks))}\n" for text in docs]


def read_line(line: str) -> CommandLine:
    """Split a command line into words as shells do, with quotes and backslashes but without expansions.

    >>> read_line("imq images where na").word
    'na'
    >>> read_line("imq 'images where na")
    CommandLine(words=('imq',), word='images where na', quote="'", raw='images where na')
    """
    words: list[str] = []
    word, quote, start, in_word = "", "", 0, False
    index = 0
    while index < len(line):
        char = line[index]
        index += 1
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and line[index : index + 1] in ('"', "\\", "$", "`"):
                word += line[index]
                index += 1
            else:
                word += char
        elif char in "'\"":
            quote, in_word = char, True
            start = index
        elif char == "\\" and index < len(line):
            word, in_word = word + line[index], True
            index += 1
        elif char.isspace():
            if in_word:
                words.append(word)
            word, in_word, start = "", False, index
        else:
            word, in_word = word + char, True
    return CommandLine(tuple(words), word, quote, line[start:])


def _escape_for_bash(text: str, typed: CommandLine, breaks: str) -> str:
    """Return the part of a candidate after the last word break of bash, with special characters escaped."""
    if typed.quote:
        return text
    cut = max((typed.word.rfind(char) for char in breaks if not char.isspace()), default=-1) + 1
    if not text.startswith(typed.word[:cut]):
        cut = 0
    return "".join(f"\\{char}" if char in _BASH_SPECIAL else char for char in text[cut:])


def _find_candidates(console: Console, typed: CommandLine) -> Iterator[Candidate]:
    """Yield the candidates: imq's options, docker's command lines, and statements."""
    words, options = _split_leading_options(typed.words[1:])
    if words is None:  # the value of an option is being typed
        yield from _complete_option_value(console, options, typed.words[-1], typed.word)
        return
    if not words and typed.word.startswith("-"):
        yield from _complete_option(typed.word)
        return
    if words[:1] == ("completion",):
        yield from (Candidate(name) for name in SCRIPTS if name.startswith(typed.word) and len(words) == 1)
        return
    session = open_session(console, options)
    try:
        yield from _complete_docker(session, words, typed)
        if typed.word.startswith("-") and not typed.quote:
            yield from _complete_option(typed.word)
        else:
            yield from _complete_statement(session, words, typed)
        if not words:
            yield from _filter_words(typed.word, ("completion", "demo"))
    finally:
        session.close()


def _split_leading_options(words: Sequence[str]) -> tuple[tuple[str, ...] | None, Options]:
    """Return the words of a statement and the options before it.

    The words are None when the last option still needs its value.
    """
    values: dict[str, list[str]] = {}
    flags: set[str] = set()
    remaining: list[str] | None = list(words)
    while remaining and remaining[0].startswith("-"):
        name, equals, attached = remaining.pop(0).partition("=")
        if name in VALUED or name == "-f":
            if not equals and not remaining:
                remaining = None
                break
            values.setdefault(VALUED.get(name, "file"), []).append(attached if equals else remaining.pop(0))
        elif name == "--no-config":
            flags.add("no_config")
    used = {key: tuple(items) for key, items in values.items() if key in ("root", "config", "source")}
    return tuple(remaining) if remaining is not None else None, Options(used, frozenset(flags), ())


def _complete_option(typed: str) -> Iterator[Candidate]:
    for option in OPTIONS:
        yield from (Candidate(name, option.doc) for name in option.names if name.startswith(typed))


def _complete_option_value(console: Console, options: Options, name: str, typed: str) -> Iterator[Candidate]:
    if name == "--output":
        from imq.engine.render.formats import FORMATS

        yield from (Candidate(form.name, form.doc) for form in FORMATS.values() if form.name.startswith(typed))
    elif name == "--color":
        yield from _filter_words(typed, ("auto", "always", "never"))
    elif name in ("--source", "--platform"):
        session = open_session(console, options)
        try:
            request = ("source",) if name == "--source" else ("value", "images", "platform")
            yield from _complete_value(session, request[0], typed, *request[1:])
        finally:
            session.close()
    elif name in ("--root", "--config", "-f"):
        yield from _complete_path(typed)


def _filter_words(typed: str, words: Iterable[str]) -> Iterator[Candidate]:
    return (Candidate(word) for word in words if word.startswith(typed) and word != typed)


def _complete_path(typed: str) -> Iterator[Candidate]:
    from imq.repl.value_completion import list_folder

    yield from _filter_words(typed, list_folder(typed[: typed.rfind("/") + 1])[:MAX_CANDIDATES])


# Docker's command lines


def _complete_docker(session: Session, words: tuple[str, ...], typed: CommandLine) -> Iterator[Candidate]:
    """Yield completions of docker's command lines: commands, flags, values of flags, names of images."""
    from imq.docker.commands import COMMANDS, GROUPS, find_command

    if typed.quote:
        return
    if not words:
        yield from (Candidate(name, doc) for name, doc in GROUPS.items() if name.startswith(typed.word))
    for command in COMMANDS:
        for name in command.names:
            *before, last = name.split()
            if tuple(before) == words and last.startswith(typed.word):
                yield Candidate(last, command.doc)
    name_length = 2 if words[:1] and words[0] in GROUPS else 1
    current = find_command(" ".join(words[:name_length])) if len(words) >= name_length else None
    if current is not None and not _is_statement(session, words[name_length:]):
        yield from _complete_arguments(session, current, words[name_length:], typed.word)


def _is_statement(session: Session, words: Sequence[str]) -> bool:
    from imq.grammar._lalr_tables import WORDS

    return any(word in WORDS or word in session.vocabulary.tables for word in words)


def _complete_arguments(session: Session, command: Command, words: tuple[str, ...], typed: str) -> Iterator[Candidate]:
    flag = next((one for one in command.flags if words and words[-1] in (f"--{one.name}", f"-{one.letter}")), None)
    if flag is not None and flag.value_type:
        yield from _complete_flag_value(session, flag, typed)
        return
    name, equals, value = typed.partition("=")
    flag = next((one for one in command.flags if equals and name == f"--{one.name}"), None)
    if flag is not None:
        yield from (Candidate(f"{name}={one.text}", one.doc) for one in _complete_flag_value(session, flag, value))
        return
    if typed.startswith("-"):
        for one in command.flags:
            if f"--{one.name}".startswith(typed):
                yield Candidate(f"--{one.name}", one.doc)
        return
    count = sum(not word.startswith("-") for word in words)
    if command.max_arguments is not None and count >= command.max_arguments:
        return
    if count < command.path_arguments:
        yield from _complete_path(typed)
    elif "IMAGE" in command.arguments or "REPOSITORY" in command.arguments or "NAME" in command.arguments:
        yield from _complete_value(session, "reference", typed)


def _complete_flag_value(session: Session, flag: Flag, typed: str) -> Iterator[Candidate]:
    if flag.value_type == "filter":
        key, equals, value = typed.partition("=")
        if not equals:
            keys = flag.doc.partition(": ")[2].partition(" (")[0].split(", ")
            yield from _filter_words(typed, (f"{one}=" for one in keys))
        elif key in ("before", "since", "reference"):
            yield from (Candidate(f"{key}={one.text}", one.doc) for one in _complete_value(session, "reference", value))
        elif key == "dangling" or key.startswith("is-"):
            yield from _filter_words(typed, (f"{key}=true", f"{key}=false"))
        elif key.startswith("label"):
            yield from (
                Candidate(f"{key}={one.text}") for one in _complete_value(session, "key", value, "images", "label")
            )
    elif flag.name == "format":
        yield from _filter_words(typed, ("table", "json"))
    elif flag.name in ("input", "output"):
        yield from _complete_path(typed)
    elif flag.name == "type":
        yield from _filter_words(typed, ("image",))
    elif flag.name == "platform":
        yield from _complete_value(session, "value", typed, "images", "platform")


def _complete_value(session: Session, kind: str, typed: str, table: str = "", field: str = "") -> Iterator[Candidate]:
    from imq.repl.value_completion import ValueRequest

    yield from (Candidate(value) for value in _look_up(session, ValueRequest(kind, table, field), typed))


def _look_up(session: Session, request: ValueRequest, typed: str) -> list[str]:
    """Return values of the store that begin with the typed text. A missing store is not created."""
    import os

    from imq.repl.value_completion import look_up

    if not os.path.exists(session.context.root) and request.kind in ("reference", "repository", "value", "key"):
        return []
    low = typed.lower()
    values = (value for value in look_up(session, request) if value.lower().startswith(low) and value != typed)
    return list(values)[:MAX_CANDIDATES]


# The language


def _complete_statement(session: Session, words: tuple[str, ...], typed: CommandLine) -> Iterator[Candidate]:
    """Yield completions of a statement. Outside of quotes, the words of the shell are those of the statement."""
    from imq.engine.help.completion import complete

    before = "".join(f"{word} " for word in words)
    text = before + typed.word
    views = {name: rows for name, rows in session.state.views.items() if not isinstance(rows, str)}
    completion = complete(text, len(text), session.vocabulary, views)
    prefix = text[len(before) : completion.start]
    partial = text[completion.start :]
    values = _find_values(session, completion, typed, partial)
    yield from (Candidate(prefix + text, doc) for text, doc in values)
    for word in completion.words:
        if values and not partial and word.kind in _SECONDARY_KINDS:
            continue  # a list of every field and function would hide the values
        word_text = word.text if typed.quote else word.text.partition(" ")[0]
        yield Candidate(prefix + word_text, word.doc or word.kind)


_SECONDARY_KINDS = frozenset({"field", "function", "relation"})
"""Kinds of words that are valid in place of a value, but rare there."""


def _find_values(session: Session, completion: Completion, typed: CommandLine, partial: str) -> list[tuple[str, str]]:
    """Return the values that fit, each with its kind or field."""
    from imq.repl.value_completion import quote_value, request_values

    request = request_values(completion.kinds, completion.table, completion.field, partial)
    if request is None:
        return []
    inner = partial[partial.rfind(".") + 1 :] if request.kind == "key" else partial
    prefix = partial[: len(partial) - len(inner)]
    quoted = (quote_value(value, request.kind) for value in _look_up(session, request, inner))
    return [
        (prefix + value, request.field or request.kind)
        for value in quoted
        if not typed.quote or typed.quote not in value
    ]
