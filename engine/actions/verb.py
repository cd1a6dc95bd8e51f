"""What a verb is: one declaration each, from which parsing of its operands, help, dry run and dispatch follow."""

from __future__ import annotations

from enum import Enum

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from imq.engine.configuration.configuration import Registry
    from imq.engine.oci.platform import Platform
    from imq.engine.query import ir
    from imq.engine.query.binder import Scope
    from imq.engine.result import Result
    from imq.engine.store.store import Store
    from imq.grammar import ast

    from .base import Action

    Run = Callable[[ast.Rows, Sequence[str]], tuple[ir.Select, list[tuple[str | int | float | None, ...]]]]


class Takes(Enum):
    """What may follow a verb."""

    NOTHING = "nothing"
    NAMES = "names of images, or a query of them"
    PATHS = "files or folders"
    HOSTS = "registries, by their hosts or by their names in the configuration"
    IMAGES = "images, or a query of images"
    ROWS = "images, or a query of anything"


class Verb(Record):
    """One verb.

    `plan` turns its statement into actions, in the order in which they are to be done, and does nothing yet. `answer`
    instead answers at once (inspect). `options` are the words it understands beside its operand; `destroys` says that
    it is confirmed before it is done; `alone` that it may stand without an operand; `example` is a whole statement.
    `differs` says where it does something else than docker's command of this name; `files` are the options behind
    which the path of a file or folder stands. `short_for` returns a statement of it with the query that it stands for.
    """

    name: str
    doc: str
    example: str
    takes: Takes
    options: tuple[str, ...] = ()
    destroys: bool = False
    alone: bool = False
    all: bool = False
    differs: str = ""
    files: tuple[str, ...] = ()
    short_for: Callable[[ast.Act], ast.Act] | None = None
    plan: Callable[[ast.Act, Planning], list[Action]] | None = None
    answer: Callable[[ast.Act, Planning], Result] | None = None


class Planning(Record):
    """What a verb plans with.

    `literals` gives the texts of operands; `bind` resolves a query's names; `rows` runs a query and returns its rows
    with the hidden columns of the store after the selected ones. What a registry did not tell of the rows that a verb
    works on becomes a failure of the statement; `lookup` runs a query about other rows, of which that is no failure.
    Paths are meant from `folder`. `registry` finds the registries that have names.
    """

    store: Store
    scope: Scope
    platform: Platform | None
    literals: Callable[[Sequence[ast.Literal | ast.Variable]], list[str]]
    bind: Callable[[ast.Rows], ir.Select]
    rows: Run
    lookup: Run
    environment: Mapping[str, str]
    folder: str = "."
    registry: Callable[[str], Registry | None] = lambda _: None
