"""Resolves URLs as registries write them, without normalisation.

The path and the query of a URL may carry a signature of their exact bytes. They are neither decoded, re-encoded nor
normalised. Only characters that are invalid in a request line are percent-encoded.
"""

from __future__ import annotations

import re

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_UNSENDABLE = re.compile(r"[^!-~]+")
_PORTS = {"http": "80", "https": "443"}


def resolve_url(base: str, reference: str) -> str:
    """Return the URL of a Location or Link header relative to `base`, without user and fragment.

    Returns "" for a URL without a valid host. Only a relative path is changed.
    """
    reference = reference.strip(" \t").partition("#")[0]
    scheme, rest = base.partition("://")[::2]
    scheme_match = _SCHEME.match(reference)
    if scheme_match is not None:
        scheme, reference = scheme_match[1], reference[scheme_match.end() :]
        if not reference.startswith("//"):
            return ""
    if reference.startswith("//"):
        end = min(position for mark in "/?" if (position := f"{reference}{mark}".find(mark, 2)) >= 0)
        host, path = reference[2:end].rpartition("@")[2], reference[end:]
        path = path if path.startswith("/") else f"/{path}"
    else:
        host = get_authority(base)
        path = _merge_paths(rest[len(rest.partition("/")[0].partition("?")[0]) :] or "/", reference)
    if not _AUTHORITY.fullmatch(host):
        return ""
    return f"{scheme.lower()}://{host}{_UNSENDABLE.sub(_percent_encode, path)}"


def get_authority(url: str) -> str:
    """Return `host[:port]` of a URL."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]


def split_authority(scheme: str, authority: str) -> tuple[str, int]:
    """Return the host of `host[:port]`, an IPv6 address without brackets, and the port, by default that of `scheme`."""
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = authority, _PORTS.get(scheme, "")
    return host.removeprefix("[").removesuffix("]"), int(port or _PORTS.get(scheme, "0"))


def get_target(url: str) -> str:
    """Return the request target of a URL: path and query."""
    return "/" + url.partition("://")[2].partition("/")[2]


def get_origin(url: str) -> tuple[str, str]:
    """Return scheme and `host:port`, with an explicit port, so that equal origins compare equal."""
    scheme = url.partition("://")[0].lower()
    host = get_authority(url).lower()
    if ":" not in host.rpartition("]")[2]:
        host += f":{_PORTS.get(scheme, '')}"
    return scheme, host


def quote_segment(text: str) -> str:
    """Return a string as one path segment: a listed tag may contain any character. Colons stay unquoted."""
    plain = text.replace(".", "").replace("-", "").replace("_", "").replace(":", "")
    if plain.isascii() and plain.isalnum():
        return text
    from urllib.parse import quote

    return "%2E" * len(text) if text in (".", "..") else quote(text, safe=":")


def _merge_paths(base: str, reference: str) -> str:
    """Resolve a path and query against those of the base (RFC 3986, 5.2)."""
    if reference.startswith("/"):
        return reference
    if not reference:
        return base
    above, path = base.partition("?")[0], reference.partition("?")[0]
    if not path:
        return above + reference
    segments: list[str] = []
    for segment in f"{above.rpartition('/')[0]}/{path}".split("/")[1:]:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    end = "/" if path.rpartition("/")[2] in (".", "..") and segments else ""
    return "/" + "/".join(segments) + end + reference[len(path) :]


def _percent_encode(match: re.Match[str]) -> str:
    """Percent-encode characters as the original bytes: headers are decoded as Latin-1."""
    try:
        content = match[0].encode("latin-1")
    except UnicodeEncodeError:
        content = match[0].encode()
    return "".join(f"%{byte:02X}" for byte in content)
