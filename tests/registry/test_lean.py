"""What importing costs, and what it leaves behind; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_lean_import_leaves_the_guessing_out() -> None:
    code = (
        "import gc, sys; from imq.engine.registry.http.lean import import_requests; import_requests(); import_requests();"
        "print(*[name in sys.modules for name in ('requests', 'charset_normalizer', 'chardet')], gc.isenabled())"
    )
    assert run(code) == "True False False True"


def test_others_can_import_what_was_left_out() -> None:
    code = (
        "from imq.engine.registry.http.lean import import_requests; import_requests();"
        "import requests, charset_normalizer; print(bool(charset_normalizer.__version__))"
    )
    assert run(code) == "True"


@pytest.mark.parametrize(
    "module",
    ["client", "pull", "push", "copying", "transport", "certificates", "credentials", "auth", "lean"],
)
def test_our_modules_import_requests_only_when_they_ask_a_registry(module: str) -> None:
    heavy = "{'requests', 'urllib3', 'subprocess', 'concurrent.futures', 'dataclasses', 'typing', 'ssl', 'socket'}"
    assert run(f"import sys, imq.engine.registry.{module}; print(sorted({heavy} & set(sys.modules)))") == "[]"
