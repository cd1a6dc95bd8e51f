"""Completes statements: a pure function of the text and the cursor position.

The parser returns the kinds of words that can follow, and the declarations have their names. Names of images, keys of
labels and paths are returned as kinds, which the caller fills in: this module does no input or output.
"""

from __future__ import annotations

import re
from itertools import pairwise

from imq.engine.actions import VERBS
from imq.engine.actions.verb import OperandKind
from imq.engine.catalog.clauses import CLAUSES
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.predicates import FOUND, PREDICATES
from imq.engine.catalog.settings import SETTINGS
from imq.engine.catalog.tables import TABLES, DataType, TargetKind
from imq.grammar import ast
from imq.grammar._lalr_tables import WORDS
from imq.grammar.errors import StatementError
from imq.grammar.parser import find_expected
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imq.engine.catalog.tables import Field, Table
    from imq.grammar.lexer import Token, Vocabulary


class Candidate(Record):
    """A word that can come next: its text, its kind (see `Completion`) and its help."""

    text: str
    kind: str
    doc: str = ""


class Completion(Record):
    """The candidates that can replace the text from `start` to the cursor.

    `words` has the matching words of these kinds: statement, table, verb, keyword, field, relation, function, form,
    setting, choice, topic, placeholder. The caller fills in the other kinds: reference (an image name), repository,
    path, source, variable, value (of `field`, or of `FIELD.KEY` in a map), key (of the map `field`), and name (a new
    name, without candidates). `table` is the table of the query at the cursor, "" when unknown.
    """

    start: int
    kinds: frozenset[str] = frozenset()
    words: tuple[Candidate, ...] = ()
    field: str = ""
    table: str = ""


_WORD_PREFIX = re.compile(r"""\$?[\w.:/@-]*(?:\."[^"\n]*)?\Z""")
_PLACEHOLDER = re.compile(r"(?:\{\{|<<)(?:(?!\}\}|>>)[^\n])*\.(\w*)\Z")
_TEMPLATE_WORD = re.compile(r"(?:\{\{|<<)(?:(?!\}\}|>>)[^\n\"'`])*?(?<![\w.$])(\w*)\Z")
"""A word in the braces of a template that is neither a field nor a variable."""
_TEMPLATE_KEYWORDS = ("if", "else", "end", "range", "with")
_AFTER_AS = re.compile(r"\bas\s*\Z", re.IGNORECASE)
_OPTIONS = {
    "AS": "as", "TO": "to", "FROM": "from", "PLATFORM": "platform", "CHANGE": "change", "MESSAGE": "message",
    "FORCE": "force", "REPAIR": "repair", "RUN": "run", "DRY": "dry run", "WITH": "with",
}  # fmt: skip
_CLAUSES = frozenset({
    "WHERE", "ALL", "GROUP", "HAVING", "ORDER", "LIMIT", "SKIP", "EXCEPT_NEWEST", "UNTIL", "WHEN",
    "SELECT", "COUNT",
})  # fmt: skip
"""Terminals that begin a clause. A query has each clause once, and a clause ends the condition of a relation."""
_ENDING = frozenset({"JOIN", "LEFT", "INNER", "FULL", "OUTPUT_FORMAT", "FORMAT", "SET_OPERATOR", "BY"})
"""Other terminals that end the condition of a relation."""
_AFTER_NAMES = {
    "SET": "setting", "LET": "name", "VIEW": "name", "ERROR": "choice", "UNTIL": "choice", "WHEN": "choice",
    "SHARES": "choice",
    "CONTAINS": "choice", "AS": "name",
}  # fmt: skip
"""The kind of a name after these terminals. After all others it is a field."""
_CHOICES = {
    "ERROR": ("stop", "continue"),
    "UNTIL": ("total size <=", "disk use <=", "free >="),
    "WHEN": ("disk use >", "free <"),
    "SHARES": ("layers with",),
    "CONTAINS": ("file", "package"),
}
_VALUES = {
    "HELP": "topic", "USE": "source", "IN": "source", "INCLUDE": "path", "OF": "reference", "VERB": "reference",
    "PLATFORM": "value", "MESSAGE": "value", "CHANGE": "value", "RUN": "value", "ON": "reference", "WITH": "reference",
    "TIME_OPERATOR": "reference", "TO": "reference", "AS": "reference", "FROM": "source",
}  # fmt: skip
"""The kind of a word after these terminals. After all others it is a value."""
_COMPARING = frozenset({"COMPARISON", "WORD_OPERATOR", "TIME_OPERATOR", "BETWEEN", "IN", "LPAR", "COMMA", "NOT"})


