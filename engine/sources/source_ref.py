"""Where rows come from: the embedded store, or a registry and which of its repositories."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_NAMESPACE, DEFAULT_REGISTRY, Reference
from imq.grammar.errors import InvalidReference, StatementError, UnknownName, listed, nearest
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.grammar.errors import Span

STORE = "store"


class Place(Record):
    """A place that is asked. `said` is how the user wrote it; no `registry` is the store.

    `pattern` chooses repositories by their path in the registry: a glob whose `*` crosses slashes, or a repository or
    namespace with all that is in it; empty: all of them.
    """

    said: str
    registry: str = ""
    pattern: str = ""

    @property
    def globs(self) -> tuple[str, ...]:
        """The pattern as globs of whole paths, of which one must fit; none: every path does."""
        if not self.pattern:
            return ()
        if any(sign in self.pattern for sign in "*?["):
            return (self.pattern,)
        return self.pattern, f"{self.pattern}/*"

    @property
    def repository(self) -> str:
        """The repository that the pattern is, if it is one at all; empty when it is a glob, or all."""
        return "" if not self.pattern or any(sign in self.pattern for sign in "*?[") else self.pattern


def parse_place(text: str, names: Mapping[str, str], span: Span | None = None) -> Place:
    """Return the place that `text` says: `store`, a host, or `HOST/GLOB`; `names` are hosts with a name of their own.

    Raises `UnknownName` for what is none, and `StatementError` (`glob`) for a wildcard of SQL.
    """
    first, _, pattern = text.partition("/")
    if text.lower() == STORE:
        return Place(STORE)
    named = next((host for name, host in names.items() if name.lower() == first.lower()), None)
    if "%" in pattern:
        raise StatementError(
            f'"{text}" has a "%", and no repository does: the wildcard of a glob is "*"',
            code="glob",
            span=span,
            hints=(f"in {text.replace('%', '*')}",),
        )
    if named is not None:
        host, _, namespace = named.partition("/")
        return Place(text, _registry(host), "/".join(part for part in (namespace, pattern) if part))
    if is_host(first):
        registry = _registry(first)
        if registry == DEFAULT_REGISTRY and pattern and "/" not in pattern:
            pattern = DEFAULT_NAMESPACE + pattern
        _check_pattern(text, pattern, span)
        return Place(text, registry, pattern.rstrip("/"))
    known = [STORE, *names]
    raise UnknownName(
        f'there is no source "{text}" here',
        span=span,
        hints=(
            nearest(text, known) or f"sources: {listed(known)}",
            "a registry is named by its host: in registry.local:5000, in ghcr.io/team/*",
        ),
    )


def _check_pattern(text: str, pattern: str, span: Span | None) -> None:
    """Raise `InvalidReference` for a pattern that fits no repository, because of its capitals."""
    if pattern != pattern.lower():
        error = InvalidReference(
            f"{text!r} is no place: repository names are lower case",
            hints=(f"did you mean {text.replace(pattern, pattern.lower())}?",),
        )
        error.span = span
        raise error


def is_host(text: str) -> bool:
    """Whether a text looks like the host of a registry: with a dot or a port, or `localhost`."""
    if "." not in text and ":" not in text and text != "localhost":
        return False
    try:
        return Reference.parse(f"{text}/a").registry in (text, DEFAULT_REGISTRY)
    except InvalidReference:
        return False


def _registry(host: str) -> str:
    return DEFAULT_REGISTRY if host == "index.docker.io" else host
