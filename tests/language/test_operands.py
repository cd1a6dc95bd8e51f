"""Invalid references: every action and query refuses them before any request and any change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.grammar.ast_builder import CONDITION_WORDS
from imq.grammar.errors import StatementError

if TYPE_CHECKING:
    from imq.engine.session.session import Session


NOWHERE = "127.0.0.1:1"
ACTIONS = (
    "pull {}",
    "pull redis:7, {}",
    "push {}",
    "push redis:7 to {}",
    "push images where tag = 7 to {}",
    "copy {} to b.example",
    f"copy {NOWHERE}/x:1 to {{}}",
    f"copy tags of {NOWHERE}/x where tag = 1 to {{}}",
    "rm {}",
    "rm redis:7, {}",
    "untag {}",
    "tag {} as b:1",
    "tag redis:7 as {}",
    "rename {} as b:1",
    "rename redis:7 as {}",
    f"index {NOWHERE}/x:1 as {{}}",
    f"index {{}} as {NOWHERE}/x:1",
    f"index tags of {NOWHERE}/x where tag = 1 as {{}}",
    "save {} to 'x.tar'",
    "export {} to 'x'",
    "inspect {}",
    "verify {}",
    "import '.' as {}",
    *(
        f"{verb} of {{}} where {where}{rest}"
        for verb, where, rest in (
            ("rm tags", "tag = 1", ""),
            ("rm tags", "tag = 1", " with its tags"),
            ("rm manifests", "size > 1B", ""),
            ("untag tags", "tag = 1", ""),
            ("pull tags", "tag = 1", ""),
            ("copy tags", "tag = 1", " to b.example"),
            ("verify tags", "tag = 1", ""),
            ("tag tags", "tag = 1", " as 'b.example/x:{{{{.Tag}}}}'"),
            ("exec tags", "tag = 1", " run true"),
            ("pull referrers", "size > 1B", ""),
        )
    ),
)
QUESTIONS = ("tags of {}", "manifests of {}", "platforms of {}", "referrers of {}", "layers of {}", "history of {}")
NAMES = (
    f"{NOWHERE}/WrongCase/app",
    f"{NOWHERE}/a//b",
    f"{NOWHERE}/app:1:2",
    f"{NOWHERE}/app@sha256:12",
    "Wrong/Case:1",
)


@pytest.mark.parametrize("text", [*ACTIONS, *QUESTIONS, *(f"explain {text}" for text in QUESTIONS)])
def test_an_invalid_reference_is_refused(session: Session, text: str) -> None:
    for name in NAMES:
        with pytest.raises(StatementError) as caught:
            list(session.run(text.format(f'"{name}"')))
        assert (caught.value.code, caught.value.exit_code) == ("reference", 2), name


@pytest.mark.parametrize(
    "text", ["tags of {} where tag = 1", "rm tags of redis, {} where tag = 1", "rm tags in {} where tag = 1"]
)
def test_the_error_shows_the_span_and_the_closest_name(session: Session, text: str) -> None:
    statement = text.format(f"{NOWHERE}/WrongCase/app")
    with pytest.raises(StatementError) as caught:
        list(session.run(statement))
    span = caught.value.span
    assert span is not None
    assert "WrongCase" in statement[span.start : span.end]
    assert any("wrongcase" in hint for hint in caught.value.hints)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (f"rm {NOWHERE}/x:1 from {NOWHERE}", f"rm tags of {NOWHERE}/x:1"),
        (f"untag {NOWHERE}/x:1 from {NOWHERE}", f"rm tags of {NOWHERE}/x:1"),
        (f"inspect {NOWHERE}/x:1 from {NOWHERE}", f"tags of {NOWHERE}/x:1 as json"),
    ],
)
def test_names_from_a_registry_are_not_looked_up_in_the_store(session: Session, text: str, hint: str) -> None:
    with pytest.raises(StatementError) as refused:
        list(session.run(text, dry_run=True))
    assert refused.value.code == "place"
    assert hint in "".join(refused.value.hints)


@pytest.mark.parametrize("word", sorted(CONDITION_WORDS))
@pytest.mark.parametrize("verb", ["rm", "untag", "push", "stop", "rm container"])
def test_a_name_is_not_followed_by_a_condition(session: Session, verb: str, word: str) -> None:
    """The action would be done on that name, whether the condition holds or not."""
    with pytest.raises(StatementError) as caught:
        session.parse(f"{verb} redis:7 {word} 30d")
    assert caught.value.code == "syntax"
    if word not in ("except", "with"):  # keywords, which are never names
        assert caught.value.message == f'unexpected "{word}": names have no condition'
        assert session.parse(f"{verb} redis:7, {word}")
    assert session.parse(f'{verb} redis:7, "{word}"')


def test_words_of_programs_are_any(session: Session) -> None:
    assert session.parse("exec images where tag = 7 run echo only older if")
