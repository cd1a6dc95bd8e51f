"""A registry in memory with the referrers API of the distribution specification 1.1, which Debian's is too old for."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from registry.support.loopback_server import LoopbackServer

INDEX = "application/vnd.oci.image.index.v1+json"


class ReferrersServer(LoopbackServer):
    """The registry; a context manager. `manifests` and `blobs` are by repository and digest, `tags` by both names."""

    has_api = True

    def __init__(self) -> None:
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.requests: list[str] = []
        super().__init__(_Handler, registry=self)

    def find(self, repository: str, selector: str) -> tuple[str, str, bytes] | None:
        """Return the digest, media type and content of a manifest."""
        digest = self.tags.get((repository, selector), selector)
        known = self.manifests.get((repository, digest))
        return (digest, *known) if known else None

    def list_referrers(self, repository: str, subject: str) -> list[dict[str, Any]]:
        """Return the descriptors of the referrers of a manifest."""
        manifest = []
        for (other_repository, digest), (media_type, content) in self.manifests.items():
            document = json.loads(content)
            if other_repository == repository and document.get("subject", {}).get("digest") == subject:
                kind = document.get("artifactType") or document["config"]["mediaType"]
                entry = {"mediaType": media_type, "digest": digest, "size": len(content), "artifactType": kind}
                manifest.append(entry | ({"annotations": document["annotations"]} if "annotations" in document else {}))
        return manifest


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: ReferrersServer

    def log_message(self, *_: Any) -> None:
        pass

    def _respond(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.registry.requests.append(f"{self.command} {self.path}")
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        path = url.path.removeprefix("/v2/")
        for kind in ("manifests", "blobs", "referrers", "tags"):
            repository, slash, name = path.partition(f"/{kind}/")
            if slash:
                getattr(self, f"_{kind}")(repository, name, asked, body)
                return
        self._respond(200 if path == "" else 404)

    def _manifests(self, repository: str, name: str, _asked: dict[str, str], body: bytes) -> None:
        if self.command == "PUT":
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            self.registry.manifests[repository, digest] = (self.headers["Content-Type"], body)
            if not name.startswith("sha256:"):
                self.registry.tags[repository, name] = digest
            subject = json.loads(body).get("subject")
            subject_header = {"OCI_Subject": subject["digest"]} if subject else {}
            self._respond(201, Docker_Content_Digest=digest, **subject_header)
            return
        manifest = self.registry.find(repository, name)
        if manifest is None:
            self._respond(404)
        else:
            self._respond(200, manifest[2], Docker_Content_Digest=manifest[0], Content_Type=manifest[1])

    def _blobs(self, repository: str, name: str, asked: dict[str, str], body: bytes) -> None:
        if self.command == "POST":
            mounted = self.registry.blobs.get((asked.get("from", ""), asked.get("mount", "")))
            if mounted is not None:
                self.registry.blobs[repository, asked["mount"]] = mounted
            self._respond(201 if mounted is not None else 202, Location=f"/v2/{repository}/blobs/uploads/1")
        elif self.command == "PUT":
            self.registry.blobs[repository, asked["digest"]] = body
            self._respond(201)
        elif (repository, name) in self.registry.blobs:
            self._respond(200, self.registry.blobs[repository, name])
        else:
            self._respond(404)

    def _referrers(self, repository: str, name: str, _asked: dict[str, str], _body: bytes) -> None:
        if not self.registry.has_api:
            self._respond(404)
            return
        entries = self.registry.list_referrers(repository, name)
        listing = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        self._respond(200, json.dumps(listing).encode(), Content_Type=INDEX)

    def _tags(self, repository: str, _name: str, _asked: dict[str, str], _body: bytes) -> None:
        tags = sorted(tag for other_repository, tag in self.registry.tags if other_repository == repository)
        self._respond(200, json.dumps({"name": repository, "tags": tags}).encode(), Content_Type="application/json")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - names that http.server looks up
