"""Describes stacks of layers: what the layers of many images hide of those below, a level of all stacks at a time.

Images share their lower layers, so each stack is described once, by its chain ID. The cost of a statement of SQL is
greater than that of the few rows that most layers add, so one statement treats all stacks of a level.
"""

from __future__ import annotations

from imq.engine.oci.chain_id import compute_chain_ids
from imq.grammar.errors import ImqError, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .schema import SCHEMA

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Container, Iterable, Sequence

    from imq.engine.oci.digest import Digest

    from .hiding import LayerHider


class StackKeys(Record):
    """A stack of layers in the index: the keys of its layers and of its chains, bottom first."""

    layers: tuple[int, ...]
    chains: tuple[int, ...]


class _Chain:
    """The layer `diff_id` on top of the stack `below`.

    `key` is its key in the table `chain`, 0 while it is not described, `layer` the key of the layer, and `paths` the
    number of its entries. `lookups` is the cost so far of describing this stack and those below.
    """

    __slots__ = ("below", "diff_id", "id", "key", "layer", "lookups", "lower_paths", "paths", "position", "problem")

    def __init__(self, id_: Digest, diff_id: Digest, below: _Chain | None) -> None:
        self.id = id_
        self.diff_id = diff_id
        self.below = below
        self.position: int = below.position + 1 if below is not None else 0
        self.key = self.layer = self.paths = self.lower_paths = self.lookups = 0
        self.problem: ImqError | None = None

    def list_stack(self) -> list[_Chain]:
        """Return the stacks that this one has, itself included, the lowest first."""
        found: list[_Chain] = []
        chain: _Chain | None = self
        while chain is not None:
            found.append(chain)
            chain = chain.below
        return found[::-1]


class PartsAreNotEnough(ImqError):
    """A stack of which the index has parts of layers, whose links only the whole layers can resolve."""


