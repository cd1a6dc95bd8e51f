"""`--junit` and `--sarif`: the outcomes of assert statements for CI systems, and `as ansible`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from support.command import run_imq
from support.images import write_library

if TYPE_CHECKING:
    import pathlib

POLICY = """# sizes
on error continue
assert no images where size > 1TB

assert no images where repository = redis
assert count (images) = 1
include "more.imq"
assert count (images in nowhere.invalid:1) = 0
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    write_library(tmp_path / "store")
    (tmp_path / "policy.imq").write_text(POLICY)
    (tmp_path / "more.imq").write_text("assert no images where tag = 7\n")
    return tmp_path


def check(folder: pathlib.Path) -> int:
    environment = {"IMQ_ROOT": str(folder / "store"), "HOME": str(folder)}
    reports = ("--junit", f"{folder}/junit.xml", "--sarif", f"{folder}/out.sarif")
    return run_imq(environment, *reports, "-f", f"{folder}/policy.imq").code


def test_junit_has_every_assertion(folder: pathlib.Path) -> None:
    assert check(folder) != 0
    suites = ET.parse(folder / "junit.xml").getroot()
    assert {name: suites.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "5",
        "failures": "3",
        "errors": "1",
    }
    cases = suites.findall("testsuite/testcase")
    assert [(case.get("name"), case.get("line"), [child.tag for child in case]) for case in cases] == [
        ("assert no images where size > 1TB", "3", []),
        ("assert no images where repository = redis", "5", ["failure"]),
        ("assert count(images) = 1", "6", ["failure"]),
        ("assert no images where tag = 7", None, ["failure"]),
        ("assert count(images in nowhere.invalid:1) = 0", "8", ["error"]),
    ]
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "redis" in failure.text
    assert failure.get("message") == "assertion failed: no images where repository = redis"


def test_sarif_has_every_offending_row(folder: pathlib.Path) -> None:
    check(folder)
    document: dict[str, Any] = json.loads((folder / "out.sarif").read_text())
    (run,) = document["runs"]
    rules = [rule["shortDescription"]["text"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == 4
    found = [(rules[one["ruleIndex"]], one["locations"][0]["physicalLocation"]) for one in run["results"]]
    redis = [place for rule, place in found if "redis" in rule]
    assert len(redis) == 2
    assert redis[0]["region"] == {"startLine": 5}
    assert redis[0]["artifactLocation"]["uri"].endswith("policy.imq")
    assert all(one["level"] == "error" for one in run["results"])
    assert len({one["partialFingerprints"]["assertion/v1"] for one in run["results"]}) == len(run["results"])


def test_reports_of_a_statement_without_a_script(folder: pathlib.Path) -> None:
    environment = {"IMQ_ROOT": str(folder / "store"), "HOME": str(folder)}
    done = run_imq(
        environment, "--sarif", f"{folder}/x.sarif", "--junit", f"{folder}/x.xml", "assert count (images) > 0"
    )
    assert (done.code, done.stdout) == (0, "")
    assert json.loads((folder / "x.sarif").read_text())["runs"][0]["results"] == []
    assert ET.parse(folder / "x.xml").getroot().get("tests") == "1"


def test_a_stopped_script_writes_what_it_checked(folder: pathlib.Path) -> None:
    (folder / "policy.imq").write_text("assert no images where repository = redis; assert count (images) > 0")
    assert check(folder) == 1
    assert ET.parse(folder / "junit.xml").getroot().get("tests") == "1"


def test_characters_that_xml_does_not_allow(folder: pathlib.Path) -> None:
    (folder / "policy.imq").write_text('assert no images where tag != "\x01<&>" and repository = redis')
    assert check(folder) == 1
    case = ET.parse(folder / "junit.xml").getroot().find("testsuite/testcase")
    assert case is not None
    assert "<&>" in str(case.get("name"))


def test_a_report_that_cannot_be_written(folder: pathlib.Path) -> None:
    environment = {"IMQ_ROOT": str(folder / "store"), "HOME": str(folder)}
    done = run_imq(environment, "--junit", f"{folder}/missing/x.xml", "assert count (images) > 0")
    assert done.code == 3
    assert "cannot write" in done.stderr


@pytest.mark.parametrize(
    ("statement", "changed", "failed"),
    [
        ("images where tag = 7", False, False),
        ("untag redis:7", True, False),
        ("dry run untag redis:7", True, False),
        ("rm images where tag = absent", False, False),
        ("rm absent:1, absent:2", False, True),
        ("assert no images", False, True),
    ],
)
def test_ansible(folder: pathlib.Path, statement: str, changed: bool, failed: bool) -> None:
    environment = {"IMQ_ROOT": str(folder / "store"), "HOME": str(folder)}
    done = run_imq(environment, "--yes", "--output", "ansible", statement)
    said = json.loads(done.stdout)
    assert (said["changed"], said["failed"], bool(said["msg"])) == (changed, failed, failed)
    assert isinstance(said["results"], list)
