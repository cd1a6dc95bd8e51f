"""A server that lists the tags of its one repository `many` in pages, as many as are wanted, made when asked for."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from registry.support.loopback_server import Serving

REPOSITORY = "many"


class Paging(Serving):
    """The server; a context manager. Tag number n is `tag(n)`.

    Pages have at most `page` tags, whatever is asked for. With `circle` that page links back to the first.
    """

    def __init__(self, count: int, page: int = 1000, circle: int | None = None) -> None:
        self.count, self.page, self.circle = count, page, circle
        self.asked = 0
        super().__init__(_Handler, paging=self)

    def tags(self, start: int) -> tuple[list[str], str]:
        """Return the tags of the page that begins with number `start`, and the address of the next, if there is one."""
        end = min(start + self.page, self.count)
        names = [tag(number) for number in range(start, end)]
        following = "" if end >= self.count else names[-1]
        if self.circle is not None and start // self.page == self.circle:
            following = tag(-1)
        return names, f"/v2/{REPOSITORY}/tags/list?n={self.page}&last={following}" if following else ""


def tag(number: int) -> str:
    """Return the name of a tag: they sort as their numbers do."""
    return f"v{number + 1:07}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    paging: Paging

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path != f"/v2/{REPOSITORY}/tags/list":
            self._answer(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known"}]}')
            return
        self.paging.asked += 1
        last = parse_qs(parts.query).get("last", [tag(-1)])[0]
        names, following = self.paging.tags(int(last[1:]))
        body = json.dumps({"name": REPOSITORY, "tags": names}).encode()
        self._answer(200, body, **({"Link": f'<{following}>; rel="next"'} if following else {}))

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
