"""A state machine on one store: pull, tag, untag, rm, prune, load, import, and children that are killed at work.

Each step runs in a process of its own (`support/crash_server.py`). After a step the store opens, and its state is that
before the step or after it; a step that was not killed has succeeded. Every blob hashes to its name, reachable blobs
exist, and the index equals a rebuilt one. After a kill, a copy of the store must recover: the same step succeeds, a
pull that was killed within a blob fetches only the rest of it, prune leaves no unreachable blobs, and reindex does not
change the results of queries.

A run kills about two dozen processes. `IMQ_KILLS=500 pytest tests/store/test_crash_machine.py -s` runs further
histories until that many were killed, and prints the kinds of points.
"""

from __future__ import annotations

import collections
import functools
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from store.support.crash_server import Server
from store.support.serve_image import serve
from store.support.stores import StoreSession, blobs_in, check_store, list_ingest, reached_in
from support.images import Image, Layout, docker_archive, layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Registry

KILLS = int(os.environ.get("IMQ_KILLS", "0"))
"""How many are to be killed at least; 0: as many as one short run does."""
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where stores are: a process that dies leaves there what it leaves on a disk, and syncing costs nothing."""
BASE = layer({"base": random.Random(1).randbytes(3000)}, "gzip")
HEAVY = layer({"heavy": random.Random(2).randbytes(6_000_000)}, "gzip")
"""More than travels in one piece: a pull that is killed inside it leaves a part, with which the next one goes on."""
PULLED = [
    Image([BASE, layer({"own": b"own%d" % number * 300}, "gzip")], labels={"n": str(number)}) for number in range(3)
] + [Image([BASE, HEAVY], labels={"n": "heavy"})]
LOADED = [Image([BASE, layer({"load": b"one" * 200})]), Image([layer({"load": b"two" * 200})])]


class Outside:
    """The sources of images, and the server that runs statements, shared by all machines."""

    def __init__(self, folder: str, registry: Registry, server: Server) -> None:
        self.server = server
        self.images: dict[str, str] = {}
        self.pulls = []
        for number, image in enumerate(PULLED):
            name = serve(registry, f"machine:{number}", image)
            self.images[name] = image.id
            self.pulls.append(name)
        layout = Layout(os.path.join(folder, "layout"))
        layout.add(LOADED[0], "loaded:1")
        layout.add(PULLED[0], "loaded:2")
        layout.add(LOADED[1])
        docker_archive(os.path.join(folder, "docker.tar"), [(LOADED[1], ["loaded:1", "loaded:3"])])
        self.loads = {
            os.path.join(folder, "layout"): {"loaded:1": LOADED[0].id, "loaded:2": PULLED[0].id},
            os.path.join(folder, "docker.tar"): {"loaded:1": LOADED[1].id, "loaded:3": LOADED[1].id},
        }
        self.trees = []
        for number in range(2):
            self.trees.append(os.path.join(folder, f"tree{number}"))
            os.mkdir(self.trees[-1])
            with open(os.path.join(self.trees[-1], "file"), "wb") as file:
                file.write(b"%d" % number * 1000)
        self.kills: collections.Counter[str] = collections.Counter()
        self.resumed = 0


@pytest.fixture(scope="module")
def outside(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with Server() as server:
        yield Outside(str(tmp_path_factory.mktemp("outside")), registry, server)


class Machine(RuleBasedStateMachine):
    """One history of one store. `named` has the expected image ID of each tag."""

    outside: Outside

    def __init__(self, outside: Outside) -> None:
        super().__init__()
        self.outside = outside
        self.folder = tempfile.mkdtemp(prefix="machine", dir=MEMORY)
        self.root = os.path.join(self.folder, "store")
        self.named: dict[str, str] = {}
        self.verify = "full"
        self.reader: StoreSession | None = None
        self.checked = True
        self.spoilt = False

    def teardown(self) -> None:
        if self.reader is not None:
            self.reader.close()
        shutil.rmtree(self.folder)

    @initialize(verify=st.sampled_from(["full", "lazy"]), watched=st.booleans())
    def begin(self, verify: str, watched: bool) -> None:
        self.verify = verify
        if watched:  # another process that has the store open the whole time
            self.reader = StoreSession(self.root)

    # Steps

    kill = st.sampled_from([0.0] * 20 + [part / 60 for part in range(1, 61)])
    """The fraction of a step's work after which it is killed; 0: it is not killed."""

    @rule(number=st.integers(0, len(PULLED) - 1), kill=kill)
    def pull(self, number: int, kill: float) -> None:
        name = self.outside.pulls[number]
        self.step(f"pull {name}", {**self.named, name: self.outside.images[name]}, kill)

    @rule(number=st.integers(0, 1), kill=kill)
    def load(self, number: int, kill: float) -> None:
        path, names = list(self.outside.loads.items())[number]
        self.step(f'load "{path}"', {**self.named, **names}, kill)

    @rule(number=st.integers(0, 1), kill=kill)
    def make(self, number: int, kill: float) -> None:
        name = f"made:{number}"
        self.step(f'import "{self.outside.trees[number]}" as {name}', {**self.named, name: ""}, kill)

    @precondition(lambda self: self.named)
    @rule(data=st.data(), other=st.sampled_from(["made:1", "loaded:1", "other:1", "other:2"]), kill=kill)
    def tag(self, data: st.DataObject, other: str, kill: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.named)))
        self.step(f"tag {name} as {other}", {**self.named, other: self.named[name]}, kill)

    @precondition(lambda self: self.named)
    @rule(data=st.data(), verb=st.sampled_from(["untag", "rm"]), kill=kill)
    def drop(self, data: st.DataObject, verb: str, kill: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.named)))
        self.step(f"{verb} {name}", {other: id_ for other, id_ in self.named.items() if other != name}, kill)

    @precondition(lambda self: self.named)
    @rule(kill=kill)
    def remove_all(self, kill: float) -> None:
        self.step("rm all images", {}, kill)

    @precondition(lambda self: os.path.exists(self.root))
    @rule(kill=kill)
    def prune(self, kill: float) -> None:
        self.step("prune", self.named, kill)

    @precondition(lambda self: begun(self.root))
    @rule(place=st.sampled_from([0, -1]))
    def spoil(self, place: int) -> None:
        """Let a disk give back other bytes of what a killed pull left than were written: the next pull copes."""
        self.spoilt = True
        for path in begun(self.root):
            with open(path, "rb+") as part:
                content = bytearray(part.read())
                content[place] ^= 1
                part.seek(0)
                part.write(content)

    def step(self, statement: str, after: dict[str, str], kill: float) -> None:
        """Do a statement, which gives the tags of `after`, and see that all of it is done or, when killed, nothing."""
        self.checked = False
        if not kill:
            self.done(self.outside.server.run(self.root, statement, verify=self.verify), statement)
            self.named = self.settled(after)
            return
        before = self.answers(self.root)
        whole = self.copy("whole")
        answer = self.outside.server.run(whole, statement, verify=self.verify)
        self.done(answer, statement)
        at = max(1, round(kill * answer["points"]))
        answer = self.outside.server.run(self.root, statement, verify=self.verify, at=at)
        if not answer["killed"]:
            self.done(answer, statement)
            self.named = self.settled(after)
            return
        self.outside.kills[answer["point"]] += 1
        again = self.copy("again")
        found = self.answers(self.root)
        expected = self.answers(whole)
        assert found in (before, expected), f"{statement}, killed at {answer['point']} {answer['points']}"
        if found == expected:
            self.named = self.settled(after)
        self.goes_on(again, statement, expected)

    def goes_on(self, root: str, statement: str, expected: dict[str, list[str]]) -> None:
        """Check in a copy of a store that was just left by a kill that it goes on: the copy is not opened before."""
        rest = self.rest(root, statement)
        answer = self.outside.server.run(root, statement, verify=self.verify)
        if rest is not None:
            assert [row["size"] for row in answer["outcomes"]] == [rest], "what is here does not travel again"
            self.outside.resumed += 1
        if answer["error"] is None:  # a name that was removed before the kill is not there to be removed again
            assert not [row for row in answer["outcomes"] if row["error"]], answer
            assert self.answers(root) == expected
        else:
            assert answer["error"] == "no-such-image"
        check_store(root)
        self.outside.server.run(root, "prune", verify=self.verify)
        check_store(root)
        assert blobs_in(root).keys() == reached_in(root).keys(), "nothing else is left"
        assert list_ingest(root) == set()
        kept = self.answers(root)
        self.done(self.outside.server.run(root, "reindex", verify=self.verify), "reindex")
        assert self.answers(root) == kept

    def rest(self, root: str, statement: str) -> int | None:
        """Return how many bytes a pull that goes on inside a blob has to fetch; None for any other statement."""
        parts = begun(root)
        if not parts or self.spoilt or statement != f"pull {self.outside.pulls[-1]}":
            return None
        here = blobs_in(root)
        wanted = {layer.digest: len(layer.blob) for layer in PULLED[-1].layers if layer.digest not in here}
        if HEAVY.digest not in wanted:
            return None
        return sum(wanted.values()) - max(os.path.getsize(path) for path in parts)

    def done(self, answer: dict[str, Any], statement: str) -> None:
        assert answer["error"] is None, (statement, answer)
        assert not [row for row in answer["outcomes"] if row["error"]], (statement, answer)

    def copy(self, name: str) -> str:
        target = os.path.join(self.folder, name)
        shutil.rmtree(target, ignore_errors=True)
        if os.path.exists(self.root):  # by another process: closing a file would drop SQLite's locks on it in this one
            subprocess.run(["cp", "-a", self.root, target], check=True)
        return target

    def settled(self, after: dict[str, str]) -> dict[str, str]:
        """Return the tags with the ids of images that were made here, which nobody can say before."""
        if "" not in after.values():
            return after
        with StoreSession(self.root) as held:
            ids = {row["name"]: row["id"] for row in held.rows("images select name, id")}
        return {name: id_ or ids[name] for name, id_ in after.items()}

    @staticmethod
    def answers(root: str) -> dict[str, list[str]]:
        with StoreSession(root) as held:
            return held.dump_tables()

    # What always holds

    @invariant()
    def is_in_order(self) -> None:
        if self.checked:
            return
        self.checked = True
        with StoreSession(self.root) as held:
            tags = {row["name"]: row["id"] for row in held.rows("images where tag is known select name, id")}
            said = held.dump_tables()
        assert tags == self.named
        if self.reader is not None:
            assert self.reader.dump_tables() == said, "who had it open before sees the same"
        check_store(self.root)


