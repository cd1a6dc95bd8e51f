"""TLS certificates for single hosts, from the folders of docker and podman: `certs.d/HOST[:PORT]/`.

A `*.crt` file is a trusted authority for this host in addition to the system's. A `*.cert` file and the `*.key` file of
the same name are a client certificate.
"""

from __future__ import annotations

import os
import sys

from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from imq.engine.registry.settings import Settings

SYSTEM_FOLDERS = ("/etc/docker/certs.d", "/etc/containers/certs.d")


class HostCertificates(Record):
    """Paths of authorities, and pairs of client certificate and key."""

    authorities: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


def resolve_certificates(settings: Settings, host: str) -> HostCertificates | None:
    """Return the certificates of `host`, from the settings or a certs.d folder."""
    from_folder = find_certificates(settings.environment, host)
    host_settings = settings.get_host_settings(host)
    if host_settings is None or not (host_settings.authority or host_settings.certificate):
        return from_folder
    defaults = from_folder or HostCertificates((), ())
    return HostCertificates(
        (host_settings.authority,) if host_settings.authority else defaults.authorities,
        ((host_settings.certificate, host_settings.key),) if host_settings.certificate else defaults.pairs,
    )


def find_certificates(environment: Mapping[str, str], host: str) -> HostCertificates | None:
    """Return the certificates of `host` (with its port) from the first folder that has any.

    Raises `RegistryError` (code `tls`) for a certificate without its key, or a key without its certificate.
    """
    if not host or "/" in host or host.startswith("."):
        return None
    for folder in _list_certificate_folders(environment):
        directory = os.path.join(folder, host)
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        certificates = [name.removesuffix(".cert") for name in names if name.endswith(".cert")]
        keys = [name.removesuffix(".key") for name in names if name.endswith(".key")]
        for name in sorted({*certificates} ^ {*keys}):
            present, missing = (".cert", ".key") if name in certificates else (".key", ".cert")
            raise RegistryError(
                f"{os.path.join(directory, name)}{present} for {host} requires {name}{missing}, which was not found",
                code="tls",
                host=host,
                hints=("a certificate ends in .cert and its key in .key; authorities end in .crt",),
            )
        authorities = tuple(os.path.join(directory, name) for name in names if name.endswith(".crt"))
        if authorities or certificates:
            stems = [os.path.join(directory, name) for name in certificates]
            return HostCertificates(authorities, tuple((f"{path}.cert", f"{path}.key") for path in stems))
    return None


def make_host_context(settings: Settings, host: str, ca_bundle: str | None) -> ssl.SSLContext:
    """Return the TLS context for `host`, with its certificates and the authorities in the file or folder `ca_bundle`.

    An empty `ca_bundle` is that of certifi; with None, the context accepts any server. Raises `RegistryError` (code
    `tls`) for files that are invalid or unreadable.
    """
    certificates = resolve_certificates(settings, host) or HostCertificates((), ())
    context = make_tls_context(certificates, host, verify=ca_bundle is not None)
    if ca_bundle is not None:
        if not ca_bundle:
            from certifi import where

            ca_bundle = where()
        is_folder = os.path.isdir(ca_bundle)
        try:
            context.load_verify_locations(None if is_folder else ca_bundle, ca_bundle if is_folder else None)
        except OSError as error:
            raise _invalid_file(error, ca_bundle, host, "holds no valid certificates") from None
    return context


def make_tls_context(certificates: HostCertificates, host: str, *, verify: bool) -> ssl.SSLContext:
    """Return a TLS context with these authorities and client certificates. Without `verify`, it accepts any server.

    Raises `RegistryError` (code `tls`) for files that are invalid or unreadable.
    """
    context = _make_context(verify=verify)
    path = ""
    try:
        for path in certificates.authorities:
            context.load_verify_locations(path)
        for path, key in certificates.pairs:
            context.load_cert_chain(path, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise _invalid_file(error, path, host, "is not a valid certificate, or does not match its key") from None
    return context


def _make_context(*, verify: bool) -> ssl.SSLContext:
    """Return a TLS context without certificates, with the options of urllib3: TLS 1.2 or later."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.post_handshake_auth = True
    context.hostname_checks_common_name = False
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if key_log := os.environ.get("SSLKEYLOGFILE"):
        context.keylog_filename = key_log
    return context


def _invalid_file(error: OSError | ValueError, path: str, host: str, reason: str) -> RegistryError:
    """Return the error of a file of certificates that OpenSSL rejects for `reason`, or that cannot be read."""
    import ssl

    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):  # a subclass of OSError
        reason = f"cannot be read: {(error.strerror or 'unknown reason').lower()}"
    return RegistryError(
        f"{path}, for {host}, {reason}", code="tls", host=host, hints=("repair the file, or remove it",)
    )


def _list_certificate_folders(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the folders, the user's before the system's."""
    home = environment.get("HOME")
    configuration = environment.get("XDG_CONFIG_HOME") or (home and os.path.join(home, ".config"))
    if configuration:
        yield os.path.join(configuration, "docker", "certs.d")  # rootless docker
        yield os.path.join(configuration, "containers", "certs.d")
    yield from SYSTEM_FOLDERS


def _no_password() -> str:
    """Return no password for an encrypted key; OpenSSL would prompt for it on the terminal."""
    return ""
