"""Platforms, as in containerd: parsing, normalisation, and the selection of an image from an index."""

from __future__ import annotations

import os

import pytest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.platform import Platform, find_best_platform, host_platform, parse_platform
from imq.grammar.errors import StatementError

PARSED = {
    "linux/arm64": "linux/arm64",
    "linux/arm64/v8": "linux/arm64",
    "linux/arm64/8": "linux/arm64",
    "linux/arm64/v8.0": "linux/arm64",
    "linux/arm64/v8.1": "linux/arm64/v8.1",
    "linux/arm64/9": "linux/arm64/v9",
    "linux/arm64/9.0": "linux/arm64/v9",
    "linux/arm64/v9.0": "linux/arm64/v9",
    "linux/aarch64": "linux/arm64",
    "linux/arm": "linux/arm/v7",
    "linux/arm/7": "linux/arm/v7",
    "linux/arm/6": "linux/arm/v6",
    "linux/arm/5": "linux/arm/v5",
    "linux/arm/8": "linux/arm/v8",
    "linux/armhf": "linux/arm/v7",
    "linux/armhf/v6": "linux/arm/v7",
    "linux/armel": "linux/arm/v6",
    "linux/amd64/v1": "linux/amd64",
    "linux/amd64/V3": "linux/amd64/v3",
    "Linux/X86_64": "linux/amd64",
    "linux/x86-64": "linux/amd64",
    "linux/i386": "linux/386",
    "arm": "linux/arm/v7",
    "Aarch64": "linux/arm64",
    "s390x": "linux/s390x",
    "macOS/arm64": "darwin/arm64",
    "wasi/wasm": "wasi/wasm",
    "plan10/z80/v2": "plan10/z80/v2",
    "windows()/amd64": "windows/amd64",
    "windows(10.0.17763)/amd64": "windows(10.0.17763)/amd64",
    "windows(10.0.17763+win32k)/amd64": "windows(10.0.17763+win32k)/amd64",
    "linux(+gpu)/amd64": "linux(+gpu)/amd64",
    "linux(+simd+gpu+gpu)/arm64/v8": "linux(+gpu+simd)/arm64",
    "windows(10.0.17763%2Bbuild.42)/amd64": "windows(10.0.17763%2Bbuild.42)/amd64",
}


@pytest.mark.parametrize("text", PARSED)
def test_a_platform_is_normalised(text: str) -> None:
    platform = Platform.parse(text)
    assert str(platform) == PARSED[text]
    assert Platform.parse(str(platform)) == platform == platform.normalize()


@pytest.mark.parametrize(("text", "system"), [("linux", "linux"), ("Windows", "windows"), ("macOS", "darwin")])
def test_without_an_architecture_it_is_that_of_this_machine(text: str, system: str) -> None:
    assert Platform.parse(text) == host_platform().replace(os=system)


def test_the_options_of_an_operating_system_are_parsed() -> None:
    platform = Platform.parse("windows(10.0.17763%2Bbuild.42+win32k)/amd64")
    assert (platform.os, platform.os_version, platform.os_features) == ("windows", "10.0.17763+build.42", ("win32k",))


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "linux/", "/amd64", "linux//v8", "linux/amd64/v2/x", "foo", "unknown", "linux/*", "*", "*/arm64"),
        *(
            "linux/amd 64",
            " linux/amd64",
            "linux/amd64\n",
            "linux\t/amd64",
            "linux/\u0430md64",
            "linux/amd64;x",
            "lin.ux/arm",
        ),
        *("linux(/amd64", "linux)/amd64", "linux(a b)/amd64", "linux(+)/amd64", "linux(1/2)/amd64", "linux/arm64(8)"),
        *("arm/7", "arm/v7", "arm64/v8", "amd64/linux"),
    ],
)
def test_an_invalid_platform_is_refused(text: str) -> None:
    with pytest.raises(StatementError) as caught:
        Platform.parse(text)
    assert caught.value.code == "platform"


@pytest.mark.parametrize(("text", "hint"), [("amd46", '"amd64"'), ("arm/7", '"linux/arm/7"'), ("widows", '"windows"')])
def test_a_misspelt_platform_gets_a_suggestion(text: str, hint: str) -> None:
    with pytest.raises(StatementError) as caught:
        Platform.parse(text)
    assert any(hint in one for one in caught.value.hints)


