"""Queries of a registry: the creation times of a thousand tags, and a list of a hundred thousand tags."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from layouts import write_index
from measure import BenchmarkError, Contender, Figure, interleave, milliseconds, output_of, peak, ratio
from registry_server import TESTS, registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Bench

HERE = os.path.dirname(os.path.abspath(__file__))
TAGS = 1000
SAMPLE = 50
"""Tags that skopeo inspects in a run. A thousand would take twenty times as long."""
COLD_TARGET = 0.06
WARM_TARGET = 500
"""Milliseconds for a whole process with cached documents: it requests only digests, or none of them."""
COLD_CURL_TARGET, WARM_CURL_TARGET = 1.3, 1.15
"""Compared with curl, which requests the same: that is what the registry itself costs."""
FRESH_CPU_TARGET = 160
QUESTION_CPU_TARGET = 90
"""Milliseconds of processor time of a whole process."""
NAMES = 100_000
LIST_TARGET = 2000
LIST_MEMORY_TARGET = 200


def scan(bench: Bench) -> tuple[str, list[Figure]]:
    """Query the creation times of all tags: without a cache, with cached documents, and with fresh digests too."""
    with registry(_provide_registry(bench)) as host, _serve_pages() as paging:
        repository = f"{host}/thousand"
        query = f"tags of {repository} where created > 2020-01-01 count"
        listing = f'tags of {paging}/many where tag like "v00?23??" count'
        root = _make_store(os.path.join(bench.scratch, "known"))
        cold = _imq(bench, "imq, no cache", query, str(TAGS), None)
        warm = _imq(bench, "imq, cached documents", f"set fresh = 0; {query}", str(TAGS), root)
        fresh = _imq(bench, "imq, fresh digests", f"set fresh = 1d; {query}", str(TAGS), root)
        listed = _imq(bench, "imq, 100,000 names", listing, "1000", root)
        client_only = {
            kind: _client_only(bench, kind, name, count)
            for kind, name, count in (
                ("cold", repository, TAGS),
                ("warm", repository, TAGS),
                ("list", f"{paging}/many", NAMES),
            )
        }
        question = _imq(bench, "imq, a small question", f"tags of {repository} limit 3 count", "3", root)
        names = Contender("skopeo list-tags", ["skopeo", "list-tags", "--tls-verify=false", f"docker://{repository}"])
        skopeo = _skopeo(repository)
        curl = {kind: _curl(bench, kind, repository) for kind in ("cold", "warm")}
        contenders = [
            question,
            names,
            cold,
            warm,
            fresh,
            listed,
            *client_only.values(),
            skopeo,
            *curl.values(),
            *_crane(repository),
        ]
        measured = interleave(contenders, bench.rounds)
    bench.note("scan", contenders)
    figures = [
        _ratio_to_skopeo(one, skopeo, target)
        for one, target in ((cold, COLD_TARGET), (client_only["cold"], None))
        if one.runs and skopeo.runs
    ]
    for one, other, target in ((cold, curl["cold"], COLD_CURL_TARGET), (warm, curl["warm"], WARM_CURL_TARGET)):
        if one.runs and other.runs:
            figures.append(ratio(one.name, one, other, target))
    targets = {warm.name: WARM_TARGET, fresh.name: WARM_TARGET, listed.name: LIST_TARGET}
    cpu_targets = {fresh.name: FRESH_CPU_TARGET, question.name: QUESTION_CPU_TARGET}
    figures += [
        milliseconds(one.name, one, targets.get(one.name), cpu_target=cpu_targets.get(one.name)) for one in measured
    ]
    if listed.runs:
        figures.append(peak(f"{listed.name}, memory", listed, LIST_MEMORY_TARGET))
    return f"{TAGS} tags of a docker-registry, and {NAMES:,} names from a server that pages by 1,000", figures


def _make_store(root: str) -> str:
    """Make an empty store, without which nothing is cached on disk; return its path."""
    os.makedirs(os.path.join(root, "blobs", "sha256"))
    write_index(root, [])
    return root


def _provide_registry(bench: Bench) -> str:
    """Return the folder of a registry with a thousand tags; write it when it is missing."""
    folder = os.path.join(bench.cache, "thousand")
    if not os.path.exists(folder):
        sys.path.append(TESTS)
        from registry.support.thousand_tags import write_registry

        shutil.rmtree(f"{folder}.part", ignore_errors=True)
        write_registry(os.path.join(f"{folder}.part", "data"), TAGS)
        os.rename(f"{folder}.part", folder)
    return folder


@contextlib.contextmanager
def _serve_pages() -> Iterator[str]:
    """Serve a hundred thousand tags from a separate process; yield HOST:PORT."""
    serve = f"with paging_server.PagingServer({NAMES}) as server:\n print(server.host, flush=True)\n sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": TESTS}
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys\nfrom registry.support import paging_server\n{serve}"],
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


def _imq(bench: Bench, name: str, query: str, expected: str, root: str | None) -> Contender:
    """Return a contender that runs the query, with the store at `root`, or with a new one for each run."""
    command = [bench.imq(), "--root", root or "", query]
    contender = Contender(name, command, environment=bench.environment())
    number = 0

    def before() -> None:
        nonlocal number
        number += 1
        if root is None:
            command[2] = os.path.join(bench.scratch, f"new-{number}")

    def check() -> None:
        output = output_of([*command[:2], command[2], query], bench.environment()) if number == 1 else expected
        if output != expected:
            raise BenchmarkError(f"{name} returned {output} instead of {expected}")

    contender.before, contender.check = before, check
    return contender


def _client_only(bench: Bench, kind: str, name: str, count: int) -> Contender:
    """Return a contender with the registry client only, a lower bound."""
    python = os.path.join(os.path.dirname(bench.imq()), "python")
    command = [python, os.path.join(HERE, "registry_scan_worker.py"), kind, name]
    contender = Contender(f"the client only, {kind}", command, environment=bench.environment(), is_required=True)

    def check() -> None:
        if not contender.runs and (output := output_of(command, bench.environment())) != str(count):
            raise BenchmarkError(f"the client only found {output} of {count}")

    contender.check = check
    return contender


def _skopeo(repository: str) -> Contender:
    each = f"skopeo inspect --tls-verify=false docker://{repository}:v$n >/dev/null || exit 1"
    script = f"n=0; while [ $n -lt {SAMPLE} ]; do {each}; n=$((n+1)); done"
    return Contender(f"skopeo inspect, one by one, {SAMPLE} of {TAGS}", ["sh", "-c", script], is_required=True)


def _curl(bench: Bench, kind: str, repository: str) -> Contender:
    """Return a contender with curl, which fetches the same bytes over eight connections: the cost of the registry."""
    host, _, name = repository.partition("/")
    accept = "application/vnd.oci.image.manifest.v1+json"
    lines = [f'url = "http://{host}/v2/{name}/manifests/v{number}"' for number in range(TAGS)]
    if kind == "cold":
        lines += [f'url = "http://{host}/v2/{name}/blobs/{config}"' for config in _list_configs(bench)]
    lines += ["output = /dev/null"] * len(lines)
    path = os.path.join(bench.scratch, f"curl-{kind}")
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    command = ["curl", "-sSf", "-H", f"Accept: {accept}", "-Z", "--parallel-max", "8", "-K", path]
    return Contender(f"curl -Z, the same bytes, {kind}", [*command, *(["-I"] if kind == "warm" else [])])


def _list_configs(bench: Bench) -> list[str]:
    """Return the digests of the configs."""
    import json

    root = os.path.join(_provide_registry(bench), "data", "docker", "registry", "v2")
    digests = []
    for number in range(TAGS):
        with open(os.path.join(root, "repositories/thousand/_manifests/tags", f"v{number}", "current/link")) as link:
            digest = link.read().partition(":")[2]
        with open(os.path.join(root, "blobs/sha256", digest[:2], digest, "data")) as manifest:
            digests.append(json.load(manifest)["config"]["digest"])
    return digests


def _crane(repository: str) -> list[Contender]:
    """Return a contender with crane, eight processes at a time, when it is installed."""
    if shutil.which("crane") is None:
        return []
    script = f"seq 0 {TAGS - 1} | xargs -P8 -I@ crane --insecure config {repository}:v@ >/dev/null"
    return [Contender("crane config through xargs -P8", ["sh", "-c", script])]


def _ratio_to_skopeo(one: Contender, skopeo: Contender, target: float | None) -> Figure:
    """Return the ratio to skopeo over all tags, extrapolated from its sample."""
    scale = TAGS / SAMPLE
    pairs = tuple(a / (b * scale) for a, b in zip(one.seconds, skopeo.seconds, strict=True))
    measured = statistics.median(one.seconds) / (statistics.median(skopeo.seconds) * scale)
    cpu = statistics.median(one.cpu_seconds) / (statistics.median(skopeo.cpu_seconds) * scale)
    return Figure(one.name, f"x skopeo, {SAMPLE} tags x {scale:g}", pairs, measured, target, cpu)
