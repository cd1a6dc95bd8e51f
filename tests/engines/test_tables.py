"""The tables of engines, field by field, against what the clients of the engines say of the same images."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.units.size import human_size
from imq.grammar.errors import NotFound
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from pathlib import Path

    from support.engines import Dockerd
    from support.prepared_engines import PreparedEngine

FULL = "team/full:1.2"


@pytest.fixture(scope="module")
def documents(prepared: PreparedEngine) -> dict[str, dict[str, Any]]:
    """What the client says of each image, by ID with its algorithm."""
    ids = prepared.lines("image", "ls", "-q", "--no-trunc")
    found = prepared.inspect("image", *dict.fromkeys(id_.removeprefix("sha256:") for id_ in ids))
    return {"sha256:" + document["Id"].removeprefix("sha256:"): document for document in found}


def seconds(time: str) -> str:
    """Return a time as it is in whole seconds."""
    return datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class TestImages:
    def test_a_row_for_each_name_with_its_digest(self, prepared: PreparedEngine) -> None:
        form = "{{.Repository}}|{{.Tag}}|{{.Digest}}|{{.ID}}"
        said = {
            tuple(line.replace("<none>", "").split("|"))
            for line in prepared.lines("image", "ls", "--digests", "--no-trunc", "--format", form)
        }
        if prepared.has_containerd_images:  # docker before 28 prints the digest of one name of an image
            said = {(name, tag, id_ if name else "", id_) for name, tag, _, id_ in said}
        rows = prepared.ask("images in E select repository, tag, digest, id").rows
        mine = {tuple(row[key] or "" for key in ("repository", "tag", "digest", "id")) for row in rows}
        if prepared.kind == "podman":  # it prints the digest of the manifest for an image without a name too
            said = {(name, tag, digest if name else "", id_) for name, tag, digest, id_ in said}
        assert mine == said
        assert len(rows) == len(mine)

    def test_names_are_docker_short_forms(self, prepared: PreparedEngine) -> None:
        names = set(prepared.ask("images in E where name is known select name").column("name"))
        assert {prepared.local("wait:1"), prepared.local(FULL), "example.org:5000/a/b/full:x"} < names
        (only,) = [name for name in names if "@" in name and "only" in name]
        assert only.startswith(f"{prepared.host}/team/only@sha256:")

    def test_registry(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask("images in E where name is known select name, registry").rows
        registries = {row["name"]: row["registry"] for row in rows}
        assert registries[prepared.local("wait:1")] == ("localhost" if prepared.kind == "podman" else "docker.io")
        assert registries["example.org:5000/a/b/full:x"] == "example.org:5000"

    def test_dangling_has_no_tag(self, prepared: PreparedEngine) -> None:
        dangling = set(prepared.ask("images in E where dangling select id").column("id"))
        assert dangling == {prepared.ids["nameless"], prepared.ids["timeless"]}

    def test_dangling_as_docker_has_it(self, prepared_docker: PreparedEngine) -> None:
        said = set(prepared_docker.lines("image", "ls", "-q", "--no-trunc", "--filter", "dangling=true"))
        assert set(prepared_docker.ask("images in E where dangling select id").column("id")) == said

    def test_intermediate_images_are_left_out(self, prepared_docker: PreparedEngine) -> None:
        every = set(prepared_docker.lines("image", "ls", "-aq", "--no-trunc"))
        shown = set(prepared_docker.lines("image", "ls", "-q", "--no-trunc"))
        assert shown < every
        ids = set(prepared_docker.ask("images in docker select id").column("id"))
        assert not ids & (every - shown)

    def test_size_and_labels(self, prepared: PreparedEngine, documents: dict[str, dict[str, Any]]) -> None:
        listed = {image["Id"]: image for image in prepared.request("images/json")}
        for row in prepared.ask("images in E select id, size, label").rows:
            said = documents[row["id"]]
            # an inspected image of containerd's image store has the size of its content alone
            assert row["size"] == (listed[row["id"]]["Size"] if prepared.has_containerd_images else said["Size"])
            assert row["label"] == (said["Config"].get("Labels") or {})

    def test_created(self, prepared: PreparedEngine, documents: dict[str, dict[str, Any]]) -> None:
        created = {row["id"]: row["created"] for row in prepared.ask("images in E select id, created").rows}
        for id_, said in documents.items():
            time = said.get("Created")  # missing for an image without one, in containerd's image store
            if time and time > "1970-01-01T00:00:01":
                assert created[id_] == seconds(time)
            elif prepared.kind == "docker":
                assert created[id_] is None
            elif time is None:  # podman lists the time at which it stored the image
                assert created[id_] > "2026"
        assert created[prepared.ids["epoch"]] is None

    def test_unknown_creation_is_unknown_in_docker(self, prepared_docker: PreparedEngine) -> None:
        ids = prepared_docker.ask("images in docker where created is unknown select id").column("id")
        assert set(ids) == {prepared_docker.ids[name] for name in ("epoch", "zero", "timeless")}

    def test_config(self, prepared: PreparedEngine, documents: dict[str, dict[str, Any]]) -> None:
        fields = "env, user, entrypoint, cmd, workdir, ports, volumes, healthcheck, stop_signal, author"
        for row in prepared.ask(f"images in E select id, {fields}").rows:
            said, config = documents[row["id"]], documents[row["id"]]["Config"]
            pairs = [text.partition("=") for text in config.get("Env") or ()]
            health = config.get("Healthcheck") or said.get("Healthcheck") or {}
            assert row["env"] == {name: value for name, _, value in pairs}
            assert row["user"] == (config.get("User") or None)
            assert row["entrypoint"] == config.get("Entrypoint")
            assert row["cmd"] == config.get("Cmd")
            assert row["workdir"] == (config.get("WorkingDir") or None)
            assert (row["ports"] or []) == sorted(config.get("ExposedPorts") or ())
            assert (row["volumes"] or []) == sorted(config.get("Volumes") or ())
            assert row["healthcheck"] == health.get("Test")
            assert row["stop_signal"] == config.get("StopSignal")
            assert row["author"] == (said.get("Author") or None)

    def test_platform(self, prepared: PreparedEngine, documents: dict[str, dict[str, Any]]) -> None:
        for row in prepared.ask("images in E select id, os, architecture, variant, platform").rows:
            said = documents[row["id"]]
            assert (row["os"], row["architecture"]) == (said["Os"], said["Architecture"])
            assert row["variant"] == said.get("Variant")
        arm = prepared.ask(f"images in E where id = {prepared.ids['arm']} select platform").column("platform")
        assert set(arm) == {"linux/arm64"}

    def test_layers_and_chain(self, prepared: PreparedEngine, documents: dict[str, dict[str, Any]]) -> None:
        chains: dict[str, set[tuple[str, ...]]] = {}
        for row in prepared.ask("images in E select id, layer_count, chain_id").rows:
            layers = tuple(documents[row["id"]]["RootFS"]["Layers"])
            assert row["layer_count"] == len(layers)
            chains.setdefault(row["chain_id"], set()).add(layers)
        assert all(len(layers) == 1 for layers in chains.values())

    def test_the_path_is_that_of_the_graph_driver(
        self, prepared: PreparedEngine, documents: dict[str, dict[str, Any]]
    ) -> None:
        for row in prepared.ask("images in E select id, store_path").rows:
            data = (documents[row["id"]].get("GraphDriver") or {}).get("Data") or {}
            assert row["store_path"] == (data.get("UpperDir") or data.get("MergedDir"))

    def test_shared_and_unique_sizes(self, prepared_docker: PreparedEngine) -> None:
        rows = prepared_docker.ask("images in E select id, shared_size, unique_size, containers").rows
        sizes = {row["id"]: row for row in rows}
        raw = {image["Id"]: image for image in disk_usage(prepared_docker)["Images"]}
        for id_, row in sizes.items():
            assert row["shared_size"] == raw[id_]["SharedSize"]
            assert row["unique_size"] == raw[id_]["Size"] - raw[id_]["SharedSize"]
            assert row["containers"] == raw[id_]["Containers"]

    def test_shared_sizes_of_podman_are_measured(self, prepared_podman: PreparedEngine) -> None:
        rows = prepared_podman.ask("images in podman select id, size, shared_size, unique_size").rows
        sizes = {row["id"]: row for row in rows}
        assert all(row["shared_size"] + row["unique_size"] == row["size"] for row in rows)
        same, alone = sizes[prepared_podman.ids["same-layers"]], sizes[prepared_podman.ids["full"]]
        assert same["shared_size"] == sizes[prepared_podman.ids["wait"]]["shared_size"] == 40_960
        assert alone["shared_size"] == 40_960
        assert alone["unique_size"] > 20_000


class TestLayers:
    def test_layers_of_all_images(self, prepared: PreparedEngine, documents: dict[str, dict[str, Any]]) -> None:
        rows = prepared.ask("layers in E order by image, index select image, index, diff_id").rows
        layers: dict[str, list[str]] = {}
        for row in rows:
            assert row["index"] == len(layers.setdefault(row["image"], []))
            layers[row["image"]].append(row["diff_id"])
        assert layers == {id_: said["RootFS"]["Layers"] for id_, said in documents.items()}

    def test_images_counts_images_of_the_engine(
        self, prepared: PreparedEngine, documents: dict[str, dict[str, Any]]
    ) -> None:
        rows = prepared.ask(f"layers of {prepared.local(FULL)} in E select diff_id, images").rows
        assert len(rows) == 3
        for row in rows:
            users = [said for said in documents.values() if row["diff_id"] in said["RootFS"]["Layers"]]
            assert row["images"] == len(users)
        assert max(row["images"] for row in rows) > 3

    def test_sizes_and_steps(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask(f"layers of {prepared.local(FULL)} in E select size, created_by, created").rows
        sizes = [layer.size for layer in prepared.images["full"].layers]
        if prepared.has_containerd_images:  # the blocks of the snapshots
            printed = prepared.lines("history", "--human=false", "--format", "{{.Size}}", FULL)
            assert [row["size"] for row in rows] == [int(size) for size in reversed(printed[1:])]
            assert all(row["size"] > size for row, size in zip(rows, sizes, strict=True))
        elif prepared.kind == "docker":
            assert [row["size"] for row in rows] == sizes
        else:  # podman counts the bytes of the archive
            assert [row["size"] for row in rows] == [len(layer.blob) for layer in prepared.images["full"].layers]
        assert [row["created_by"] for row in rows] == [f"COPY layer {place} /" for place in range(3)]
        assert {row["created"] for row in rows} == {"2024-03-01T10:00:00Z"}

    def test_relation_and_condition(self, prepared: PreparedEngine) -> None:
        layer = prepared.images["same-layers"].layers[1].diff_id
        ids = set(prepared.ask(f"images in E where has layer {layer} select id").column("id"))
        assert ids == {prepared.ids[name] for name in ("wait", "full", "same-layers", "timeless")}

    def test_layer_of_a_name_that_is_not_there(self, prepared: PreparedEngine) -> None:
        with pytest.raises(NotFound):
            prepared.ask("layers of no/such:1 in E")


class TestHistory:
    def test_steps_as_the_client_prints_them(self, prepared: PreparedEngine) -> None:
        for name in ("wait:1", FULL, "zero:1"):
            rows = prepared.ask(f"history of {prepared.local(name)} in E select index, created_by, empty, size").rows
            printed = prepared.lines("history", "--no-trunc", "--format", "{{.CreatedBy}}", prepared.local(name))
            assert [row["created_by"] for row in rows] == list(reversed(printed))
            assert [row["index"] for row in rows] == list(range(len(rows)))
            assert [row["empty"] for row in rows] == [False] * (len(rows) - 1) + [True]
            assert rows[-1]["size"] == 0

    def test_steps_without_times(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask(f"history of {prepared.ids['timeless']} in E select created, empty, created_by").rows
        assert [row["created"] for row in rows] == [None] * 3
        assert [row["empty"] for row in rows] == [False, False, True]
        assert rows[0]["created_by"] == "COPY layer 0 /"

    @pytest.mark.parametrize("name", ["classic:1", "cached:1"])
    def test_steps_of_builders(self, prepared_docker: PreparedEngine, name: str) -> None:
        rows = prepared_docker.ask(f"history of {name} in E select created_by, empty, size").rows
        assert [row["empty"] for row in rows] == [False, True, True, True]
        assert "COPY" in rows[0]["created_by"]
        assert rows[0]["size"] == prepared_docker.images["wait"].layers[1].size


class TestContainers:
    def test_listed_fields(self, prepared: PreparedEngine) -> None:
        names = {"made", "limits", "borrows", "runs", "ended", "sick"}
        rows = prepared.ask("containers in E where kind = container select * as json").rows
        assert {row["name"] for row in rows} == names
        for row in rows:
            (said,) = prepared.inspect("container", row["id"])
            assert said["Name"].removeprefix("/") == row["name"]
            assert row["image_id"] == "sha256:" + said["Image"].removeprefix("sha256:")
            assert row["image"] == said["Config"]["Image"]
            assert row["status"] == said["State"]["Status"]
            assert row["label"] == (said["Config"].get("Labels") or {})
            assert row["created"] == seconds(said["Created"])
            mounts = [
                f"{one.get('Name') or one['Source']}:{one['Destination']}{'' if one['RW'] else ':ro'}"
                for one in said["Mounts"]
            ]
            assert sorted(row["mounts"]) == sorted(mounts)
            assert row["network_mode"] == said["HostConfig"]["NetworkMode"] == "none"

    def test_commands(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask("containers in E where kind = container select name, command").rows
        assert {row["name"]: row["command"] for row in rows} == {
            "made": ["/wait"],
            "limits": ["/wait", "1", "two words"],
            "borrows": ["/wait"],
            "runs": ["/wait"],
            "ended": ["/wait", "7"],
            "sick": ["/wait", "x"],
        }

    def test_limits_and_privileges(self, prepared: PreparedEngine) -> None:
        (row,) = prepared.ask("containers in E where name = limits select * as json").rows
        assert row["memory_limit"] == 64 << 20
        assert row["cpu_limit"] == 1.5
        assert row["privileged"] is True
        assert row["read_only"] is True
        assert row["restart_policy"] == "on-failure"
        assert row["restart_count"] == 0
        assert row["user"] == "12:13"
        assert row["pid_mode"] == "host"
        assert row["env"]["X"] == "y z"
        assert row["env"]["EMPTY"] == ""
        assert row["label"]["c"] == ""
        assert row["exit_code"] is None
        assert (row["started"], row["finished"], row["health"]) == (None, None, None)
        assert "/tmp:/host:ro" in row["mounts"]
        assert "named:/named" in row["mounts"]

    def test_defaults_are_unknown(self, prepared: PreparedEngine) -> None:
        (row,) = prepared.ask("containers in E where name = runs select * as json").rows
        fields = ("memory_limit", "cpu_limit", "restart_policy", "user", "pid_mode", "health", "exit_code", "finished")
        assert {name: row[name] for name in fields} == dict.fromkeys(fields)
        assert (row["privileged"], row["read_only"], row["oom_killed"]) == (False, False, False)
        assert row["ports"] == row["published_ports"] == row["volumes_from"] == []

    def test_volumes_of_another_container(self, prepared: PreparedEngine) -> None:
        (row,) = prepared.ask("containers in E where volumes_from has limits select * as json").rows
        assert row["name"] == "borrows"
        assert "named:/named:ro" in row["mounts"]

    def test_ended_ones(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask("containers in E where exit_code != 0 and exit_code is known select * as json").rows
        assert {row["name"]: row["exit_code"] for row in rows} == {"ended": 7, "sick": 72}
        for row in rows:
            (said,) = prepared.inspect("container", row["id"])
            assert row["finished"][:19] == said["State"]["FinishedAt"][:19]
            assert row["started"][:19] == said["State"]["StartedAt"][:19]
            assert row["driver"] == said["Driver"]
            assert row["log_path"] == (said.get("LogPath") or said["HostConfig"]["LogConfig"]["Path"])
            assert row["log_size"] == 0

    def test_health(self, prepared: PreparedEngine) -> None:
        (row,) = prepared.ask("containers in E where name = sick select health").rows
        (said,) = prepared.inspect("container", "sick")
        assert row["health"] == said["State"]["Health"]["Status"]

    def test_size_of_written_files(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask("containers in E where kind = container select name, size_rw").rows
        for row in rows:
            form = "{{.SizeRw}}"
            said = prepared.engine.run("container", "inspect", "--size", "-f", form, row["name"])
            assert row["size_rw"] == int(said if said.isdigit() else 0)

    def test_digest_of_the_image(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask("containers in E where name in (runs, limits) select name, image_digest").rows
        digests = {row["name"]: row["image_digest"] for row in rows}
        (image,) = prepared.inspect("image", prepared.local("wait:1"))
        assert digests["runs"] == image["RepoDigests"][0].partition("@")[2]
        if prepared.has_containerd_images:
            assert digests["limits"] == prepared.ids["full"], "an ID is a digest"
        else:
            assert (digests["limits"] is None) == (prepared.kind == "docker")

    def test_working_container_of_a_build_tool(self, prepared_podman: PreparedEngine) -> None:
        (row,) = prepared_podman.ask("containers in E where kind = build select * as json").rows
        assert (row["name"], row["status"]) == ("working", "storage")
        assert row["image_id"] == prepared_podman.ids["epoch"]
        assert row["exit_code"] is None
        assert row["problem"] is None

    def test_containers_of_an_image(self, prepared: PreparedEngine) -> None:
        rows = prepared.ask(f"containers of {prepared.local('wait:1')} in E select name").rows
        assert {row["name"] for row in rows} == {"made", "runs", "ended"}


class TestUsage:
    def test_as_docker_prints_it(self, prepared_docker: PreparedEngine) -> None:
        form = "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}"
        said = [line.split("|") for line in prepared_docker.lines("system", "df", "--format", form)]
        rows = prepared_docker.ask("usage in E select * as json").rows
        for row, words in zip(rows, said, strict=True):
            assert [row["type"], row["total"], row["active"]] == [words[0], int(words[1]), int(words[2])]
            assert human_size(row["size"]) == words[3]
            assert human_size(row["reclaimable"]) == words[4].partition(" ")[0]

    def test_podman_counts_images_and_layers_once(self, prepared_podman: PreparedEngine) -> None:
        images, containers, *_ = prepared_podman.ask("usage in E select * as json").rows
        layers = {layer.diff_id: len(layer.blob) for image in prepared_podman.images.values() for layer in image.layers}
        assert (images["total"], images["active"]) == (8, 4)
        assert images["size"] >= sum(layers.values())
        assert 0 < images["reclaimable"] < images["size"]
        assert (containers["total"], containers["active"]) == (6, 1)


class TestBuildCache:
    def test_records_as_the_engine_has_them(self, prepared_docker: PreparedEngine) -> None:
        rows = {row["id"]: row for row in prepared_docker.ask("build_cache in E select * as json").rows}
        records = disk_usage(prepared_docker)["BuildCache"]
        assert len(rows) == len(records) > 1
        for said in records:
            row = rows[said["ID"]]
            assert (row["type"], row["description"]) == (said["Type"], said["Description"])
            assert (row["size"], row["usage_count"]) == (said["Size"], said["UsageCount"])
            assert (row["in_use"], row["shared"]) == (said["InUse"], said["Shared"])
            assert row["created"] == said["CreatedAt"].rstrip("0Z").removesuffix(".") + "Z"
            assert row["last_used"][:19] == said["LastUsedAt"][:19]

    def test_podman_has_none(self, prepared_podman: PreparedEngine) -> None:
        assert prepared_podman.ask("build_cache in E select * as json").rows == []


def disk_usage(prepared: PreparedEngine) -> dict[str, Any]:
    """Return what the engine's API says of its disk usage."""
    document: dict[str, Any] = prepared.request("system/df")
    return document


def test_a_name_that_is_set_in_a_session_is_seen(dockerd: Dockerd, tmp_path: Path) -> None:
    dockerd.run("import", "-", "localhost/old:1", stdin=b"\0" * 10_240)
    session = open_session(tmp_path / "store", environment={"DOCKER_HOST": dockerd.address})
    try:
        before = execute(session, "images in docker where name = localhost/old:1 select pulled_at, id").rows
        dockerd.run("tag", "localhost/old:1", "localhost/new:1")
        after = execute(session, f"images in docker where id = {before[0]['id']} select name, pulled_at").rows
    finally:
        session.close()
        dockerd.run("rmi", "localhost/old:1", "localhost/new:1")
    assert {row["name"] for row in after} == {"localhost/old:1", "localhost/new:1"}
    assert all(row["pulled_at"] > before[0]["pulled_at"] for row in after)
