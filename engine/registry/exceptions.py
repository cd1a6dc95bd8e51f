"""From an exception of the network, or of a library below, to one clear error.

Their texts are not shown: they may quote addresses with signatures in them.
"""

from __future__ import annotations

from imq.grammar.errors import RegistryError

_MOST_CAUSES = 20
_TLS = frozenset({"SSLError", "SSLCertVerificationError", "SSLEOFError", "CertificateError"})
_LATE = frozenset({"ConnectTimeoutError", "ConnectTimeout", "ReadTimeoutError", "ReadTimeout", "TimeoutError"})
_BROKEN = frozenset(
    {"ProtocolError", "RemoteDisconnected", "IncompleteRead", "ConnectionError", "ChunkedEncodingError"}
)

_ENDLESS = frozenset({"LineTooLong", "HTTPException"})
"""What http.client says of headers without end."""


def failure(problem: BaseException, host: str, happened: str) -> RegistryError:
    """Map an exception of requests, urllib3, http.client, ssl or the system; `happened` says what `host` did."""
    chain = _causes(problem)
    names = {type(cause).__name__ for cause in chain}
    if names & _TLS:
        return _tls(chain, host)
    if names & _LATE:
        return RegistryError(
            f"{host} {happened}: no word from it in time",
            code="timeout",
            host=host,
            hints=("check the network, and the proxy if one is set; then try again",),
        )
    return _not_reached(names, chain, host) or _broken_off(names, chain, host, happened)


def wrong_length(host: str, said: str) -> RegistryError:
    """Say that an answer has a Content-Length that is no number of bytes, such as a negative one."""
    return RegistryError(
        f"{host} answers with the Content-Length {said[:40]!r}, which is no number of bytes",
        code="not-a-registry",
        host=host,
        hints=("the registry or a proxy before it is broken",),
    )


def too_slow(host: str, happened: str, speed: float, least: int) -> RegistryError:
    """Say that bytes only drip, at `speed` bytes a second; `happened` says what `host` does with which of them."""
    return RegistryError(
        f"{host} {happened} at {speed:,.0f} bytes a second, and {least:,} are the least that is waited for",
        code="too-slow",
        host=host,
        temporary=True,
        hints=(
            "the registry, or the network on the way to it, is overloaded: try again later",
            "or allow for it: least-speed and speed-window under [limits] in the configuration file",
        ),
    )


def too_long(host: str, happened: str, longest: float) -> RegistryError:
    """Say that something has not ended in time; `happened` says what `host` does for so long."""
    return RegistryError(
        f"{host} {happened} for longer than {longest:g} seconds",
        code="timeout",
        host=host,
        hints=(
            "the registry, or the network on the way to it, is overloaded: try again later",
            "or allow for it: answer-timeout under [limits] in the configuration file",
        ),
    )


def _not_reached(names: set[str], chain: list[BaseException], host: str) -> RegistryError | None:
    """Explain a connection that was never made; None when there was one."""
    if "ProxyError" in names:
        message = f"the proxy set for {host} cannot be used"
        hint = "check HTTPS_PROXY and HTTP_PROXY; NO_PROXY names hosts to be reached without"
    elif names & {"NameResolutionError", "gaierror"}:
        message = f"no host is called {host}"
        hint = "check the spelling of the registry, and that the network is there"
    elif "NewConnectionError" in names:
        message = f"{host} cannot be reached: {_system_words(chain) or 'no connection'}"
        hint = "check that the registry runs, and its port"
    else:
        return None
    return RegistryError(message, code="unreachable", host=host, hints=(hint,))


def _broken_off(names: set[str], chain: list[BaseException], host: str, happened: str) -> RegistryError:
    words = _system_words(chain)
    if not words and names & _BROKEN and not names & _ENDLESS:
        words = "the connection broke"
    return RegistryError(
        f"{host} {happened}: {words or 'it speaks no valid HTTP'}",
        code="unreachable" if words else "not-a-registry",
        host=host,
        temporary=bool(words),
        hints=("try again",) if words else ("check the name and port of the registry",),
    )


_MENDED = {
    9: "it begins to be valid later: is the clock of this machine right?",
    10: "whoever runs the registry has to renew it, unless the clock of this machine is wrong",
    62: "ask for the registry by a name that its certificate has",
    64: "ask for the registry by a name that its certificate has, and not by an address",
}
"""What helps against a certificate that OpenSSL refuses, by the number of its reason; else it is the authority."""


def _tls(chain: list[BaseException], host: str) -> RegistryError:
    refused = next((cause for cause in chain if getattr(cause, "verify_message", "")), None)
    if refused is not None:
        authority = f"name the file with its authority in SSL_CERT_FILE, or put it at /etc/docker/certs.d/{host}/ca.crt"
        return RegistryError(
            f"the certificate of {host} is not trusted: {getattr(refused, 'verify_message', '')}",
            code="tls",
            host=host,
            hints=(
                _MENDED.get(getattr(refused, "verify_code", 0), authority),
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


def _causes(problem: BaseException) -> list[BaseException]:
    """Return the exception and all it wraps, by cause, context, `reason` and arguments, without looping."""
    found: list[BaseException] = []
    waiting: list[object] = [problem]
    while waiting and len(found) < _MOST_CAUSES:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and not any(cause is known for known in found):
            found.append(cause)
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return found


def _system_words(chain: list[BaseException]) -> str:
    for cause in chain:
        if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.strerror:
            return cause.strerror.lower()
    return ""
