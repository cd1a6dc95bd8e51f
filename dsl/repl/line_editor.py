"""The line editor: prompt_toolkit with highlighting, completion and error messages for the language."""

from __future__ import annotations

from imq.cli.open_session import read_familiar
from imq.engine.help.completion import complete
from imq.engine.render.text_table import cut_text
from imq.grammar.display_width import display_width
from imq.grammar.record import TYPE_CHECKING
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
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

from .diagnostics import find_error, is_certain, is_unfinished
from .docker_lines import find_docker_line, has_docker_flag
from .highlight import STYLES, highlight
from .meta_commands import COMMANDS, WORD_COMMANDS, split_command
from .value_completion import ValueCache, ValueRequest, filter_values, quote_value, registry_request, request_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imq.engine.session.session import Session
    from imq.grammar.errors import StatementError
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyPressEvent

    from .history import History

MAX_COMPLETIONS = 200
"""The most completions in the list. Typing more narrows it down."""
MIN_KEYWORDS = 60
"""The least number of them that are reserved for words of the language."""
MENU_ROWS = 8
"""The rows of the list of completions below the line."""


class LineEditor:
    """Reads statements of one or more lines.

    `open_session` opens the session that looks up values for completion. `describe_state` returns the text of the
    toolbar; it is called before each statement.
    """

    def __init__(
        self,
        session: Session,
        history: History,
        open_session: Callable[[], Session],
        describe_state: Callable[[], str],
        *,
        colored: bool,
    ) -> None:
        self._session = session
        self._values = ValueCache(open_session, self._refresh)
        self._describe_state = describe_state
        self._state = ""
        self._prompt: PromptSession[str] = PromptSession(
            history=_HistoryAdapter(history),
            lexer=_Highlighter(self),
            completer=_Completer(self),
            auto_suggest=AutoSuggestFromHistory(),
            bottom_toolbar=self._render_toolbar,
            complete_while_typing=True,
            complete_in_thread=False,
            reserve_space_for_menu=0,
            multiline=True,
            prompt_continuation=_continuation_prompt,
            enable_open_in_editor=True,
            key_bindings=self._bind_keys(),
            style=Style.from_dict(STYLES if colored else {}),
            color_depth=None if colored else ColorDepth.DEPTH_1_BIT,
            include_default_pygments_style=False,
        )
        self._last_check: tuple[str, StatementError | None, bool] = ("", None, True)
        self._prompt_text = ""
        self._add_error_line()

    def read(self, prompt: str, default: str = "") -> str:
        """Return a statement. Raises `EOFError` when the user exits, `KeyboardInterrupt` when a line is cancelled."""
        self._prompt_text = prompt
        self._state = self._describe_state()
        self._prompt.app.pre_run_callables.append(self._prefetch)
        return self._prompt.prompt([("class:prompt", prompt)], default=default)

    def invalidate(self) -> None:
        """Discard cached values, since a statement has run."""
        self._values.invalidate()
        self._last_check = ("", None, True)

    def close(self) -> None:
        """Stop the threads that look up values."""
        self._values.close()

    def _prefetch(self) -> None:
        """Look up references, which are completed most, before they are requested."""
        self._values.get(ValueRequest("reference"))

    def _refresh(self) -> None:
        """Schedule a redraw, since new values are known. Called in the thread that looked them up."""
        app = self._prompt.app
        if app.loop is not None and app.is_running:
            app.loop.call_soon_threadsafe(self._redraw)

    def _redraw(self) -> None:
        app, buffer = self._prompt.app, self._prompt.default_buffer
        if not app.is_running:
            return
        self._prompt.lexer = _Highlighter(self)  # a new object: prompt_toolkit caches the styles of a text per lexer
        state = buffer.complete_state
        if self.find_error(buffer.document) is not None:
            if state is not None and state.complete_index is None:
                buffer.complete_state = None  # the list would cover the error message
            app.invalidate()
            return
        request = self.find_request(buffer.document) if buffer.document.is_cursor_at_the_end else None
        if request is not None and (state is None or state.complete_index is None) and buffer.text.strip():
            buffer.complete_state = None  # otherwise an open list would not be refreshed
            buffer.start_completion(select_first=False)
        app.invalidate()

    # Errors

    def find_error(self, document: Document) -> StatementError | None:
        """Return an error in the text that typing more at the cursor cannot fix."""
        text = document.text
        if _is_command(text):
            return None
        if self._last_check[0] != text:
            self._last_check = (text, *self._check_syntax(text))
        _, error, is_statement = self._last_check
        if is_statement and text.strip():
            error = self._values.find_error(text)
        return error if error is not None and is_certain(error, document.cursor_position, text) else None

    def _check_syntax(self, text: str) -> tuple[StatementError | None, bool]:
        """Return the syntax error of a statement, and whether it has none.

        Docker's lines, and those of other shells that are read, are no statements and have no error.
        """
        if (parts := split_command(text)) is not None:
            text = parts[0]
        error = find_error(text, self._session.vocabulary)
        if error is None:
            return None, True
        is_docker = has_docker_flag(text) or find_docker_line(text, self._session.vocabulary) is not None
        return None if is_docker or read_familiar(text) is not None else error, False

    def _render_toolbar(self) -> StyleAndTextTuples:
        """Return the toolbar, in one line of the screen."""
        pending = self._values.pending_remote
        text = f" {self._state}{f' │ reading {pending}' if pending else ''} "
        return [("class:state", cut_text(text, get_app().output.get_size().columns))]

    def _add_error_line(self) -> None:
        """Add a line for the error message below the statement, and space for the list of completions below that."""
        layout, buffer = self._prompt.layout, self._prompt.default_buffer
        layout.current_window.dont_extend_height = to_filter(True)
        body = next(one.content for one in walk(layout.container) if isinstance(one, FloatContainer))
        assert isinstance(body, HSplit)
        has_error = Condition(lambda: self.find_error(buffer.document) is not None)
        has_menu = Condition(lambda: buffer.complete_state is not None)
        message = Window(FormattedTextControl(self._render_error), dont_extend_height=True, wrap_lines=True)
        menu_space = Window(height=Dimension(min=0, preferred=MENU_ROWS, max=MENU_ROWS))
        body.children.append(ConditionalContainer(message, has_error & ~is_done))
        body.children.append(ConditionalContainer(menu_space, has_menu & ~is_done))
        body.children.append(ConditionalContainer(Window(), ~is_done))  # the toolbar is at the bottom of the screen

    def _render_error(self) -> StyleAndTextTuples:
        """Return the error message, with a mark under its column when that is in the last row."""
        document = self._prompt.default_buffer.document
        error = self.find_error(document)
        if error is None or error.span is None:
            return []
        columns = get_app().output.get_size().columns
        before = document.text[: error.span.start]
        line = before.count("\n")
        column = len(self._prompt_text) + display_width(before.rpartition("\n")[2])
        last = document.line_count - 1
        end = len(self._prompt_text) + display_width(document.lines[last])
        message = error.message + "".join(f"; {hint}" for hint in error.hints[:1])
        if line != last:
            return [("class:hint", f"line {line + 1}: {message}")]
        if column // columns != end // columns:
            return [("class:hint", message)]
        mark = " " * (column % columns) + "^"
        if column % columns + 2 + display_width(message) <= columns:
            return [("class:hint", f"{mark} {message}")]
        return [("class:hint", f"{mark}\n{message}")]

    # Completion

    def find_request(self, document: Document) -> ValueRequest | None:
        """Return the request for the values that fit at the cursor; None when only words of the language do."""
        completion = complete(document.text, document.cursor_position, self._session.vocabulary)
        typed = document.text[completion.start : document.cursor_position]
        return request_values(completion.kinds, completion.table, completion.field, typed)

    def complete(self, document: Document) -> Iterator[Completion]:
        """Yield completions at the cursor: values first, then words."""
        text, cursor = document.text, document.cursor_position
        if _is_command(text):
            yield from _complete_command(text[:cursor])
            return
        views = {name: rows for name, rows in self._session.state.views.items() if not isinstance(rows, str)}
        completion = complete(text, cursor, self._session.vocabulary, views)
        start = completion.start
        typed = text[start:cursor]
        remaining = MAX_COMPLETIONS - min(len(completion.words), MIN_KEYWORDS)
        request = request_values(completion.kinds, completion.table, completion.field, typed)
        if request is not None:
            prefix = typed[: typed.rfind(".") + 1] if request.kind == "key" else ""
            values = self._values.get(request)
            if (remote := registry_request(request, typed)) is not None:
                values = tuple(dict.fromkeys((*values, *self._values.get(remote))))
            for value in filter_values(values, typed[len(prefix) :], remaining):
                remaining -= 1
                yield Completion(
                    quote_value(value, request.kind), start_position=start + len(prefix) - cursor, display=value,
                    display_meta=request.kind if request.kind != "value" else request.field,
                )  # fmt: skip
        if text.strip():
            for word in completion.words[: remaining + MIN_KEYWORDS]:
                doc = f"{word.kind}: {word.doc}" if word.doc else word.kind
                yield Completion(word.text, start_position=start - cursor, display_meta=doc)

    def highlight_lines(self, document: Document) -> list[StyleAndTextTuples]:
        """Return the lines of a text, each as pairs of a style and a text."""
        text = document.text
        if _is_command(text):
            return [[("class:command", line)] for line in document.lines]
        styles = [""] * len(text)
        for start, end, kind in highlight(text, self._session.vocabulary):
            styles[start:end] = [f"class:{kind}"] * (end - start)
        error = self.find_error(document)
        if error is not None and error.span is not None:
            for index in range(error.span.start, min(len(text), max(error.span.end, error.span.start + 1))):
                styles[index] += " class:wrong"
        lines: list[StyleAndTextTuples] = [[]]
        for char, style in zip(text, styles, strict=True):
            if char == "\n":
                lines.append([])
            elif lines[-1] and lines[-1][-1][0] == style:
                lines[-1][-1] = (style, lines[-1][-1][1] + char)
            else:
                lines[-1].append((style, char))
        return lines

    def _is_unfinished(self, text: str) -> bool:
        if split_command(text) is not None or find_docker_line(text, self._session.vocabulary) is not None:
            return False
        return is_unfinished(text, self._session.vocabulary)

    # Keys

    def _bind_keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter", filter=Condition(lambda: not get_app().layout.is_searching))
        def _enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
                buffer.complete_state = None  # accept the selected completion without running the statement
            elif not _is_command(buffer.text) and self._is_unfinished(buffer.text):
                buffer.newline(copy_margin=False)
            else:
                buffer.validate_and_handle()

        @keys.add("escape", "enter")
        def _newline(event: KeyPressEvent) -> None:
            event.current_buffer.newline(copy_margin=False)

        return keys


