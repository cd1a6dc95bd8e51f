"""What Python would read otherwise is refused, with advice; what comes from outside stays a value."""

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

TOLD: dict[str, tuple[Callable[[], Any], str]] = {
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
    "a condition on the right": (lambda: f.dangling == (f.size > 1), "on the right"),
    "nothing": (lambda: f.tag == None, ".is_unknown()"),  # noqa: E711 - it is what is refused
    "a number that is none": (lambda: f.size * float("nan"), "no number"),
    "an object": (lambda: f.size > object(), "no value of the language"),
    "an empty list": (lambda: f.tag.in_([]), "empty"),
    "a text for a list": (lambda: f.tag.in_("latest"), ".in_(['latest'])"),
    "a field for a list": (lambda: f.tag.in_(f.label), ".has("),
    "where a truth": (lambda: images.where(True), "a condition is wanted, not True"),  # type: ignore[arg-type]
    "and a truth": (lambda: f.dangling & True, "a condition is wanted"),
    "and a query": (lambda: images & (f.size > 1), "belongs into .where("),
    "or a query": (lambda: f.dangling | images, "a condition is wanted"),
    "a text to order by": (lambda: images.order_by("size"), "such as: f.size"),  # type: ignore[arg-type]
    "a text to select": (lambda: images.select("name"), "such as: f.name"),  # type: ignore[arg-type]
    "nothing to select": (images.select, "one value or more"),
    "twice": (lambda: images.limit(1).limit(2), ".as_table()"),
    "twice of": (lambda: layers.of("a").of("b"), "said twice"),
    "an unknown form": (lambda: images.as_("jsno"), 'did you mean "json"'),
    "an unknown option": (lambda: imq.rm("a", forc=True), 'did you mean "force"'),
    "a name and a query": (lambda: imq.rm("a", images), "first | second"),
    "a number to remove": (lambda: imq.rm(7), "a name or path is wanted"),
    "a list to remove": (lambda: imq.rm(["a", "b"]), "imq.rm(*names)"),  # type: ignore[arg-type]
    "no field": (lambda: f["a b"], "is no field"),
    "no variable": (lambda: imq.var("a b; rm x"), "no name for a variable"),
    "no relation": (f.base.layers.any, "no relation of the row"),
    "a condition to run": (lambda: imq.explain(f.dangling), "imq.assert_("),
    "an action as a value": (lambda: f.size > imq.rm("a"), "this is no value"),
}


@pytest.mark.parametrize(("what", "advice"), TOLD.values(), ids=TOLD)
def test_misuse_is_told(what: Callable[[], Any], advice: str) -> None:
    with pytest.raises(imq.StatementError) as caught:
        what()
    assert advice in str(caught.value)


def test_misuse_is_an_error_of_both_kinds() -> None:
    with pytest.raises(TypeError):
        bool(f.dangling)
    with pytest.raises(imq.ImqError):
        bool(f.dangling)


def test_equality_is_asked_by_name() -> None:
    assert images.where(f.size > 1 * GB).equals(images.where(f.size > 1 * GB))
    assert not images.equals(layers)
    assert len({f.size > 1, f.size > 2}) == 2


EVIL = [
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


@pytest.mark.parametrize("text", EVIL)
def test_texts_stay_texts(text: str) -> None:
    for made in (images.where(f.tag == text), imq.rm(text), images.where(f.label[text] == 1), layers.of(text)):
        (read,) = parse(str(made), VOCABULARY)
        assert read == to_statement(made)


def test_public_names() -> None:
    assert str(imq.sum_(f.size)) == "sum(size)"
    assert imq.__version__[0].isdigit()
    assert str(imq.if_(f.dangling, "a", "b")) == 'if(dangling, "a", "b")'
    with pytest.raises(AttributeError, match='did you mean "images"'):
        imq.imagez  # noqa: B018 - looking it up is what fails
    assert {"images", "rm", "import_", "age", "GB", "ImqError", "connect", "older_than"} <= set(dir(imq))
