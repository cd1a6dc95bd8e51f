"""Detects statements that may contain a secret, so that they are not written to disk.

A false positive only loses a line of the history. A false negative exposes a secret to every reader of the file. So
doubtful statements count as secret.
"""

from __future__ import annotations

import re

_SENSITIVE_NAME = (
    r"(?:passw(?:or)?d|passwd|passphrase|passcode|passwort|userpass|(?<![a-z])pass(?![a-z])|(?<![a-z])pwd?(?![a-z])|secret"
    r"|token|credential|(?<![a-z])creds?(?![a-z])|(?<![a-z])auth(?![a-z])|(?<![a-z])jwt(?![a-z])|(?<![a-z])otp(?![a-z])"
    r"|(?<![a-z])(?:tok|pin|bearer)(?![a-z])|[a-z0-9][_-]key(?![a-z])"
    r"|(?:api|access|account|private|secret|signing|encryption|shared|ssh|gpg|auth|master|license)[_-]?key)"
)
"""Parts of names whose values are secret."""
_NAMED_SECRET = (
    rf"{_SENSITIVE_NAME}[\w.-]{{0,80}}[\"'\\]{{0,3}}\s*(?:=(?!=)|:(?!=)|!=|\blike\b|\bmatches\b)\s*\S"  # PASS=
    rf"|\b(?:env|arg|label)\s+[\w.-]{{0,80}}{_SENSITIVE_NAME}[\w.-]{{0,80}}\s+\S"  # ENV DB_PASSWORD …
    rf"|--?(?:[\w-]{{1,40}}-)?{_SENSITIVE_NAME}(?!-?stdin\b|-?file\b)[\w-]*"  # --password …, --api-key=…
    r"|\blet\s+(?:\w*_)?(?:tok|pin)(?:_\w*)?\s*="
    r"|\bsshpass\b|\bmysql\w*\b[^;\n]*\s-p\S"  # programs with a password in -p
    r"|\blet\s+\w*(?:key|pass|pw|secret|token|cred|auth(?!or)|jwt|otp|cookie|bearer|private)\w*\s*="
)
_CREDENTIALS = (
    r"(?<![\w-])(?:-u|--user|--[\w-]*creds|--proxy-user)[\s\"',=]*[^\s\"',:=]+:[^\s\"',]"  # -u USER:PASSWORD
    r"|://[^\s/@\"']{1,400}@(?!sha\d+:)|://[^\s/@:]{0,200}:[^\s\"']{0,400}@(?!sha\d+:)"  # https://USER:PASSWORD@HOST
    r"|(?<![\w./:-])[^\s/@:\"'=(,]{1,200}:[^\s@\"']{1,400}@(?!sha\d+:)[\w\[]"  # USER:PASSWORD@HOST
    r"|[?&](?:sig|signature|x-amz-[\w-]+|key|code)=\S"  # signed URLs
    r"|\bauthorization\b|\b(?:bearer|basic)\s+[\w+/=.~-]{6,}|\bcookie\s*:|\bx-[\w-]*(?:auth|token|key)[\w-]*\s*[:=]"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_ISSUED = (
    r"(?<![A-Za-z0-9])(?:"
    r"eyJ[\w-]{8,}"  # JSON in base64: a JWT, docker's auths
    r"|(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{8,}"  # AWS
    r"|gh[pousr]_\w+|github_pat_\w+"  # GitHub
    r"|gl(?:pat|ptt|dt|rt|cbt|ft|soat|agent|imt|oas|ffct)-[\w-]+"  # GitLab
    r"|xox[a-z]-[\w-]+|xapp-[\w-]+"  # Slack
    r"|dckr_[a-z]+_[\w-]+|npm_\w{8,}|pypi-[\w-]{8,}|hvs\.[\w-]+|hf_\w{8,}|dop_v1_\w+|shp[a-z]{2}_\w+"
    r"|[sr]k[_-](?:live|test|proj|ant)[_-][\w-]+|sk-[\w-]{16,}|AIza[\w-]{8,}|ya29\.[\w-]+|SG\.[\w-]{8,}|ATATT\w+"
    r")"
    r"|(?<![\w/+.:@-])(?=[\w/+]*[A-Z])(?=[\w/+]*[a-z])(?=[\w/+]*\d)[A-Za-z0-9+][A-Za-z0-9+/]{39,}={0,2}(?![\w/])"
)
"""Tokens, by the prefixes of their issuers, and long base64 strings."""
_LOGIN = r"(?:^|[;\n])\s*(?:[\w./-]+\s+){0,3}login\b([^;\n]*)"
_LOGIN_OPERANDS = r"(?:\s+(?!as\b|from\b)\S+)?(?:\s+(?:as|from)\s+(?:\"[^\"]*\"|'[^']*'|\S+)){0,2}\s*\Z"
"""Operands of `login` that contain no password: a host, a user, a file."""


def has_secret(text: str) -> bool:
    """Whether a statement may contain a secret."""
    # The patterns are compiled at the first call, which takes 30 ms: the first prompt does without them.
    ignore = re.IGNORECASE
    if re.search(_NAMED_SECRET, text, ignore) or re.search(_CREDENTIALS, text, ignore) or re.search(_ISSUED, text):
        return True
    logins = re.finditer(_LOGIN, text, ignore)
    return any(re.match(_LOGIN_OPERANDS, login[1], ignore) is None for login in logins)
