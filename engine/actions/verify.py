"""The verb `verify`: checks the digests of every blob of images."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.engine.sources.action import Outcome, PreparedAction
from imq.engine.sources.action_options import get_option, list_source_refs
from imq.engine.store.index_json import list_repositories
from imq.grammar import ast
from imq.grammar.errors import ImqError, StatementError
from imq.grammar.record import TYPE_CHECKING

from .config_problems import list_config_problems
from .operands import find_planner, resolve_each_target
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.verify import StoreVerifier


class Verify(PreparedAction):
    """Verify every blob of an image. With `repair`, corrupt and missing blobs are fetched again from `repositories`."""

    name: str
    root: Digest
    id: Digest
    repair: bool = False
    repositories: tuple[Reference, ...] = ()

    def describe(self) -> Outcome:
        """Return the image and, for a repair, the repositories."""
        note = None
        if self.repair:
            names = ", ".join(one.familiar_name for one in self.repositories)
            note = f"corrupt blobs are fetched again from {names or 'the registries of other images that have them'}"
        return Outcome("verify", self.name, self.id, note=note)

    @staticmethod
    def prepare(actions: Sequence[Any], context: ExecutionContext) -> None:
        """Let workers check the layers of the images, if there are any."""
        if context.workers is None:
            return
        from imq.engine.sources.contents.blob_checks import BlobCheck, check_blobs
        from imq.engine.store.layer_measure import LayerMeasure

        verifier = context.get_shared(_make_verifier)
        checks = [BlobCheck(*one) for one in verifier.list_layers(action.root for action in actions)]
        intact = []
        for check, found in check_blobs(context.workers, checks, context.progress):
            digest, diff_id = check.descriptor.digest, check.diff_id
            if isinstance(found, ImqError):
                verifier.note_problem(digest, diff_id, found)
            else:
                intact.append(LayerMeasure(digest, diff_id, found["size"], found["tarSize"], found["entries"]))
        verifier.note_intact(intact)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Verify the image; yield an outcome for each repaired blob, and for each defect or for the intact image."""
        from imq.engine.store.verify import Defect, Repaired

        verifier = context.get_shared(_make_verifier)
        for result in verifier.verify(self.root, self.name, self.repositories if self.repair else None):
            match result:
                case Repaired(digest, source, size):
                    note = f"{digest} was fetched again from {source.familiar_name}"
                    yield Outcome("repair", self.name, self.id, size, note=note)
                case Defect(error, names, count):
                    more = f" and {count - len(names)} more" if count > len(names) else ""
                    yield Outcome("verify", self.name, self.id, note=f"in {', '.join(names)}{more}", error=error)
                case _:
                    for problem in list_config_problems(context.store, self.id):
                        context.progress.warn(problem)
                    absent = f"; {result.absent} of its index not stored" if result.absent else ""
                    note = f"every blob is intact{absent}"
                    yield Outcome("verify", self.name, self.id, result.size, note=note)


def _make_verifier(context: ExecutionContext) -> StoreVerifier:
    from imq.engine.store.verify import StoreVerifier

    return StoreVerifier(context.store, context.jobs, context.get_image_reader, context.progress)


def _plan_verify(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if (planner := find_planner(act, context)) is not None:
        return planner(act, context)
    source = get_option(act, "from")
    if source is not None and any(ref.source != "store" for ref in list_source_refs(act, context)):
        (text, *_) = context.literals(source.values)
        raise StatementError(
            f"verify does not work in {text} with names of images",
            code="place",
            span=source.span,
            hints=(f"for tags of a registry: verify tags of {text}/app where …",),
        )
    repair = get_option(act, "repair")
    verifies_all = act.query is None and not act.references
    if verifies_all:
        act = act.replace(options=tuple(option for option in act.options if option is not source))
        act = act.replace(query=ast.Query("images", explicit_all=True))
    resolved, failures = resolve_each_target(act, context, takes_unreadable=True)
    targets = {target.root: (target.name, target.id) for target in resolved[::-1]}
    images = [(root, *targets[root]) for root in reversed(targets)]
    entries = context.store.layout.read_entries() if verifies_all or repair is not None else []
    if verifies_all:  # includes entries that are not images, which no query returns
        roots = {entry.descriptor.digest: entry.name for entry in entries}
        images += [(root, str(name) if name else None, root) for root, name in roots.items() if root not in targets]
    actions: list[Action] = []
    for root, name, id_ in images:
        repositories = (
            list_repositories(entry for entry in entries if entry.descriptor.digest == root)
            if repair is not None
            else ()
        )
        actions.append(Verify(name or id_.short, root, id_, repair is not None, tuple(repositories)))
    return actions + failures


VERB = Verb(
    "verify",
    "Check the digest of every blob of images, and the diff IDs of their layers; verify all checks every image. With"
    " repair, corrupt and missing blobs are fetched again from the registries in the names of the images. Images in"
    " layouts and archives are verified where they are: from PLACE.",
    "verify all repair",
    OperandKind.IMAGES,
    options=("from", "repair", "dry run"),
    all=True,
    plan=_plan_verify,
)