def complete(
    text: str, cursor: int, vocabulary: Vocabulary, views: Mapping[str, ast.RowSource] | None = None
) -> Completion:
    """Return the candidates at the cursor, an offset in characters; none after a syntax error.

    `views` maps the names of views to their queries, so that their fields are completed.

    >>> from imq.grammar.lexer import Vocabulary
    >>> words = Vocabulary(frozenset({"rm"}), frozenset({"images"}), frozenset({"json"}))
    >>> [word.text for word in complete("images order by siz", 19, words).words]
    ['size', 'size(']
    """
    before = text[:cursor]
    if placeholder := _PLACEHOLDER.search(before):
        return _complete_placeholder(before, placeholder, vocabulary, views or {})
    if word := _TEMPLATE_WORD.search(before):
        return _complete_template_word(before, word, vocabulary, views or {})
    prefix = _WORD_PREFIX.search(before)
    start = prefix.start() if prefix else cursor
    head = before[:start]
    completion = Completion(start)
    for lookahead in ("", " where"):  # a lone table name parses as a field: parse it as a table too
        completion = _merge(completion, _complete_word(head, before[start:], lookahead, vocabulary, views or {}))
    if after_as := _AFTER_AS.search(head):
        completion = _merge(completion, _complete_format(head[: after_as.start()], before[start:], vocabulary))
    return completion


def _merge(item: Completion, other: Completion) -> Completion:
    words = dict.fromkeys((*item.words, *other.words))
    return Completion(
        item.start, item.kinds | other.kinds, tuple(words), item.field or other.field, item.table or other.table
    )


def _complete_word(
    head: str, prefix: str, lookahead: str, vocabulary: Vocabulary, views: Mapping[str, ast.RowSource]
) -> Completion:
    """Return the candidates after the complete words that begin with the prefix."""
    start = len(head)
    try:
        expected_next = find_expected(head, vocabulary, lookahead)
    except StatementError:
        return Completion(start)
    context = _CursorContext(expected_next.tokens, views)
    words: dict[str, Candidate] = {}
    kinds: set[str] = set()
    for word in _iter_candidates(expected_next.terminals, expected_next.vocabulary, context, prefix):
        kinds.add(word.kind)
        if word.text and word.text.lower().startswith(prefix.lower()) and word.text.lower() != prefix.lower():
            words.setdefault(word.text, word)
    table = context.table.name if context.table is not None else ""
    return Completion(start, frozenset(kinds), tuple(words.values()), context.find_compared_field(prefix), table)


