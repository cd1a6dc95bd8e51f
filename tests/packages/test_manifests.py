"""Databases and manifests in text: apk, Python, npm, gem and Debian's copyright files."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import pathlib

import pytest
from imq.engine.packages.database_files import find_reader
from imq.engine.packages.package import OwnedFiles, Package, PackageLicence
from packages.reading import owned, packages, problems, read

APK = "lib/apk/db/installed"
INSTALLED = b"""C:Q1p78yvTLG094tHE1+dToJGbmYzQE=
P:alpine-baselayout
V:3.4.3-r2
A:x86_64
S:8911
I:331776
T:Alpine base dir structure and init scripts
U:https://git.alpinelinux.org/cgit/aports/tree/main/alpine-baselayout
L:GPL-2.0-only
o:alpine-baselayout
m:Natanael Copa <ncopa@alpinelinux.org>
t:1691702301
c:65502ca9379dd29d1ac4b0bf0dcf03a3dd1b324a
D:alpine-baselayout-data=3.4.3-r2 /bin/sh
q:1000
F:dev
F:dev/pts
F:etc
R:motd
Z:Q1SLkS9hBidUbPwwrw+XR0Whv3ww8=
F:tmp
M:0:0:1777
F:
R:.rootfile

P:musl-utils
V:1.2.4_git20230717-r4
A:x86_64
o:musl
L:MIT AND BSD-2-Clause AND GPL-2.0-or-later
F:sbin
R:ldconfig
a:0:0:755
Z:Q1Kja2+POZKxEkUOZqwSjC6kmaED4=

"""


def test_packages_and_files_of_apk() -> None:
    rows = read(APK, INSTALLED)
    assert packages(rows) == [
        Package(
            "apk", "alpine-baselayout", "3.4.3-r2", APK, architecture="x86_64", licence="GPL-2.0-only", size=331776,
            maintainer="Natanael Copa <ncopa@alpinelinux.org>",
            homepage="https://git.alpinelinux.org/cgit/aports/tree/main/alpine-baselayout",
        ),
        Package(
            "apk", "musl-utils", "1.2.4_git20230717-r4", APK, architecture="x86_64", source="musl",
            licence="MIT AND BSD-2-Clause AND GPL-2.0-or-later",
        ),
    ]  # fmt: skip
    first, second = owned(rows)
    assert first.files[0][0] == "etc/motd"
    assert first.files[0][1] == "sha1:" + base64.b64decode("SLkS9hBidUbPwwrw+XR0Whv3ww8=").hex()
    assert first.files[1] == (".rootfile", "")
    assert [name for name, _ in second.files] == ["sbin/ldconfig"]
    assert problems(rows) == []


def test_damaged_databases_of_apk() -> None:
    rows = read(APK, INSTALLED[: INSTALLED.index(b"R:ldconfig") + 4])
    assert [row.name for row in packages(rows)] == ["alpine-baselayout", "musl-utils"]
    assert problems(rows) == [f"{APK} at byte {INSTALLED.index(b'R:ldconfig')}: cut short within a line"]
    rows = read("usr/lib/apk/db/installed", b"P:x\nI:many\n\nV:1\n\nP:y\nnonsense\nV:2\n\n")
    assert [(row.name, row.size) for row in packages(rows)] == [("y", None)]
    path = "usr/lib/apk/db/installed"
    assert problems(rows) == [
        f"{path} at byte 0: an entry without version",
        f"{path} at byte 12: an entry without name",
        f"{path} at byte 21: a line without a field",
    ]


# ---- Python

SITE = "usr/lib/python3.11/site-packages"


def test_metadata_of_a_distribution() -> None:
    path = f"{SITE}/my_pkg-1.0.dist-info/METADATA"
    content = b"""Metadata-Version: 2.1
Name: My.Pkg
Version: 1.0
License: UNKNOWN
Classifier: License :: OSI Approved :: MIT License
Author-email: "A, B" <a@example.org>
Author: A B
Project-URL: Source, https://example.org/source
Project-URL: Home Page, https://example.org/
Description-Content-Type: text/markdown

