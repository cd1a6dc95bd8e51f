"""Maps error responses and exceptions of the network libraries to `RegistryError`.

A server's messages are cleaned and truncated. Exception texts are not shown, and URLs are shown without their query:
both may contain signatures.
"""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.registry.http.rate_limit import format_wait, parse_retry_after
from imq.engine.registry.http.redaction import NO_SECRETS
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.registry.http.redaction import Secrets
    from imq.engine.registry.http.response import ResponseLike

MAX_REASON_LENGTH = 300
"""Maximum length of a server's message, in characters."""
_MAX_ERROR_BYTES = 64 << 10

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


def response_error(response: ResponseLike, host: str, description: str) -> RegistryError:
    """Read the error in a response, close it, and return the exception; `description` names the request's subject."""
    status = response.status
    reasons = () if response.bodiless else _read_errors(response)
    response.close()
    codes = {code for code, _ in reasons}
    code = _error_code(status, codes)
    reason = "; ".join(f"{word.lower().replace('_', ' ')}: {text}".rstrip(": ") for word, text in reasons)
    if code in ("unauthorized", "denied"):
        return _access_denied(host, description, reason, code, status)
    hints: list[str] = []
    if code == "too-many-requests":
        sentence = f"{host} limits how often it may be asked, and refuses {description} for now"
        if response.rate_limit is not None:
            hints.append(str(response.rate_limit))
        seconds = parse_retry_after(response.headers)
        wait = f"try again in {format_wait(seconds)}" if seconds else "wait a while"
        hints.append(f"{wait}, or log in for a higher limit: {login_command(host)}")
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        sentence = f"{host} fails to answer for {description} (HTTP {status})"
        seconds = parse_retry_after(response.headers)
        when = f"in {format_wait(seconds)}" if seconds else "later"
        hints.append(f"the registry has a fault of its own: try again {when}, or ask who runs it")
    elif code in ("manifest-unknown", "name-unknown", "blob-unknown", "not-found"):
        sentence = f"{description} not found on {host}"
        if code in ("blob-unknown", "not-found") and description.startswith("blob "):
            hints.append("the registry has lost it: push the image again")
    else:
        sentence = f"{host} refuses {description} (HTTP {status})"
        if code == "too-large":
            hints.append("the registry, or a proxy before it, limits the size of requests: ask who runs it")
    return RegistryError(
        f"{sentence}: {reason}" if reason else sentence,
        code=code,
        hints=hints,
        host=host,
        status=status,
        temporary=is_temporary(status),
    )


def _error_code(status: int, codes: set[str]) -> str:
    for error_code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN", "DENIED", "UNAUTHORIZED", "TOOMANYREQUESTS"):
        if error_code in codes:
            return "too-many-requests" if error_code == "TOOMANYREQUESTS" else error_code.lower().replace("_", "-")
    return next((code for error_code, code in _BY_STATUS.items() if error_code == status), "registry")


def _access_denied(host: str, description: str, reason: str, code: str, status: int) -> RegistryError:
    return RegistryError(
        f"{host} denies access to {description}" + (f": {reason}" if reason else ""),
        code=code,
        hints=(
            f"log in first: {login_command(host)}",
            "or it does not exist: some registries answer so to hide which names there are",
        ),
        host=host,
        status=status,
    )


def login_command(host: str) -> str:
    """Return the command that stores credentials for `host`; Docker Hub is the default host."""
    return "imq login" if host in ("docker.io", "registry-1.docker.io") else f"imq login {host}"


def _read_errors(response: ResponseLike) -> tuple[tuple[str, str], ...]:
    """Return `errors[].code` and `.message` of the body; empty for a body of another form."""
    import json

    try:
        document = json.loads(response.read(_MAX_ERROR_BYTES))
    except (RegistryError, ValueError, RecursionError):
        return ()
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list):
        return ()
    found = []
    for error in errors[:5]:
        if isinstance(error, dict):
            word, text = error.get("code"), error.get("message")
            said = [clean_text(one, response.secrets) if isinstance(one, str) else "" for one in (word, text)]
            found.append((said[0], said[1]))
    return tuple(found)


def clean_text(text: str, secrets: Secrets = NO_SECRETS) -> str:
    """Return a server's message as one printable line of limited length, with secrets redacted."""
    text = secrets.redact(text[:_MAX_ERROR_BYTES])
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: MAX_REASON_LENGTH * 2]).split())
    return line if len(line) <= MAX_REASON_LENGTH else line[: MAX_REASON_LENGTH - 1] + "…"


_MAX_CAUSES = 20
_TLS_ERRORS = frozenset({"SSLError", "SSLCertVerificationError", "SSLEOFError", "CertificateError"})
_TIMEOUTS = frozenset({"ConnectTimeoutError", "ConnectTimeout", "ReadTimeoutError", "ReadTimeout", "TimeoutError"})
_DISCONNECTS = frozenset(
    {"ProtocolError", "RemoteDisconnected", "IncompleteRead", "ConnectionError", "ChunkedEncodingError"}
)

_OVERLONG_HEADERS = frozenset({"LineTooLong", "HTTPException"})
"""Exceptions of http.client for headers above its limits."""


