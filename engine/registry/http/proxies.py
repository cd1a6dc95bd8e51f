"""Proxies and certificate authorities, found in an environment by the names that requests and OpenSSL read."""

from __future__ import annotations

import os

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine without ca-certificates, the BSDs
)
"""Where systems keep the authorities that their users trust, those of the organisation among them."""


def proxies_for(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy for `url` as requests takes it; empty when there is none, or `NO_PROXY` covers the host."""
    scheme = url.partition("://")[0]
    proxy = _lookup(environment, f"{scheme}_proxy") or _lookup(environment, "all_proxy")
    if not proxy:
        return {}
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if _bypassed(parts.hostname or "", parts.port, _lookup(environment, "no_proxy")):
        return {}
    return {scheme: proxy if "://" in proxy else f"http://{proxy}"}


def ca_bundle(environment: Mapping[str, str]) -> str:
    """Return the file or folder of trusted authorities that the environment names, if any."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return next((path for name in names if (path := environment.get(name))), "")


def host_bundle() -> str:
    """Return the host's file of trusted authorities; empty where there is none: then those that imq brings serve."""
    for path in HOST_BUNDLES:
        try:
            if os.path.getsize(path):
                return path
        except OSError:
            continue
    return ""


def _lookup(environment: Mapping[str, str], name: str) -> str:
    """Look `name` up, lower case first. To a CGI script, HTTP_PROXY is a header of the request: not taken there."""
    if name == "http_proxy" and "REQUEST_METHOD" in environment:
        return environment.get(name, "")
    return environment.get(name) or environment.get(name.upper()) or ""


def _bypassed(host: str, port: int | None, exceptions: str) -> bool:
    host = host.lower()
    for entry in exceptions.lower().replace(" ", "").split(","):
        if entry == "*":
            return True
        name = entry.removeprefix("*").lstrip(".")
        if not name:
            continue
        if "/" in name:
            if _in_range(host, name):
                return True
        elif host == name or host.endswith("." + name) or f"{host}:{port}" == name:
            return True
    return False


def _in_range(host: str, entry: str) -> bool:
    from ipaddress import ip_address, ip_network

    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return False
