"""Certificates kept for single hosts, where docker and podman look: `certs.d/HOST[:PORT]/`.

A `*.crt` there is an authority that is trusted for this host besides the usual ones; a `*.cert` and the `*.key` of the
same name are shown to the host when it asks who its client is.
"""

from __future__ import annotations

import os

from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from imq.engine.registry.settings import Settings

SYSTEM_FOLDERS = ("/etc/docker/certs.d", "/etc/containers/certs.d")


class HostCertificates(Record):
    """Paths of files: authorities, and pairs of a client's certificate and its key."""

    authorities: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


def certificates_for(settings: Settings, host: str) -> HostCertificates | None:
    """Return what the settings say of `host`, and what they do not say, as it is kept for it in a folder."""
    found = find_certificates(settings.environment, host)
    own = settings.host(host)
    if own is None or not (own.authority or own.certificate):
        return found
    kept = found or HostCertificates((), ())
    return HostCertificates(
        (own.authority,) if own.authority else kept.authorities,
        ((own.certificate, own.key),) if own.certificate else kept.pairs,
    )


def find_certificates(environment: Mapping[str, str], host: str) -> HostCertificates | None:
    """Return what is kept for `host` (with its port, as it is written), of the first folder that has something.

    Raises `RegistryError` (code `tls`) for a certificate without its key, or a key without its certificate.
    """
    if not host or "/" in host or host.startswith("."):
        return None
    for folder in _folders(environment):
        place = os.path.join(folder, host)
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        certificates = [name.removesuffix(".cert") for name in names if name.endswith(".cert")]
        keys = [name.removesuffix(".key") for name in names if name.endswith(".key")]
        for name in sorted({*certificates} ^ {*keys}):
            there, lacking = (".cert", ".key") if name in certificates else (".key", ".cert")
            raise RegistryError(
                f"beside {os.path.join(place, name)}{there}, for {host}, there is no {name}{lacking}",
                code="tls",
                host=host,
                hints=("a certificate ends in .cert and its key in .key; authorities end in .crt",),
            )
        authorities = tuple(os.path.join(place, name) for name in names if name.endswith(".crt"))
        if authorities or certificates:
            whole = [os.path.join(place, name) for name in certificates]
            return HostCertificates(authorities, tuple((f"{path}.cert", f"{path}.key") for path in whole))
    return None


def context_for(certificates: HostCertificates, host: str, *, verify: bool) -> ssl.SSLContext:
    """Return a TLS context that trusts these authorities (without `verify` everybody) and can show the certificates.

    Raises `RegistryError` (code `tls`) for files that are no certificates or cannot be read.
    """
    import ssl

    from urllib3.util.ssl_ import create_urllib3_context

    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    path = ""
    try:
        for path in certificates.authorities:
            context.load_verify_locations(path)
        for path, key in certificates.pairs:
            context.load_cert_chain(path, key, password=_no_password)
    except (OSError, ValueError) as problem:
        why = "is no certificate, or not the one of its key"
        if isinstance(problem, OSError) and not isinstance(problem, ssl.SSLError):  # which says what OpenSSL met
            why = f"cannot be read: {(problem.strerror or 'unknown reason').lower()}"
        raise RegistryError(
            f"{path}, for {host}, {why}", code="tls", host=host, hints=("repair the file, or take it away",)
        ) from None
    return context


def _folders(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the folders, the user's own before the system's."""
    home = environment.get("HOME")
    configuration = environment.get("XDG_CONFIG_HOME") or (home and os.path.join(home, ".config"))
    if configuration:
        yield os.path.join(configuration, "docker", "certs.d")  # docker without root
        yield os.path.join(configuration, "containers", "certs.d")
    yield from SYSTEM_FOLDERS


def _no_password() -> str:
    """Answer for a key under a password, which OpenSSL would else ask for on the terminal."""
    return ""