class _CursorContext:
    """The context of the cursor, from the tokens before it: the statement, the table and the last token."""

    def __init__(self, tokens: tuple[Token, ...], views: Mapping[str, ast.RowSource]) -> None:
        last = max((at for at, token in enumerate(tokens) if token.kind == "SEPARATOR"), default=-1)
        self.tokens = tokens[last + 1 :]
        self.kinds = [token.kind for token in self.tokens]
        self._views = views
        self.verb = VERBS.get(self.tokens[self.kinds.index("VERB")].value) if "VERB" in self.kinds else None
        self.table: Table | None = None
        self.clauses: set[str] = set()
        self.joins: dict[str, Table | None] = {}
        self._follow()

    def _follow(self) -> None:
        """Walk the tokens, with a stack of the open parentheses and relations, their tables and clauses."""
        levels: list[tuple[str, Table | None, set[str]]] = [("query", None, set())]
        before = ""
        joined: Table | None = None
        joined_level = 0
        for token in self.tokens:
            kind = token.kind
            if before == "JOIN":
                joined, joined_level = None, len(_leave_relations(levels))
            if before == "JOIN" and kind in ("TABLE", "RELATION"):
                joined = self._find_table(token.value, None)
            elif before == "AS" and kind == "NAME" and joined_level == len(levels):
                self.joins[token.value.lower()] = joined
                joined_level = 0
            elif kind == "LPAR":
                levels.append(("query", levels[-1][1], set()))
            elif kind == "RPAR":
                if joined_level == len(levels) - 1:
                    joined = levels[-1][1]
                levels = _close_parenthesis(levels)
            elif kind in ("TABLE", "RELATION"):
                inside = before in ("ANY", "NO", "IN")
                table = self._find_table(token.value, levels[-1][1] if inside else None)
                if not inside:
                    levels = _leave_relations(levels)[:-1]
                levels.append(("relation" if inside else "query", table, set()))
            elif kind in _CLAUSES or kind in _ENDING:
                if kind != "WHERE" or "WHERE" in levels[-1][2]:
                    levels = _leave_relations(levels)
                levels[-1][2].add(kind)
            before = kind
        _, self.table, self.clauses = levels[-1]

    def _find_table(self, name: str, outer: Table | None) -> Table | None:
        """Return the table of a name, which is a relation of the outer table, a table or a view."""
        relation = outer.find_relation(name) if outer is not None else None
        name = relation.table if relation is not None else name.lower()
        return TABLES.get(name) or _find_query_table(self._views.get(name), self._views)

    @property
    def last_kind(self) -> str:
        """The terminal before the cursor."""
        return self.kinds[-1] if self.kinds else ""

    @property
    def finds_text(self) -> bool:
        """Whether the statement before the cursor has `contains text`."""
        words = [token.value.lower() for token in self.tokens]
        return ("contains", "text") in pairwise(words)

    @property
    def refuses_query(self) -> bool:
        """Whether the verb before the cursor takes no query."""
        return (
            self.last_kind == "VERB"
            and self.verb is not None
            and self.verb.operand in (OperandKind.NOTHING, OperandKind.PATHS)
        )

    def find_compared_field(self, prefix: str) -> str:
        """Return the field whose value or key is at the cursor, "" when unknown."""
        field = self.find_field_before()
        key = self._find_key_before() if field is not None and field.type is DataType.MAP else ""
        path, dot, _ = prefix.lstrip(".").rpartition(".")
        if (
            dot
            and self.table is not None
            and (completion := self.table.find_field(path)) is not None
            and completion.type is DataType.MAP
        ):
            return completion.name
        return f"{field.name}.{key}" if field is not None and key else field.name if field is not None else ""

    def find_field_before(self) -> Field | None:
        """Return the field on the left of the operator before the cursor."""
        name = self._find_name_before()
        return self.table.find_field(name.partition(".")[0]) if name and self.table is not None else None

    def _find_key_before(self) -> str:
        """Return the key of the map on the left of the operator before the cursor."""
        return self._find_name_before().partition(".")[2].strip('"')

    def _find_name_before(self) -> str:
        """Return the name on the left of the operator before the cursor, "" for none."""
        at = len(self.tokens) - 1
        while at >= 0 and self.kinds[at] in {*_COMPARING, "WORD", "STRING"}:
            at -= 1
        has_name = at >= 0 and at < len(self.tokens) - 1 and self.kinds[at] in ("NAME", "FIELD")
        return self.tokens[at].value.lstrip(".") if has_name and _COMPARING & set(self.kinds[at + 1 :]) else ""


def _leave_relations(levels: list[tuple[str, Table | None, set[str]]]) -> list[tuple[str, Table | None, set[str]]]:
    """Pop the relations whose condition ends here."""
    remaining = list(levels)
    while remaining[-1][0] == "relation":
        remaining.pop()
    return remaining


def _close_parenthesis(levels: list[tuple[str, Table | None, set[str]]]) -> list[tuple[str, Table | None, set[str]]]:
    remaining = _leave_relations(levels)
    return remaining[:-1] if len(remaining) > 1 else remaining


def _find_query_table(rows: ast.RowSource | None, views: Mapping[str, ast.RowSource]) -> Table | None:
    """Return the table of the rows of a query, None when its text does not show it."""
    while rows is not None:
        if isinstance(rows, ast.Combination):
            rows = rows.left
        elif rows.select or rows.group or rows.count:
            return None
        elif rows.base is not None:
            rows = rows.base
        elif (table := TABLES.get(rows.table)) is not None:
            return table
        else:
            rows = views.get(rows.table) if views.get(rows.table) is not rows else None
    return None