class StackDescriber:
    """Describes stacks whose layers are all in the index attached to `connection`. `now` is in nanoseconds.

    `parts` are the names of layers of which the index has a part: see `index_part.py`.
    """

    def __init__(self, connection: sqlite3.Connection, now: int, parts: Container[Digest] = ()) -> None:
        self._connection = connection
        self._now = now
        self._parts = parts
        self._layers: dict[Digest, tuple[int, int]] = {}

    def describe(self, stacks: Iterable[Sequence[Digest]]) -> list[StackKeys | ImqError]:
        """Return the keys of each stack, by its diff IDs, or why it cannot be unpacked. Those lacking are described.

        The error is `Malformed` for a path that leads through too many links, `NotFound` for a layer that another
        process has removed from the index meanwhile, and `PartsAreNotEnough`.
        """
        chains: dict[Digest, _Chain] = {}
        tops = [self._list_chains(diff_ids, chains) for diff_ids in stacks]
        unknown = [chain for chain in chains.values() if not self._find(chain)]
        if unknown:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._describe([chain for chain in unknown if not self._find(chain)], tops)
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
        return [_make_keys(top) for top in tops]

    @staticmethod
    def _list_chains(diff_ids: Sequence[Digest], chains: dict[Digest, _Chain]) -> _Chain | None:
        """Add the stacks that a stack has to `chains`, and return the whole stack; None for one without layers."""
        below: _Chain | None = None
        for chain_id, diff_id in zip(compute_chain_ids(diff_ids), diff_ids, strict=True):
            chain = chains.get(chain_id)
            if chain is None:
                chain = chains[chain_id] = _Chain(chain_id, diff_id, below)
            below = chain
        return below

    def _find(self, chain: _Chain) -> bool:
        """Read the keys of a stack; return whether it is described."""
        row = self._connection.execute(
            f"""SELECT chain.key, chain.layer, layer.paths FROM {SCHEMA}.chain
            JOIN {SCHEMA}.layer ON layer.key = chain.layer WHERE id = ?""",
            (chain.id,),
        ).fetchone()
        if row is not None:
            chain.key, chain.layer, chain.paths = row
            _count_lower_paths(chain)
        return row is not None

    def _describe(self, unknown: Sequence[_Chain], tops: Iterable[_Chain | None]) -> None:
        from .hiding import LayerHider

        levels: dict[int, list[_Chain]] = {}
        for chain in unknown:
            levels.setdefault(chain.position, []).append(chain)
        whole = {chain: top for top in tops if top is not None for chain in top.list_stack()}
        with LayerHider(self._connection) as hider:
            for _, chains in sorted(levels.items()):
                for chain in self._describe_level([one for one in chains if not one.key], hider):
                    self._describe_tall(chain, whole[chain], hider)

    def _describe_level(self, chains: Iterable[_Chain], hider: LayerHider) -> list[_Chain]:
        """Describe stacks of one level; return those for which a table of what they show costs less."""
        added = {chain.key: chain for chain in chains if self._add(chain)}
        self._fill(added.values())
        costly = []
        for key, lookups in hider.find_meetings().items():
            chain = added[key]
            chain.lookups = lookups + (chain.below.lookups if chain.below is not None else 0)
            if hider.is_costly(chain.lookups, chain.lower_paths):
                costly.append(chain)
        hider.drop_tops(chain.key for chain in costly)
        hider.compare()
        linked = hider.list_linked()
        hider.drop_tops(linked)
        hider.hide()
        for key in linked:
            self._describe_single(added[key], hider)
        return costly

    def _describe_tall(self, lowest: _Chain, top: _Chain, hider: LayerHider) -> None:
        """Describe a stack from `lowest` up to `top`, with a table of what the stack shows."""
        self._fill((lowest,))
        hider.make_shown()
        try:
            for chain in top.list_stack()[lowest.position :]:
                if chain is lowest or self._add(chain):
                    self._describe_single(chain, hider)
        finally:
            hider.drop_shown()

    def _describe_single(self, chain: _Chain, hider: LayerHider) -> None:
        """Describe a stack, and resolve the links of its highest layer before."""
        self._compare_single(chain, hider)
        if hider.list_linked():
            self._resolve_links(chain)
            if chain.problem is not None:
                self._connection.execute(f"DELETE FROM {SCHEMA}.chain WHERE key = ?", (chain.key,))
                chain.key = 0
                return
            self._compare_single(chain, hider)
        hider.hide()

    def _compare_single(self, chain: _Chain, hider: LayerHider) -> None:
        self._fill((chain,))
        hider.find_meetings()
        hider.compare()

    def _resolve_links(self, chain: _Chain) -> None:
        """Give the highest layer of a stack, the only one in `top`, rows of its own if it has links to resolve."""
        connection = self._connection
        if any(one.diff_id in self._parts for one in chain.list_stack()):
            chain.problem = PartsAreNotEnough("the links of a layer need whole layers", code="layer-part")
            return
        from .resolve_links import resolve_links

        connection.execute("SAVEPOINT resolving")
        try:
            chain.layer = resolve_links(connection, chain.layer, chain.key, self._now)
        except Malformed as error:
            connection.execute("ROLLBACK TO resolving")
            message = f"the layer {chain.diff_id} is damaged: {error.message}"
            chain.problem = Malformed(message, code=error.code)
        finally:
            connection.execute("RELEASE resolving")
        connection.execute(f"UPDATE {SCHEMA}.chain SET layer = ? WHERE key = ?", (chain.layer, chain.key))

    def _add(self, chain: _Chain) -> bool:
        """Add a stack to the table `chain`; return False when it has a problem."""
        below = chain.below
        if below is not None:
            chain.problem = chain.problem or below.problem
        if chain.problem is not None:
            return False
        if chain.diff_id not in self._layers:
            row = self._connection.execute(
                f"SELECT key, paths FROM {SCHEMA}.layer WHERE diff_id = ? AND stack = 0", (chain.diff_id,)
            ).fetchone()
            if row is None:
                message = f"another process removed the layer {chain.diff_id} from the index of files"
                chain.problem = NotFound(message, code="layer-index", hints=("run the statement again",))
                return False
            self._layers[chain.diff_id] = row
        chain.layer, chain.paths = self._layers[chain.diff_id]
        _count_lower_paths(chain)
        (chain.key,) = self._connection.execute(
            f"INSERT INTO {SCHEMA}.chain (id, parent, layer) VALUES (?, ?, ?) RETURNING key",
            (chain.id, below.key if below is not None else None, chain.layer),
        ).fetchone()
        return True

    def _fill(self, chains: Iterable[_Chain]) -> None:
        """Write stacks to the table `top`, and the layers below to `lower`."""
        connection = self._connection
        connection.execute("DELETE FROM temp.top")
        connection.execute("DELETE FROM temp.lower")
        connection.executemany("INSERT INTO top VALUES (?, ?)", ((chain.key, chain.layer) for chain in chains))
        connection.executemany(
            "INSERT INTO lower VALUES (?, ?, ?, ?)",
            (
                (chain.key, one.position, one.layer, one.key)
                for chain in chains
                if chain.below is not None
                for one in chain.below.list_stack()
            ),
        )


def _count_lower_paths(chain: _Chain) -> None:
    if chain.below is not None:
        chain.lower_paths = chain.below.lower_paths + chain.below.paths


def _make_keys(top: _Chain | None) -> StackKeys | ImqError:
    if top is None:
        return StackKeys((), ())
    if top.problem is not None:
        return top.problem
    stack = top.list_stack()
    return StackKeys(tuple(one.layer for one in stack), tuple(one.key for one in stack))
