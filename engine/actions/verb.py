"""The declaration of a verb, from which operand checks, help, completion, dry run and dispatch follow."""

from __future__ import annotations

from enum import Enum

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.result import Result
    from imq.engine.sources.action import PlanContext, Planner
    from imq.grammar import ast


class OperandKind(Enum):
    """What may follow a verb."""

    NOTHING = "nothing"
    NAMES = "names of images, or a query of them"
    PATHS = "files or folders"
    HOSTS = "registries, by their hosts or by their names in the configuration"
    IMAGES = "images, or a query of images"
    ROWS = "images, or a query of anything"


class Verb(Record):
    """One verb: the constant `VERB` of its module.

    `plan` returns the actions of a statement in the order of execution and changes nothing. `answer` returns a result
    at once instead (inspect). `options` are the options that the verb takes; `path_options` those with the path of a
    file or folder. `example` is a whole statement.

    With `runs_programs` a program of the user does the work, which may remove what the rows name.
    `removes` says that something is gone afterwards, so no misspelled word is taken for the verb. With
    `needs_confirmation` the user confirms the plan. `operand_optional` allows a statement without an operand, and
    `all` the operand `all`. `docker_differences` says where the verb differs from the docker command of its name.
    `expand` returns the statement with the query that it is short for.
    """

    name: str
    doc: str
    example: str
    operand: OperandKind
    options: tuple[str, ...] = ()
    removes: bool = False
    runs_programs: bool = False
    needs_confirmation: bool = False
    operand_optional: bool = False
    all: bool = False
    docker_differences: str = ""
    path_options: tuple[str, ...] = ()
    expand: Callable[[ast.ActionStatement], ast.ActionStatement] | None = None
    plan: Planner | None = None
    answer: Callable[[ast.ActionStatement, PlanContext], Result] | None = None
