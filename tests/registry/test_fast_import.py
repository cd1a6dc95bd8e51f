"""Heavy modules are imported late, and requests without character detection. Each test uses a new process."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_requests_is_imported_without_character_detection() -> None:
    code = (
        "import gc, sys; from imq.engine.registry.http.fast_import import import_requests; "
        "import_requests(); import_requests();"
        "print(*[name in sys.modules for name in ('requests', 'charset_normalizer', 'chardet')], gc.isenabled())"
    )
    assert run(code) == "True False False True"


def test_character_detection_can_be_imported_later() -> None:
    code = (
        "from imq.engine.registry.http.fast_import import import_requests; import_requests();"
        "import requests, charset_normalizer; print(bool(charset_normalizer.__version__))"
    )
    assert run(code) == "True"


@pytest.mark.parametrize(
    "module",
    ["client", "transfer.pull", "transfer.push", "transfer.copy", "http.transport", "auth.credentials", "auth.login"],
)
def test_modules_import_requests_only_to_send_a_request(module: str) -> None:
    heavy = "{'requests', 'urllib3', 'subprocess', 'concurrent.futures', 'dataclasses', 'typing', 'ssl', 'socket'}"
    assert run(f"import sys, imq.engine.registry.{module}; print(sorted({heavy} & set(sys.modules)))") == "[]"
