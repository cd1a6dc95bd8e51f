"""Hypothesis strategies for syntax trees, with every kind of node in the form that the parser returns.

In this form, `and` and `or` are flat and have two or more operands, and `not` is never directly inside `not`. A right
operand is never a condition, and a bare literal is a valid bare word. A list variable has two or more items. A table
alone in parentheses is a field where a value is valid, and equals the bare table elsewhere.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from imq.engine.actions import VERBS
from imq.engine.catalog.tables import SEARCH_TABLES, TABLES
from imq.engine.render.formats import FORMATS
from imq.grammar import ast
from imq.grammar.lexer import Vocabulary, begins_with_field, is_bare_word

VOCABULARY = Vocabulary(frozenset(VERBS), frozenset(TABLES), frozenset(FORMATS), search_tables=SEARCH_TABLES)

KEYWORDS = ["in", "not", "or", "ago", "of", "count", "all", "as", "is", "has", "like", "per", "images", "rm", "json"]
NAMES = st.one_of(
    st.sampled_from(["size", "tag", "label", "created", "Größe", "a_1", *KEYWORDS]),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True),
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="\"'\\\n\t .;#({[<>]})$", max_size=8),
    st.sampled_from(["", "\\", '"', "'", "a\\nb", "# no comment", "; rm", "{{.ID}}", "<<.ID>>", "2 weeks", "30d"]),
)
BARE = st.one_of(
    st.sampled_from([
        "latest", "redis:7", "team/*", "100MB", "1.5GiB", "30d", "2 weeks", "1.5 GiB", "2024-01-31", "-1", "+1",
        "/etc/**", "*", "?", "[a-z]*", "./x", "~/x", "{{.Tag}}", "a{{ .Tag }}b", "<<.Tag>>", "sha256:" + "0" * 64,
        "as-built", "2024-01-31T10:00:00+02:00", "[::1]:5000/x:1", "a\\b", "1", "0.5", "x@y", "&", "|", "^", "-", "{",
        "}}", "..", *KEYWORDS,
    ]),
    st.from_regex(r"[\w.:/@?*~^+&|{}\\-]{1,9}", fullmatch=True),
).filter(is_bare_word)  # fmt: skip

IDENTIFIERS = NAMES.filter(lambda name: "." not in name)
quoted = st.builds(ast.Literal, TEXTS, st.just(True))
variables = st.builds(ast.Variable, st.from_regex(r"[a-z_]\w{0,5}(\.\w{1,5})?", fullmatch=True))
operands = st.one_of(st.builds(ast.Literal, BARE), quoted, variables)
first_operands = st.one_of(
    st.builds(ast.Literal, BARE.filter(lambda text: text.lower() not in KEYWORDS)), quoted, variables
)
paths = st.one_of(
    st.tuples(NAMES),
    st.builds(lambda first, rest: (first, *rest), NAMES, st.lists(TEXTS, min_size=1, max_size=3)),
)
fields = st.builds(ast.Field, paths)
fields_of = st.builds(ast.ImageField, paths, operands)

right_literals = st.one_of(st.builds(ast.Literal, BARE.filter(lambda text: not text.startswith("."))), quoted)
left_literals = st.one_of(
    st.builds(ast.Literal, BARE.filter(lambda text: not begins_with_field(text) and text[0] != "*")), quoted
)
FUNCTIONS = NAMES.map(str.lower).filter(lambda name: name not in {"in", "not", "or", "has", "distinct", "and"})
ARITHMETIC_OPERATORS = st.sampled_from("+-*/%")
OPERATORS = st.sampled_from([
    "=", "!=", "<", "<=", ">", ">=", "like", "matches", "has", "before", "after", "since", "within",
])  # fmt: skip
RELATIONS = st.sampled_from(["layers", "base", "children", "containers", "names", "remote", "x_1", "Größe".lower()])
IMAGE_PHRASES = ["based on", "shares layers with"]
VALUE_PHRASES = ["older than", "newer than", "contains file", "contains package"]
MAX_DEPTH = 3


@st.composite
def values(draw: st.DrawFn, depth: int = MAX_DEPTH) -> ast.Expr:
    """A right operand."""
    match draw(st.integers(0, 6)) if depth > 0 else 0:
        case 4:
            return draw(calls(depth - 1))
        case 5:
            return ast.Arithmetic(draw(ARITHMETIC_OPERATORS), draw(values(depth - 1)), draw(values(depth - 1)))
        case 6:
            return draw(subqueries(depth - 1))
        case _:
            return draw(st.one_of(right_literals, variables, fields, fields_of))


@st.composite
def calls(draw: st.DrawFn, depth: int) -> ast.Expr:
    """A function call on left operands."""
    match draw(st.integers(0, 4)):
        case 0:
            return ast.Call(draw(FUNCTIONS), (draw(conditions(depth)),), distinct=True)
        case 4:
            return ast.Call(draw(FUNCTIONS), (draw(conditions(depth)),), per=draw(expressions(depth, least=1)))
        case 1:
            return ast.Call(draw(FUNCTIONS), (draw(subqueries(depth)),))
        case _:
            return ast.Call(draw(FUNCTIONS), draw(expressions(depth, least=0)))


@st.composite
def subqueries(draw: st.DrawFn, depth: int) -> ast.Subquery:
    """A query as a value; a query of a relation has only a condition."""
    if not draw(st.integers(0, 3)):
        return ast.Subquery(ast.Query(draw(RELATIONS), where=draw(conditions(depth - 1))))
    return ast.Subquery(draw(rows(depth - 1).filter(lambda asked: not _is_alone(asked))))


def _is_alone(asked: ast.RowSource) -> bool:
    return isinstance(asked, ast.Query) and asked == ast.Query(asked.table)


@st.composite
def existing(draw: st.DrawFn, depth: int) -> ast.Exists:
    """`any` or `no` with rows of a relation or a table."""
    if draw(st.booleans()):
        where = draw(st.none() | conditions(depth))
        return ast.Exists(ast.Query(draw(RELATIONS), where=where), draw(st.booleans()))
    return ast.Exists(draw(rows(depth)), draw(st.booleans()))


@st.composite
def members(draw: st.DrawFn, depth: int) -> ast.In:
    """`in` with a list, a query or a list variable."""
    operand = draw(conditions(depth))
    match draw(st.integers(0, 3)):
        case 0:
            return ast.In(operand, rows=draw(variables))
        case 1:
            return ast.In(operand, rows=draw(rows(depth)))
        case _:
            items = draw(st.lists(values(depth), min_size=1, max_size=3))
            if len(items) == 1 and isinstance(items[0], ast.Literal) and items[0].text.lower() in TABLES:
                items = [items[0].replace(quoted=True)]  # bare, `in (images)` is a query
            return ast.In(operand, tuple(items))


@st.composite
def predicates(draw: st.DrawFn, depth: int) -> ast.Predicate:
    """A predicate."""
    words = draw(st.sampled_from([*IMAGE_PHRASES, *VALUE_PHRASES, "in use", "local only"]))
    if words in IMAGE_PHRASES:
        return ast.Predicate(words, (draw(st.one_of(right_literals, variables)),))
    return ast.Predicate(words, (draw(values(depth)),) if words in VALUE_PHRASES else ())


@st.composite
def conditions(draw: st.DrawFn, depth: int = MAX_DEPTH) -> ast.Expr:
    """A left operand, possibly a condition in parentheses."""
    kind = draw(st.integers(0, 13)) if depth > 0 else 0
    depth -= 1
    match kind:
        case 1 | 2:
            return ast.Comparison(draw(OPERATORS), draw(conditions(depth)), draw(values(depth)))
        case 3:
            return ast.Between(draw(conditions(depth)), draw(values(depth)), draw(values(depth)))
        case 4:
            return draw(members(depth))
        case 5:
            return ast.IsKnown(draw(conditions(depth)), draw(st.booleans()))
        case 6:
            return ast.Arithmetic(draw(ARITHMETIC_OPERATORS), draw(conditions(depth)), draw(values(depth)))
        case 7:
            return draw(existing(depth))
        case 8:
            return draw(predicates(depth))
        case 9:
            operand = draw(conditions(depth))
            return operand.operand if isinstance(operand, ast.Not) else ast.Not(operand)
        case 10:
            return ast.And(_flat(draw(expressions(depth, least=2)), ast.And))
        case 11:
            return ast.Or(_flat(draw(expressions(depth, least=2)), ast.Or))
        case 12:
            return draw(calls(depth))
        case 13:
            return draw(subqueries(depth))
        case _:
            return draw(st.one_of(left_literals, variables, fields, fields_of))


def _flat(parts: tuple[ast.Expr, ...], kind: type[ast.And | ast.Or]) -> tuple[ast.Expr, ...]:
    return tuple(one for part in parts for one in (part.operands if isinstance(part, kind) else (part,)))


@st.composite
def expressions(draw: st.DrawFn, depth: int = 1, least: int = 0) -> tuple[ast.Expr, ...]:
    """Some conditions or values."""
    return tuple(draw(st.lists(conditions(depth), min_size=least, max_size=max(least, 2))))


@st.composite
def limits(draw: st.DrawFn) -> ast.Limit | None:
    """A limit or None."""
    return ast.Limit(draw(values(1)), draw(expressions())) if draw(st.booleans()) else None


@st.composite
def limits_of(draw: st.DrawFn, kind: type[ast.UntilSize | ast.When], operators: dict[str, list[str]]) -> Any:
    """The limit of a measure, such as `total size <= 1GB` or `disk use > 85%`."""
    measure = draw(st.sampled_from(sorted(operators)))
    percentages = st.sampled_from(["80%", "2.5%"]).map(ast.Literal)
    return kind(draw(st.sampled_from(operators[measure])), draw(values(1) | percentages), measure)


@st.composite
def queries(draw: st.DrawFn, depth: int = 1) -> ast.Query:
    """A query with some of its clauses."""
    if depth <= 0:
        return ast.Query(draw(st.sampled_from(sorted(TABLES))), where=draw(st.none() | conditions(depth)))
    some = st.booleans()
    targets = st.one_of(operands, rows(depth - 1))
    joins = st.builds(
        ast.Join, st.sampled_from(["left", "inner", "full"]), rows(depth - 1), IDENTIFIERS, conditions(depth)
    )
    orders = st.builds(ast.Ordering, conditions(1), some)
    columns = st.builds(ast.Column, conditions(depth), st.none() | TEXTS)
    asked = ast.Query(
        draw(st.sampled_from(sorted(TABLES))),
        targets=tuple(draw(st.lists(targets, max_size=2))),
        sources=tuple(draw(st.lists(operands, max_size=2))),
        joins=tuple(draw(st.lists(joins, max_size=2))),
        nonempty=draw(some),
        explicit_all=draw(some),
        where=draw(st.none() | conditions(depth + 1)),
        group=draw(expressions()),
        having=draw(st.none() | conditions(depth)),
        order=tuple(draw(st.lists(orders, max_size=2))),
        limit=draw(limits()),
        skip=draw(limits()),
        keep_newest=draw(st.none() | st.builds(ast.KeepNewest, values(1), expressions(), st.none() | conditions(1))),
        until=draw(
            st.none() | limits_of(ast.UntilSize, {"total size": ["<", "<="], "disk use": ["<"], "free": [">="]})
        ),
        when=draw(st.none() | limits_of(ast.When, {"disk use": [">", ">="], "free": ["<", "<="]})),
        select=tuple(draw(st.lists(columns, max_size=2))),
        count=draw(some),
    )
    if asked.targets and not asked.sources:
        asked = asked.replace(at=draw(st.just(()) | paths))
    base = draw(rows(depth - 1))
    if _is_alone(base) or draw(some):
        return asked
    within = asked.replace(table="", targets=(), sources=(), at=(), base=base)
    return within.replace(explicit_all=True) if within == ast.Query("", base=within.base) else within


@st.composite
def rows(draw: st.DrawFn, depth: int = 1) -> ast.RowSource:
    """A query or a set operation."""
    if depth <= 0 or draw(st.integers(0, 3)):
        return draw(queries(depth))
    operator = draw(st.sampled_from(["union", "except", "intersect"]))
    return ast.Combination(operator, draw(rows(depth - 1)), draw(rows(depth - 1)), draw(expressions()))


outputs = st.one_of(
    st.just(ast.Output()),
    st.builds(ast.Output, format=st.sampled_from(sorted(FORMATS))),
    st.builds(ast.Output, template=TEXTS),
)


@st.composite
def actions(draw: st.DrawFn) -> ast.ActionStatement:
    """An action: on nothing, on all, on references, or on a query."""
    names = draw(
        st.lists(
            st.sampled_from(["as", "to", "from", "platform", "change", "message", "force", "run", "dry run"]),
            unique=True,
        )
    )
    options = []
    for name in names:
        most = {"force": 0, "dry run": 0, "platform": 2, "change": 2, "run": 2}.get(name, 1)
        given = draw(st.lists(operands, min_size=min(most, 1), max_size=most))
        if name == "as" and isinstance(given[0], ast.Literal) and given[0].text.lower() in FORMATS:
            given = [ast.Literal(given[0].text, quoted=True)]  # bare, `as json` is an output form
        options.append(ast.Option(name, tuple(given)))
    act = ast.ActionStatement(draw(st.sampled_from(sorted(VERBS))), options=tuple(options), output=draw(outputs))
    match draw(st.integers(0, 3)):
        case 1:
            return act.replace(explicit_all=True)
        case 2:
            return act.replace(references=(draw(first_operands), *draw(st.lists(operands, max_size=2))))
        case 3:
            return act.replace(query=draw(rows()))
        case _:
            return act


@st.composite
def lets(draw: st.DrawFn) -> ast.Let:
    """The definition of a variable."""
    items = st.lists(values(1), min_size=2, max_size=3).map(lambda listed: ast.ListLiteral(tuple(listed)))
    return ast.Let(draw(IDENTIFIERS), draw(st.one_of(values(2), items, subqueries(2))))


@st.composite
def statements(draw: st.DrawFn) -> ast.Statement:
    """Any statement."""
    match draw(st.integers(0, 13)):
        case 0:
            return ast.Explain(draw(statements()))
        case 1:
            return ast.DryRun(draw(statements()))
        case 2:
            return draw(st.sampled_from([ast.Set(), ast.Let(), ast.View(), ast.Use()]))
        case 3:
            return ast.Set(draw(NAMES), draw(st.none() | values(2)))
        case 4:
            return ast.Help(tuple(draw(st.lists(BARE, max_size=2))))
        case 5 | 6:
            return draw(actions())
        case 7:
            return draw(lets())
        case 8:
            return ast.View(draw(IDENTIFIERS).lower(), draw(rows()))
        case 9:
            return ast.Use(draw(st.one_of(st.builds(ast.Literal, BARE), quoted)))
        case 10:
            return ast.OnError(draw(st.booleans())) if draw(st.booleans()) else ast.Include(draw(TEXTS))
        case 11:
            return ast.Assert(draw(conditions()), draw(outputs))
        case _:
            return ast.QueryStatement(draw(rows()), draw(outputs))