def begun(root: str) -> list[str]:
    """Return the partial blobs of killed pulls, without empty ones."""
    folder = os.path.join(root, "ingest")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in names if name.endswith(".part")]
    return [path for path in paths if os.path.getsize(path)]


def test_the_store_survives_any_history(outside: Outside) -> None:
    started = time.monotonic()
    while True:
        run_state_machine_as_test(
            functools.partial(Machine, outside),
            settings=settings(
                max_examples=40 if KILLS else 14,
                stateful_step_count=12,
                deadline=None,
                phases=[Phase.generate],
                database=None,
                derandomize=not KILLS,
                suppress_health_check=list(HealthCheck),
            ),
        )
        if sum(outside.kills.values()) >= KILLS:
            break
    seconds = round(time.monotonic() - started, 1)
    told = json.dumps({"kills": sum(outside.kills.values()), "resumed": outside.resumed, "seconds": seconds})
    print(told, dict(outside.kills.most_common()))
    assert sum(outside.kills.values()) >= max(KILLS, 20)
    assert outside.resumed >= KILLS // 100, "some were killed inside a blob, and gone on with there"


@pytest.mark.parametrize("verify", ["full", "lazy"])
def test_a_pull_that_is_killed_inside_a_blob_fetches_the_rest(outside: Outside, verify: str) -> None:
    """A case that random histories find only by chance: a pull killed several times, with a growing partial blob."""
    machine = Machine(outside)
    machine.verify = verify
    before = outside.resumed
    for part in (0.65, 0.15, 0.2, 0.22, 0.25, 0.35, 0.45, 0.55, 0.65, 0.7):
        machine.step(f"pull {outside.pulls[-1]}", {outside.pulls[-1]: PULLED[-1].id}, part)
        machine.is_in_order()
    machine.teardown()
    assert outside.resumed > before
