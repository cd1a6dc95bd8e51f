"""What can come next in a statement that is being written: a pure function of the text and the place of the cursor.

The parser says which kinds of words can follow; the declarations give their names. What only the world knows (names of
images, keys of labels, files) is named as a kind, to be filled in elsewhere: nothing here waits for anything.
"""

from __future__ import annotations

import re

from imq.engine.actions import VERBS, OperandKind
from imq.engine.catalog.clauses import CLAUSES
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.predicates import PREDICATES
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
    """A word that can come next: its text, what it is, and what it is for. Kinds are those of `Completion`."""

    text: str
    kind: str
    doc: str = ""


class Completion(Record):
    """What can stand from `start` on, in place of what is there up to the cursor.

    `kinds` are: statement, table, verb, keyword, field, relation, function, form, setting, choice, topic, placeholder,
    for all of which `words` has the words that fit; and for what is filled in elsewhere: reference (an image's name),
    repository, path, source, variable, value (of the field at `field`, when it is known, of a map `FIELD.KEY`), key (of
    the map at `field`), name (a new one, which nobody can know). `table` is the one whose rows the cursor is among,
    when it is known.
    """

    start: int
    kinds: frozenset[str] = frozenset()
    words: tuple[Candidate, ...] = ()
    field: str = ""
    table: str = ""


_TYPED = re.compile(r"""\$?[\w.:/@-]*(?:\."[^"\n]*)?\Z""")
_PLACEHOLDER = re.compile(r"(?:\{\{|<<)(?:(?!\}\}|>>)[^\n])*\.(\w*)\Z")
_FORM = re.compile(r"\bas\s*\Z", re.IGNORECASE)
_OPTIONS = {
    "AS": "as", "TO": "to", "FROM": "from", "PLATFORM": "platform", "CHANGE": "change", "MESSAGE": "message",
    "FORCE": "force", "REPAIR": "repair", "RUN": "run", "DRY": "dry run", "WITH": "with",
}  # fmt: skip
_CLAUSES = frozenset({
    "WHERE", "ALL", "GROUP", "HAVING", "ORDER", "LIMIT", "SKIP", "EXCEPT_NEWEST", "UNTIL", "SELECT", "COUNT",
})  # fmt: skip
"""Terminals that begin a clause, which a query has once, and which ends the condition of a relation."""
_ENDING = frozenset({"OUTPUT_FORMAT", "FORMAT", "SET_OPERATOR", "BY"})
"""Terminals that end the condition of a relation and begin no clause."""
_AFTER_NAMES = {
    "SET": "setting", "LET": "name", "VIEW": "name", "ERROR": "choice", "UNTIL": "choice", "SHARES": "choice",
    "CONTAINS": "choice", "AS": "name",
}  # fmt: skip
"""What a name is behind these terminals; behind any other it is a field."""
_CHOICES = {
    "ERROR": ("stop", "continue"),
    "UNTIL": ("total size <=",),
    "SHARES": ("layers with",),
    "CONTAINS": ("file", "package"),
}
_VALUES = {
    "HELP": "topic", "USE": "source", "IN": "source", "INCLUDE": "path", "OF": "reference", "VERB": "reference",
    "PLATFORM": "value", "MESSAGE": "value", "CHANGE": "value", "RUN": "value", "ON": "reference", "WITH": "reference",
    "TIME_OPERATOR": "reference", "TO": "reference", "AS": "reference", "FROM": "source",
}  # fmt: skip
"""What a bare word is behind these terminals; behind any other it is a value."""
_COMPARING = frozenset({"COMPARISON", "WORD_OPERATOR", "TIME_OPERATOR", "BETWEEN", "IN", "LPAR", "COMMA", "NOT"})


