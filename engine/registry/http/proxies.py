"""Resolves proxies and certificate authorities from the environment variables that requests and OpenSSL read."""

from __future__ import annotations

import os

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine without ca-certificates, the BSDs
)
"""Paths at which systems store their trusted authorities, including those of an organisation."""


def resolve_proxies(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy for `url` in the form of requests; empty without a proxy or for hosts in `NO_PROXY`."""
    scheme = url.partition("://")[0]
    proxy = _get_variable(environment, f"{scheme}_proxy") or _get_variable(environment, "all_proxy")
    if not proxy:
        return {}
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if _is_bypassed(parts.hostname or "", parts.port, _get_variable(environment, "no_proxy")):
        return {}
    return {scheme: proxy if "://" in proxy else f"http://{proxy}"}


def get_ca_bundle(environment: Mapping[str, str]) -> str:
    """Return the file or folder of trusted authorities that the environment specifies, or ""."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return next((path for name in names if (path := environment.get(name))), "")


def find_system_bundle() -> str:
    """Return the system's file of trusted authorities. For "", the bundle of certifi is used."""
    for path in SYSTEM_BUNDLES:
        try:
            if os.path.getsize(path):
                return path
        except OSError:
            continue
    return ""


def _get_variable(environment: Mapping[str, str], name: str) -> str:
    """Return a variable, lower case first.

    CGI sets HTTP_PROXY from a request header, so the upper case form is ignored there.
    """
    if name == "http_proxy" and "REQUEST_METHOD" in environment:
        return environment.get(name, "")
    return environment.get(name) or environment.get(name.upper()) or ""


def _is_bypassed(host: str, port: int | None, exceptions: str) -> bool:
    host = host.lower()
    for entry in exceptions.lower().replace(" ", "").split(","):
        if entry == "*":
            return True
        name = entry.removeprefix("*").lstrip(".")
        if not name:
            continue
        if "/" in name:
            if _is_in_range(host, name):
                return True
        elif host == name or host.endswith("." + name) or f"{host}:{port}" == name:
            return True
    return False


def _is_in_range(host: str, entry: str) -> bool:
    from ipaddress import ip_address, ip_network

    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return False
