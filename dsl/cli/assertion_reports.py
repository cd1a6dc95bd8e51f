"""Reports of assertions for CI systems: JUnit XML, and SARIF 2.1.0 for code scanning."""

from __future__ import annotations

import json
import os
import re

from imq.engine.result import RowSet
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record
from imq.grammar.unparser import unparse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from imq.engine.render.values import DisplayOptions
    from imq.engine.result import Result
    from imq.grammar import ast

_INVALID_XML = re.compile("[^\\t\\n\\r\\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MAX_ROWS = 100
"""The offending rows of an assertion that SARIF lists one by one: code scanning shows no more than a few thousand."""
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


class Checked(Record):
    """One checked assertion. `outcome` is "" when it holds, "failed", or "error" when it could not be checked.

    `line` is its line in the script, from 1; 0: unknown. `rows` are the offending rows, as lines of text.
    """

    statement: str
    line: int
    outcome: str = ""
    message: str = ""
    rows: tuple[str, ...] = ()


class AssertionReports:
    """Collects assertions, and writes the reports that `paths` has: by "junit" and "sarif"."""

    def __init__(self, paths: Mapping[str, str], script: str, text: str, version: str) -> None:
        self._paths = paths
        self._script = script
        self._text = text
        self._version = version
        self.checked: list[Checked] = []

    def record(self, statement: ast.Assert, outcome: Result | ImqError, options: DisplayOptions) -> None:
        """Add one assertion."""
        text, line = unparse(statement), self._find_line(statement)
        if isinstance(outcome, ImqError):
            self.checked.append(Checked(text, line, "error", outcome.message))
        elif isinstance(outcome, RowSet) and outcome.errors:
            from imq.engine.render.formats import write_rows

            plain = outcome.replace(output=type(outcome.output)())
            lines = "".join(write_rows(plain, options)).splitlines()
            message = outcome.errors[0].message
            self.checked.append(Checked(text, line, "failed", message, tuple(lines)))
        else:
            self.checked.append(Checked(text, line))

    def _find_line(self, statement: ast.Assert) -> int:
        """Return the line of a statement of the script itself; 0 for one of an included file."""
        start = statement.span.start if statement.span is not None else -1
        if start < 0 or self._text[start : start + 6].lower() != "assert":
            return 0
        return self._text.count("\n", 0, start) + 1

    def write(self) -> None:
        """Write the reports. A file appears when it is complete."""
        from imq.engine.atomic_writer import open_output

        writers = {"junit": self.write_junit, "sarif": self.write_sarif}
        for form, path in self._paths.items():
            try:
                with open_output(path) as target:
                    target.write(writers[form]().encode("utf-8", "backslashreplace"))
            except OSError as problem:
                raise ImqError(f"cannot write {path}: {problem.strerror}", code="output") from None

    def write_junit(self) -> str:
        """Return the assertions as test cases in the XML of JUnit."""
        from xml.etree import ElementTree as ET

        counts = {kind: str(sum(one.outcome == kind for one in self.checked)) for kind in ("failed", "error")}
        totals = {"tests": str(len(self.checked)), "failures": counts["failed"], "errors": counts["error"]}
        suites = ET.Element("testsuites", {"name": "imq", **totals})
        name = _to_xml(self._script or "imq")
        suite = ET.SubElement(suites, "testsuite", {"name": name, **totals, "skipped": "0"})
        for one in self.checked:
            attributes = {"name": _to_xml(one.statement), "classname": name}
            if one.line:
                attributes |= {"file": name, "line": str(one.line)}
            case = ET.SubElement(suite, "testcase", attributes)
            if one.outcome:
                tag = "failure" if one.outcome == "failed" else "error"
                problem = ET.SubElement(case, tag, {"message": _to_xml(one.message), "type": one.outcome})
                problem.text = _to_xml("\n".join(one.rows))
        ET.indent(suites)
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, "unicode")}\n'

    def write_sarif(self) -> str:
        """Return the failed assertions as results: one for each offending row."""
        rules: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        for one in self.checked:
            if not one.outcome:
                continue
            number = next(
                (at for at, rule in enumerate(rules) if rule["shortDescription"]["text"] == one.statement), -1
            )
            if number < 0:
                number = len(rules)
                rules.append({"id": f"imq/assert-{number + 1}", "shortDescription": {"text": one.statement}})
            heading, *rows = one.rows or ("",)
            for row in rows[:_MAX_ROWS] or [""]:
                text = one.message if not row else f"{one.message}\n{heading}\n{row}"
                result: dict[str, Any] = {
                    "ruleId": rules[number]["id"],
                    "ruleIndex": number,
                    "level": "error",
                    "message": {"text": text},
                    "partialFingerprints": {"assertion/v1": f"{one.statement}\n{row}"},
                }
                if self._script:
                    location: dict[str, Any] = {"artifactLocation": {"uri": self._script.replace(os.sep, "/")}}
                    if one.line:
                        location["region"] = {"startLine": one.line}
                    result["locations"] = [{"physicalLocation": location}]
                results.append(result)
        driver = {"name": "imq", "semanticVersion": self._version, "rules": rules}
        run = {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
        document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
        return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _to_xml(text: str) -> str:
    """Return a text without the characters that XML does not allow."""
    return _INVALID_XML.sub("\ufffd", text)