def complete(
    text: str, cursor: int, vocabulary: Vocabulary, views: Mapping[str, ast.RowSource] | None = None
) -> Completion:
    """Return what can stand at the cursor, an offset in characters; nothing where the text before it is wrong.

    `views` are the queries that views stand for, by name, so that their fields are known.

    >>> from imq.grammar.lexer import Vocabulary
    >>> words = Vocabulary(frozenset({"rm"}), frozenset({"images"}), frozenset({"json"}))
    >>> [word.text for word in complete("images order by siz", 19, words).words]
    ['size']
    """
    before = text[:cursor]
    if placeholder := _PLACEHOLDER.search(before):
        return _placeholders(before, placeholder, vocabulary, views or {})
    typed = _TYPED.search(before)
    start = typed.start() if typed else cursor
    head = before[:start]
    found = Completion(start)
    for ahead in ("", " where"):  # a table alone could be a field: see it as a table too
        found = _merged(found, _beneath(head, before[start:], ahead, vocabulary, views or {}))
    if form := _FORM.search(head):
        found = _merged(found, _forms(head[: form.start()], before[start:], vocabulary))
    return found


def _merged(one: Completion, other: Completion) -> Completion:
    words = dict.fromkeys((*one.words, *other.words))
    return Completion(
        one.start, one.kinds | other.kinds, tuple(words), one.field or other.field, one.table or other.table
    )


def _beneath(
    head: str, typed: str, ahead: str, vocabulary: Vocabulary, views: Mapping[str, ast.RowSource]
) -> Completion:
    """Return what can follow the whole words, of what begins as the one that is being typed."""
    start = len(head)
    try:
        can = find_expected(head, vocabulary, ahead)
    except StatementError:
        return Completion(start)
    scene = _CursorContext(can.tokens, views)
    words: dict[str, Candidate] = {}
    kinds: set[str] = set()
    for word in _candidates(can.terminals, can.vocabulary, scene, typed):
        kinds.add(word.kind)
        if word.text and word.text.lower().startswith(typed.lower()) and word.text.lower() != typed.lower():
            words.setdefault(word.text, word)
    table = scene.table.name if scene.table is not None else ""
    return Completion(start, frozenset(kinds), tuple(words.values()), scene.find_compared_field(typed), table)


class _CursorContext:
    """Where the cursor stands, as the tokens before it tell: in which statement, of which table, behind what."""

    def __init__(self, tokens: tuple[Token, ...], views: Mapping[str, ast.RowSource]) -> None:
        last = max((at for at, token in enumerate(tokens) if token.kind == "SEPARATOR"), default=-1)
        self.tokens = tokens[last + 1 :]
        self.kinds = [token.kind for token in self.tokens]
        self._views = views
        self.verb = VERBS.get(self.tokens[self.kinds.index("VERB")].value) if "VERB" in self.kinds else None
        self.table: Table | None = None
        self.clauses: set[str] = set()
        self._follow()

    def _follow(self) -> None:
        """Walk the tokens, keeping for each parenthesis, and for the relation in it, its table and its clauses."""
        levels: list[tuple[str, Table | None, set[str]]] = [("query", None, set())]
        before = ""
        for token in self.tokens:
            kind = token.kind
            if kind == "LPAR":
                levels.append(("query", levels[-1][1], set()))
            elif kind == "RPAR":
                levels = _closed(levels)
            elif kind in ("TABLE", "RELATION"):
                inside = before in ("ANY", "NO", "IN")
                table = self._find_table(token.value, levels[-1][1] if inside else None)
                if not inside:
                    levels = _shut(levels)[:-1]
                levels.append(("relation" if inside else "query", table, set()))
            elif kind in _CLAUSES or kind in _ENDING:
                if kind != "WHERE" or "WHERE" in levels[-1][2]:
                    levels = _shut(levels)
                levels[-1][2].add(kind)
            before = kind
        _, self.table, self.clauses = levels[-1]

    def _find_table(self, name: str, outer: Table | None) -> Table | None:
        """Return the table of this name: a relation of the table around it, a table, or what a view asks."""
        relation = outer.find_relation(name) if outer is not None else None
        name = relation.table if relation is not None else name.lower()
        return TABLES.get(name) or _asked(self._views.get(name), self._views)

    @property
    def last_kind(self) -> str:
        """The terminal before the cursor."""
        return self.kinds[-1] if self.kinds else ""

    @property
    def refuses_rows(self) -> bool:
        """Whether the verb before the cursor takes no query."""
        return (
            self.last_kind == "VERB"
            and self.verb is not None
            and self.verb.operand in (OperandKind.NOTHING, OperandKind.PATHS)
        )

    def find_compared_field(self, typed: str) -> str:
        """Return the field whose value, or whose key, is being typed; an empty text when that is not known."""
        field = self.field_before()
        key = self._key_before() if field is not None and field.type is DataType.MAP else ""
        path, dot, _ = typed.lstrip(".").rpartition(".")
        if (
            dot
            and self.table is not None
            and (found := self.table.find_field(path)) is not None
            and found.type is DataType.MAP
        ):
            return found.name
        return f"{field.name}.{key}" if field is not None and key else field.name if field is not None else ""

    def field_before(self) -> Field | None:
        """Return the field on the left of the operator that stands before the cursor."""
        name = self._name_before()
        return self.table.find_field(name.partition(".")[0]) if name and self.table is not None else None

    def _key_before(self) -> str:
        """Return the key of the map on the left of the operator that stands before the cursor."""
        return self._name_before().partition(".")[2].strip('"')

    def _name_before(self) -> str:
        """Return the name on the left of the operator that stands before the cursor; an empty text for none."""
        at = len(self.tokens) - 1
        while at >= 0 and self.kinds[at] in {*_COMPARING, "WORD", "STRING"}:
            at -= 1
        named = at >= 0 and at < len(self.tokens) - 1 and self.kinds[at] in ("NAME", "FIELD")
        return self.tokens[at].value.lstrip(".") if named and _COMPARING & set(self.kinds[at + 1 :]) else ""


