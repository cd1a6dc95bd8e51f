"""The imq to measure: this checkout, installed as a user installs it (not editable)."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys

from measure import output_of

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PARTS = ("dsl", "grammar", "engine", "pyproject.toml", "README.md", "LICENSE")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")


def install(cache: str) -> str:
    """Return the `imq` of an environment in the cache; install it again when the sources have changed."""
    environment = os.path.join(cache, "environment")
    program = os.path.join(environment, "bin", "imq")
    stamp = os.path.join(environment, "sources")
    sources = _fingerprint()
    if os.path.exists(program) and os.path.exists(stamp) and _read(stamp) == sources:
        return program
    print("installing imq into the benchmark's environment", flush=True)
    # From a copy: building a wheel writes files next to its sources.
    copy = os.path.join(cache, "source")
    shutil.rmtree(copy, ignore_errors=True)
    os.makedirs(copy)
    for part in PARTS:
        source = os.path.join(PROJECT, part)
        if os.path.isdir(source):
            shutil.copytree(source, os.path.join(copy, part), ignore=IGNORED)
        else:
            shutil.copy(source, copy)
    pip = (os.path.join(environment, "bin", "pip"), "--disable-pip-version-check", "--quiet")
    if not os.path.exists(pip[0]):
        output_of([sys.executable, "-m", "venv", environment])
    # Otherwise pip skips an installed version even when the sources differ.
    output_of([*pip, "uninstall", "--yes", "imq"])
    output_of([*pip, "install", copy])
    shutil.rmtree(copy)
    with open(stamp, "w") as target:
        target.write(sources)
    return program


def _read(path: str) -> str:
    with open(path) as source:
        return source.read()


def _fingerprint() -> str:
    fingerprint = hashlib.sha256()
    for part in PARTS:
        root = os.path.join(PROJECT, part)
        paths = [root] if os.path.isfile(root) else []
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = sorted(set(subfolders) - {"__pycache__"})
            paths += [os.path.join(folder, name) for name in sorted(names)]
        for path in paths:
            if not path.endswith(".pyc"):
                fingerprint.update(os.path.relpath(path, PROJECT).encode())
                with open(path, "rb") as source:
                    fingerprint.update(hashlib.file_digest(source, "sha256").digest())
    return fingerprint.hexdigest()
