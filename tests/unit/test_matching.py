"""Go's path.Match and regular expressions: matches, invalid patterns, and linear running time."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.query.matching import path_match, path_matcher, regex_capture, regex_search
from imq.grammar.errors import StatementError

MATCHES = """
abc abc; * abc; *c abc; a* a; a* abc; a*/b abc/b; ** abc; a**c abc; */* a/b; * ; ? é; ?? é日; *? é
a*b*c*d*e*/f axbxcxdxe/f; a*b*c*d*e*/f axbxcxdxexxx/f; a*b?c*x abxbbxdbxebxczzx; *x xxx; *.tar.* a.tar.b.tar.gz
ab[c] abc; ab[b-d] abc; ab[^e-g] abc; [a-cx-z] y; [^a-cx-z] m; [a-ζ]* δ; a?b a☺b; a[^a]b a☺b; a[/]b a/b; a[^x]b a/b
a\\*b a*b; \\a a; \\\\ \\; \\[a] [a]; [\\]a] ]; [\\-] -; [x\\-] x; [x\\-] -; [\\-x] x; [\\-x] -; [a^] ^; [[] [; [*]x *x
] ]; a] a]; a-z a-z; ^a ^a; library/* library/redis; */team/* r.io:5000/team/app; redis:[67]* redis:7.2; {a} {a}
"""
DIFFERENT = """
abc ab; abc abcd; a* ab/c; a*/b a/c/b; * a/b; */* a/b/c; ? / ; ?? é; a?b a/b; a*b a/b; ? ; a ; *a ; a*a a; * /
a*b*c*d*e*/f axbxcxdxe/xxx/f; a*b*c*d*e*/f axbxcxdxexxx/fff; a*b?c*x abxbbxdbxebxczzy; redis redis:7; ABC abc
ab[e-g] abc; ab[^c] abc; ab[^b-d] abc; [z-a] m; a\\*b ab; a???b a☺b; a[^a][^a][^a]b a☺b; *[a-ζ] A; [x\\-] z; [\\-x] a
"""
MALFORMED = [
    *("[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a/b[", "[]", "[^]", "[a-]", "[a", "[a-"),
    *("\\", "a\\", "[\\", "[a\\", "*[", "x*[a-", "[^-]", "[\ud800]"),
]


def pairs(table: str) -> list[tuple[str, str]]:
    found = (pair.strip(" ").partition(" ") for line in table.strip().splitlines() for pair in line.split(";"))
    return [(pattern, text) for pattern, _, text in found]


@pytest.mark.parametrize(("pattern", "text"), pairs(MATCHES))
def test_a_path_matches(pattern: str, text: str) -> None:
    assert path_match(pattern, text)


@pytest.mark.parametrize(("pattern", "text"), pairs(DIFFERENT))
def test_a_path_does_not_match(pattern: str, text: str) -> None:
    assert not path_match(pattern, text)


@pytest.mark.parametrize("text", ["", "a", "ab", "zzz", "a/b"])
@pytest.mark.parametrize("pattern", MALFORMED)
def test_a_malformed_pattern_is_an_error_for_any_text(pattern: str, text: str) -> None:
    with pytest.raises(StatementError) as raised:
        path_match(pattern, text)
    assert (raised.value.code, raised.value.message) == ("pattern", "syntax error in pattern")


def test_a_star_may_match_part_of_a_character_as_in_go() -> None:
    assert path_match("a*[^é]", "aé")  # the second byte of é, which is no character, is not é


@given(st.text("ab*?/é", max_size=8), st.text("ab/é", max_size=10))
def test_a_path_pattern_matches_like_the_equivalent_regular_expression(pattern: str, text: str) -> None:
    same = "".join({"*": "[^/]*", "?": "[^/]"}.get(sign, re.escape(sign)) for sign in pattern)
    assert path_match(pattern, text) == (re.fullmatch(same, text) is not None)


@given(st.text(), st.text())
def test_any_text_is_a_pattern_or_an_error(pattern: str, text: str) -> None:
    for match in (path_match, regex_search):
        with suppress(StatementError):
            match(pattern, text)


@given(st.text())
def test_an_escaped_text_matches_itself(text: str) -> None:
    assert path_match("".join("\\" + sign for sign in text), text)


EVIL = """
from imq.engine.query.matching import path_match, path_matcher, regex_capture, regex_search
text = "a" * 3000
assert not path_match("*a" * 200 + "*b", text)
assert not path_match("?*" * 300 + "b", text)
assert not path_match("[^b]*" * 100 + "b", text)
assert not regex_search("(a+)+$", "a" * 100_000 + "b")
assert not regex_search("(a|aa)*(a|aa)*(a|aa)*c", "a" * 100_000)
assert not regex_search("(.*a){40}b", "a" * 20_000)
assert regex_capture("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 100_000) is None
"""


def test_matching_is_fast_for_every_pattern() -> None:
    subprocess.run([sys.executable, "-c", EVIL], check=True, timeout=60)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^7\\.", "7.2", True),
        ("^7\\.", "17.2", False),
        ("", "", True),
        (".", "é", True),
        ("^.$", "é", True),
        ("^.$", "日本", False),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        ("a$", "a\n", False),
        ("(?i)REDIS", "redis", True),
        ("a\0b", "xa\0b", True),
        ("\\pL+", "é", True),
    ],
)
def test_an_expression_matches_anywhere_in_the_text(pattern: str, text: str, found: bool) -> None:
    assert regex_search(pattern, text) is found


@pytest.mark.parametrize(
    ("pattern", "text", "group", "taken"),
    [
        ("v(\\d+)\\.(\\d+)", "av12.3b", None, "12"),
        ("v(\\d+)\\.(\\d+)", "av12.3b", 0, "v12.3"),
        ("v(\\d+)\\.(\\d+)", "av12.3b", 2, "3"),
        ("\\d+", "a12b3", None, "12"),
        ("(a)|(b)", "b", 1, None),
        ("(a)|(b)", "b", 2, "b"),
        ("(x?)b", "b", None, ""),
        ("(c)", "ab", None, None),
        ("é(.)", "né日!", 1, "日"),
        ("(?P<major>\\d+)", "12", None, "12"),
    ],
)
def test_a_group_is_captured(pattern: str, text: str, group: int | None, taken: str | None) -> None:
    assert regex_capture(pattern, text, group) == taken


@pytest.mark.parametrize(
    ("pattern", "message", "hint"),
    [
        ("a(b", "missing \\): a\\(b", "RE2"),
        ("[z-a]", "invalid character class range: z-a", "RE2"),
        ("a{2000}", "invalid repetition size: \\{2000\\}", "RE2"),
        ("(?i)\\pL{200}", "pattern too large", "RE2"),
        ("a(?=b)", "invalid perl operator", "lookaround"),
        ("(?<!b)a", "invalid", "lookaround"),
        ("(a)\\1", "invalid escape sequence", "backreferences"),
    ],
)
def test_an_invalid_expression_is_refused(pattern: str, message: str, hint: str) -> None:
    with pytest.raises(StatementError, match=message) as raised:
        regex_search(pattern, "")
    assert raised.value.code == "pattern"
    assert hint in raised.value.hints[0]


@pytest.mark.parametrize(("pattern", "group"), [("(a)", 2), ("a", 1), ("(a)", -1)])
def test_a_group_must_exist(pattern: str, group: int) -> None:
    with pytest.raises(StatementError, match=f"the pattern has no group {group}"):
        regex_capture(pattern, "a", group)


@given(
    st.text(alphabet="ab/*?.:é[]-^\\", max_size=8),
    st.lists(st.text(alphabet="ab/.:é\n", max_size=8), max_size=4),
)
def test_a_matcher_agrees_with_the_function(pattern: str, texts: list[str]) -> None:
    try:
        expected = [path_match(pattern, text) for text in texts]
        made = path_matcher(pattern)
    except StatementError:
        return
    assert [made(text) for text in texts] == expected
