"""The credentials that an engine needs for a registry, as the header `X-Registry-Auth` carries them."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_REGISTRY
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.registry.settings import Settings

_HUB_ADDRESS = "https://index.docker.io/v1/"


def make_auth_headers(settings: Settings, registry: str, repository: str) -> dict[str, str]:
    """Return the header with the credentials of this registry, and with no others. Without any it is `{}` in base64.

    Raises `RegistryError` (code `credentials`) for an unusable file or helper.
    """
    import json
    from base64 import urlsafe_b64encode

    from imq.engine.registry.auth.credentials import find_credentials

    document: dict[str, str] = {}
    found = find_credentials(settings, registry, repository)
    if found is not None:
        secrets = {
            "username": "" if found.identity_token else found.user,
            "password": found.password,
            "identitytoken": found.identity_token,
            "registrytoken": found.registry_token,
        }
        document = {name: text for name, text in secrets.items() if text}
        document["serveraddress"] = _HUB_ADDRESS if registry == DEFAULT_REGISTRY else registry
    return {"X-Registry-Auth": urlsafe_b64encode(json.dumps(document).encode()).decode()}
