"""The declaration of a verb. Operand checks, help, completion, dry run and dispatch follow from it."""

from __future__ import annotations

from enum import Enum

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.result import Result
    from imq.engine.sources.action import PlanContext, Planner
    from imq.grammar import ast


class OperandKind(Enum):
    """The operands that a verb takes. Errors and help use the value of the member."""

    NOTHING = "nothing"
    NAMES = "names of images, or a query of them"
    PATHS = "files or folders"
    HOSTS = "hosts of registries, or their names in the configuration"
    IMAGES = "images, or a query of images"
    CONTAINERS = "containers, or a query of containers"
    CONTAINER_NAME = "a name for a container"
    IMAGE_AND_INSTRUCTIONS = "an image, and Dockerfile instructions"
    IMAGE_AND_PATH = "an image, and a path in it"
    IMAGE_AND_COMMAND = "an image, and the words of a command"
    ROWS = "images, or a query of anything"


class Verb(Record):
    """One verb: the constant `VERB` of its module.

    - `plan` returns the actions of a statement in the order of execution. It changes nothing.
    - `answer` returns a result instead of a plan (inspect).
    - `options` are the options of the verb; `path_options` those whose value is the path of a file or folder.
    - `example` is a complete statement.
    - `removes`: the verb deletes data, so a misspelled word is never corrected to it.
    - `runs_programs`: the verb runs programs of the user, which may delete data.
    - `needs_confirmation`: the user confirms the plan.
    - `operand_optional` allows a statement without an operand, and `all` the operand `all`.
    - `docker_differences` describes the differences from the docker command of the same name.
    - `formats_files`: the output format is that of the files which the verb writes; outcomes are shown in the default.
    - `expand` returns the statement with the query that it is short for.
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
    formats_files: bool = False
    path_options: tuple[str, ...] = ()
    expand: Callable[[ast.ActionStatement], ast.ActionStatement] | None = None
    plan: Planner | None = None
    answer: Callable[[ast.ActionStatement, PlanContext], Result] | None = None
