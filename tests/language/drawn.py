"""Drawn syntax trees: every kind of node, in the form that the parser gives them.

That form: `and` and `or` are flat and have two operands or more, `not` never stands before `not`, what stands on the
right of an operator is no condition, and a bare literal is one that text could have been read as.
"""

from __future__ import annotations

from hypothesis import strategies as st
from imq.engine.render.forms import FORMS
from imq.engine.tables import TABLES
from imq.engine.verbs import VERBS
from imq.grammar import ast
from imq.grammar.lexer import Vocabulary, is_field, is_word

VOCABULARY = Vocabulary(frozenset(VERBS), frozenset(TABLES), frozenset(FORMS))

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
).filter(is_word)  # fmt: skip

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
fields_of = st.builds(ast.FieldOf, paths, operands)

right_literals = st.one_of(st.builds(ast.Literal, BARE.filter(lambda text: not text.startswith("."))), quoted)
left_literals = st.one_of(
    st.builds(ast.Literal, BARE.filter(lambda text: not is_field(text) and text[0] != "*")), quoted
)
FUNCTIONS = NAMES.map(str.lower).filter(lambda name: name not in {"in", "not", "or", "has", "distinct", "and"})
SIGNS = st.sampled_from("+-*/%")
OPERATORS = st.sampled_from([
    "=", "!=", "<", "<=", ">", ">=", "like", "matches", "has", "before", "after", "since", "within",
])  # fmt: skip
DEEPEST = 3


@st.composite
def values(draw: st.DrawFn, depth: int = DEEPEST) -> ast.Expr:
    """What may stand on the right of an operator."""
    match draw(st.integers(0, 5)) if depth > 0 else 0:
        case 4:
            return draw(calls(depth - 1))
        case 5:
            return ast.Arithmetic(draw(SIGNS), draw(values(depth - 1)), draw(values(depth - 1)))
        case _:
            return draw(st.one_of(right_literals, variables, fields, fields_of))


@st.composite
def calls(draw: st.DrawFn, depth: int) -> ast.Expr:
    """A function of what may stand on the left of an operator."""
    if draw(st.booleans()):
        return ast.Call(draw(FUNCTIONS), (draw(conditions(depth)),), distinct=True)
    return ast.Call(draw(FUNCTIONS), draw(several(depth, least=0)))


@st.composite
def conditions(draw: st.DrawFn, depth: int = DEEPEST) -> ast.Expr:
    """What may stand on the left of an operator, conditions in parentheses among it."""
    kind = draw(st.integers(0, 12)) if depth > 0 else 0
    depth -= 1
    match kind:
        case 1 | 2:
            return ast.Comparison(draw(OPERATORS), draw(conditions(depth)), draw(values(depth)))
        case 3:
            return ast.Between(draw(conditions(depth)), draw(values(depth)), draw(values(depth)))
        case 4:
            items = draw(st.lists(values(depth), min_size=1, max_size=3))
            return ast.In(draw(conditions(depth)), tuple(items))
        case 5:
            return ast.Known(draw(conditions(depth)), draw(st.booleans()))
        case 6:
            return ast.Arithmetic(draw(SIGNS), draw(conditions(depth)), draw(values(depth)))
        case 7:
            return ast.Phrase("in use")
        case 8:
            return ast.Phrase(draw(st.sampled_from(["older than", "newer than"])), (draw(values(depth)),))
        case 9:
            operand = draw(conditions(depth))
            return operand.operand if isinstance(operand, ast.Not) else ast.Not(operand)
        case 10:
            return ast.And(_flat(draw(several(depth, least=2)), ast.And))
        case 11:
            return ast.Or(_flat(draw(several(depth, least=2)), ast.Or))
        case 12:
            return draw(calls(depth))
        case _:
            return draw(st.one_of(left_literals, variables, fields, fields_of))


def _flat(parts: tuple[ast.Expr, ...], kind: type[ast.And | ast.Or]) -> tuple[ast.Expr, ...]:
    return tuple(one for part in parts for one in (part.operands if isinstance(part, kind) else (part,)))


@st.composite
def several(draw: st.DrawFn, depth: int = 1, least: int = 0) -> tuple[ast.Expr, ...]:
    """Some conditions or values."""
    return tuple(draw(st.lists(conditions(depth), min_size=least, max_size=max(least, 2))))


@st.composite
def windows(draw: st.DrawFn) -> ast.Window | None:
    """A limit, perhaps."""
    return ast.Window(draw(values(1)), draw(several())) if draw(st.booleans()) else None


@st.composite
def queries(draw: st.DrawFn, depth: int = 1) -> ast.Query:
    """A query with some of its clauses."""
    some = st.booleans()
    targets = st.one_of(operands, queries(depth - 1)) if depth else operands
    orders = st.builds(ast.Ordering, conditions(1), some)
    columns = st.builds(ast.Column, conditions(2), st.none() | TEXTS)
    return ast.Query(
        draw(st.sampled_from(sorted(TABLES))),
        targets=tuple(draw(st.lists(targets, max_size=2))),
        sources=tuple(draw(st.lists(operands, max_size=2))),
        every=draw(some),
        where=draw(st.none() | conditions()),
        group=draw(several()),
        having=draw(st.none() | conditions(2)),
        order=tuple(draw(st.lists(orders, max_size=2))),
        limit=draw(windows()),
        skip=draw(windows()),
        newest=draw(st.none() | st.builds(ast.Newest, values(1), several(), st.none() | conditions(1))),
        select=tuple(draw(st.lists(columns, max_size=2))),
        count=draw(some),
    )


outputs = st.one_of(
    st.just(ast.Output()),
    st.builds(ast.Output, form=st.sampled_from(sorted(FORMS))),
    st.builds(ast.Output, template=TEXTS),
)


@st.composite
def acts(draw: st.DrawFn) -> ast.Act:
    """An action: on nothing, on all, on references, or on a query."""
    names = draw(
        st.lists(
            st.sampled_from(["as", "to", "from", "platform", "change", "message", "force", "dry run"]), unique=True
        )
    )
    options = []
    for name in names:
        most = {"force": 0, "dry run": 0, "platform": 2, "change": 2}.get(name, 1)
        given = draw(st.lists(operands, min_size=min(most, 1), max_size=most))
        if name == "as" and isinstance(given[0], ast.Literal) and given[0].text.lower() in FORMS:
            given = [ast.Literal(given[0].text, quoted=True)]  # bare, `as json` is an output form
        options.append(ast.Option(name, tuple(given)))
    act = ast.Act(draw(st.sampled_from(sorted(VERBS))), options=tuple(options), output=draw(outputs))
    match draw(st.integers(0, 3)):
        case 1:
            return act.replace(every=True)
        case 2:
            return act.replace(references=(draw(first_operands), *draw(st.lists(operands, max_size=2))))
        case 3:
            return act.replace(query=draw(queries()).replace(select=()))  # after a column, `as` names it
        case _:
            return act


@st.composite
def statements(draw: st.DrawFn) -> ast.Statement:
    """Any statement."""
    match draw(st.integers(0, 6)):
        case 0:
            return ast.Explain(draw(statements()))
        case 1:
            return ast.DryRun(draw(statements()))
        case 2:
            return ast.Setting()
        case 3:
            return ast.Setting(draw(NAMES), draw(st.none() | values(2)))
        case 4:
            return ast.Help(tuple(draw(st.lists(BARE, max_size=2))))
        case 5:
            return draw(acts())
        case _:
            return ast.Ask(draw(queries()), draw(outputs))