def _shut(levels: list[tuple[str, Table | None, set[str]]]) -> list[tuple[str, Table | None, set[str]]]:
    """Leave the relations whose condition ends here."""
    kept = list(levels)
    while kept[-1][0] == "relation":
        kept.pop()
    return kept


def _closed(levels: list[tuple[str, Table | None, set[str]]]) -> list[tuple[str, Table | None, set[str]]]:
    kept = _shut(levels)
    return kept[:-1] if len(kept) > 1 else kept


def _asked(rows: ast.RowSource | None, views: Mapping[str, ast.RowSource]) -> Table | None:
    """Return the table whose rows a query answers, as far as its text tells."""
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


def _candidates(
    kinds: frozenset[str], vocabulary: Vocabulary, scene: _CursorContext, typed: str
) -> Iterator[Candidate]:
    """Yield every word that these terminals can be, and one without a text for each kind that is filled elsewhere."""
    if scene.kinds[:1] == ["SET"] and len(scene.kinds) > 1:
        yield from _values(scene)
        return
    if kinds & {"WORD", "STRING"} and "NAME" not in kinds:
        yield from _values(scene)
    if "NAME" in kinds or "FIELD" in kinds:
        yield from _names(kinds, scene, typed)
    if kinds & {"WORD", "STRING"} and "NAME" in kinds:
        yield Candidate("", "value")
    if "RELATION" in kinds and scene.table is not None:
        yield from (Candidate(one.name, "relation", one.doc) for one in scene.table.relations)
    if "TABLE" in kinds and not scene.refuses_rows:
        for name in sorted(vocabulary.tables):
            yield Candidate(name, "table", TABLES[name].doc if name in TABLES else "")
    if "FUNCTION" in kinds and not typed.startswith("."):
        yield from (Candidate(f"{one.name}(", "function", one.doc) for one in AGGREGATES.values())
        yield from (Candidate(f"{one.name}(", "function", one.doc) for one in FUNCTIONS.values() if not one.is_internal)
    if "VERB" in kinds:
        for name in sorted(vocabulary.verbs):
            yield Candidate(name, "verb", VERBS[name].doc if name in VERBS else "")
    if "VARIABLE" in kinds:
        yield Candidate("", "variable")
    yield from sorted(_keywords(kinds, scene), key=_by_use)


_USED = (
    "where", "and", "or", "order by", "desc", "limit", "select", "count", "group by", "as", "=", "like", "in", "not",
    "older than", "newer than", "in use",
)  # fmt: skip
"""Keywords that are shown first, of those that can stand in one place."""


def _by_use(word: Candidate) -> int:
    return _USED.index(word.text) if word.text in _USED else len(_USED)


