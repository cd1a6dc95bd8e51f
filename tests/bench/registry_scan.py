"""Asking a registry when the images of a thousand tags were made, and for a hundred thousand names."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from measure import CannotRunError, Contender, Figure, interleave, milliseconds, peak, said_by
from registry_server import TESTS, registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Bench

HERE = os.path.dirname(os.path.abspath(__file__))
TAGS = 1000
SAMPLE = 50
"""Tags that skopeo inspects in a run: as one by one goes, a thousand take twenty times as long."""
COLD = 0.06
WARM = 500
"""Milliseconds for a whole process that knows all documents: it asks for the digests alone, or for none of them."""
NAMES = 100_000
LISTED = 2000
LISTED_PEAK = 200


def scan(bench: Bench) -> tuple[str, list[Figure]]:
    """Ask for the creation times of all tags: with nothing known, with all documents known, with fresh digests too."""
    with registry(_thousand(bench)) as host, _paging() as paging:
        repository = f"{host}/thousand"
        question = f"tags of {repository} where created > 2020-01-01 count"
        listing = f'tags of {paging}/many where tag like "v00?23??" count'
        root = os.path.join(bench.scratch, "known")
        cold = _imq(bench, "imq, nothing known", question, str(TAGS), None)
        warm = _imq(bench, "imq, documents known", question, str(TAGS), root)
        fresh = _imq(bench, "imq, digests fresh", f"set fresh = 1d; {question}", str(TAGS), root)
        listed = _imq(bench, "imq, 100,000 names", listing, "1000", root)
        alone = {
            kind: _alone(bench, kind, name, count)
            for kind, name, count in (
                ("cold", repository, TAGS),
                ("warm", repository, TAGS),
                ("list", f"{paging}/many", NAMES),
            )
        }
        skopeo = _skopeo(repository)
        curl = {kind: _curl(bench, kind, repository) for kind in ("cold", "warm")}
        contenders = [cold, warm, fresh, listed, *alone.values(), skopeo, *curl.values(), *_crane(repository)]
        measured = interleave(contenders, bench.rounds)
    bench.note("scan", contenders)
    figures = [
        _whole(one, skopeo, target) for one, target in ((cold, COLD), (alone["cold"], None)) if one.runs and skopeo.runs
    ]
    targets = {warm.name: WARM, fresh.name: WARM, listed.name: LISTED}
    figures += [milliseconds(one.name, one, targets.get(one.name)) for one in measured]
    if listed.runs:
        figures.append(peak(f"{listed.name}, memory", listed, LISTED_PEAK))
    return f"{TAGS} tags of a docker-registry, and {NAMES:,} names from a server that pages by 1,000", figures


def _thousand(bench: Bench) -> str:
    """Return the folder of a registry with the thousand tags."""
    folder = os.path.join(bench.cache, "thousand")
    if not os.path.exists(folder):
        sys.path.append(TESTS)
        from registry.support.thousand_tags import write_registry

        shutil.rmtree(f"{folder}.part", ignore_errors=True)
        write_registry(os.path.join(f"{folder}.part", "data"), TAGS)
        os.rename(f"{folder}.part", folder)
    return folder


@contextlib.contextmanager
def _paging() -> Iterator[str]:
    """Serve the hundred thousand names from a process of its own; yield HOST:PORT."""
    serve = f"with paging.Paging({NAMES}) as server:\n print(server.host, flush=True)\n sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": TESTS}
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys\nfrom registry import paging\n{serve}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def _imq(bench: Bench, name: str, question: str, answer: str, root: str | None) -> Contender:
    """Return imq asking the question: of a store that is kept under `root`, else of a new one each time."""
    command = [bench.imq(), "--root", root or "", question]
    contender = Contender(name, command, environment=bench.environment())
    place = 0

    def before() -> None:
        nonlocal place
        place += 1
        if root is None:
            command[2] = os.path.join(bench.scratch, f"unknown-{place}")

    def check() -> None:
        said = said_by([*command[:2], command[2], question], bench.environment()) if place == 1 else answer
        if said != answer:
            raise CannotRunError(f"{name} answers {said} and not {answer}")

    contender.before, contender.check = before, check
    return contender


def _alone(bench: Bench, kind: str, name: str, count: int) -> Contender:
    """Return the client without the language: what it takes at least."""
    python = os.path.join(os.path.dirname(bench.imq()), "python")
    command = [python, os.path.join(HERE, "scanning.py"), kind, name]
    contender = Contender(f"the client alone, {kind}", command, environment=bench.environment(), needed=True)

    def check() -> None:
        if not contender.runs and (said := said_by(command, bench.environment())) != str(count):
            raise CannotRunError(f"the client alone found {said} of {count}")

    contender.check = check
    return contender


def _skopeo(repository: str) -> Contender:
    each = f"skopeo inspect --tls-verify=false docker://{repository}:v$n >/dev/null || exit 1"
    script = f"n=0; while [ $n -lt {SAMPLE} ]; do {each}; n=$((n+1)); done"
    return Contender(f"skopeo inspect, one by one, {SAMPLE} of {TAGS}", ["sh", "-c", script], needed=True)


def _curl(bench: Bench, kind: str, repository: str) -> Contender:
    """Return curl fetching the same bytes, eight at a time, and looking at none of them: what the registry takes."""
    host, _, name = repository.partition("/")
    accept = "application/vnd.oci.image.manifest.v1+json"
    lines = [f'url = "http://{host}/v2/{name}/manifests/v{number}"' for number in range(TAGS)]
    if kind == "cold":
        lines += [f'url = "http://{host}/v2/{name}/blobs/{config}"' for config in _configs(bench)]
    lines += ["output = /dev/null"] * len(lines)
    path = os.path.join(bench.scratch, f"curl-{kind}")
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    command = ["curl", "-sSf", "-H", f"Accept: {accept}", "-Z", "--parallel-max", "8", "-K", path]
    return Contender(f"curl -Z, the same bytes, {kind}", [*command, *(["-I"] if kind == "warm" else [])])


def _configs(bench: Bench) -> list[str]:
    """Return the digests of the configs, which are written as revisions name them."""
    import json

    root = os.path.join(_thousand(bench), "data", "docker", "registry", "v2")
    found = []
    for number in range(TAGS):
        with open(os.path.join(root, "repositories/thousand/_manifests/tags", f"v{number}", "current/link")) as link:
            digest = link.read().partition(":")[2]
        with open(os.path.join(root, "blobs/sha256", digest[:2], digest, "data")) as manifest:
            found.append(json.load(manifest)["config"]["digest"])
    return found


def _crane(repository: str) -> list[Contender]:
    """Return crane, eight at a time, where it is installed."""
    if shutil.which("crane") is None:
        return []
    script = f"seq 0 {TAGS - 1} | xargs -P8 -I@ crane --insecure config {repository}:v@ >/dev/null"
    return [Contender("crane config through xargs -P8", ["sh", "-c", script])]


def _whole(one: Contender, skopeo: Contender, target: float | None) -> Figure:
    """Return the ratio to skopeo over all tags, as far as its sample tells."""
    scale = TAGS / SAMPLE
    pairs = tuple(a / (b * scale) for a, b in zip(one.seconds, skopeo.seconds, strict=True))
    measured = statistics.median(one.seconds) / (statistics.median(skopeo.seconds) * scale)
    return Figure(one.name, f"x skopeo, {SAMPLE} tags x {scale:g}", pairs, measured, target)
