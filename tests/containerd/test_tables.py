"""The tables of containerd: what its records, documents, snapshots and containers say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from containerd.conftest import K8S, NAMES, ONE, TWO, make_program, open_session
from imq.grammar.errors import EngineError, NotFound, StatementError
from store.support.stores import StoreSession
from support.images import ARM64, Image, Layout, layer

if TYPE_CHECKING:
    from containerd.conftest import Node


def test_images_have_the_names_and_fields_of_their_documents(node: Node) -> None:
    rows = node.rows(f"images in containerd:{K8S}")
    by_name = {row["name"]: row for row in rows}
    assert set(by_name) == {"app:1", "app:latest", "ghcr.io/team/b:2"}
    row = by_name["ghcr.io/team/b:2"]
    assert (row["id"], row["manifest_digest"], row["label"]) == (TWO.id, TWO.digest, {"part": "two"})
    assert (row["registry"], row["repository"], row["tag"]) == ("ghcr.io", "ghcr.io/team/b", "2")
    assert (row["platform"], row["layer_count"], row["source"]) == ("linux/amd64", 2, f"containerd:{K8S}")
    assert (row["complete"], row["pinned"], row["in_use"], row["problem"]) == (True, False, False, None)
    assert row["size"] == row["shared_size"] + row["unique_size"] > 14_000


def test_layers_and_history_are_those_of_the_image(node: Node) -> None:
    layers = node.rows(f"layers of ghcr.io/team/b:2 in containerd:{K8S}")
    assert [row["diff_id"] for row in layers] == [one.diff_id for one in TWO.layers]
    assert [row["images"] for row in layers] == [2, 1]
    steps = node.rows(f"history of ghcr.io/team/b:2 in containerd:{K8S}")
    assert [row["layer"] for row in steps if not row["empty"]] == [row["digest"] for row in layers]


@pytest.mark.parametrize("folder", ["", "/nowhere"])
def test_documents_come_from_the_folder_or_from_containerd(
    node: Node, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imq.engine.containerd_client.client import ContainerdClient

    monkeypatch.setattr(ContainerdClient, "find_content_folder", lambda _: folder)
    names = node.rows(f"images in containerd:{K8S} select name, id")
    assert {row["name"]: row["id"] for row in names} == {
        name.removeprefix("docker.io/library/"): image.id for name, image in NAMES.items()
    }


def test_a_second_question_reads_no_document_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from imq.engine.sources.containerd.reader import ContainerdReader

    node.rows(f"images in containerd:{K8S}")
    monkeypatch.setattr(ContainerdReader, "_read_document", None)
    assert len(node.rows(f"images in containerd:{K8S}")) == 3


def test_a_dangling_image_of_docker_has_no_name(node: Node) -> None:
    node.ctr("images", "tag", "ghcr.io/team/b:2", f"moby-dangling@{TWO.digest}")
    assert len(node.rows(f"images in containerd:{K8S}")) == 3
    node.ctr("images", "rm", "ghcr.io/team/b:2")
    assert node.rows(f"images in containerd:{K8S} where dangling select name, id") == [{"name": None, "id": TWO.id}]
    node.session.do(f"prune images in containerd:{K8S}")
    assert node.names() == {"docker.io/library/app:1", "docker.io/library/app:latest"}


def test_namespaces_are_separate(node: Node) -> None:
    node.add({"docker.io/library/app:1": TWO}, "other")
    assert [row["id"] for row in node.rows("images in containerd:other")] == [TWO.id]
    rows = node.rows("images in containerd:* where tag = 1 select id, source order by source")
    assert [(row["id"], row["source"]) for row in rows] == [(ONE.id, "containerd:k8s.io"), (TWO.id, "containerd:other")]


def test_containerd_alone_is_the_namespace_of_ctr(node: Node) -> None:
    for table in ("images", "containers"):
        (result,) = node.session.session.run(f"{table} in containerd")
        (problem,) = result.errors
        assert (list(result.rows), result.exit_code, problem.code) == ([], 3, "no-such-namespace")
        assert "containerd:k8s.io" in problem.hints[0]
    with pytest.raises(NotFound, match='no namespace "default"'):
        node.session.rows("rm app:1 from containerd")
    node.add({"docker.io/library/app:1": TWO}, "default")
    assert [row["source"] for row in node.rows("images in containerd")] == ["containerd"]


def test_a_namespace_with_invalid_characters_is_refused(node: Node) -> None:
    with pytest.raises(StatementError, match="not a namespace"):
        node.rows("images in 'containerd:a/b'")


def test_sources_lists_each_namespace_with_its_images(node: Node) -> None:
    node.add({"docker.io/library/app:1": TWO}, "other")
    rows = [row for row in node.rows("sources") if "containerd" in row["kind"]]
    assert [(row["name"], row["address"], row["reachable"], row["images"]) for row in rows] == [
        ("containerd:k8s.io", node.engine.socket, True, 2),
        ("containerd:other", node.engine.socket, True, 1),
    ]


def test_the_default_source_is_a_namespace_with_images(node: Node) -> None:
    def find_default() -> str | None:
        environment = {"CONTAINERD_ADDRESS": node.engine.socket, "DOCKER_HOST": "unix:///none", "HOME": "/none"}
        environment |= {"CONTAINER_HOST": "unix:///none", "XDG_RUNTIME_DIR": "/none"}
        with StoreSession(node.folder / "empty", environment=environment, finds_source=True) as session:
            rows = session.rows("images select source")
            return rows[0]["source"] if rows else None

    assert find_default() == f"containerd:{K8S}"
    node.add({"docker.io/library/app:1": TWO}, "default")
    assert find_default() == "containerd"
    node.engine.clear()
    assert find_default() is None


def test_a_tag_hides_the_digest_names_and_ids_of_the_kubelet(node: Node) -> None:
    digest = f"docker.io/library/app@{ONE.digest}"
    node.ctr("images", "tag", "docker.io/library/app:1", digest, ONE.id)
    rows = node.rows(f"images in containerd:{K8S} where id = {ONE.id} select name, digest, dangling")
    assert {row["name"] for row in rows} == {"app:1", "app:latest"}
    assert {row["digest"] for row in rows} == {ONE.digest}
    node.ctr("images", "rm", "docker.io/library/app:1", "docker.io/library/app:latest")
    rows = node.rows(f"images in containerd:{K8S} where dangling select name, tag, digest")
    assert rows == [{"name": f"app@{ONE.digest}", "tag": None, "digest": ONE.digest}]
    node.ctr("images", "rm", digest)
    rows = node.rows(f"images in containerd:{K8S} where dangling select name, id")
    assert rows == [{"name": None, "id": ONE.id}]


def test_an_index_is_the_image_of_this_platform_or_else_all_that_are_there(node: Node) -> None:
    arm = Image([layer({"arm": b"a" * 100})], platform=ARM64)
    layout = Layout(node.folder / "index")
    digest = layout.add_index([arm, ONE], "docker.io/library/multi:1")
    node.add_layout(layout, "other", "--no-unpack")
    (row,) = node.rows("images in containerd:other select id, platform, complete, manifest_digest")
    assert (row["id"], row["platform"], row["complete"]) == (ONE.id, "linux/amd64", True)
    node.ctr("content", "rm", ONE.digest, namespace="other")
    (row,) = node.rows("images in containerd:other select id, platform, complete")
    assert (row["id"], row["platform"], row["complete"]) == (arm.id, "linux/arm64", True)
    node.ctr("content", "rm", arm.layers[0].digest, namespace="other")
    (row,) = node.rows("images in containerd:other select name, id, complete, problem")
    assert (row["name"], row["id"], row["complete"]) == ("multi:1", None, False)
    assert row["problem"].endswith("lists is in this namespace")
    node.ctr("content", "rm", digest, namespace="other")
    (row,) = node.rows("images in containerd:other select name, id, problem")
    assert (row["name"], row["id"]) == ("multi:1", None)
    assert "is not in this namespace" in row["problem"]


def test_incomplete_content_is_a_problem_of_its_row(node: Node) -> None:
    node.add({"docker.io/library/part:1": TWO}, "other", "--no-unpack")
    node.ctr("content", "rm", TWO.layers[1].digest, namespace="other")
    (row,) = node.rows("images in containerd:other select id, complete, size, problem")
    assert (row["id"], row["complete"], row["size"]) == (TWO.id, False, None)
    assert row["problem"].startswith("1 of its 4 blobs are not in this namespace")


def test_unpacked_images_need_no_layers(node: Node) -> None:
    """Nodes with `discard_unpacked_layers` have no compressed layers."""
    node.ctr("content", "rm", TWO.layers[1].digest)
    (row,) = node.rows(f"images in containerd:{K8S} where id = {TWO.id} select complete, problem, size")
    assert (row["complete"], row["problem"]) == (False, None)
    assert row["size"] > 14_000


def test_containers_tell_their_image_their_pod_and_their_specification(node: Node) -> None:
    labels = {"io.kubernetes.pod.name": "web-1", "io.kubernetes.pod.namespace": "prod"}
    options = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    mount = ("--mount", "type=bind,src=/tmp,dst=/data,options=rbind:ro")
    command = ("--env", "A=b", *mount, "--read-only", "ghcr.io/team/b:2", "web", "serve")
    node.ctr("containers", "create", "--label", "io.kubernetes.container.name=app", *options, *command)
    (row,) = node.rows(f"containers in containerd:{K8S}")
    assert (row["id"], row["name"], row["pod"], row["namespace"]) == ("web", "app", "web-1", "prod")
    assert (row["image"], row["image_id"], row["image_digest"]) == ("ghcr.io/team/b:2", TWO.id, TWO.digest)
    assert (row["status"], row["command"], row["env"]["A"], row["read_only"]) == ("created", ["serve"], "b", True)
    assert "/tmp:/data:ro" in row["mounts"]
    assert row["label"]["io.kubernetes.pod.name"] == "web-1"
    assert isinstance(row["size_rw"], int)


def test_the_sandbox_of_a_pod_is_a_kind_of_its_own(node: Node) -> None:
    node.ctr("containers", "create", "--label", "io.cri-containerd.kind=sandbox", "docker.io/library/app:1", "pod", "x")
    node.ctr("containers", "create", "--label", "io.cri-containerd.kind=container", "ghcr.io/team/b:2", "web", "x")
    assert [row["name"] for row in node.rows(f"containers in containerd:{K8S} where kind = sandbox select name")] == [
        "pod"
    ]
    assert len(node.rows(f"images in containerd:{K8S} where in use select name")) == 3


def test_in_use_is_true_for_images_of_containers(node: Node) -> None:
    node.ctr("containers", "create", "ghcr.io/team/b:2", "web", "serve")
    used = node.rows(f"images in containerd:{K8S} where in use select name, containers, last_used")
    assert [(row["name"], row["containers"]) for row in used] == [("ghcr.io/team/b:2", 1)]
    assert used[0]["last_used"] is not None
    rows = node.rows(f"images in containerd:{K8S} where no containers select name")
    assert {row["name"] for row in rows} == {"app:1", "app:latest"}
    assert [row["id"] for row in node.rows(f"containers of ghcr.io/team/b:2 in containerd:{K8S}")] == ["web"]


def test_a_container_uses_the_image_below_its_snapshot_when_its_name_has_moved(node: Node) -> None:
    node.ctr("containers", "create", "docker.io/library/app:1", "web", "serve")
    node.ctr("images", "tag", "--force", "ghcr.io/team/b:2", "docker.io/library/app:1")
    (row,) = node.rows(f"containers in containerd:{K8S} select image, image_id")
    assert (row["image"], row["image_id"]) == ("app:1", ONE.id)
    rows = node.rows(f"images in containerd:{K8S} where in use select id")
    assert {row["id"] for row in rows} == {ONE.id, TWO.id}, "the image with the name is kept as well"


def test_a_running_container_is_running_and_then_has_an_exit_code(node: Node) -> None:
    node.add({"docker.io/library/wait:1": make_program()})
    node.ctr("run", "-d", "docker.io/library/wait:1", "runs", "/wait")
    rows = node.rows(f"containers in containerd:{K8S} where status = running select id, exit_code")
    assert rows == [{"id": "runs", "exit_code": None}]
    node.ctr("tasks", "kill", "-s", "SIGKILL", "runs")
    for _ in range(100):
        (row,) = node.rows(f"containers in containerd:{K8S} select status, exit_code, finished")
        if row["status"] == "exited":
            break
    assert (row["status"], row["exit_code"]) == ("exited", 137)
    assert row["finished"] is not None


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("id = web", {"web"}),
        ("id != web", {"abc", "abc-1", "Web"}),
        ("id = abc", {"abc"}),
        ('id = "abc-1"', {"abc-1"}),
        ("id in (Web, abc)", {"Web", "abc"}),
        ('id in (lines of "ids.txt")', {"web"}),
        ('id like "abc*"', {"abc", "abc-1"}),
        ("id = ab", set()),
    ],
)
def test_an_id_is_any_text(node: Node, monkeypatch: pytest.MonkeyPatch, condition: str, expected: set[str]) -> None:
    for name in ("web", "abc", "abc-1", "Web"):
        node.ctr("containers", "create", "ghcr.io/team/b:2", name, "serve")
    (node.folder / "ids.txt").write_text("web\n")
    monkeypatch.chdir(node.folder)
    rows = node.rows(f"containers in containerd:{K8S} where {condition} select id")
    assert {row["id"] for row in rows} == expected


def test_whole_ids_have_short_forms(node: Node) -> None:
    whole = "0123456789abcdef" * 4
    node.ctr("containers", "create", "ghcr.io/team/b:2", whole, "serve")
    for text in ("0123", whole, f'"{whole}"'):
        assert [row["id"] for row in node.rows(f"containers in containerd:{K8S} where id = {text} select id")] == [
            whole
        ]


def test_a_question_for_containers_is_refused_when_containerd_is_not_there(node: Node) -> None:
    node.session.close()
    with open_session(node.folder, str(node.folder / "none.sock")) as session:
        with pytest.raises(EngineError, match="is not reachable") as caught:
            session.rows(f"images in containerd:{K8S}")
        assert caught.value.code == "engine-unreachable"
        row = next(row for row in session.rows("sources") if row["kind"] == "containerd")
        assert (row["name"], row["reachable"]) == ("containerd", False)
