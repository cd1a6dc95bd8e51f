"""The line editor on a terminal that can move its cursor: prompt_toolkit, told what the language is."""

from __future__ import annotations

from imq.engine.help.completion import complete
from imq.engine.render.text_table import display_width
from imq.grammar.record import TYPE_CHECKING
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.filters import Condition, is_done, to_filter
from prompt_toolkit.history import History as ShownHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import FloatContainer, HSplit, Window, walk
from prompt_toolkit.layout.containers import ConditionalContainer
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from .diagnostics import certain, mistake, unfinished
from .highlight import STYLES, stretches
from .meta_commands import COMMANDS, PLAIN
from .value_completion import Values, Wanted, fitting, quoted, wanted_there, wanted_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imq.engine.session.session import Session
    from imq.grammar.errors import StatementError
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyPressEvent

    from .history import History

MOST = 200
"""How many completions are offered at once: who types on narrows them down."""
WORDS = 60
"""How many of them are words of the language at least, where there are so many."""
MENU = 8
"""Rows that the list of completions is given below the line."""


class Editor:
    """Reads statements, each of one line or more."""

    def __init__(self, session: Session, history: History, opened: Callable[[], Session], *, colored: bool) -> None:
        self._session = session
        self._values = Values(opened, self._refresh)
        self._prompt: PromptSession[str] = PromptSession(
            history=_Shown(history),
            lexer=_Colors(self),
            completer=_Completions(self),
            complete_while_typing=True,
            complete_in_thread=False,
            reserve_space_for_menu=0,
            multiline=True,
            prompt_continuation=_continuation,
            enable_open_in_editor=True,
            key_bindings=self._keys(),
            style=Style.from_dict(STYLES if colored else {}),
            color_depth=None if colored else ColorDepth.DEPTH_1_BIT,
            include_default_pygments_style=False,
        )
        self._looked: tuple[str, StatementError | None] = ("", None)
        self._told = ""
        self._add_hint()

    def read(self, prompt: str, default: str = "") -> str:
        """Return what was said; raises `EOFError` when the user leaves, `KeyboardInterrupt` when a line is given up."""
        self._told = prompt
        self._prompt.app.pre_run_callables.append(self._warm)
        return self._prompt.prompt([("class:prompt", prompt)], default=default)

    def forget(self) -> None:
        """Look for values anew: a statement has been run."""
        self._values.forget()
        self._looked = ("", None)

    def close(self) -> None:
        """End the thread that looks for values."""
        self._values.close()

    def _warm(self) -> None:
        """Look for what is completed most, before it is asked for."""
        self._values.of(Wanted("reference"))

    def _refresh(self) -> None:
        """Draw again what was drawn without a value that is known now; called in the thread that found it."""
        app = self._prompt.app
        if app.loop is not None and app.is_running:
            app.loop.call_soon_threadsafe(self._drawn_again)

    def _drawn_again(self) -> None:
        app, buffer = self._prompt.app, self._prompt.default_buffer
        if not app.is_running:
            return
        self._prompt.lexer = _Colors(self)  # another one, so that the same text is coloured anew
        state = buffer.complete_state
        if self.mistake(buffer.document) is not None:
            if state is not None and state.complete_index is None:
                buffer.complete_state = None  # the list would lie upon what is told of the mistake
            app.invalidate()
            return
        wanted = self.wanted(buffer.document) if buffer.document.is_cursor_at_the_end else None
        if wanted is not None and (state is None or state.complete_index is None) and buffer.text.strip():
            buffer.complete_state = None  # else the list that is open stays as it is
            buffer.start_completion(select_first=False)
        app.invalidate()

    # What is wrong

    def mistake(self, document: Document) -> StatementError | None:
        """Return what is wrong with the text for certain, whatever is typed next."""
        text = document.text
        if _is_command(text):
            return None
        if self._looked[0] != text:
            self._looked = (text, mistake(text, self._session.vocabulary))
        error = self._looked[1]
        if error is None and text.strip():
            error = self._values.wrong(text)
        return error if error is not None and certain(error, document.cursor_position, text) else None

    def _add_hint(self) -> None:
        """Add a line for what is wrong below the statement, and room for the list of completions below that."""
        layout, buffer = self._prompt.layout, self._prompt.default_buffer
        written = layout.current_window
        written.dont_extend_height = to_filter(True)
        body = next(one.content for one in walk(layout.container) if isinstance(one, FloatContainer))
        assert isinstance(body, HSplit)
        wrong = Condition(lambda: self.mistake(buffer.document) is not None)
        menu = Condition(lambda: buffer.complete_state is not None)
        hint = Window(FormattedTextControl(self._hint), dont_extend_height=True, wrap_lines=True)
        room = Window(height=Dimension(min=0, preferred=MENU, max=MENU))
        body.children.append(ConditionalContainer(hint, wrong & ~is_done))
        body.children.append(ConditionalContainer(room, menu & ~is_done))

    def _hint(self) -> StyleAndTextTuples:
        """Return the message, below a mark under its column when that is in the last row."""
        document = self._prompt.default_buffer.document
        error = self.mistake(document)
        if error is None or error.span is None:
            return []
        columns = get_app().output.get_size().columns
        before = document.text[: error.span.start]
        line = before.count("\n")
        column = len(self._told) + display_width(before.rpartition("\n")[2])
        last = document.line_count - 1
        end = len(self._told) + display_width(document.lines[last])
        said = error.message + "".join(f"; {hint}" for hint in error.hints[:1])
        if line != last:
            return [("class:hint", f"line {line + 1}: {said}")]
        if column // columns != end // columns:
            return [("class:hint", said)]
        mark = " " * (column % columns) + "^"
        if column % columns + 2 + display_width(said) <= columns:
            return [("class:hint", f"{mark} {said}")]
        return [("class:hint", f"{mark}\n{said}")]

    # What comes next

    def wanted(self, document: Document) -> Wanted | None:
        """Return the kind of values that could stand at the cursor, when it is one that is looked up."""
        found = complete(document.text, document.cursor_position, self._session.vocabulary)
        typed = document.text[found.start : document.cursor_position]
        return wanted_values(found.kinds, found.table, found.field, typed)

    def completions(self, document: Document) -> Iterator[Completion]:
        """Yield what can stand at the cursor: values first, where both fit."""
        text, cursor = document.text, document.cursor_position
        if _is_command(text):
            yield from _commands(text[:cursor])
            return
        views = {name: rows for name, rows in self._session.state.views.items() if not isinstance(rows, str)}
        found = complete(text, cursor, self._session.vocabulary, views)
        typed = text[found.start : cursor]
        left = MOST - min(len(found.words), WORDS)
        wanted = wanted_values(found.kinds, found.table, found.field, typed)
        if wanted is not None:
            prefix = typed[: typed.rfind(".") + 1] if wanted.kind == "key" else ""
            known = self._values.of(wanted)
            if (there := wanted_there(wanted, typed)) is not None:
                known = tuple(dict.fromkeys((*known, *self._values.of(there))))
            for value in fitting(known, typed[len(prefix) :], left):
                left -= 1
                yield Completion(
                    quoted(value, wanted.kind), start_position=found.start + len(prefix) - cursor, display=value,
                    display_meta=wanted.kind if wanted.kind != "value" else wanted.field,
                )  # fmt: skip
        if text.strip():
            for word in found.words[: left + WORDS]:
                doc = f"{word.kind}: {word.doc}" if word.doc else word.kind
                yield Completion(word.text, start_position=found.start - cursor, display_meta=doc)

    def lexed(self, document: Document) -> list[StyleAndTextTuples]:
        """Return the lines of a text, each in pieces with their styles."""
        text = document.text
        if _is_command(text):
            return [[("class:command", line)] for line in document.lines]
        styles = [""] * len(text)
        for start, end, kind in stretches(text, self._session.vocabulary):
            styles[start:end] = [f"class:{kind}"] * (end - start)
        error = self.mistake(document)
        if error is not None and error.span is not None:
            for place in range(error.span.start, min(len(text), max(error.span.end, error.span.start + 1))):
                styles[place] += " class:wrong"
        lines: list[StyleAndTextTuples] = [[]]
        for sign, style in zip(text, styles, strict=True):
            if sign == "\n":
                lines.append([])
            elif lines[-1] and lines[-1][-1][0] == style:
                lines[-1][-1] = (style, lines[-1][-1][1] + sign)
            else:
                lines[-1].append((style, sign))
        return lines

    # Keys

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter", filter=Condition(lambda: not get_app().layout.is_searching))
        def _enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
                buffer.complete_state = None  # what is chosen stays, and is not yet run
            elif not _is_command(buffer.text) and unfinished(buffer.text, self._session.vocabulary):
                buffer.newline(copy_margin=False)
            else:
                buffer.validate_and_handle()

        @keys.add("escape", "enter")
        def _line(event: KeyPressEvent) -> None:
            event.current_buffer.newline(copy_margin=False)

        return keys


