"""Names of indexes of which a query selects only some platforms: a removal leaves them."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.sources.action import PlanContext

    from .operands import Target


def find_remaining_platforms(
    targets: Sequence[Target], context: PlanContext
) -> dict[tuple[Digest, str | None], list[str]]:
    """Return the remaining platforms of each name of an index that has only some of its images among the targets.

    The keys are index and name: the images that are selected under one name of an index do not count for another.
    """
    import json

    selected: dict[tuple[Digest, str | None], set[Digest]] = {}
    for target in targets:
        selected.setdefault((target.root, target.name), set()).add(target.id)
    for target in targets:
        if target.every:
            selected.pop((target.root, target.name), None)
    rows = context.store.index.connection.execute(
        "SELECT DISTINCT root, id, platform, manifest FROM entry WHERE root IN"
        " (SELECT root FROM entry WHERE root IN (SELECT value FROM json_each(?))"
        " GROUP BY root HAVING min(manifest) <> max(manifest))",
        (json.dumps(sorted({root for root, _ in selected})),),
    )
    images: dict[str, list[tuple[str, str]]] = {}
    for root, id_, platform, manifest in rows:
        images.setdefault(root, []).append((id_, platform or Digest(id_ or manifest).short))
    remaining = {
        (root, name): [platform for id_, platform in images.get(root, ()) if id_ not in ids]
        for (root, name), ids in selected.items()
    }
    return {key: platforms for key, platforms in remaining.items() if platforms}