def _iter_candidates(
    kinds: frozenset[str], vocabulary: Vocabulary, context: _CursorContext, prefix: str
) -> Iterator[Candidate]:
    """Yield the candidates for these terminals, and an empty one for each kind that the caller fills in."""
    if context.kinds[:1] == ["SET"] and len(context.kinds) > 1:
        yield from _iter_values(context)
        return
    if kinds & {"WORD", "STRING"} and "NAME" not in kinds:
        yield from _iter_values(context)
    if "NAME" in kinds or "FIELD" in kinds:
        yield from _iter_names(kinds, context, prefix)
    if kinds & {"WORD", "STRING"} and "NAME" in kinds:
        yield Candidate("", "value")
    if "RELATION" in kinds and context.table is not None:
        yield from (Candidate(item.name, "relation", item.doc) for item in context.table.relations)
    if "TABLE" in kinds and not context.refuses_query:
        for name in sorted(vocabulary.tables):
            yield Candidate(name, "table", TABLES[name].doc if name in TABLES else "")
    if "FUNCTION" in kinds and not prefix.startswith("."):
        yield from (Candidate(f"{item.name}(", "function", item.doc) for item in AGGREGATES.values())
        yield from (
            Candidate(f"{item.name}(", "function", item.doc) for item in FUNCTIONS.values() if not item.is_internal
        )
    if "VERB" in kinds:
        for name in sorted(vocabulary.verbs):
            yield Candidate(name, "verb", VERBS[name].doc if name in VERBS else "")
    if "VARIABLE" in kinds:
        yield Candidate("", "variable")
    yield from sorted(_iter_keywords(kinds, context), key=_rank_keyword)


_COMMON_KEYWORDS = (
    "where", "and", "or", "order by", "desc", "limit", "select", "count", "group by", "as", "=", "like", "in", "not",
    "older than", "newer than", "in use",
)  # fmt: skip
"""The most common keywords, which are listed first."""


def _rank_keyword(word: Candidate) -> int:
    return _COMMON_KEYWORDS.index(word.text) if word.text in _COMMON_KEYWORDS else len(_COMMON_KEYWORDS)


def _is_option(option: str, word: str) -> bool:
    """Return whether a word is an option or its first word: `with` begins `with referrers`."""
    return option == word or option.startswith(f"{word} ")


def _iter_keywords(kinds: frozenset[str], context: _CursorContext) -> Iterator[Candidate]:
    at_start = "VERB" in kinds
    for word, kind in WORDS.items():
        if kind not in kinds or not word.isalpha() or kind in context.clauses & _CLAUSES:
            continue
        if context.refuses_query and kind in ("ALL", "NONEMPTY"):
            continue
        if kind in ("IN", "FROM") and context.verb is not None and context.table is None:
            names_source = "from" in context.verb.options and not {"IN", "FROM"} & set(context.kinds)
            if not names_source and not at_start:
                continue
        if context.verb is not None and kind in _OPTIONS and not at_start and context.last_kind != "DRY":
            of_kind = [option for option in context.verb.options if _is_option(option, _OPTIONS[kind])]
            yield from (Candidate(option, "keyword") for option in of_kind if kind not in context.kinds)
            continue
        yield Candidate(
            _complete_keyword(word, at_start=at_start), "statement" if at_start else "keyword", _describe_keyword(word)
        )
    if "OUTPUT_FORMAT" in kinds:
        yield Candidate("as", "keyword", CLAUSES["as"].doc)
    if "EXCEPT_NEWEST" in kinds and "EXCEPT_NEWEST" not in context.clauses:
        yield Candidate("except newest", "keyword", CLAUSES["except"].doc)
    if (
        "SKIP_EXISTING" in kinds
        and "SKIP_EXISTING" not in context.kinds
        and context.verb
        and "skip existing" in context.verb.options
    ):
        yield Candidate("skip existing", "keyword")
    if "SET_OPERATOR" in kinds:
        yield from (Candidate(word, "keyword", CLAUSES["union"].doc) for word in ("union", "except", "intersect"))
    if "WORD_OPERATOR" in kinds:
        yield from (Candidate(word, "keyword") for word in ("like", "matches", "has"))
    if "TIME_OPERATOR" in kinds:
        yield from (Candidate(word, "keyword") for word in ("before", "after", "since", "within"))


