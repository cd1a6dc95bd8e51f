"""Redacts secrets from messages, in every encoding in which a server may echo them."""

from __future__ import annotations

import re

REDACTED = "***"
_MIN_SUBSTRING_LENGTH = 4
"""Shorter secrets are redacted only as whole words."""
_HEADER = re.compile(r"\b(?i:(basic|bearer))(?:\s+|%20|\+)(?=\S*(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9._~+/%-]{6,}=*")

_USERINFO = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
"""The password in a URL."""


class Secrets:
    """The secrets of one client. Safe to use from several threads."""

    def __init__(self) -> None:
        self._encoded_secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, *secrets: str) -> None:
        """Add secrets to redact."""
        new = {form for secret in secrets if secret for form in _list_encodings(secret)} - self._encoded_secrets
        if new:
            self._encoded_secrets = self._encoded_secrets | new
            self._pattern = None

    def redact(self, text: str) -> str:
        """Return a string without the secrets, the values of Authorization headers and the passwords in URLs."""
        if not text:
            return text
        pattern = self._pattern
        if pattern is None and self._encoded_secrets:
            longest_first = sorted(self._encoded_secrets, key=len, reverse=True)
            pattern = self._pattern = re.compile("|".join(map(_make_pattern, longest_first)), re.IGNORECASE)
        if pattern is not None:
            text = pattern.sub(REDACTED, text)
        return _USERINFO.sub(rf"\1{REDACTED}@", _HEADER.sub(rf"\1 {REDACTED}", text))


NO_SECRETS = Secrets()
"""An empty set of secrets: only values that look like Authorization headers are redacted."""


def _list_encodings(secret: str) -> set[str]:
    """Return a secret unchanged, URL-encoded, in base64, and as a JSON string."""
    import json
    from base64 import b64encode, urlsafe_b64encode
    from urllib.parse import quote, quote_plus

    raw = secret.encode(errors="surrogateescape")
    forms = {secret, secret.rstrip("="), quote(raw, safe=""), quote_plus(raw), json.dumps(secret)[1:-1]}
    if len(secret) >= _MIN_SUBSTRING_LENGTH:
        forms |= {encode(raw).decode().rstrip("=") for encode in (b64encode, urlsafe_b64encode)}
    return forms


def _make_pattern(form: str) -> str:
    return re.escape(form) if len(form) >= _MIN_SUBSTRING_LENGTH else rf"(?<!\w){re.escape(form)}(?!\w)"


def redact_url(url: str) -> str:
    """Return a URL with `***` in place of its password, also of one among its parameters."""
    scheme, separator, rest = url.partition("://")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    user, at_sign, host = rest[:end].rpartition("@")
    user = f"{user.partition(':')[0]}:***" if ":" in user else user
    tail = re.sub(r"(?i)([?&]password=)[^&#]*", r"\1***", rest[end:])
    return f"{scheme}{separator}{user}{at_sign}{host}{tail}"
