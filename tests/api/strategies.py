"""Strategies for objects of the Python API, built with operators and methods as users build them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import imq
from hypothesis import strategies as st
from imq import field as f
from imq import images
from imq.api.namespace import predicates
from imq.api.statements import FLAGS, LISTS, MAPS, python_name
from imq.engine.actions import VERBS
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.tables import TABLES
from imq.engine.render.formats import FORMATS
from language.strategies import BARE, NAMES, TEXTS

texts = st.one_of(
    TEXTS, BARE, NAMES, st.sampled_from(["true", "null", "7", "-1.5", "1e5", ".tag", "*", "$x", "", "a b"])
)
scalars = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(10**19), 10**19),
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(lambda count, unit: count * unit, st.integers(0, 10**4), st.sampled_from([imq.kB, imq.GB, imq.MiB])),
    st.builds(lambda count, unit: count * unit, st.floats(0, 100), st.sampled_from([imq.kB, imq.TB, imq.GiB])),
    st.timedeltas(timedelta(0), timedelta(10**4)),
    st.dates(date(1970, 1, 1), date(2100, 1, 1)),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - without a time zone, as users write them
    st.datetimes(
        datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis requires naive bounds
        datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]),
    ),
)
fields = st.one_of(
    st.builds(lambda table: table.fields, st.sampled_from([t for t in TABLES.values() if t.fields]))
    .flatmap(st.sampled_from)
    .map(lambda field: getattr(f, field.name)),
    NAMES.map(lambda name: f[name.partition(".")[0],]),
    st.builds(lambda key: f.label[key], TEXTS),
    st.builds(lambda first, rest: f[(first, *rest)], NAMES, st.lists(TEXTS, min_size=1, max_size=2)),
    st.sampled_from([f.base.name, f["label.env"], f["label", "a.b"], imq.ref("redis:latest").created]),
    st.builds(lambda name, key: imq.ref(name)["label", key], texts, TEXTS),
)
variables = st.from_regex(r"[a-z_]\w{0,5}(\.\w{1,5})?", fullmatch=True).map(imq.var)
names = st.one_of(texts, variables)


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> Any:
    """A right operand of an operator."""
    match draw(st.integers(0, 6)) if depth > 0 else 0:
        case 4:
            return draw(calls(depth - 1))
        case 5:
            return draw(st.one_of(queries(depth - 1), st.builds(imq.ref, names), st.builds(imq.text, texts)))
        case 6:
            left = draw(st.one_of(fields, calls(depth - 1)))
            other = draw(st.one_of(st.integers(0, 9), st.floats(0, 9), fields))
            return draw(st.sampled_from([left + other, left - other, left * other, left / other, left % other]))
        case _:
            return draw(st.one_of(scalars, fields, variables))


@st.composite
def calls(draw: st.DrawFn, depth: int) -> imq.Expression:
    """A call of a function with values and conditions."""
    known = [name for name, one in FUNCTIONS.items() if not one.is_internal]
    name = draw(st.sampled_from([*known, *AGGREGATES]))
    arguments = draw(st.lists(st.one_of(values(depth), conditions(depth)), max_size=3))
    distinct = len(arguments) == 1 and not isinstance(arguments[0], imq.Query) and draw(st.booleans())
    call: imq.Expression = getattr(imq, python_name(name))(*arguments, distinct=distinct)
    return call


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> imq.Expression:
    """A condition."""
    depth -= 1
    operand = draw(st.one_of(fields, calls(depth) if depth > 0 else fields))
    match draw(st.integers(0, 11)) if depth >= 0 else 0:
        case 1:
            other = draw(values(depth))
            tests = [operand == other, operand != other, operand < other, operand <= other, operand >= other]
            return draw(st.sampled_from([*tests, operand.like(other), operand.matches(other), operand.has(other)]))
        case 2:
            moment = draw(values(depth))
            tests = [operand.before(moment), operand.after(moment), operand.since(moment), operand.within(moment)]
            return draw(st.sampled_from(tests))
        case 3:
            return operand.between(draw(values(depth)), draw(values(depth)))
        case 4:
            among = draw(st.one_of(st.lists(values(depth), min_size=1, max_size=3), variables, queries(depth)))
            return draw(st.sampled_from([operand.in_(among), operand.not_in(among)]))
        case 5:
            return draw(st.sampled_from([operand.is_known(), operand.is_unknown(), ~operand.is_known()]))
        case 6:
            words, declared = draw(st.sampled_from([*predicates().items()]))
            predicate = getattr(imq, words)
            if declared.parameter == "an image":
                return predicate(draw(names))
            return predicate(draw(values(depth))) if declared.parameter else predicate
        case 7:
            some = draw(st.lists(conditions(depth), max_size=2))
            relation = draw(st.sampled_from([f.layers, f.containers, f.children, f.history]))
            return draw(st.sampled_from([relation.any(*some), relation.none(*some), relation.count(*some) > 3]))
        case 8:
            return draw(st.sampled_from([imq.any_, imq.no]))(draw(queries(depth)))
        case 9:
            return draw(conditions(depth)) & draw(conditions(depth))
        case 10:
            return draw(conditions(depth)) | draw(conditions(depth))
        case 11:
            return ~draw(conditions(depth))
        case _:
            return operand


CLAUSES = (
    "where", "having", "group_by", "order_by", "limit", "skip", "except_newest", "until", "select", "count", "all",
    "nonempty",
)  # fmt: skip


@st.composite
def queries(draw: st.DrawFn, depth: int = 1) -> imq.Query:
    """A query with some clauses, or several that are combined."""
    if depth <= 0:
        return draw(st.sampled_from([images, imq.layers, images.where(f.dangling), images.count()]))
    if draw(st.integers(0, 4)) == 0:
        left, right, by = draw(queries(depth - 1)), draw(queries(depth - 1)), draw(st.lists(fields, max_size=2))
        return draw(st.sampled_from([left | right, left - right, left & right, left.union(right, by=by)]))
    table: imq.Table = getattr(imq, draw(st.sampled_from(sorted(TABLES))))
    if draw(st.booleans()):
        table = table.of(*draw(st.lists(st.one_of(names, queries(depth - 1)), min_size=1, max_size=2)))
    if draw(st.booleans()):
        table = table.in_(*draw(st.lists(names, min_size=1, max_size=2)))
    query: imq.Query = table
    for clause in draw(st.lists(st.sampled_from(CLAUSES), max_size=4, unique=True)):
        query = draw(clauses(query, clause, depth))
    return draw(st.sampled_from([query, query.as_table(), query.as_table().where(f.dangling)]))


@st.composite
def clauses(draw: st.DrawFn, query: imq.Query, clause: str, depth: int) -> imq.Query:
    """The query with one more clause."""
    some = st.lists(st.one_of(fields, conditions(depth)), min_size=1, max_size=2)
    per = st.one_of(fields, st.lists(fields, max_size=2))
    match clause:
        case "where" | "having":
            return getattr(query, clause)(*draw(st.lists(conditions(depth), min_size=1, max_size=2)))
        case "group_by":
            return query.group_by(*draw(some))
        case "order_by":
            return query.order_by(*(draw(st.sampled_from([one, one.desc(), one.asc()])) for one in draw(some)))
        case "limit" | "skip":
            return getattr(query, clause)(draw(st.one_of(st.integers(0, 9), variables)), per=draw(per))
        case "except_newest":
            return query.except_newest(draw(st.integers(0, 9)), per=draw(per), by=draw(st.none() | fields))
        case "until":
            return query.until(total_size=draw(st.one_of(texts, values(1))), below=draw(st.booleans()))
        case "select":
            named = draw(st.dictionaries(NAMES.filter(str.isidentifier), values(depth), max_size=2))
            return query.select(*(draw(st.sampled_from([one, one.as_(draw(TEXTS))])) for one in draw(some)), **named)
        case _:
            return getattr(query, clause)()


@st.composite
def actions(draw: st.DrawFn) -> imq.Statement:
    """An action of any verb."""
    verb = draw(st.sampled_from(list(VERBS.values())))
    options: dict[str, Any] = {}
    for option in verb.options:
        if option in FLAGS:
            options[python_name(option)] = draw(st.booleans())
        elif option in MAPS:
            values = st.one_of(names, st.lists(names, max_size=2))
            options[python_name(option)] = draw(st.dictionaries(st.sampled_from(["env", "user"]), values, max_size=2))
        else:
            several = st.lists(names, max_size=2) if option in LISTS else st.none()
            options[python_name(option)] = draw(st.one_of(names, several))
    operands: list[Any] = draw(st.one_of(st.lists(names, max_size=3), queries().map(lambda query: [query])))
    selects_all = not operands and draw(st.booleans())
    built: imq.Statement = getattr(imq, python_name(verb.name))(*operands, all=selects_all, **options)
    return draw(formatted(built))


@st.composite
def formatted(draw: st.DrawFn, built: Any) -> imq.Statement:
    """The statement as it is, with an output format, or with a template."""
    return draw(st.sampled_from([built, built.as_(draw(st.sampled_from(sorted(FORMATS)))), built.format(draw(TEXTS))]))


@st.composite
def statements(draw: st.DrawFn) -> imq.Query | imq.Statement:
    """Any query or statement."""
    word = NAMES.filter(str.isidentifier)
    match draw(st.integers(0, 11)):
        case 0 | 1 | 2:
            return draw(queries())
        case 3:
            return draw(formatted(draw(queries())))
        case 4 | 5:
            return draw(actions())
        case 6:
            items = st.lists(values(), min_size=1, max_size=3)
            return imq.let(draw(word), draw(st.one_of(values(), items, queries())))
        case 7:
            return imq.view(draw(word), draw(queries()))
        case 8:
            return draw(formatted(imq.assert_(draw(conditions()))))  # noqa: PT009 - not a method of unittest
        case 9:
            return draw(st.sampled_from([imq.explain, imq.dry_run]))(draw(statements()))
        case 10:
            return imq.set(draw(word), draw(values()))
        case _:
            words = draw(st.lists(BARE.filter(lambda text: " " not in text), max_size=2))
            plain = [imq.let(), imq.view(), imq.use(), imq.set(), imq.help(*words), imq.on_error("stop")]
            return draw(st.sampled_from([*plain, imq.use(draw(texts)), imq.include(draw(texts))]))