class _Completer(Completer):
    """Completion for prompt_toolkit."""

    def __init__(self, editor: LineEditor) -> None:
        self._editor = editor

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield completions at the cursor.

        On an empty line, and in a text with an error, only Tab requests them.
        """
        if not complete_event.completion_requested and (
            not document.current_line_before_cursor.strip() or self._editor.find_error(document) is not None
        ):
            return ()
        return self._editor.complete(document)


class _Highlighter(Lexer):
    """Highlighting for prompt_toolkit."""

    def __init__(self, editor: LineEditor) -> None:
        self._editor = editor

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """Return a function that returns the styled text of a line."""
        lines = self._editor.highlight_lines(document)
        return lambda number: lines[number] if number < len(lines) else []


class _HistoryAdapter(ShownHistory):
    """The history, for prompt_toolkit."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def load_history_strings(self) -> Iterable[str]:
        """Return the statements, newest first."""
        return reversed(self._history.entries)

    def store_string(self, string: str) -> None:
        """Add a statement."""
        self._history.add(string)


def _continuation_prompt(size: int, _number: int, wraps: int) -> str:
    """Return the prompt of a continuation line, as wide as the first prompt; an empty one where a line wraps."""
    return "" if wraps else "...> ".rjust(size)


def _is_command(text: str) -> bool:
    text = text.strip()
    return text.startswith("\\") or text.lower() in WORD_COMMANDS


def _complete_command(typed: str) -> Iterator[Completion]:
    from imq.engine.help.help import list_topics
    from imq.engine.render.formats import FORMATS

    word, blank, argument = typed.lstrip().partition(" ")
    if not blank:
        for command in COMMANDS.values():
            if command.name.startswith(word[1:].lower()) and word.startswith("\\"):
                yield Completion(f"\\{command.name}", start_position=-len(word), display_meta=command.doc)
        return
    from imq.engine.catalog.tables import TABLES

    switch = ["on", "off"]
    choices = {
        "\\form": list(FORMATS), "\\timing": switch, "\\pager": switch, "\\x": [*switch, "auto"],
        "\\help": list_topics(), "\\describe": list(TABLES), "\\d": list(TABLES),
    }  # fmt: skip
    for choice in choices.get(word.lower(), ()):
        if choice.startswith(argument.lower()):
            yield Completion(choice, start_position=-len(argument))
