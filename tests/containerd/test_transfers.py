"""Images go into containerd and out of it: `pull`, `load`, `save`, and `copy` between any two places."""

from __future__ import annotations

import base64
import json
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from containerd.conftest import K8S, NAMES, ONE, TWO, open_session
from imq.engine.containerd_client.ctr import Ctr
from imq.grammar.errors import EngineError, NotFound, StatementError
from support.images import ARM64, Image, Layout, layer
from support.servers import Registry, require_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from containerd.conftest import Node
    from support.engines import Dockerd

HERE = f"containerd:{K8S}"
B = "ghcr.io/team/b:2"
IDS = {name.removeprefix("docker.io/library/"): image.id for name, image in NAMES.items()}
ARM = Image([layer({"arm": b"a" * 100})], platform=ARM64)


def read(node: Node, place: str) -> dict[str, str]:
    return {row["name"]: row["id"] for row in node.rows(f"images in '{place}' select name, id")}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that requires a password."""
    require_programs("docker-registry", "htpasswd")
    with Registry(tmp_path_factory.mktemp("registry"), users={"ann": "secret"}) as running:
        yield running


def log_in(node: Node, host: str, entry: dict[str, str]) -> None:
    (node.folder / ".docker").mkdir()
    (node.folder / ".docker" / "config.json").write_text(json.dumps({"auths": {host: entry}}))


def test_pull_is_done_by_ctr_with_the_password_of_the_user(node: Node, registry: Registry) -> None:
    log_in(node, registry.host, {"auth": base64.b64encode(b"ann:secret").decode()})
    name = f"{registry.host}/team/app:1"
    node.session.do(f"copy all images in {HERE} where tag = 2 to store")
    node.session.do(f"tag {B} as {name} from store")
    node.session.do(f"push {name}")
    (planned,) = node.session.rows(f"pull {name} to {HERE}", dry_run=True)
    assert (planned["action"], planned["target"], planned["note"]) == (
        "pull",
        name,
        f"to {HERE} for linux/amd64",
    )
    assert name not in node.names()
    (outcome,) = node.session.do(f"pull {name} to {HERE}")
    assert (outcome["image"], outcome["note"]) == (TWO.id, f"downloaded newer image in {HERE}")
    assert name in node.names()
    (outcome,) = node.session.do(f"pull {name} to {HERE}")
    assert outcome["note"] == f"image is up to date in {HERE}"
    (row,) = node.rows(f"images in {HERE} where name = '{name}' select digest")
    assert row["digest"] == TWO.digest


def test_push_is_done_by_ctr_under_any_name(node: Node, registry: Registry) -> None:
    log_in(node, registry.host, {"auth": base64.b64encode(b"ann:secret").decode()})
    (outcome,) = node.session.do(f"push {B} from {HERE} to {registry.host}/pushed:1")
    assert (outcome["target"], outcome["note"]) == (f"{registry.host}/pushed:1", f"digest: {TWO.digest}")
    node.session.do(f"push images in {HERE} where label.part = one to {registry.host}/all")
    rows = node.rows(f"tags in {registry.host}/* select name, digest")
    found = {str(row["name"]).partition("/")[2]: row["digest"] for row in rows}
    expected = {"pushed:1": TWO.digest, "all/app:1": ONE.digest, "all/app:latest": ONE.digest}
    assert {name: found.get(name) for name in expected} == expected
    assert all(registry.host not in name for name in node.names()), "the names in the namespace stay"


def test_push_of_an_index_sends_the_platforms_that_are_here(node: Node, registry: Registry) -> None:
    log_in(node, registry.host, {"auth": base64.b64encode(b"ann:secret").decode()})
    layout = Layout(node.folder / "index")
    index = layout.add_index([ONE, ARM], "docker.io/library/multi:1")
    node.add_layout(layout, "other")
    (outcome,) = node.session.do(f"push multi:1 from containerd:other to {registry.host}/multi:all")
    assert outcome["note"] == f"digest: {index}"
    node.ctr("content", "rm", ARM.layers[0].digest, namespace="other")
    (outcome,) = node.session.do(f"push multi:1 from containerd:other to {registry.host}/multi:one")
    assert outcome["note"] == f"digest: {ONE.digest}"


def test_copy_goes_from_containerd_to_a_registry(node: Node, registry: Registry) -> None:
    log_in(node, registry.host, {"auth": base64.b64encode(b"ann:secret").decode()})
    node.session.do(f"copy {B} from {HERE} to {registry.host}/copied:1")
    assert [row["digest"] for row in node.rows(f"tags of {registry.host}/copied select digest")] == [TWO.digest]


def test_a_pull_that_fails_says_why_in_the_words_of_ctr(node: Node, registry: Registry) -> None:
    log_in(node, registry.host, {"auth": base64.b64encode(b"ann:secret").decode()})
    found, missing = node.session.outcomes(f"pull {registry.host}/none:1, {registry.host}/none:2 to {HERE}")
    assert (found["error"], missing["error"]) == ("not-found", "not-found")
    assert f"{registry.host}/none:1" in str(found["message"])


def test_a_token_is_not_written_to_a_command_line(node: Node, registry: Registry) -> None:
    log_in(node, registry.host, {"identitytoken": "token", "auth": base64.b64encode(b"<token>:").decode()})
    (outcome,) = node.session.outcomes(f"pull {registry.host}/team/app:1 to {HERE}")
    assert outcome["error"] == "credentials"
    assert "token" in str(outcome["message"])


def test_load_names_images_in_the_long_form(node: Node) -> None:
    node.session.do(f'save {B}, app:1 from {HERE} to "{node.folder}/saved.tar"')
    outcomes = node.session.do(f'load "{node.folder}/saved.tar" to containerd:other')
    assert {(one["target"], one["image"]) for one in outcomes} == {(B, TWO.id), ("app:1", ONE.id)}
    assert node.names("other") == {B, "docker.io/library/app:1"}
    layout = Layout(node.folder / "short")
    layout.add(TWO, "short:1")
    with tarfile.open(node.folder / "short.tar", "w") as archive:
        archive.add(layout.folder, ".")
    node.session.do(f'load "{node.folder}/short.tar" to containerd:other')
    assert "docker.io/library/short:1" in node.names("other")
    assert "short:1" not in node.names("other")


def test_load_of_what_is_no_archive_is_an_error_of_ctr(node: Node) -> None:
    (node.folder / "no.tar").write_bytes(b"no archive")
    (outcome,) = node.session.outcomes(f'load "{node.folder}/no.tar" to {HERE}')
    assert str(outcome["message"]).startswith("ctr failed: ")
    (outcome,) = node.session.outcomes(f'load "{node.folder}/none.tar" to {HERE}')
    assert outcome["error"] == "no-such-file"
    with pytest.raises(StatementError, match="is a folder"):
        node.session.rows(f'load "{node.folder}" to {HERE}')


def test_images_are_copied_from_containerd_to_other_places_and_back(node: Node) -> None:
    layout = f"oci:{node.folder}/layout"
    for place in ("store", layout, "containerd:other"):
        outcomes = node.session.do(f"copy all images in {HERE} to '{place}'")
        assert outcomes
        assert read(node, place) == IDS
    assert {one["action"] for one in node.session.do(f"copy all images in {HERE} to containerd:other")} == {"stay"}
    for number, place in enumerate(("store", layout)):
        node.session.do(f"copy all images in '{place}' to containerd:new{number}")
        assert read(node, f"containerd:new{number}") == IDS


def test_images_are_copied_between_docker_and_containerd(node: Node, dockerd: Dockerd) -> None:
    with open_session(node.folder, node.engine.socket, DOCKER_HOST=dockerd.address) as session:
        try:
            session.do(f"copy {B} from {HERE} to docker")
            assert dockerd.run("images", "-q", "--no-trunc", B) == TWO.id
            session.do(f"copy {B} from docker to containerd:other")
            assert node.names("other") == {B}
            assert read(node, "containerd:other") == {B: TWO.id}
        finally:
            dockerd.run("rmi", "-f", TWO.id)


def test_copy_gives_an_image_that_is_there_the_names_it_lacks(node: Node) -> None:
    node.session.do(f"copy app:1 from {HERE} to containerd:other")
    node.session.do(f"copy app:latest from {HERE} to containerd:other")
    assert node.names("other") == {"docker.io/library/app:1", "docker.io/library/app:latest"}


def test_an_index_goes_with_the_platforms_that_are_here(node: Node) -> None:
    layout = Layout(node.folder / "index")
    layout.add_index([ONE, ARM], "docker.io/library/multi:1")
    node.add_layout(layout, "other")
    node.session.do(f'save multi:1 from containerd:other to "oci:{node.folder}/whole"')
    platforms = node.rows(f"images in 'oci:{node.folder}/whole' select platform order by platform")
    assert [row["platform"] for row in platforms] == ["linux/amd64", "linux/arm64"]
    node.ctr("content", "rm", ARM.layers[0].digest, namespace="other")
    node.session.do("copy multi:1 from containerd:other to store")
    assert ONE.id in [row["id"] for row in node.rows("images in store select id")]


def test_an_image_without_its_layers_is_not_exported(node: Node) -> None:
    node.ctr("content", "rm", TWO.layers[1].digest)
    outcomes = node.session.outcomes(f'save {B} from {HERE} to "{node.folder}/part.tar"')
    assert [(one["error"], one["message"]) for one in outcomes] == [
        ("incomplete", f"not all blobs of {B} are here, so it cannot be exported")
    ]
    assert not os.path.exists(node.folder / "part.tar")


def test_without_ctr_reading_works_and_transfers_say_what_is_missing(node: Node) -> None:
    with open_session(node.folder, node.engine.socket, PATH=os.fspath(node.folder)) as session:
        assert len(session.rows(f"images in {HERE}")) == 3
        (outcome,) = session.outcomes(f"pull localhost:1/app:1 to {HERE}")
        assert outcome["error"] == "engine-no-ctr"


def test_an_archive_that_fails_is_not_imported(node: Node) -> None:
    def broken() -> Iterator[bytes]:
        yield b"\0" * 512
        raise EngineError("the origin failed")

    ctr = Ctr(node.engine.socket, K8S, {})
    with pytest.raises(EngineError, match="the origin failed"):
        ctr.send(broken(), "images", "import", "-")


def test_the_end_of_an_export_that_fails_is_an_error(node: Node) -> None:
    ctr = Ctr(node.engine.socket, K8S, {})
    with pytest.raises(NotFound), ctr.receive("images", "export", "-", "none:1") as archive:  # noqa: PT012
        while archive.read(1 << 16):
            pass


def test_import_makes_an_image_of_one_layer(node: Node) -> None:
    (node.folder / "rootfs" / "etc").mkdir(parents=True)
    (node.folder / "rootfs" / "etc" / "motd").write_text("hello")
    statement = f'import "{node.folder}/rootfs" as made/of:files change "ENV A=b", "CMD [\\"/x\\"]" to {HERE}'
    (planned,) = node.session.rows(statement, dry_run=True)
    assert (planned["action"], planned["target"]) == ("import", "made/of:files")
    assert planned["note"] == f"from {node.folder}/rootfs to {HERE}"
    assert "docker.io/made/of:files" not in node.names()
    (outcome,) = node.session.do(statement)
    (image,) = node.rows(f"images in {HERE} where name = made/of:files select id, env, cmd, complete, size is known")
    assert (image["id"], image["complete"]) == (outcome["image"], True)
    assert "docker.io/made/of:files" in node.names()
    (content,) = node.rows(f"files of made/of:files in {HERE} where path = /etc/motd select content")
    assert content["content"] == "hello"
    with pytest.raises(StatementError, match="needs a name"):
        node.session.rows(f'import "{node.folder}/rootfs" to {HERE}')