class _Completions(Completer):
    """What comes next, for prompt_toolkit."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what can stand at the cursor.

        On a line on which nothing stands, and where something is wrong, only when it was asked for with Tab.
        """
        if not complete_event.completion_requested and (
            not document.current_line_before_cursor.strip() or self._editor.mistake(document) is not None
        ):
            return ()
        return self._editor.completions(document)


class _Colors(Lexer):
    """What is shown how, for prompt_toolkit."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """Return what shows each line."""
        lines = self._editor.lexed(document)
        return lambda number: lines[number] if number < len(lines) else []


class _Shown(ShownHistory):
    """The history, for prompt_toolkit."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def load_history_strings(self) -> Iterable[str]:
        """Yield what was said, newest first."""
        return reversed(self._history.said)

    def store_string(self, string: str) -> None:
        """Remember what was said."""
        self._history.add(string)


def _continuation(size: int, _number: int, wraps: int) -> str:
    """Return what stands before each further line of a statement, as wide as the prompt; nothing where one wraps."""
    return "" if wraps else "...> ".rjust(size)


def _is_command(text: str) -> bool:
    said = text.lstrip()
    return said.startswith("\\") or said.strip().lower() in PLAIN


def _commands(typed: str) -> Iterator[Completion]:
    from imq.engine.help.help import list_topics
    from imq.engine.render.formats import FORMATS

    word, blank, argument = typed.lstrip().partition(" ")
    if not blank:
        for command in COMMANDS.values():
            if command.name.startswith(word[1:].lower()) and word.startswith("\\"):
                yield Completion(f"\\{command.name}", start_position=-len(word), display_meta=command.doc)
        return
    choices = {"\\form": list(FORMATS), "\\timing": ["on", "off"], "\\pager": ["on", "off"], "\\help": list_topics()}
    for choice in choices.get(word.lower(), ()):
        if choice.startswith(argument.lower()):
            yield Completion(choice, start_position=-len(argument))
