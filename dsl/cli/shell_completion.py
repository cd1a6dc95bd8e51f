"""What a shell offers behind Tab: the words of the language and of docker's command lines, and names from the store.

    imq completion bash|zsh|fish     prints what the shell has to read
    imq __complete SHELL LINE        what the script asks: LINE is the command line up to the cursor

An answer is one candidate a line, for fish and zsh with a tab and what it is for. Whatever goes wrong, there is
nothing to offer: a shell that completes has no place for errors.
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

_BASH = r"""# bash completion of imq: put `eval "$(imq completion bash)"` into ~/.bashrc
_imq() {
    local IFS=$'\n'
    COMPREPLY=($(imq __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null </dev/null))
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/.=] ]] && compopt -o nospace
    return 0
}
complete -F _imq imq
"""
_ZSH = r"""#compdef imq
# zsh completion of imq: put `eval "$(imq completion zsh)"` behind compinit into ~/.zshrc
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
"""How many values are offered at once."""
_BASH_SPECIAL = frozenset(" \t\n\\'\"`$&|;<>()*?[]{}!#~")
"""What bash does not leave as it is outside of quotes."""


class Candidate(Record):
    """What can stand in place of the word at the cursor, and what it is for."""

    text: str
    doc: str = ""


class CommandLine(Record):
    """A command line up to the cursor: its whole words, the one that is being typed, and the quote that it is in.

    `raw` is the last word as it was typed, with backslashes.
    """

    words: tuple[str, ...]
    word: str
    quote: str = ""
    raw: str = ""


def completion_script(arguments: Sequence[str]) -> str:
    """Return what a shell has to read; `StatementError` for one that is not known."""
    if len(arguments) == 1 and arguments[0] in SCRIPTS:
        return SCRIPTS[arguments[0]]
    raise StatementError(
        f'no completion for "{" ".join(arguments)}"' if arguments else "imq completion needs the name of a shell",
        code="option",
        hints=(f"it may be: {', '.join(SCRIPTS)}", 'such as: eval "$(imq completion bash)"'),
    )


def complete_line(console: Console, arguments: Sequence[str]) -> list[str]:
    """Return the lines for a shell; none when anything is not as it should be."""
    from imq.engine.render.text_table import replace_controls

    try:
        shell, line, *breaks = arguments
        typed = read_line(line)
        found: dict[str, str] = {}
        for one in _find_candidates(console, typed):
            if not one.text.isprintable():
                continue  # a shell would put its controls into the terminal
            found[one.text] = found.get(one.text) or one.doc
    except Exception:  # noqa: BLE001 - a shell that completes has no place for errors
        return []
    if shell != "bash":
        return [f"{text}\t{replace_controls(doc)}\n" for text, doc in found.items()]
    return [f"{_escape_for_bash(text, typed, ''.join(breaks))}\n" for text in found]


def read_line(line: str) -> CommandLine:
    """Cut a command line into words as shells do, as far as quotes and backslashes go.

    >>> read_line("imq images where na").word
    'na'
    >>> read_line("imq 'images where na")
    Typed(words=('imq',), word='images where na', quote="'", raw='images where na')
    """
    words: list[str] = []
    word, quote, start, open_ = "", "", 0, False
    place = 0
    while place < len(line):
        sign = line[place]
        place += 1
        if quote:
            if sign == quote:
                quote = ""
            elif sign == "\\" and quote == '"' and line[place : place + 1] in ('"', "\\", "$", "`"):
                word += line[place]
                place += 1
            else:
                word += sign
        elif sign in "'\"":
            quote, open_ = sign, True
            start = place
        elif sign == "\\" and place < len(line):
            word, open_ = word + line[place], True
            place += 1
        elif sign.isspace():
            if open_:
                words.append(word)
            word, open_, start = "", False, place
        else:
            word, open_ = word + sign, True
    return CommandLine(tuple(words), word, quote, line[start:])


def _escape_for_bash(text: str, typed: CommandLine, breaks: str) -> str:
    """Return what bash shall put behind the last sign at which it takes words apart."""
    if typed.quote:
        return text
    cut = max((typed.word.rfind(sign) for sign in breaks if not sign.isspace()), default=-1) + 1
    if not text.startswith(typed.word[:cut]):
        cut = 0
    return "".join(f"\\{sign}" if sign in _BASH_SPECIAL else sign for sign in text[cut:])


def _find_candidates(console: Console, typed: CommandLine) -> Iterator[Candidate]:
    """Yield what fits, of imq's own options, of docker's command lines, and of the language."""
    said, options = _leading_options(typed.words[1:])
    if said is None:  # the value of an option is being typed
        yield from _complete_option_value(console, options, typed.words[-1], typed.word)
        return
    if not said and typed.word.startswith("-"):
        yield from _complete_option(typed.word)
        return
    if said[:1] == ("completion",):
        yield from (Candidate(name) for name in SCRIPTS if name.startswith(typed.word) and len(said) == 1)
        return
    session = open_session(console, options)
    try:
        yield from _complete_docker(session, said, typed)
        if typed.word.startswith("-") and not typed.quote:
            yield from _complete_option(typed.word)
        else:
            yield from _complete_statement(session, said, typed)
        if not said:
            yield from _filter_words(typed.word, ("completion",))
    finally:
        session.close()