Name: not a field
"""
    expected = Package(
        "python", "My.Pkg", "1.0", path, licence="MIT License", maintainer='"A, B" <a@example.org>',
        homepage="https://example.org/",
    )  # fmt: skip
    assert read(path, content) == [expected]
    assert read(path, content.replace(b"\n", b"\r\n")) == [expected]


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: other", "MIT OR Apache-2.0"),
        ("License: BSD\nClassifier: License :: OSI Approved :: MIT License", "BSD"),
        ("License: Copyright (c)\n  all of it\nClassifier: License :: OSI Approved :: MIT License", "MIT License"),
        ("License: Copyright (c)\n        all of the text", "Copyright (c)"),
        ("Classifier: License :: OSI Approved", ""),
        (
            "Classifier: License :: Public Domain\nClassifier: License :: OSI Approved :: ISC License (ISCL)",
            "Public Domain, ISC License (ISCL)",
        ),
    ],
)  # fmt: skip
def test_licences_of_distributions(fields: str, licence: str) -> None:
    path = f"{SITE}/x.egg-info/PKG-INFO"
    (package,) = packages(read(path, f"Name: x\nVersion: 1\n{fields}\n\nBody".encode()))
    assert package.licence == licence


@pytest.mark.parametrize(
    "path",
    [
        f"{SITE}/x-1.dist-info/METADATA",
        f"{SITE}/x.egg-info/PKG-INFO",
        f"{SITE}/x-1-py3.egg-info",
        "opt/x.egg/EGG-INFO/PKG-INFO",
    ],
)
def test_places_of_metadata(path: str) -> None:
    assert [row.name for row in packages(read(path, b"Name: x\nVersion: 1\n"))] == ["x"]
    assert problems(read(path, b"Name: x\n")) == [f"{path} at byte 0: no version"]


def test_every_distribution_that_python_finds_is_read() -> None:
    """importlib.metadata is the judge, over the environment of the tests."""
    checked = 0
    for distribution in importlib.metadata.distributions():
        folder = pathlib.Path(str(distribution._path)) if hasattr(distribution, "_path") else None
        if folder is None or not (folder / "METADATA").exists():
            continue
        path = f"{folder}/METADATA".lstrip("/")
        (package,) = packages(read(path, (folder / "METADATA").read_bytes()))
        assert (package.name, package.version) == (distribution.metadata["Name"], distribution.metadata["Version"])
        record = folder / "RECORD"
        if record.exists() and distribution.files is not None:
            parts = owned(read(f"{folder}/RECORD".lstrip("/"), record.read_bytes()))  # long lists come in parts
            expected = {
                str(pathlib.Path(folder.parent, str(file)).resolve()).lstrip("/") for file in distribution.files
            }
            assert {
                str(pathlib.Path("/", name).resolve()).lstrip("/") for files in parts for name, _ in files.files
            } == expected
            assert sum(files.size or 0 for files in parts) == sum(file.size or 0 for file in distribution.files)
            assert {files.listed_by for files in parts} == {path}
        checked += 1
    assert checked > 10


def test_file_lists_of_distributions() -> None:
    record = b"""x/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0
"x/a,b.py",,
../../../bin/x,sha256=!,7
x-1.dist-info/RECORD,,
wrong
"""
    rows = read(f"{SITE}/x-1.dist-info/RECORD", record)
    (files,) = owned(rows)
    assert files == OwnedFiles(
        "python", "x", f"{SITE}/x-1.dist-info/RECORD",
        (
            (f"{SITE}/x/__init__.py", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (f"{SITE}/x/a,b.py", ""),
            ("usr/bin/x", ""),
            (f"{SITE}/x-1.dist-info/RECORD", ""),
        ),
        size=7,
        listed_by=f"{SITE}/x-1.dist-info/METADATA",
    )  # fmt: skip
    assert problems(rows) == [f"{SITE}/x-1.dist-info/RECORD: 1 of its lines are no path, hash and size"]
    (files,) = owned(read(f"{SITE}/x-1.egg-info/installed-files.txt", b"../x/__init__.py\nPKG-INFO\n"))
    assert [name for name, _ in files.files] == [f"{SITE}/x/__init__.py", f"{SITE}/x-1.egg-info/PKG-INFO"]
    assert (files.package, files.listed_by) == ("x", f"{SITE}/x-1.egg-info/PKG-INFO")


# ---- npm

NPM = "app/node_modules/@scope/name/package.json"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"license": "MIT", "author": "A <a@b> (https://c)"}, ("MIT", "A <a@b> (https://c)")),
        ({"license": {"type": "BSD", "url": "x"}, "author": {"name": "A", "email": "a@b"}}, ("BSD", "A <a@b>")),
        (
            {"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}], "maintainers": [{"name": "A"}]},
            ("(MIT OR GPL-2.0)", "A"),
        ),
        ({"license": 7, "author": [], "homepage": None}, ("", "")),
        ({"license": "\ud800 \0"}, ("? \ufffd", "")),
    ],
)
def test_packages_of_npm(document: dict[str, object], expected: tuple[str, str]) -> None:
    content = json.dumps({"name": "@scope/name", "version": "1.2.3", **document}).encode()
    (package,) = packages(read(NPM, content))
    assert (package.name, package.version, package.path) == ("@scope/name", "1.2.3", NPM)
    assert (package.licence, package.maintainer) == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"name": "x", ', " at byte 14: not JSON: Expecting property name enclosed in double quotes"),
        ('{"é": x}'.encode(), " at byte 7: not JSON: Expecting value"),
        (b"\xff", " at byte 0: not UTF-8"),
        (b"[" * 100_000, ": JSON that is nested too deep, or has too long numbers"),
        (b"[]", " at byte 0: not a JSON object"),
        (b'{"name": "x", "version": ' + b"9" * 5000 + b"}", ": JSON that is nested too deep, or has too long numbers"),
    ],
)
def test_damaged_manifests_of_npm(content: bytes, problem: str) -> None:
    assert problems(read(NPM, content)) == [NPM + problem]
    assert packages(read(NPM, content)) == []


def test_manifests_without_name_or_version_are_no_packages() -> None:
    assert read(NPM, b'{"type": "module"}') == []


@pytest.mark.parametrize(
    "path",
    [
        "app/package.json", "app/node_modules/package.json", "app/node_modules/x/dist/package.json",
        "app/node_modules/@scope/package.json", "app/node_modules/.bin/package.json",
        "app/node_modules/x/xpackage.json",
    ],
)  # fmt: skip
def test_other_manifests_of_npm_have_no_reader(path: str) -> None:
    assert find_reader(path.encode()) is None


# ---- gem

GEM = "var/lib/gems/3.1.0/specifications/rake-13.0.6.gemspec"
GEMSPEC = """# -*- encoding: utf-8 -*-
# stub: rake 13.0.6 ruby lib

