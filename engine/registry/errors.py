"""Maps error responses and exceptions of the network libraries to `RegistryError`.

A server's messages are cleaned and truncated. Exception texts are not shown, and URLs are shown without their query:
both may contain signatures.
"""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.registry.http.rate_limit import format_wait, parse_retry_after
from imq.engine.units.redaction import NO_SECRETS
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.registry.http.response import ResponseLike
    from imq.engine.units.redaction import Secrets

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
    """Read the error in a response, close it, and return the exception. `description` is the subject of the request."""
    status = response.status
    reasons = () if response.bodiless else _read_errors(response)
    response.close()
    codes = {code for code, _ in reasons}
    code = _choose_error_code(status, codes)
    reason = "; ".join(f"{code.lower().replace('_', ' ')}: {text}".rstrip(": ") for code, text in reasons)
    if code in ("unauthorized", "denied"):
        return _access_denied(host, description, reason, code, status)
    hints: list[str] = []
    if code == "too-many-requests":
        sentence = f"{host} rate limit exceeded for {description}"
        if response.rate_limit is not None:
            hints.append(str(response.rate_limit))
        seconds = parse_retry_after(response.headers)
        wait = f"try again in {format_wait(seconds)}" if seconds else "wait a while"
        hints.append(f"{wait}, or log in for a higher limit: {format_login_command(host)}")
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        sentence = f"{host} server error for {description} (HTTP {status})"
        seconds = parse_retry_after(response.headers)
        when = f"in {format_wait(seconds)}" if seconds else "later"
        hints.append(f"the registry failed: try again {when}, or contact its operator")
    elif code in ("manifest-unknown", "name-unknown", "blob-unknown", "not-found"):
        sentence = f"{description} not found on {host}"
        if code in ("blob-unknown", "not-found") and description.startswith("blob "):
            hints.append("the registry no longer has it: push the image again")
    else:
        sentence = f"{host} rejected the request for {description} (HTTP {status})"
        if code == "too-large":
            hints.append("the registry, or a proxy in front of it, limits the size of requests: contact its operator")
    error = RegistryError(
        f"{sentence}: {reason}" if reason else sentence,
        code=code,
        hints=hints,
        host=host,
        status=status,
        temporary=is_temporary(status),
    )
    error.retry_after = parse_retry_after(response.headers)
    return error


def _choose_error_code(status: int, codes: set[str]) -> str:
    for error_code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN", "DENIED", "UNAUTHORIZED", "TOOMANYREQUESTS"):
        if error_code in codes:
            return "too-many-requests" if error_code == "TOOMANYREQUESTS" else error_code.lower().replace("_", "-")
    return next((code for error_code, code in _BY_STATUS.items() if error_code == status), "registry")


def _access_denied(host: str, description: str, reason: str, code: str, status: int) -> RegistryError:
    return RegistryError(
        f"{host} denied access to {description}" + (f": {reason}" if reason else ""),
        code=code,
        hints=(
            f"log in first: {format_login_command(host)}",
            "or it does not exist: some registries deny access to hide which names exist",
        ),
        host=host,
        status=status,
    )


def format_login_command(host: str) -> str:
    """Return the command that stores credentials for `host`; Docker Hub is the default host."""
    return "imq login" if host in ("docker.io", "registry-1.docker.io") else f"imq login {host}"


def _read_errors(response: ResponseLike) -> tuple[tuple[str, str], ...]:
    """Return `errors[].code` and `.message` of the body, or nothing if the body has another structure."""
    import json

    try:
        document = json.loads(response.read(_MAX_ERROR_BYTES))
    except (RegistryError, ValueError, RecursionError):
        return ()
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list):
        return ()
    entries = []
    for error in errors[:5]:
        if isinstance(error, dict):
            word, text = error.get("code"), error.get("message")
            cleaned = [clean_text(one, response.secrets) if isinstance(one, str) else "" for one in (word, text)]
            entries.append((cleaned[0], cleaned[1]))
    return tuple(entries)


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
    """Map an exception of `direct`, requests, urllib3, http.client, ssl or the system; `event`: what `host` did."""
    chain = _collect_causes(error)
    names = {type(cause).__name__ for cause in chain}
    if names & _TLS_ERRORS:
        return _tls_error(chain, host)
    if names & _TIMEOUTS:
        return RegistryError(
            f"{host} {event}: timed out",
            code="timeout",
            host=host,
            hints=("check the network, and the proxy if one is set; then try again",),
        )
    return _connect_error(names, chain, host) or _disconnect_error(names, chain, host, event)