def _leading_options(words: Sequence[str]) -> tuple[tuple[str, ...] | None, Options]:
    """Return the words of a statement and the options before it; None for the words when an option wants its value."""
    values: dict[str, list[str]] = {}
    flags: set[str] = set()
    left: list[str] | None = list(words)
    while left and left[0].startswith("-"):
        name, equals, attached = left.pop(0).partition("=")
        if name in VALUED or name == "-f":
            if not equals and not left:
                left = None
                break
            values.setdefault(VALUED.get(name, "file"), []).append(attached if equals else left.pop(0))
        elif name == "--no-config":
            flags.add("no_config")
    kept = {key: tuple(given) for key, given in values.items() if key in ("root", "config", "source")}
    return tuple(left) if left is not None else None, Options(kept, frozenset(flags), ())


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
            known = ("source",) if name == "--source" else ("value", "images", "platform")
            yield from _complete_value(session, known[0], typed, *known[1:])
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


def _complete_docker(session: Session, said: tuple[str, ...], typed: CommandLine) -> Iterator[Candidate]:
    """Yield what docker's command lines have here: commands, flags, values of flags, names of images."""
    from imq.docker.commands import COMMANDS, GROUPS, find_command

    if typed.quote:
        return
    if not said:
        yield from (Candidate(name, doc) for name, doc in GROUPS.items() if name.startswith(typed.word))
    for command in COMMANDS:
        for name in command.names:
            *before, last = name.split()
            if tuple(before) == said and last.startswith(typed.word):
                yield Candidate(last, command.doc)
    deep = 2 if said[:1] and said[0] in GROUPS else 1
    found = find_command(" ".join(said[:deep])) if len(said) >= deep else None
    if found is not None and not _is_sentence(session, said[deep:]):
        yield from _complete_arguments(session, found, said[deep:], typed.word)


def _is_sentence(session: Session, words: Sequence[str]) -> bool:
    from imq.grammar._lalr_tables import WORDS

    return any(word in WORDS or word in session.vocabulary.tables for word in words)


def _complete_arguments(session: Session, command: Command, said: tuple[str, ...], typed: str) -> Iterator[Candidate]:
    flag = next((one for one in command.flags if said and said[-1] in (f"--{one.name}", f"-{one.letter}")), None)
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
    count = sum(not word.startswith("-") for word in said)
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


def _look_up(session: Session, wanted: ValueRequest, typed: str) -> list[str]:
    """Return values of the store that begin so; a store that is not there is not made."""
    import os

    from imq.repl.value_completion import look_up

    if not os.path.exists(session.context.root) and wanted.kind in ("reference", "repository", "value", "key"):
        return []
    low = typed.lower()
    return [value for value in look_up(session, wanted) if value.lower().startswith(low) and value != typed][
        :MAX_CANDIDATES
    ]


# The language


def _complete_statement(session: Session, said: tuple[str, ...], typed: CommandLine) -> Iterator[Candidate]:
    """Yield what the language has here. Outside of quotes the words of the shell are those of the language."""
    from imq.engine.help.completion import complete

    before = "".join(f"{word} " for word in said)
    text = before + typed.word
    views = {name: rows for name, rows in session.state.views.items() if not isinstance(rows, str)}
    found = complete(text, len(text), session.vocabulary, views)
    kept = text[len(before) : found.start]
    half = text[found.start :]
    values = _find_values(session, found, typed, half)
    yield from (Candidate(kept + text, doc) for text, doc in values)
    for word in found.words:
        if values and not half and word.kind in _SECONDARY_KINDS:
            continue  # where values are known, a list of everything else that is allowed hides them
        shown = word.text if typed.quote else word.text.partition(" ")[0]
        yield Candidate(kept + shown, word.doc or word.kind)


_SECONDARY_KINDS = frozenset({"field", "function", "relation"})
"""Kinds of words that can stand where a value is meant, and seldom do."""


def _find_values(session: Session, found: Completion, typed: CommandLine, half: str) -> list[tuple[str, str]]:
    """Return values that fit, and what they are."""
    from imq.repl.value_completion import quote_value, request_values

    wanted = request_values(found.kinds, found.table, found.field, half)
    if wanted is None:
        return []
    inner = half[half.rfind(".") + 1 :] if wanted.kind == "key" else half
    kept = half[: len(half) - len(inner)]
    written = (quote_value(value, wanted.kind) for value in _look_up(session, wanted, inner))
    return [
        (kept + value, wanted.field or wanted.kind) for value in written if not typed.quote or typed.quote not in value
    ]