Gem::Specification.new do |s|
  s.name = "rake".freeze
  s.version = "13.0.6"

  s.required_rubygems_version = Gem::Requirement.new(">= 1.3.2".freeze) if s.respond_to? :required_rubygems_version=
  s.metadata = { "bug_tracker_uri" => "https://github.com/ruby/rake/issues" } if s.respond_to? :metadata=
  s.require_paths = ["lib".freeze]
  s.authors = ["Hiroshi SHIBATA".freeze, "Eric \\"E\\" Hodel".freeze]
  s.date = "2021-07-09"
  s.description = "s.name = \\"other\\"".freeze
  s.homepage = "https://github.com/ruby/rake".freeze
  s.licenses = ["MIT".freeze, 'Ruby']
end
"""


def test_specifications_of_gems() -> None:
    assert read(GEM, GEMSPEC.encode()) == [
        Package(
            "gem", "rake", "13.0.6", GEM, licence="MIT OR Ruby", maintainer='Hiroshi SHIBATA, Eric "E" Hodel',
            homepage="https://github.com/ruby/rake",
        )
    ]  # fmt: skip


def test_what_is_no_literal_comes_from_the_stub() -> None:
    content = b"# stub: nokogiri 1.16.0 x86_64-linux lib\n\nGem::Specification.new do |s|\n  s.version = VERSION\nend\n"
    (package,) = packages(read(GEM, content))
    assert (package.name, package.version, package.architecture) == ("nokogiri", "1.16.0", "x86_64-linux")
    assert problems(read(GEM, b"s.name = 'x'\ns.version = `id`\n")) == [f"{GEM} at byte 0: no version"]


def test_a_hostile_specification_takes_linear_time() -> None:
    content = b's.authors = ["a" ' + b'"a"    ' * 20_000 + b"x"
    assert packages(read(GEM, content)) == []


# ---- Debian's copyright files

COPYRIGHT = "usr/share/doc/bash/copyright"


@pytest.mark.parametrize(
    ("content", "licence"),
    [
        (
            (
                "Format: https://www.debian.org/doc/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n\n"
                "Files: x\nLicense: Expat\n text\n\nLicense: GPL-2+\n text"
            ),
            "GPL-2.0-or-later AND MIT",
        ),
        ("Format: x\nLicense: GPL-2+ or Artistic\n", "GPL-2.0-or-later OR Artistic-1.0-Perl"),
        ("Format: x\nLicense: GPL-2 or MIT\n\nLicense: ISC\n", "(GPL-2.0-only OR MIT) AND ISC"),
        ("Format: x\nLicense: GPL-2+\n\nLicense: public-domain\n", "GPL-2+, public-domain"),
        ("On Debian systems, see /usr/share/common-licenses/LGPL-2.1.", "LGPL-2.1-only"),
        (
            "see /usr/share/common-licenses/GPL-2\nand `/usr/share/common-licenses/BSD'.",
            "GPL-2.0-only AND BSD-3-Clause",
        ),
    ],
)
def test_licences_of_debian_packages(content: str, licence: str) -> None:
    assert read(COPYRIGHT, content.encode()) == [PackageLicence("deb", "bash", COPYRIGHT, licence)]


def test_a_copyright_file_that_names_no_licence() -> None:
    assert read(COPYRIGHT, b"Copyright 2024 A. B.\nLicense: in prose\n") == []
    assert find_reader(b"usr/share/doc/bash/examples/copyright") is None