_KEYWORD_PHRASES = {
    "group": "group by", "order": "order by", "older": "older than", "newer": "newer than", "based": "based on",
    "shares": "shares layers with", "local": "local only", "dry": "dry run", "left": "left join",
    "inner": "inner join", "full": "full join",
}  # fmt: skip
"""Keywords with the keyword that must follow them."""


def _complete_keyword(word: str, *, at_start: bool) -> str:
    return "on error" if word == "on" and at_start else _KEYWORD_PHRASES.get(word, word)


def _describe_keyword(word: str) -> str:
    phrase = _complete_keyword(word, at_start=False)
    if phrase in PREDICATES:
        return PREDICATES[phrase].doc
    return CLAUSES[word].doc if word in CLAUSES else ""


def _iter_names(kinds: frozenset[str], context: _CursorContext, prefix: str) -> Iterator[Candidate]:
    """Yield the candidates for a name, mostly fields; `.field` on the right of an operator."""
    before = context.last_kind
    if "NAME" in kinds and before in _AFTER_NAMES:
        kind = _AFTER_NAMES[before]
        if kind == "setting":
            yield from (Candidate(item.name, kind, item.doc) for item in SETTINGS.values())
        yield from (Candidate(item, kind) for item in _CHOICES.get(before, ()))
        if kind == "name":
            yield Candidate("", kind)
        return
    if context.table is None:
        yield Candidate("", "field")
        return
    dot = "." if "NAME" not in kinds or prefix.startswith(".") else ""
    path, deeper, _ = prefix.lstrip(".").rpartition(".")
    if deeper and path.lower() in context.joins:
        joined = context.joins[path.lower()]
        for field in joined.fields if joined is not None else ():
            yield Candidate(f"{dot}{path}.{field.name}", "field", field.doc)
        return
    if deeper:
        yield from _iter_relation_fields(context.table, path, dot)
        return
    if before == "HAS":
        yield from (
            Candidate(item.name, "field", item.doc)
            for item in context.table.fields
            if item.type in (DataType.MAP, DataType.LIST)
        )
        yield from (
            Candidate(item.item_name, "relation", item.doc) for item in context.table.relations if item.item_name
        )
        return
    for field in context.table.fields:
        yield Candidate(dot + field.name, "field", field.doc)
        yield from (Candidate(dot + alias, "field", field.doc) for alias in field.aliases if prefix.lstrip("."))
    if context.finds_text:
        yield Candidate(dot + FOUND.name, "field", FOUND.doc)
    for words, phrase in PREDICATES.items():
        if " " not in words and "NAME" in kinds:
            yield Candidate(words, "field", phrase.doc)
    yield from (Candidate(f"{dot}{name}.", "relation", "the joined row") for name in context.joins)
    single_relations = (item for item in context.table.relations if not item.is_many)
    yield from (Candidate(f"{dot}{item.name}.", "relation", item.doc) for item in single_relations)


def _iter_relation_fields(table: Table, path: str, dot: str) -> Iterator[Candidate]:
    """Yield the fields at the end of a path of relations. The caller fills in the keys of a map."""
    completion: Table | None = table
    for name in path.split("."):
        field, relation = (
            (completion.find_field(name), completion.find_relation(name)) if completion is not None else (None, None)
        )
        if relation is None:
            if field is not None and field.type is DataType.MAP:
                yield Candidate("", "key")
            return
        completion = TABLES.get(relation.table)
    if completion is not None:
        yield from (Candidate(f"{dot}{path}.{field.name}", "field", field.doc) for field in completion.fields)


