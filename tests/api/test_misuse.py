"""Misuse of the Python API is refused with a hint, and strings never change the meaning of a statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq import GB, images, layers
from imq import field as f
from imq.api.statements import to_statement
from imq.grammar.parser import parse
from language.strategies import VOCABULARY

if TYPE_CHECKING:
    from collections.abc import Callable

MISUSES: dict[str, tuple[Callable[[], Any], str]] = {
    "and": (lambda: f.dangling and f.in_use, "& for and"),
    "or": (lambda: f.dangling or f.in_use, "| for or"),
    "not": (lambda: not f.dangling, "~ for not"),
    "if": (lambda: 1 if f.size > 1 else 2, "imq.if_("),
    "chain": (lambda: 1 < f.size < 5, ".between("),
    "in a list": (lambda: f.tag in ["a", "b"], ".in_("),
    "in a field": (lambda: "env" in f.label, ".has("),
    "bool": (f.dangling.__bool__, "~ for not"),
    "if a query": (lambda: 1 if images else 2, "session(query)"),
    "a loop over a query": (lambda: list(images), "for row in session(query)"),
    "a loop over a field": (lambda: list(f.layers), "for row in session(query)"),
    "unpacking": (lambda: (*imq.rm("a"),), "session(query)"),
    "a condition on the right": (lambda: f.dangling == (f.size > 1), "a value on the right"),
    "none": (lambda: f.tag == None, ".is_unknown()"),  # noqa: E711 - the comparison under test
    "nan": (lambda: f.size * float("nan"), "not a number"),
    "an object": (lambda: f.size > object(), "not a value of the language"),
    "an empty list": (lambda: f.tag.in_([]), "an empty list"),
    "a string for a list": (lambda: f.tag.in_("latest"), ".in_(['latest'])"),
    "a field for a list": (lambda: f.tag.in_(f.label), ".has("),
    "a boolean for a condition": (lambda: images.where(True), "expected a condition, not True"),  # type: ignore[arg-type]
    "and with a boolean": (lambda: f.dangling & True, "expected a condition"),
    "a query and a condition": (lambda: images & (f.size > 1), "belongs in .where("),
    "a condition or a query": (lambda: f.dangling | images, "expected a condition"),
    "a string to order by": (lambda: images.order_by("size"), "example: f.size"),  # type: ignore[arg-type]
    "a string to select": (lambda: images.select("name"), "example: f.name"),  # type: ignore[arg-type]
    "nothing to select": (images.select, "at least one value"),
    "a clause twice": (lambda: images.limit(1).limit(2), ".as_table()"),
    "of twice": (lambda: layers.of("a").of("b"), "given twice"),
    "an unknown format": (lambda: images.as_("jsno"), 'did you mean "json"'),
    "an unknown option": (lambda: imq.rm("a", forc=True), 'did you mean "force"'),
    "a name and a query": (lambda: imq.rm("a", images), "first | second"),
    "a number to remove": (lambda: imq.rm(7), "expected a name or path"),
    "a list to remove": (lambda: imq.rm(["a", "b"]), "imq.rm(*names)"),  # type: ignore[arg-type]
    "an invalid field": (lambda: f["a b"], "is not a field"),
    "an invalid variable": (lambda: imq.var("a b; rm x"), "not a valid name of a variable"),
    "an invalid relation": (f.base.layers.any, "not a relation of the row"),
    "a condition to run": (lambda: imq.explain(f.dangling), "imq.assert_("),
    "an action as a value": (lambda: f.size > imq.rm("a"), "expected a value"),
}


@pytest.mark.parametrize(("build", "expected"), MISUSES.values(), ids=MISUSES)
def test_misuse_is_refused_with_a_hint(build: Callable[[], Any], expected: str) -> None:
    with pytest.raises(imq.StatementError) as caught:
        build()
    assert expected in str(caught.value)


def test_misuse_is_a_type_error_and_an_imq_error() -> None:
    with pytest.raises(TypeError):
        bool(f.dangling)
    with pytest.raises(imq.ImqError):
        bool(f.dangling)


def test_trees_are_compared_with_equals() -> None:
    assert images.where(f.size > 1 * GB).equals(images.where(f.size > 1 * GB))
    assert not images.equals(layers)
    assert len({f.size > 1, f.size > 2}) == 2


INJECTIONS = [
    "latest or dangling",
    "a; rm images all",
    "x\nrm y",
    '" or "',
    "a' b",
    "{{.ID}} as json",
    "$x",
    ".tag",
    "of",
    "",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_string_stays_one_literal(text: str) -> None:
    for built in (images.where(f.tag == text), imq.rm(text), images.where(f.label[text] == 1), layers.of(text)):
        (parsed,) = parse(str(built), VOCABULARY)
        assert parsed == to_statement(built)


def test_public_names_are_attributes_of_the_module() -> None:
    assert str(imq.sum_(f.size)) == "sum(size)"
    assert imq.__version__[0].isdigit()
    assert str(imq.if_(f.dangling, "a", "b")) == 'if(dangling, "a", "b")'
    with pytest.raises(AttributeError, match='did you mean "images"'):
        imq.imagez  # noqa: B018 - the lookup fails
    assert {"images", "rm", "import_", "age", "GB", "ImqError", "connect", "older_than"} <= set(dir(imq))
