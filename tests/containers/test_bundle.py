"""Bundles of containers: valid by the schema of the runtime specification, with docker's defaults."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jsonschema
import pytest
import referencing
from imq.engine.containers.bundle import BundleOptions, Mount, make_bundle, make_process
from imq.engine.containers.privileges import (
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    list_capabilities,
    list_known_capabilities,
)
from imq.engine.containers.seccomp import make_profile
from imq.engine.containers.users import User, find_user
from imq.grammar.errors import StatementError

SCHEMAS = pathlib.Path(__file__).parent.parent / "data" / "runtime-spec"
OPTIONS = BundleOptions(
    arguments=("sh", "-c", "true"),
    environment=("A=b",),
    workdir="",
    user=User(),
    host_config={"NetworkMode": "none"},
    hostname="host",
    mounts=(Mount("/srv", "/data/inner"), Mount("/srv", "/data", read_only=True)),
    architecture="amd64",
    kernel=(6, 1),
)


def with_host(**values: Any) -> BundleOptions:
    """Return the options with these values in `HostConfig`."""
    return OPTIONS.replace(host_config={"NetworkMode": "none", **values})


PROFILE = json.dumps(
    {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None, "includes": {}, "excludes": {}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"name": "write", "action": "SCMP_ACT_ALLOW"},
        ],
    }
)
BUNDLES = {
    "plain": OPTIONS,
    "limits": with_host(
        Memory=64 << 20,
        NanoCpus=1_500_000_000,
        PidsLimit=100,
        MemorySwap=-1,
        MemoryReservation=1 << 20,
        CpuShares=512,
        CpusetCpus="0-1",
        CpusetMems="0",
        OomScoreAdj=-5,
        ShmSize=1 << 20,
        Ulimits=[{"Name": "nofile", "Soft": 10, "Hard": (1 << 64) - 1}],
    ).replace(limits_swap=True, cgroup="/imq/a"),
    "user": with_host(NetworkMode="host", ReadonlyRootfs=True).replace(user=User(1000, 1001, (2000,)), workdir="/srv"),
    "privileged": with_host(Privileged=True),
    "devices": with_host(
        Devices=[{"PathOnHost": "/dev/null", "PathInContainer": "/dev/other", "CgroupPermissions": "r"}],
        Tmpfs={"/run": "size=1m,mode=1777", "/run/lock": ""},
        Sysctls={"net.core.somaxconn": "100"},
    ),
    "capabilities": with_host(CapAdd=["CAP_SYS_ADMIN"], CapDrop=["ALL"], SecurityOpt=["no-new-privileges=true"]),
    "profile": with_host(SecurityOpt=[f"seccomp={PROFILE}", "systempaths=unconfined"]),
    "host": with_host(NetworkMode="host", PidMode="host", IpcMode="host", UTSMode="host"),
    "without cgroups": with_host(Memory=1 << 30).replace(has_cgroups=False),
    "terminal": OPTIONS.replace(terminal=True),
    "arm64": OPTIONS.replace(architecture="arm64"),
    "unknown machine": OPTIONS.replace(architecture="sparc"),
}


def make_validator() -> Any:
    documents = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    for document in documents.values():
        document.pop("$schema", None)
    registry = referencing.Registry().with_resources(
        (name, referencing.Resource(document, referencing.jsonschema.DRAFT4)) for name, document in documents.items()
    )
    root = {"$ref": "config-schema.json"}
    return jsonschema.Draft4Validator(root, registry=registry)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_is_valid(name: str) -> None:
    bundle = json.loads(json.dumps(make_bundle(BUNDLES[name])))
    assert [error.message for error in make_validator().iter_errors(bundle)] == []


def test_the_schema_finds_errors() -> None:
    bundle = make_bundle(OPTIONS)
    bundle["process"]["cwd"] = 7
    assert [error.message for error in make_validator().iter_errors(bundle)]


def test_the_defaults_are_those_of_docker() -> None:
    bundle = make_bundle(OPTIONS)
    assert {one["type"] for one in bundle["linux"]["namespaces"]} == {"pid", "ipc", "uts", "mount", "network"}
    assert "/proc/kcore" in bundle["linux"]["maskedPaths"]
    assert "/proc/sys" in bundle["linux"]["readonlyPaths"]
    assert len(DEFAULT_CAPABILITIES) == 14
    assert sorted(bundle["process"]["capabilities"]["effective"]) == sorted(DEFAULT_CAPABILITIES)
    assert bundle["process"]["cwd"] == "/"
    targets = [mount["destination"] for mount in bundle["mounts"] if mount["type"] == "bind"]
    assert targets == ["/data", "/data/inner"], "a folder is mounted before those inside of it"
    assert {"type": "network"} not in make_bundle(with_host(NetworkMode="host"))["linux"]["namespaces"]


def test_other_users_have_no_capabilities_in_effect() -> None:
    capabilities = make_process(OPTIONS.replace(user=User(1000, 1000)))["capabilities"]
    assert sorted(capabilities["bounding"]) == sorted(DEFAULT_CAPABILITIES)
    assert capabilities["effective"] == capabilities["permitted"] == []


CHOSEN_CAPABILITIES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "added": ({"CapAdd": ["CAP_NET_ADMIN"]}, {*DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"}),
    "dropped": ({"CapDrop": ["CAP_MKNOD"]}, {*DEFAULT_CAPABILITIES} - {"CAP_MKNOD"}),
    "added and dropped": ({"CapAdd": ["CAP_CHOWN"], "CapDrop": ["CAP_CHOWN"]}, {*DEFAULT_CAPABILITIES}),
    "only one": ({"CapAdd": ["CAP_CHOWN"], "CapDrop": ["ALL"]}, {"CAP_CHOWN"}),
    "all but one": ({"CapAdd": ["ALL"], "CapDrop": ["CAP_BPF"]}, {*list_known_capabilities()} - {"CAP_BPF"}),
    "none": ({"CapDrop": ["ALL"]}, set()),
    "privileged": ({"Privileged": True, "CapDrop": ["ALL"]}, {*list_known_capabilities()}),
}


@pytest.mark.parametrize("name", CHOSEN_CAPABILITIES)
def test_capabilities_are_added_and_dropped_as_by_docker(name: str) -> None:
    host, expected = CHOSEN_CAPABILITIES[name]
    assert set(list_capabilities(host)) == expected
    assert expected <= set(CAPABILITIES)


def test_a_privileged_container_has_no_filter_and_no_masks() -> None:
    linux = make_bundle(BUNDLES["privileged"])["linux"]
    assert (linux["maskedPaths"], linux["readonlyPaths"], "seccomp" in linux) == ([], [], False)
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "/dev/null" in {device["path"] for device in linux["devices"]}


def test_a_profile_in_the_format_of_docker_is_resolved() -> None:
    linux = make_bundle(BUNDLES["profile"])["linux"]
    assert linux["maskedPaths"] == []
    assert linux["seccomp"]["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert [rule["names"] for rule in linux["seccomp"]["syscalls"]] == [["read"], ["write"]]


def test_the_seccomp_profile_depends_on_machine_and_kernel() -> None:
    def allowed(architecture: str, kernel: tuple[int, int]) -> set[str]:
        profile = make_profile(architecture, DEFAULT_CAPABILITIES, kernel)
        assert profile is not None
        return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}

    assert "ptrace" in allowed("amd64", (6, 1))
    assert "ptrace" not in allowed("amd64", (4, 4))
    assert "arch_prctl" in allowed("amd64", (6, 1)) - allowed("arm64", (6, 1))
    for name in ("mount", "reboot", "init_module", "bpf", "kexec_load"):
        assert name not in allowed("amd64", (6, 1))
    assert make_profile("sparc", DEFAULT_CAPABILITIES, (6, 1)) is None


FILES = {
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:\n7:x:70:71::/:\nbad\n#no:x:9:9::/:\n",
    "/etc/group": b"root:x:0:\napp:x:1001:\nextra:x:2000:other,app\nwheel:x:10:app\n",
}
USERS = {
    "": User(0, 0, (), "/root"),
    "root": User(0, 0, (), "/root"),
    "app": User(1000, 1001, (2000, 10), "/home/app"),
    "1000": User(1000, 1001, (2000, 10), "/home/app"),
    "5000": User(5000, 0, (), ""),
    "app:wheel": User(1000, 10, (), "/home/app"),
    "app:77": User(1000, 77, (), "/home/app"),
    "5000:extra": User(5000, 2000, (), ""),
}


@pytest.mark.parametrize("text", USERS)
def test_users_and_groups_are_found_as_by_docker(text: str) -> None:
    assert find_user(text, FILES.get) == USERS[text]


@pytest.mark.parametrize("text", ["nobody", "app:nobody", "bad", "no", "99999999999999"])
def test_unknown_users_and_groups_are_errors(text: str) -> None:
    with pytest.raises(StatementError, match="unable to find"):
        find_user(text, FILES.get)


def test_an_image_without_files_has_numeric_users_only() -> None:
    assert find_user("12:34", lambda _: None) == User(12, 34)
    assert find_user("", lambda _: None) == User()