def _iter_values(context: _CursorContext) -> Iterator[Candidate]:
    """Yield the candidates for a word, by the words before it."""
    before = context.last_kind
    if context.verb is not None and context.table is None and not {"IN", *_OPTIONS} & set(context.kinds):
        yield Candidate("", "path" if context.verb.operand is OperandKind.PATHS else "reference")
        return
    if context.kinds[:1] == ["SET"]:
        setting = SETTINGS.get(context.tokens[1].value.lower()) if len(context.tokens) > 1 else None
        yield from (Candidate(choice, "choice") for choice in (setting.choices if setting is not None else ()))
        return
    field = context.find_field_before()
    kind = _VALUES.get(before, "value")
    if kind == "source" and field is not None:
        kind = "value"
    if kind == "topic":
        yield from (Candidate(name, kind, doc) for name, doc in _iter_topics())
        return
    if field is not None and field.type is DataType.BOOLEAN:
        yield from (Candidate(choice, "choice") for choice in ("true", "false"))
        return
    if (
        kind == "reference"
        and before == "OF"
        and context.table is not None
        and context.table.target is TargetKind.REPOSITORIES
    ):
        kind = "repository"
    if context.verb is not None and before in _OPTIONS and _OPTIONS[before] in context.verb.path_options:
        kind = "path"
    yield Candidate("", kind)


def _iter_topics() -> Iterator[tuple[str, str]]:
    """Yield the topics of help with their first lines. Pages about subjects come first."""
    from .topics import TOPICS

    yield from ((name, topic.summary) for name, topic in TOPICS.items())
    yield from ((name, item.doc) for name, item in TABLES.items())
    yield from ((name, item.doc) for name, item in VERBS.items())
    yield from ((name, item.doc) for name, item in FUNCTIONS.items() if not item.is_internal)
    yield from ((name, item.doc) for name, item in AGGREGATES.items())
    yield from ((name, item.doc) for name, item in SETTINGS.items())
    yield from ((name, item.doc) for name, item in CLAUSES.items())
    yield "configuration", "the configuration files"


def _complete_format(head: str, prefix: str, vocabulary: Vocabulary) -> Completion:
    """Return the output formats when `as FORMAT` can follow `head`."""
    from imq.engine.render.formats import FORMATS

    start = len(head)
    try:
        expected_next = find_expected(head, vocabulary)
    except StatementError:
        return Completion(start)
    if "OUTPUT_FORMAT" not in expected_next.terminals:
        return Completion(start)
    names = sorted(vocabulary.formats)
    words = (Candidate(name, "form", FORMATS[name].doc if name in FORMATS else "") for name in names)
    matching = tuple(word for word in words if word.text.startswith(prefix.lower()) and word.text != prefix.lower())
    return Completion(start, frozenset({"form"}), matching)


def _complete_placeholder(
    before: str, prefix: re.Match[str], vocabulary: Vocabulary, views: Mapping[str, ast.RowSource]
) -> Completion:
    """Return the placeholders of a template for the rows of the statement before it."""
    start = prefix.start(1)
    statement = re.split(r"""\s(?:format|as|to)\s""", before[: prefix.start()], flags=re.IGNORECASE)[0]
    try:
        context = _CursorContext(find_expected(statement, vocabulary).tokens, views)
    except StatementError:
        return Completion(start)
    if context.table is None:
        return Completion(start, frozenset({"placeholder"}))
    names: dict[str, str] = {}
    for field in context.table.fields:
        names |= {name: field.doc for name, _ in field.docker_placeholders}
        names.setdefault(field.name.title().replace("_", ""), field.doc)
    matching = (Candidate(name, "placeholder", doc) for name, doc in names.items())
    return Completion(
        start,
        frozenset({"placeholder"}),
        tuple(word for word in matching if word.text.lower().startswith(prefix[1].lower()) and word.text != prefix[1]),
    )


def _complete_template_word(
    before: str, prefix: re.Match[str], vocabulary: Vocabulary, views: Mapping[str, ast.RowSource]
) -> Completion:
    """Return what can be written in the braces of a template: fields, when nothing is typed, functions and keywords."""
    from imq.engine.render.template.functions import FUNCTIONS as TEMPLATE_FUNCTIONS

    start, typed = prefix.start(1), prefix[1].lower()
    dotted = re.compile(r"()\Z").search(before, start)
    assert dotted is not None
    fields = () if typed else _complete_placeholder(before, dotted, vocabulary, views).words
    words = [word.replace(text=f".{word.text}") for word in fields]
    words += [Candidate(name, "function") for name in sorted(TEMPLATE_FUNCTIONS) if name.startswith(typed)]
    words += [Candidate(name, "keyword") for name in _TEMPLATE_KEYWORDS if name.startswith(typed)]
    return Completion(
        start, frozenset({"placeholder", "function"}), tuple(word for word in words if word.text != typed)
    )