def _begins(option: str, word: str) -> bool:
    """Whether an option is this one, or begins with its first word, as `with referrers` does with `with`."""
    return option == word or option.startswith(f"{word} ")


def _keywords(kinds: frozenset[str], scene: _CursorContext) -> Iterator[Candidate]:
    starts = "VERB" in kinds
    for word, kind in WORDS.items():
        if kind not in kinds or not word.isalpha() or kind in scene.clauses & _CLAUSES:
            continue
        if scene.refuses_rows and kind in ("ALL", "NONEMPTY"):
            continue
        if scene.verb is not None and kind in _OPTIONS and not starts and scene.last_kind != "DRY":
            of_kind = [option for option in scene.verb.options if _begins(option, _OPTIONS[kind])]
            yield from (Candidate(option, "keyword") for option in of_kind if kind not in scene.kinds)
            continue
        yield Candidate(_whole(word), "statement" if starts else "keyword", _told(word))
    if "OUTPUT_FORMAT" in kinds:
        yield Candidate("as", "keyword", CLAUSES["as"].doc)
    if "EXCEPT_NEWEST" in kinds and "EXCEPT_NEWEST" not in scene.clauses:
        yield Candidate("except newest", "keyword", CLAUSES["except"].doc)
    if (
        "SKIP_EXISTING" in kinds
        and "SKIP_EXISTING" not in scene.kinds
        and scene.verb
        and "skip existing" in scene.verb.options
    ):
        yield Candidate("skip existing", "keyword")
    if "SET_OPERATOR" in kinds:
        yield from (Candidate(word, "keyword", CLAUSES["union"].doc) for word in ("union", "except", "intersect"))
    if "WORD_OPERATOR" in kinds:
        yield from (Candidate(word, "keyword") for word in ("like", "matches", "has"))
    if "TIME_OPERATOR" in kinds:
        yield from (Candidate(word, "keyword") for word in ("before", "after", "since", "within"))


_WHOLE = {
    "group": "group by", "order": "order by", "older": "older than", "newer": "newer than", "based": "based on",
    "shares": "shares layers with", "local": "local only", "dry": "dry run", "on": "on error",
}  # fmt: skip
"""Keywords that another must follow, with it."""


def _whole(word: str) -> str:
    return _WHOLE.get(word, word)


def _told(word: str) -> str:
    whole = _whole(word)
    if whole in PREDICATES:
        return PREDICATES[whole].doc
    return CLAUSES[word].doc if word in CLAUSES else ""


def _names(kinds: frozenset[str], scene: _CursorContext, typed: str) -> Iterator[Candidate]:
    """Yield what a name can be: mostly a field, `.field` on the right of an operator."""
    before = scene.last_kind
    if "NAME" in kinds and before in _AFTER_NAMES:
        kind = _AFTER_NAMES[before]
        if kind == "setting":
            yield from (Candidate(one.name, kind, one.doc) for one in SETTINGS.values())
        yield from (Candidate(one, kind) for one in _CHOICES.get(before, ()))
        if kind == "name":
            yield Candidate("", kind)
        return
    if scene.table is None:
        yield Candidate("", "field")
        return
    dot = "." if "NAME" not in kinds or typed.startswith(".") else ""
    path, deeper, _ = typed.lstrip(".").rpartition(".")
    if deeper:
        yield from _below(scene.table, path, dot)
        return
    if before == "HAS":
        yield from (
            Candidate(one.name, "field", one.doc)
            for one in scene.table.fields
            if one.type in (DataType.MAP, DataType.LIST)
        )
        yield from (Candidate(one.item_name, "relation", one.doc) for one in scene.table.relations if one.item_name)
        return
    for field in scene.table.fields:
        yield Candidate(dot + field.name, "field", field.doc)
        yield from (Candidate(dot + alias, "field", field.doc) for alias in field.aliases if typed.lstrip("."))
    for words, phrase in PREDICATES.items():
        if " " not in words and "NAME" in kinds:
            yield Candidate(words, "field", phrase.doc)
    single = (one for one in scene.table.relations if not one.is_many)
    yield from (Candidate(f"{dot}{one.name}.", "relation", one.doc) for one in single)


