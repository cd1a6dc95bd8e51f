"""Bundles of containers: valid by the schema of the runtime specification, with docker's defaults."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jsonschema
import pytest
import referencing
from imq.engine.containers.bundle import CAPABILITIES, BundleOptions, Mount, make_bundle, make_process
from imq.engine.containers.seccomp import make_profile
from imq.engine.containers.users import User, find_user
from imq.grammar.errors import StatementError

SCHEMAS = pathlib.Path(__file__).parent.parent / "data" / "runtime-spec"
OPTIONS = BundleOptions(
    id="a" * 64,
    folder="/store/containers/a",
    arguments=("sh", "-c", "true"),
    environment=("A=b",),
    workdir="",
    user=User(),
    hostname="host",
    mounts=(Mount("/srv", "/data/inner"), Mount("/srv", "/data", read_only=True)),
    network="none",
    architecture="amd64",
    kernel=(6, 1),
)
BUNDLES = {
    "plain": OPTIONS,
    "limits": OPTIONS.replace(memory=64 << 20, cpus=1.5, pids=100, limits_swap=True, cgroup="/imq/a"),
    "user": OPTIONS.replace(user=User(1000, 1001, (2000,)), read_only=True, network="host", workdir="/srv"),
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
    assert len(CAPABILITIES) == 14
    assert bundle["process"]["capabilities"]["effective"] == list(CAPABILITIES)
    assert bundle["process"]["cwd"] == "/"
    targets = [mount["destination"] for mount in bundle["mounts"] if mount["type"] == "bind"]
    assert targets == ["/data", "/data/inner"], "a folder is mounted before those inside of it"
    assert {"type": "network"} not in make_bundle(OPTIONS.replace(network="host"))["linux"]["namespaces"]


def test_other_users_have_no_capabilities_in_effect() -> None:
    capabilities = make_process(OPTIONS.replace(user=User(1000, 1000)))["capabilities"]
    assert capabilities["bounding"] == list(CAPABILITIES)
    assert capabilities["effective"] == capabilities["permitted"] == []


def test_the_seccomp_profile_depends_on_machine_and_kernel() -> None:
    def allowed(architecture: str, kernel: tuple[int, int]) -> set[str]:
        profile = make_profile(architecture, CAPABILITIES, kernel)
        assert profile is not None
        return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}

    assert "ptrace" in allowed("amd64", (6, 1))
    assert "ptrace" not in allowed("amd64", (4, 4))
    assert "arch_prctl" in allowed("amd64", (6, 1)) - allowed("arm64", (6, 1))
    for name in ("mount", "reboot", "init_module", "bpf", "kexec_load"):
        assert name not in allowed("amd64", (6, 1))
    assert make_profile("sparc", CAPABILITIES, (6, 1)) is None


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