MATCHES = {
    "linux/amd64": (["linux/amd64", "linux/386"], ["linux/amd64/v2", "linux/arm/v7", "linux/arm64", "windows/amd64"]),
    "linux/amd64/v2": (["linux/amd64/v2", "linux/amd64", "linux/386"], ["linux/amd64/v3", "linux/arm64"]),
    "linux/386": (["linux/386"], ["linux/amd64"]),
    "linux/arm/v8": (["linux/arm/v8", "linux/arm", "linux/arm/v6", "linux/arm/v5"], ["linux/arm/v4", "linux/arm64"]),
    "linux/arm": (["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"], ["linux/arm/v8", "linux/arm64"]),
    "linux/arm/v6": (["linux/arm/v6", "linux/arm/v5"], ["linux/arm", "linux/arm/v7"]),
    "linux/arm64": (
        ["linux/arm64", "linux/arm/v8", "linux/arm", "linux/arm/v6", "linux/arm/v5"],
        ["linux/arm64/v8.1", "linux/arm64/v9", "linux/amd64"],
    ),
    "linux/arm64/v8.2": (["linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64/v8", "linux/arm"], ["linux/arm64/v8.3"]),
    "linux/arm64/v9": (
        ["linux/arm64/v9.0", "linux/arm64/v8.5", "linux/arm64/v8.1", "linux/arm64", "linux/arm/v7"],
        ["linux/arm64/v8.6", "linux/arm64/v9.1"],
    ),
    "linux/arm64/v9.6": (
        ["linux/arm64/v9.6", "linux/arm64/v9", "linux/arm64/v8.9", "linux/arm64"],
        ["linux/arm64/v9.7"],
    ),
    "windows/amd64": (["windows/amd64", "windows(10.0.17763+win32k)/amd64"], ["linux/amd64"]),
    "windows(10.0.17763.1)/amd64": (
        ["windows(10.0.17763.1)/amd64", "windows(10.0.17763.9)/amd64", "windows/amd64"],
        ["windows(10.0.20348.1)/amd64", "windows(10.0.14393.1)/amd64", "windows(10.1.17763)/amd64", "linux/amd64"],
    ),
    "windows(10.0.20348)/amd64": (["windows(10.0.20348.5)/amd64"], ["windows(10.0.17763.1)/amd64"]),
    "windows(10.0.26100)/amd64": (
        ["windows(10.0.26100.1)/amd64", "windows(10.0.25398.1)/amd64", "windows(10.0.20348.1)/amd64"],
        ["windows(10.0.17763.1)/amd64", "windows(10.0.26200)/amd64"],
    ),
    "windows(10.0.26200)/amd64": (["windows(10.0.26100)/amd64"], ["windows(10.0.20348)/amd64"]),
    "windows(ltsc2022)/amd64": (["windows(ltsc2022)/amd64"], ["windows(10.0.20348)/amd64"]),
    "linux(+gpu)/amd64": (["linux(+gpu)/amd64", "linux/amd64"], ["linux(+gpu+simd)/amd64"]),
    "wasi/wasm": (["wasi/wasm"], ["wasip1/wasm"]),
    "linux/arm64/v10": (["linux/arm64/v10"], ["linux/arm64", "linux/arm"]),
    "linux/amd64/fast": (["linux/amd64/fast"], ["linux/amd64/v2"]),
}
"""For each requested platform: the compatible ones, best first, and some that are not compatible."""


@pytest.mark.parametrize("requested", MATCHES)
def test_the_best_compatible_platform_is_selected(requested: str) -> None:
    served, others = MATCHES[requested]
    offered = [(Platform.parse(text), position) for position, text in enumerate([*others, *served])]
    while len(offered) > len(others):
        position = find_best_platform(Platform.parse(requested), offered)
        assert position == len(others) + len(served) - (len(offered) - len(others))
        offered = [one for one in offered if one[1] != position]
    assert find_best_platform(Platform.parse(requested), offered) is None


def test_the_first_of_equal_platforms_is_selected() -> None:
    versions = ["windows(10.0.20348.1)/amd64", "windows(10.0.17763.1)/amd64"]
    assert (
        find_best_platform(
            Platform.parse("windows/amd64"), [(Platform.parse(text), at) for at, text in enumerate(versions)]
        )
        == 0
    )


def test_an_exact_match_selects_one_variant() -> None:
    requested = Platform.parse("linux/arm64")
    assert requested.matches_exactly(Platform("Linux", "aarch64", "8"))
    assert not requested.matches_exactly(Platform("linux", "arm", "v7"))
    windows = Platform.parse("windows(10.0.17763)/amd64")
    assert windows.matches_exactly(Platform("windows", "amd64", "", "10.0.17763.5"))
    assert not windows.matches_exactly(Platform("windows", "amd64", "", "10.0.177630"))
    assert Platform.parse("windows/amd64").matches_exactly(Platform("windows", "amd64", "", "10.0.17763.5"))


@pytest.mark.parametrize(
    ("document", "columns"),
    [
        ({"os": "linux", "architecture": "arm"}, ("linux/arm/v7", "linux", "arm", "v7", None)),
        ({"os": "linux", "architecture": "arm64"}, ("linux/arm64", "linux", "arm64", None, None)),
        ({"os": "linux", "architecture": "aarch64", "variant": "8"}, ("linux/arm64", "linux", "arm64", "v8", None)),
        ({"os": "Linux", "architecture": "x86_64"}, ("linux/amd64", "linux", "amd64", None, None)),
        ({"os": "macOS", "architecture": "arm64"}, ("darwin/arm64", "darwin", "arm64", None, None)),
        (
            {"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.1"},
            ("windows/amd64", "windows", "amd64", None, "10.0.20348.1"),
        ),
        ({}, (None, None, None, None, None)),
    ],
)
def test_stored_platforms_are_normalised(document: dict[str, str], columns: tuple[str | None, ...]) -> None:
    assert parse_platform(document).field_values == columns


def test_any_platform_of_a_document_can_be_ranked() -> None:
    rank = Platform.parse("linux/amd64").make_ranker()
    assert rank("linux", "x86_64", None, None, None) == 0
    assert rank(None, None, None, None, None) is None
    assert rank("lin ux", "am*d64\n", "(", None, '["a"]') is None


def test_a_descriptor_keeps_its_platform() -> None:
    document = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:" + "0" * 64,
        "size": 5,
        "platform": {
            "architecture": "amd64",
            "os": "windows",
            "os.version": "10.0.17763.1",
            "os.features": ["win32k"],
        },
    }
    assert Descriptor.parse(document, "it").to_json() == document


def test_the_platform_of_this_machine_is_detected() -> None:
    assert host_platform().os == "linux"
    assert host_platform() == host_platform().normalize()
    assert os.uname().machine != "x86_64" or host_platform().architecture == "amd64"
