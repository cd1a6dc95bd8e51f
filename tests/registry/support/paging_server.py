"""A server that lists any number of tags of its repository `many` in pages, generated on request."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from registry.support.loopback_server import LoopbackServer

REPOSITORY = "many"


class PagingServer(LoopbackServer):
    """The server; a context manager. Tag number n is `tag(n)`.

    Pages have at most `page` tags, whatever size is requested. The page `loop_page` links back to the first.
    """

    def __init__(self, count: int, page: int = 1000, circle: int | None = None) -> None:
        self.count, self.page, self.loop_page = count, page, circle
        self.request_count = 0
        super().__init__(_Handler, paging=self)

    def list_page(self, start: int) -> tuple[list[str], str]:
        """Return the tags of the page that begins with number `start`, and the URL of the next page or ""."""
        end = min(start + self.page, self.count)
        names = [make_tag(number) for number in range(start, end)]
        next_last = "" if end >= self.count else names[-1]
        if self.loop_page is not None and start // self.page == self.loop_page:
            next_last = make_tag(-1)
        return names, f"/v2/{REPOSITORY}/tags/list?n={self.page}&last={next_last}" if next_last else ""


def make_tag(number: int) -> str:
    """Return the name of a tag. Names sort like their numbers."""
    return f"v{number + 1:07}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    paging: PagingServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path != f"/v2/{REPOSITORY}/tags/list":
            self._respond(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known"}]}')
            return
        self.paging.request_count += 1
        last = parse_qs(parts.query).get("last", [make_tag(-1)])[0]
        names, following = self.paging.list_page(int(last[1:]))
        body = json.dumps({"name": REPOSITORY, "tags": names}).encode()
        self._respond(200, body, **({"Link": f'<{following}>; rel="next"'} if following else {}))

    def _respond(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
