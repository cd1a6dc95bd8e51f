"""From what a registry answers, or fails to answer, to one clear error.

A server's own words are shown cleaned and cut; addresses are shown without their query, which may be a signature.
"""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.registry.http.rate_limit import retry_after, spelled
from imq.engine.registry.http.redaction import NO_SECRETS
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.registry.http.redaction import Secrets
    from imq.engine.registry.http.response import Reply

LONGEST_REASON = 300
"""Characters shown of a server's own words."""
_LARGEST_ERROR = 64 << 10

_BY_STATUS = {
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "denied",
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.METHOD_NOT_ALLOWED: "unsupported",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-large",
    HTTPStatus.TOO_MANY_REQUESTS: "too-many-requests",
}


def is_temporary(status: int) -> bool:
    """Whether the same request may succeed later."""
    lasting = (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    return status == HTTPStatus.TOO_MANY_REQUESTS or (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in lasting
    )


def refusal(answer: Reply, host: str, what: str) -> RegistryError:
    """Read the error that `answer` carries, close it, and return what to raise; `what` names what was asked for."""
    status = answer.status
    reasons = () if answer.bodiless else _reasons(answer)
    answer.close()
    codes = {code for code, _ in reasons}
    code = _code(status, codes)
    said = "; ".join(f"{word.lower().replace('_', ' ')}: {text}".rstrip(": ") for word, text in reasons)
    if code in ("unauthorized", "denied"):
        return _denied(host, what, said, code, status)
    hints: list[str] = []
    if code == "too-many-requests":
        sentence = f"{host} limits how often it may be asked, and refuses {what} for now"
        if answer.allowance is not None:
            hints.append(str(answer.allowance))
        seconds = retry_after(answer.headers)
        wait = f"try again in {spelled(seconds)}" if seconds else "wait a while"
        hints.append(f"{wait}, or log in for a higher limit: {login(host)}")
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        sentence = f"{host} fails to answer for {what} (HTTP {status})"
        seconds = retry_after(answer.headers)
        when = f"in {spelled(seconds)}" if seconds else "later"
        hints.append(f"the registry has a fault of its own: try again {when}, or ask who runs it")
    elif code in ("manifest-unknown", "name-unknown", "blob-unknown", "not-found"):
        sentence = f"{what} not found on {host}"
        if code in ("blob-unknown", "not-found") and what.startswith("blob "):
            hints.append("the registry has lost it: push the image again")
    else:
        sentence = f"{host} refuses {what} (HTTP {status})"
        if code == "too-large":
            hints.append("the registry, or a proxy before it, limits the size of requests: ask who runs it")
    return RegistryError(
        f"{sentence}: {said}" if said else sentence,
        code=code,
        hints=hints,
        host=host,
        status=status,
        temporary=is_temporary(status),
    )


def _code(status: int, codes: set[str]) -> str:
    for known in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN", "DENIED", "UNAUTHORIZED", "TOOMANYREQUESTS"):
        if known in codes:
            return "too-many-requests" if known == "TOOMANYREQUESTS" else known.lower().replace("_", "-")
    return next((code for known, code in _BY_STATUS.items() if known == status), "registry")


def _denied(host: str, what: str, said: str, code: str, status: int) -> RegistryError:
    return RegistryError(
        f"{host} denies access to {what}" + (f": {said}" if said else ""),
        code=code,
        hints=(
            f"log in first: {login(host)}",
            "or it does not exist: some registries answer so to hide which names there are",
        ),
        host=host,
        status=status,
    )


def login(host: str) -> str:
    """Return the command that stores credentials for `host`; Docker Hub needs no name."""
    return "imq login" if host in ("docker.io", "registry-1.docker.io") else f"imq login {host}"


def _reasons(answer: Reply) -> tuple[tuple[str, str], ...]:
    """Read `errors[].code` and `.message` of the body; a body of another kind gives nothing."""
    import json

    try:
        document = json.loads(answer.read(_LARGEST_ERROR))
    except (RegistryError, ValueError, RecursionError):
        return ()
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list):
        return ()
    found = []
    for error in errors[:5]:
        if isinstance(error, dict):
            word, text = error.get("code"), error.get("message")
            said = [clean(one, answer.secrets) if isinstance(one, str) else "" for one in (word, text)]
            found.append((said[0], said[1]))
    return tuple(found)


def clean(text: str, secrets: Secrets = NO_SECRETS) -> str:
    """Return a server's words in one printable line of bounded length, without the secrets that it may echo."""
    text = secrets.redact(text[:_LARGEST_ERROR])
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: LONGEST_REASON * 2]).split())
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"