def _below(table: Table, path: str, dot: str) -> Iterator[Candidate]:
    """Yield the fields of the relation that a path leads to; the keys of a map are known elsewhere."""
    found: Table | None = table
    for name in path.split("."):
        field, relation = (found.find_field(name), found.find_relation(name)) if found is not None else (None, None)
        if relation is None:
            if field is not None and field.type is DataType.MAP:
                yield Candidate("", "key")
            return
        found = TABLES.get(relation.table)
    if found is not None:
        yield from (Candidate(f"{dot}{path}.{field.name}", "field", field.doc) for field in found.fields)


def _values(scene: _CursorContext) -> Iterator[Candidate]:
    """Yield what a bare word can be, which the words before it tell."""
    before = scene.last_kind
    if scene.verb is not None and scene.table is None and not _OPTIONS.keys() & set(scene.kinds):
        yield Candidate("", "path" if scene.verb.operand is OperandKind.PATHS else "reference")
        return
    if scene.kinds[:1] == ["SET"]:
        setting = SETTINGS.get(scene.tokens[1].value.lower()) if len(scene.tokens) > 1 else None
        yield from (Candidate(choice, "choice") for choice in (setting.choices if setting is not None else ()))
        return
    field = scene.field_before()
    kind = _VALUES.get(before, "value")
    if kind == "source" and field is not None:
        kind = "value"
    if kind == "topic":
        yield from (Candidate(name, kind, doc) for name, doc in _topics())
        return
    if field is not None and field.type is DataType.BOOLEAN:
        yield from (Candidate(choice, "choice") for choice in ("true", "false"))
        return
    if (
        kind == "reference"
        and before == "OF"
        and scene.table is not None
        and scene.table.target is TargetKind.REPOSITORIES
    ):
        kind = "repository"
    if scene.verb is not None and before in _OPTIONS and _OPTIONS[before] in scene.verb.path_options:
        kind = "path"
    yield Candidate("", kind)


def _topics() -> Iterator[tuple[str, str]]:
    """Yield what help tells of, and what it is for."""
    yield from ((name, one.doc) for name, one in TABLES.items())
    yield from ((name, one.doc) for name, one in VERBS.items())
    yield from ((name, one.doc) for name, one in FUNCTIONS.items() if not one.is_internal)
    yield from ((name, one.doc) for name, one in AGGREGATES.items())
    yield from ((name, one.doc) for name, one in SETTINGS.items())
    yield from ((name, one.doc) for name, one in CLAUSES.items())


def _forms(head: str, typed: str, vocabulary: Vocabulary) -> Completion:
    """Return the output forms, when an answer can be asked for in one where `head` ends."""
    from imq.engine.render.formats import FORMATS

    start = len(head)
    try:
        can = find_expected(head, vocabulary)
    except StatementError:
        return Completion(start)
    if "OUTPUT_FORMAT" not in can.terminals:
        return Completion(start)
    forms = sorted(vocabulary.formats)
    words = (Candidate(name, "form", FORMATS[name].doc if name in FORMATS else "") for name in forms)
    fits = tuple(word for word in words if word.text.startswith(typed.lower()) and word.text != typed.lower())
    return Completion(start, frozenset({"form"}), fits)


def _placeholders(
    before: str, typed: re.Match[str], vocabulary: Vocabulary, views: Mapping[str, ast.RowSource]
) -> Completion:
    """Return what a template can show of the rows that the statement before it answers."""
    start = typed.start(1)
    statement = re.split(r"""\s(?:format|as|to)\s""", before[: typed.start()], flags=re.IGNORECASE)[0]
    try:
        scene = _CursorContext(find_expected(statement, vocabulary).tokens, views)
    except StatementError:
        return Completion(start)
    if scene.table is None:
        return Completion(start, frozenset({"placeholder"}))
    names: dict[str, str] = {}
    for field in scene.table.fields:
        names |= {name: field.doc for name, _ in field.docker_placeholders}
        names.setdefault(field.name.title().replace("_", ""), field.doc)
    fits = (Candidate(name, "placeholder", doc) for name, doc in names.items())
    return Completion(
        start,
        frozenset({"placeholder"}),
        tuple(word for word in fits if word.text.lower().startswith(typed[1].lower()) and word.text != typed[1]),
    )