def transport_error(error: BaseException, host: str, event: str) -> RegistryError:
    """Map an exception of requests, urllib3, http.client, ssl or the system; `event` states the action of `host`."""
    chain = _collect_causes(error)
    names = {type(cause).__name__ for cause in chain}
    if names & _TLS_ERRORS:
        return _tls_error(chain, host)
    if names & _TIMEOUTS:
        return RegistryError(
            f"{host} {event}: no word from it in time",
            code="timeout",
            host=host,
            hints=("check the network, and the proxy if one is set; then try again",),
        )
    return _connect_error(names, chain, host) or _disconnect_error(names, chain, host, event)


def content_length_error(host: str, value: str) -> RegistryError:
    """Return the error of a response with an invalid Content-Length, such as a negative one."""
    return RegistryError(
        f"{host} answers with the Content-Length {value[:40]!r}, which is no number of bytes",
        code="not-a-registry",
        host=host,
        hints=("the registry or a proxy before it is broken",),
    )


def stalled_error(host: str, event: str, speed: float, least: int) -> RegistryError:
    """Return the error of a stalled transfer; `speed` and `least` are in bytes a second."""
    return RegistryError(
        f"{host} {event} at {speed:,.0f} bytes a second, and {least:,} are the least that is waited for",
        code="too-slow",
        host=host,
        temporary=True,
        hints=(
            "the registry, or the network on the way to it, is overloaded: try again later",
            "or allow for it: least-speed and speed-window under [limits] in the configuration file",
        ),
    )


def deadline_error(host: str, event: str, longest: float) -> RegistryError:
    """Return the error of a response that exceeds its deadline of `longest` seconds."""
    return RegistryError(
        f"{host} {event} for longer than {longest:g} seconds",
        code="timeout",
        host=host,
        hints=(
            "the registry, or the network on the way to it, is overloaded: try again later",
            "or allow for it: answer-timeout under [limits] in the configuration file",
        ),
    )


def _connect_error(names: set[str], chain: list[BaseException], host: str) -> RegistryError | None:
    """Map the failure of a connection attempt; None when a connection was made."""
    if "ProxyError" in names:
        message = f"the proxy set for {host} cannot be used"
        hint = "check HTTPS_PROXY and HTTP_PROXY; NO_PROXY names hosts to be reached without"
    elif names & {"NameResolutionError", "gaierror"}:
        message = f"no host is called {host}"
        hint = "check the spelling of the registry, and that the network is there"
    elif "NewConnectionError" in names:
        message = f"{host} cannot be reached: {_os_error_text(chain) or 'no connection'}"
        hint = "check that the registry runs, and its port"
    else:
        return None
    return RegistryError(message, code="unreachable", host=host, hints=(hint,))


def _disconnect_error(names: set[str], chain: list[BaseException], host: str, event: str) -> RegistryError:
    reason = _os_error_text(chain)
    if not reason and names & _DISCONNECTS and not names & _OVERLONG_HEADERS:
        reason = "the connection broke"
    return RegistryError(
        f"{host} {event}: {reason or 'it speaks no valid HTTP'}",
        code="unreachable" if reason else "not-a-registry",
        host=host,
        temporary=bool(reason),
        hints=("try again",) if reason else ("check the name and port of the registry",),
    )


_CERTIFICATE_HINTS = {
    9: "it begins to be valid later: is the clock of this machine right?",
    10: "whoever runs the registry has to renew it, unless the clock of this machine is wrong",
    62: "ask for the registry by a name that its certificate has",
    64: "ask for the registry by a name that its certificate has, and not by an address",
}
"""Hints by OpenSSL's verification error; other errors concern the authority."""


def _tls_error(chain: list[BaseException], host: str) -> RegistryError:
    verify_error = next((cause for cause in chain if getattr(cause, "verify_message", "")), None)
    if verify_error is not None:
        authority = f"name the file with its authority in SSL_CERT_FILE, or put it at /etc/docker/certs.d/{host}/ca.crt"
        return RegistryError(
            f"the certificate of {host} is not trusted: {getattr(verify_error, 'verify_message', '')}",
            code="tls",
            host=host,
            hints=(
                _CERTIFICATE_HINTS.get(getattr(verify_error, "verify_code", 0), authority),
                f"or, if you accept the risk, list {host} as an insecure registry: --insecure {host}",
            ),
        )
    return RegistryError(
        f"no TLS connection to {host} can be made",
        code="tls",
        host=host,
        hints=(
            f"if it serves plain http and you accept the risk, list {host} as an insecure registry",
            f"if it asks for a client's certificate, put it into /etc/docker/certs.d/{host}: client.cert, client.key",
        ),
    )


def _collect_causes(error: BaseException) -> list[BaseException]:
    """Return the exception and all it wraps, by cause, context, `reason` and arguments, without loops."""
    causes: list[BaseException] = []
    pending: list[object] = [error]
    while pending and len(causes) < _MAX_CAUSES:
        cause = pending.pop(0)
        if isinstance(cause, BaseException) and not any(cause is other for other in causes):
            causes.append(cause)
            pending += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return causes


def _os_error_text(chain: list[BaseException]) -> str:
    for cause in chain:
        if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.strerror:
            return cause.strerror.lower()
    return ""
