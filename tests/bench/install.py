"""The imq that is measured: the sources of this checkout, installed as a user installs them, not editable."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys

from measure import said_by

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PARTS = ("dsl", "grammar", "engine", "pyproject.toml", "README.md", "LICENSE")
UNINTERESTING = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")


def install(cache: str) -> str:
    """Return the `imq` of an environment under the cache, installed anew when the sources are not those it has."""
    environment = os.path.join(cache, "environment")
    program = os.path.join(environment, "bin", "imq")
    stamp = os.path.join(environment, "sources")
    sources = _fingerprint()
    if os.path.exists(program) and os.path.exists(stamp) and _read(stamp) == sources:
        return program
    print("installing imq into the benchmark's environment", flush=True)
    # From a copy: building a wheel leaves files beside its sources.
    copy = os.path.join(cache, "source")
    shutil.rmtree(copy, ignore_errors=True)
    os.makedirs(copy)
    for part in PARTS:
        source = os.path.join(PROJECT, part)
        if os.path.isdir(source):
            shutil.copytree(source, os.path.join(copy, part), ignore=UNINTERESTING)
        else:
            shutil.copy(source, copy)
    pip = (os.path.join(environment, "bin", "pip"), "--disable-pip-version-check", "--quiet")
    if not os.path.exists(pip[0]):
        said_by([sys.executable, "-m", "venv", environment])
    said_by([*pip, "uninstall", "--yes", "imq"])  # else pip passes over a version that it has, whatever the sources say
    said_by([*pip, "install", copy])
    shutil.rmtree(copy)
    with open(stamp, "w") as target:
        target.write(sources)
    return program


def _read(path: str) -> str:
    with open(path) as source:
        return source.read()


def _fingerprint() -> str:
    told = hashlib.sha256()
    for part in PARTS:
        whole = os.path.join(PROJECT, part)
        found = [whole] if os.path.isfile(whole) else []
        for folder, below, names in os.walk(whole):
            below[:] = sorted(set(below) - {"__pycache__"})
            found += [os.path.join(folder, name) for name in sorted(names)]
        for path in found:
            if not path.endswith(".pyc"):
                told.update(os.path.relpath(path, PROJECT).encode())
                with open(path, "rb") as source:
                    told.update(hashlib.file_digest(source, "sha256").digest())
    return told.hexdigest()
