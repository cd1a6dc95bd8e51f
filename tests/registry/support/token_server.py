"""A token server that a real docker-registry trusts. It signs its tokens and records its requests."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from registry.support.loopback_server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SERVICE, ISSUER = "registry, for tests", "tests"


class TokenServer(LoopbackServer):
    """Grants `pull` to everyone and everything to `users` (name to password) and holders of `refresh_token`."""

    def __init__(self, folder: Path, users: Mapping[str, str], refresh_token: str) -> None:
        self.users = dict(users)
        self.refresh_token = refresh_token
        self.requests: list[dict[str, Any]] = []
        self.lifetime = 300
        self.token_key = "token"
        self._key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=tests",
                "-keyout",
                str(self._key),
                "-out",
                str(self.certificate),
            ],
            check=True,
            capture_output=True,
        )
        pem = self.certificate.read_text()
        self._chain = "".join(line for line in pem.splitlines() if "-----" not in line)
        super().__init__(_Handler, tokens=self)
        self.realm = f"http://{self.host}/token"

    @property
    def configuration(self) -> dict[str, str]:
        """The registry's `auth.token` section."""
        bundle = str(self.certificate)
        return {"realm": self.realm, "service": f'"{SERVICE}"', "issuer": ISSUER, "rootcertbundle": bundle}

    def grant(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the status and the document for a token request."""
        self.requests.append(request)
        if request.get("service") != [SERVICE]:
            return 400, {}
        is_authenticated = False
        if "refresh_token" in request:
            if request["refresh_token"] != [self.refresh_token] or request["grant_type"] != ["refresh_token"]:
                return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "refresh token not known"}]}
            is_authenticated = True
        elif request["authorization"]:
            user, _, password = (
                base64.b64decode(request["authorization"].removeprefix("Basic ")).decode().partition(":")
            )
            if self.users.get(user) != password:
                return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}
            is_authenticated = True
        access = []
        for scope in " ".join(request.get("scope", [])).split():
            kind, name, actions = scope.split(":")
            requested_actions = actions.split(",")
            allowed = (
                requested_actions
                if is_authenticated
                else [a for a in requested_actions if a == "pull" and not name.startswith("secret/")]
            )
            access.append({"type": kind, "name": name, "actions": allowed})
        granted = {self.token_key: self._sign(access), "expires_in": self.lifetime}
        if is_authenticated and request.get("offline_token") == ["true"]:
            granted["refresh_token"] = self.refresh_token
        return 200, granted

    def _sign(self, access: list[dict[str, Any]]) -> str:
        now = int(time.time())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._chain]}
        claims = {
            "iss": ISSUER,
            "sub": "",
            "aud": SERVICE,
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.requests)),
            "access": access,
        }
        text = ".".join(_encode_base64(json.dumps(part).encode()) for part in (header, claims))
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=text.encode(),
            capture_output=True,
            check=True,
        )
        return f"{text}.{_encode_base64(signed.stdout)}"


def _encode_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tokens: TokenServer

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        token_request: dict[str, Any] = parse_qs(body or urlsplit(self.path).query)
        token_request["method"], token_request["authorization"] = self.command, self.headers.get("Authorization", "")
        status, document = self.tokens.grant(token_request)
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815 - names that http.server looks up
