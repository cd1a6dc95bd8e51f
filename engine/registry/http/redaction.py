"""What must not be shown: the secrets that went out in requests, in every form in which a server may echo them."""

from __future__ import annotations

import re

REDACTED = "***"
_SHORTEST = 4
"""Characters of a secret that is looked for inside of words; a shorter one is a word of its own."""
_HEADER = re.compile(r"\b(?i:(basic|bearer))(?:\s+|%20|\+)(?=\S*(?:[0-9=]|[a-z][A-Z]))[A-Za-z0-9._~+/%-]{6,}=*")


class Secrets:
    """The secrets of one client. Safe to use from several threads."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, *secrets: str) -> None:
        """Keep secrets from being shown."""
        new = {form for secret in secrets if secret for form in _forms(secret)} - self._forms
        if new:
            self._forms = self._forms | new
            self._pattern = None

    def redact(self, text: str) -> str:
        """Return a text without the secrets, and without what stands where an Authorization header has its own."""
        if not text:
            return text
        pattern = self._pattern
        if pattern is None and self._forms:
            longest_first = sorted(self._forms, key=len, reverse=True)
            pattern = self._pattern = re.compile("|".join(map(_matching, longest_first)), re.IGNORECASE)
        if pattern is not None:
            text = pattern.sub(REDACTED, text)
        return _HEADER.sub(rf"\1 {REDACTED}", text)


NO_SECRETS = Secrets()
"""Of answers to nobody in particular: only what looks like a header is redacted."""


def _forms(secret: str) -> set[str]:
    """Return a secret as it is, and as it stands in addresses, in base64 and in JSON."""
    import json
    from base64 import b64encode, urlsafe_b64encode
    from urllib.parse import quote, quote_plus

    raw = secret.encode(errors="surrogateescape")
    forms = {secret, secret.rstrip("="), quote(raw, safe=""), quote_plus(raw), json.dumps(secret)[1:-1]}
    if len(secret) >= _SHORTEST:
        forms |= {encode(raw).decode().rstrip("=") for encode in (b64encode, urlsafe_b64encode)}
    return forms


def _matching(form: str) -> str:
    return re.escape(form) if len(form) >= _SHORTEST else rf"(?<!\w){re.escape(form)}(?!\w)"
