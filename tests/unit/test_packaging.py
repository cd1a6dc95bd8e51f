"""The wheel and the source archive: both have every package of the three folders."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.metadata import Metadata

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SUFFIXES = (".py", ".pyi", ".lark", ".md", ".html", ".css", ".js", ".LICENSE")
"""The suffixes of files that belong in the wheel."""
FOLDERS = {"imq": "dsl", "imq.grammar": "grammar", "imq.engine": "engine"}


def modules(suffixes: tuple[str, ...] = (".py",)) -> dict[str, str]:
    """Return the source files of the checkout, each with its path when installed."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((CHECKOUT / folder).rglob("*")):
            if path.name == "README.md":
                continue
            if path.suffix in suffixes or path.name in ("py.typed", "imq.1", "imq.tmLanguage.json"):
                inside = path.relative_to(CHECKOUT / folder).as_posix()
                found[f"{folder}/{inside}"] = f"{package.replace('.', '/')}/{inside}"
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of the checkout, because setuptools writes files next to the sources."""
    copy = tmp_path_factory.mktemp("packaging") / "checkout"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    for folder in FOLDERS.values():
        shutil.copytree(CHECKOUT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def build(kind: str, folder: pathlib.Path, output: pathlib.Path) -> pathlib.Path:
    code = f"from setuptools import build_meta; import sys; print(build_meta.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:setuptools", "-c", code, str(output)],
        cwd=folder,
        env={"PATH": os.environ.get("PATH", ""), "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output / done.stdout.splitlines()[-1]


def test_every_folder_with_modules_is_a_declared_package() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    folders = {os.path.dirname(installed).replace("/", ".") for installed in modules().values()}
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(folders)


def test_the_wheel_holds_every_module(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with zipfile.ZipFile(build("wheel", checkout, tmp_path)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        entry_points = wheel.read(next(name for name in wheel.namelist() if name.endswith("entry_points.txt")))
    assert names == set(modules(SUFFIXES).values())
    assert b"imq = imq.cli.main:run" in entry_points


def test_the_metadata_is_ready_to_publish(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """`Metadata` raises for what an index refuses."""
    with zipfile.ZipFile(build("wheel", checkout, tmp_path)) as wheel:
        content = wheel.read(next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")))
    metadata = Metadata.from_email(content, validate=True)
    assert (metadata.license_expression, metadata.description_content_type) == ("MIT", "text/markdown")
    assert metadata.summary is not None
    assert {"pandas", "arrow"} <= set(metadata.provides_extra or ())
    assert not any("License ::" in line for line in metadata.classifiers or ())


def test_a_wheel_can_be_built_from_the_source_archive(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    archive = build("sdist", checkout, tmp_path)
    subprocess.run(["tar", "--extract", "--file", str(archive), "--directory", str(tmp_path)], check=True)
    (unpacked,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    (tmp_path / "again").mkdir()
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path / "again")) as wheel:
        names = set(wheel.namelist())
    assert set(modules(SUFFIXES).values()) <= names


def test_building_leaves_no_folders_in_the_project(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    build("wheel", checkout, tmp_path)
    assert not (checkout / "build").exists()
    assert not (checkout / "dist").exists()