def content_length_error(host: str, value: str) -> RegistryError:
    """Return the error of a response with an invalid Content-Length, such as a negative one."""
    return RegistryError(
        f"{host} sent an invalid Content-Length: {value[:40]!r}",
        code="not-a-registry",
        host=host,
        hints=("the registry or a proxy in front of it is faulty",),
    )


def stalled_error(host: str, event: str, speed: float, minimum: int) -> RegistryError:
    """Return the error of a stalled transfer; `speed` and `least` are in bytes a second."""
    return RegistryError(
        f"{host} {event} at {speed:,.0f} bytes a second; the minimum is {minimum:,}",
        code="too-slow",
        host=host,
        temporary=True,
        hints=(
            "the registry or the network is overloaded: try again later",
            "or change least-speed and speed-window under [limits] in the configuration file",
        ),
    )


def deadline_error(host: str, event: str, seconds: float) -> RegistryError:
    """Return the error of a response that exceeds its deadline of `longest` seconds."""
    return RegistryError(
        f"{host} {event} for longer than {seconds:g} seconds",
        code="timeout",
        host=host,
        hints=(
            "the registry or the network is overloaded: try again later",
            "or increase answer-timeout under [limits] in the configuration file",
        ),
    )


def _connect_error(names: set[str], chain: list[BaseException], host: str) -> RegistryError | None:
    """Map the failure of a connection attempt. None if a connection was made."""
    if "ProxyError" in names:
        message = f"the proxy for {host} cannot be used"
        hint = "check HTTPS_PROXY and HTTP_PROXY; NO_PROXY lists hosts to connect to directly"
    elif names & {"NameResolutionError", "gaierror"}:
        message = f"host {host} not found"
        hint = "check the spelling of the registry, and the network connection"
    elif names & {"NewConnectionError", "ConnectFailedError"}:
        message = f"{host} cannot be reached: {_get_os_error_text(chain) or 'no connection'}"
        hint = "check that the registry runs, and its port"
    else:
        return None
    return RegistryError(message, code="unreachable", host=host, hints=(hint,))


def _disconnect_error(names: set[str], chain: list[BaseException], host: str, event: str) -> RegistryError:
    reason = _get_os_error_text(chain)
    if not reason and names & _DISCONNECTS and not names & _OVERLONG_HEADERS:
        reason = "the connection broke"
    return RegistryError(
        f"{host} {event}: {reason or 'invalid HTTP response'}",
        code="unreachable" if reason else "not-a-registry",
        host=host,
        temporary=bool(reason),
        hints=("try again",) if reason else ("check the name and port of the registry",),
    )


_CERTIFICATE_HINTS = {
    9: "it is not valid yet: check the clock of this machine",
    10: "the operator of the registry must renew it, unless the clock of this machine is wrong",
    62: "use a name of the registry that its certificate contains",
    64: "use a name of the registry that its certificate contains, not an address",
}
"""Hints by OpenSSL's verification error; other errors concern the authority."""


def _tls_error(chain: list[BaseException], host: str) -> RegistryError:
    verify_error = next((cause for cause in chain if getattr(cause, "verify_message", "")), None)
    if verify_error is not None:
        authority = f"set SSL_CERT_FILE to the file of its authority, or copy that to /etc/docker/certs.d/{host}/ca.crt"
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
        f"cannot open a TLS connection to {host}",
        code="tls",
        host=host,
        hints=(
            f"if it serves plain HTTP and you accept the risk, list {host} as an insecure registry",
            f"if it requires a client certificate, copy it to /etc/docker/certs.d/{host}: client.cert, client.key",
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


def _get_os_error_text(chain: list[BaseException]) -> str:
    for cause in chain:
        if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.strerror:
            return cause.strerror.lower()
    return ""
