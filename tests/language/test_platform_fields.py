"""Values of os, architecture and variant are normalized like those of platform: case and aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.platform import normalize_variant
from imq.engine.result import RowSet
from imq.grammar.errors import StatementError

if TYPE_CHECKING:
    from imq.engine.session.session import Session


def names(session: Session, text: str) -> set[object]:
    return {row[0] for result in session.run(text) if isinstance(result, RowSet) for row in result.rows}


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("architecture = aarch64", 'architecture = "arm64"'),
        ("arch = ARM64", 'architecture = "arm64"'),
        ("architecture != x86_64", 'architecture != "amd64"'),
        ("architecture in (aarch64, x86-64)", 'architecture in ("arm64", "amd64")'),
        ('"aarch64" = .architecture', 'architecture = "arm64"'),
        ("variant = 8", 'variant = "v8"'),
        ("variant in (7, V8)", 'variant in ("v7", "v8")'),
        ("os = Linux", 'os = "linux"'),
        ("os != macOS", 'os != "darwin"'),
    ],
)
def test_a_value_is_normalised(session: Session, written: str, canonical: str) -> None:
    found = names(session, f"images where {written} select name")
    assert found
    assert found == names(session, f"images where {canonical} select name")


def test_a_value_compared_with_a_selected_column_is_normalised(session: Session) -> None:
    query = "(images select name, architecture as a) where a = aarch64 select name"
    assert names(session, query) == {"edge/agent:1"}


def test_an_architecture_with_a_variant_is_refused(session: Session) -> None:
    with pytest.raises(StatementError) as refused:
        list(session.run("images where architecture = armhf"))
    assert refused.value.code == "platform"
    assert refused.value.hints == ("write platform = linux/arm/v7, or architecture = arm",)


def test_an_unknown_architecture_is_compared_unchanged(session: Session) -> None:
    assert names(session, "images where architecture = e2k select name") == set()


@pytest.mark.parametrize(
    ("text", "variant"),
    [("8", "v8"), ("v8", "v8"), ("V8.0", "v8"), ("8.2", "v8.2"), ("v9.0", "v9"), ("power9", "power9"), ("", "")],
)
def test_variants_are_normalized(text: str, variant: str) -> None:
    assert normalize_variant(text) == variant
