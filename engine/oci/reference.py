"""Image references: `[registry/]repository[:tag][@digest]`, in docker's reference grammar.

The familiar form omits the defaults `docker.io/` and `library/`, as docker does; the canonical form has every part.
"""

from __future__ import annotations

import re

from imq.grammar.errors import InvalidReference, StatementError
from imq.grammar.record import Record

from .digest import Digest, is_digest

DEFAULT_REGISTRY = "docker.io"
DEFAULT_NAMESPACE = "library/"
DEFAULT_TAG = "latest"
_HOSTS_OF_DOCKER_HUB = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com")
MAX_NAME_LENGTH = 255

# Patterns are strings: `re` compiles and caches them at first use, and most queries need none.
_TAG_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z"
_COMPONENT_PATTERN = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z"
_HOST_PATTERN = (
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
    r"(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*)(?::[0-9]+)?\Z"
)
_ID_PATTERN = r"[0-9a-f]{64}\Z"


class Reference(Record):
    """A parsed reference. `repository` is the path in the `registry`, including `library/`."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse a reference; without a tag in the string, the tag is None. Raises `InvalidReference`."""
        if "://" in text:
            raise _invalid_reference(text, "a reference has no scheme", f"write {text.partition('://')[2]}")
        name, at, digest_text = text.partition("@")
        if at and not is_digest(digest_text):
            raise _invalid_reference(text, f"{digest_text!r} is not a digest", "a digest is sha256: and 64 hex digits")
        tag: str | None = None
        slash, colon = name.rfind("/"), name.rfind(":")
        if colon > slash:
            name, tag = name[:colon], name[colon + 1 :]
            if not re.match(_TAG_PATTERN, tag):
                raise _invalid_reference(
                    text, f"{tag!r} is not a tag", "a tag is up to 128 letters, digits, '_', '.' and '-'"
                )
        registry, repository = _split_registry(name)
        if not repository:
            raise _invalid_reference(text, "the repository name is empty")
        if not re.match(_HOST_PATTERN, registry):
            raise _invalid_reference(text, f"{registry!r} is not a registry host")
        if re.match(_ID_PATTERN, name):
            raise _invalid_reference(text, "64 hex digits are an image id, not a name")
        for component in repository.split("/"):
            if not re.match(_COMPONENT_PATTERN, component):
                advice = ""
                if component != component.lower():
                    advice = f"repository names are lower case: {repository.lower()}"
                raise _invalid_reference(text, f"{component!r} is not valid in a repository name", advice)
        if len(registry) + 1 + len(repository) > MAX_NAME_LENGTH:
            raise _invalid_reference(text, f"a repository name has at most {MAX_NAME_LENGTH} characters")
        return cls(registry, repository, tag, Digest(digest_text) if at else None)

    @property
    def familiar_name(self) -> str:
        """Registry and repository as docker shows them: `redis`, `team/app`, `ghcr.io/team/app`."""
        if self.registry != DEFAULT_REGISTRY:
            return f"{self.registry}/{self.repository}"
        rest = self.repository.removeprefix(DEFAULT_NAMESPACE)
        # the prefix of `library/team/app` is significant: without it the name is another repository
        return rest if "/" not in rest else self.repository

    @property
    def canonical_name(self) -> str:
        """Registry and repository in full: `docker.io/library/redis`."""
        return f"{self.registry}/{self.repository}"

    @property
    def selector(self) -> str:
        """The digest, else the tag: it selects a manifest of the repository in the distribution API."""
        return self.digest or self.tag or DEFAULT_TAG

    def with_default_tag(self) -> Reference:
        """Return the reference with `latest` when it has neither tag nor digest."""
        return self if self.tag or self.digest else self.replace(tag=DEFAULT_TAG)

    def without_redundant_tag(self) -> Reference:
        """Return the reference to store: with a digest, the tag is dropped, as in docker."""
        return self.replace(tag=None) if self.digest else self

    def __str__(self) -> str:
        """Return the familiar form, which parses back to the same reference."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.familiar_name}{tag}{digest}"


class LayoutName(Record):
    """A name set by another tool in an OCI layout that is not a docker reference: `v1`, `MyApp`, `Team/App:1.0`.

    It is preserved unchanged, and never parsed as a docker reference, which would add a tag or a registry.
    """

    text: str

    @property
    def registry(self) -> None:
        """None: the name has no registry."""
        return None

    @property
    def familiar_name(self) -> str | None:
        """The part before the tag; None when the name is only a tag."""
        return self._parts[0]

    @property
    def canonical_name(self) -> str:
        """The whole name, so that it shares a repository with no other name."""
        return self.text

    @property
    def tag(self) -> str:
        """The part after the last colon, else the whole name: by convention, names in a layout are tags."""
        return self._parts[1]

    @property
    def digest(self) -> None:
        """None: the name has no digest."""
        return None

    @property
    def _parts(self) -> tuple[str | None, str]:
        name, colon, tag = self.text.rpartition(":")
        return (name, tag) if name and colon and re.match(_TAG_PATTERN, tag) else (None, self.text)

    def __str__(self) -> str:
        """Return the text."""
        return self.text


Name = Reference | LayoutName
"""The name of an image in an OCI layout."""


def parse_name(text: str) -> Name:
    """Parse a name in an OCI layout. It is a docker reference only if it has a tag or a digest."""
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return LayoutName(text)
    return reference.without_redundant_tag() if reference.tag or reference.digest else LayoutName(text)


def parse_tag_name(text: str) -> Reference:
    """Parse a tag name, adding the default tag if `text` has none. Raises `StatementError` for a digest."""
    reference = Reference.parse(text).with_default_tag()
    if reference.digest is not None:
        raise StatementError(f'"{text}" has a digest; a destination can only have a tag', code="reference")
    return reference


def normalize_registry(text: str) -> str:
    """Return the host of a registry as references have it. Raises `StatementError` for a URL or a path."""
    if "/" in text:
        path = re.sub(r"\w+://", "", text).strip("/")
        host, slash, _ = path.partition("/")
        hint = f'repository like "{path}/*"' if slash else f"registry = {host}"
        raise StatementError(f'a registry is a host, and "{text[:80]}" is none', code="value", hints=(hint,))
    return DEFAULT_REGISTRY if text in _HOSTS_OF_DOCKER_HUB else text


def _split_registry(name: str) -> tuple[str, str]:
    """Split a name into registry and repository. The first component is a host if it looks like one."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry, repository = first, rest
    else:
        registry, repository = DEFAULT_REGISTRY, name
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = DEFAULT_NAMESPACE + repository if repository else ""
    return registry, repository


def _invalid_reference(text: str, reason: str, hint: str = "") -> InvalidReference:
    shown = text if len(text) <= 120 else text[:117] + "…"
    return InvalidReference(f"{shown!r} is not an image reference: {reason}", hints=(hint,))
