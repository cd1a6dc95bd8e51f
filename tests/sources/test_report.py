"""`report`: rows in files, one for each path of a template; none leaves its folder, and none is half written."""

from __future__ import annotations

import csv
import json
import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import ImqError, NeedsConfirmation
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from store.support.stores import StoreSession
from support.images import Image, Layout, layer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of their own dependencies
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


STATUS = "Package: {}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {}\n"
FILES = {"etc/os-release": b'ID=debian\nVERSION_ID="12"\n', "srv/app.py": b"a", "srv/link.py": b"b"}
IMAGES = {
    f"web:{number}": Image(
        [layer({**FILES, "var/lib/dpkg/status": STATUS.format("bash", number).encode()})],
        f"2024-02-0{number}T00:00:00Z",
    )
    for number in (1, 2)
}
BROKEN = Image([layer({"a": b"a" * 5000})])
LABELS = ("../escaped", "..", "/etc/escaped", "a/b", "~", "")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreSession]:
    """A store, and the folder `out`, in which the statements run."""
    layout = Layout(tmp_path / "store")
    for name, image in IMAGES.items():
        layout.add(image, name)
    layout.add(BROKEN, "broken:1")
    (tmp_path / "store" / "blobs" / "sha256" / BROKEN.layers[0].digest.partition(":")[2]).write_bytes(b"")
    for number, label in enumerate(LABELS):
        layout.add(Image([layer({"a": b"a"})], labels={"team": label}), f"label:{number}")
    (tmp_path / "out" / "sbom").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out")
    with StoreSession(tmp_path / "store", version="1.0") as opened:
        yield opened


def list_files() -> list[str]:
    return sorted(os.path.relpath(os.path.join(folder, name)) for folder, _, names in os.walk(".") for name in names)


def read(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def test_each_image_has_its_bill_of_materials(session: StoreSession) -> None:
    outcomes = session.rows('packages of (images where name like "web:*") as spdx to "sbom/{{.Image}}.json"')
    assert [one["action"] for one in outcomes] == ["report"] * 2
    assert list_files() == sorted(f"sbom/{image.id}.json" for image in IMAGES.values())
    for image in IMAGES.values():
        document = read(f"sbom/{image.id}.json")
        assert validate_full_spdx_document(JsonLikeDictParser().parse(document)) == []
        (root,) = [part for part in document["packages"] if part["primaryPackagePurpose"] == "CONTAINER"]
        assert root["checksums"] == [{"algorithm": "SHA256", "checksumValue": image.digest.partition(":")[2]}]
        assert document["creationInfo"]["created"] == image.created


def test_documents_name_the_image_by_digest_time_and_platform(session: StoreSession) -> None:
    session.rows(['packages of web:1 as cyclonedx to "a.json"', 'packages of web:1 as cyclonedx to "b.json"'][0])
    session.rows('report packages of web:1 to "b.json" as cyclonedx')
    with open("a.json", "rb") as first, open("b.json", "rb") as second:
        content = first.read()
        assert content == second.read()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None
    document = json.loads(content)
    assert document["metadata"]["timestamp"] == "2024-02-01T00:00:00Z"
    container = document["metadata"]["component"]
    digest = IMAGES["web:1"].digest
    assert container["hashes"] == [{"alg": "SHA-256", "content": digest.partition(":")[2]}]
    properties = {item["name"]: item["value"] for item in container["properties"]}
    assert properties == {"imq:image:os": "linux", "imq:image:architecture": "amd64", "imq:image:digest": digest}


def test_rows_with_one_path_are_in_one_file(session: StoreSession) -> None:
    session.rows('files of web:1 where path like "/srv*" select type, path to "{{.Type}}.csv"')
    assert list_files() == ["directory.csv", "file.csv"]
    with open("file.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["type", "path"], ["file", "/srv/app.py"], ["file", "/srv/link.py"]]


@pytest.mark.parametrize(
    ("end", "first"), [("json", "["), ("jsonl", "{"), ("yaml", "- "), ("md", "|"), ("html", "<"), ("txt", "NAME")]
)
def test_the_end_of_the_path_tells_the_format(session: StoreSession, end: str, first: str) -> None:
    session.rows(f'images where name = web:1 select name to "out.{end}"')
    with open(f"out.{end}", encoding="utf-8") as file:
        assert file.read().startswith(first)


def test_two_images_with_one_path_are_refused_before_anything_is_written(session: StoreSession) -> None:
    statement = 'packages of (images where name like "web:*") as spdx to "sbom/{{.Type}}.json"'
    with pytest.raises(ImqError, match=r"sbom/deb.json is the path of 2 images") as caught:
        session.rows(statement)
    assert (caught.value.code, list_files()) == ("path", [])


@pytest.mark.parametrize("number", range(len(LABELS)))
def test_no_value_of_an_image_leaves_the_folder(session: StoreSession, number: int) -> None:
    with pytest.raises(ImqError) as caught:
        session.rows(f'images where name = label:{number} select label.team as team to "{{{{.team}}}}"')
    assert (caught.value.code, list_files()) == ("path", [])


def test_existing_files_need_force(session: StoreSession) -> None:
    session.rows('images select name to "names.txt"')
    with open("names.txt", encoding="utf-8") as file:
        names = file.read()
    with open("names.txt", "w", encoding="utf-8") as file:
        file.write("mine")

    def refuse(_listed: object) -> bool:
        raise NeedsConfirmation("no terminal")

    session.session.context = session.session.context.replace(confirm=refuse)
    with pytest.raises(ImqError) as caught:
        session.rows('images select name to "names.txt"')
    assert caught.value.code == "exists"
    (skipped,) = session.rows('images select name to "names.txt" skip existing')
    assert skipped["action"] == "stay"
    with open("names.txt", encoding="utf-8") as file:
        assert file.read() == "mine"
    session.rows('images select name to "names.txt" force')
    with open("names.txt", encoding="utf-8") as file:
        assert file.read() == names


def test_a_dry_run_lists_the_files(session: StoreSession) -> None:
    outcomes = session.rows('images select id to "{{.ID}}.json"', dry_run=True)
    assert outcomes
    assert list_files() == []


def test_an_image_that_cannot_be_read_keeps_no_other_from_its_file(session: StoreSession) -> None:
    outcomes = session.rows('packages of (images where name in (web:1, broken:1)) as spdx to "{{.Image}}.json"')
    assert [one["error"] for one in outcomes] == [None, "diff-id-mismatch"]
    assert list_files() == [f"{IMAGES['web:1'].id}.json"]


@pytest.mark.parametrize(
    "text",
    [
        'packages of app:1 as spdx to "app.json"',
        'report packages of app:1 to "app.json" as spdx',
        'images select name to "names.txt" force',
        '(images union images) as csv to "{{.Name}}.csv" skip existing dry run',
    ],
)
def test_the_short_form_is_the_verb(session: StoreSession, text: str) -> None:
    (statement,) = session.session.parse(text)
    written = unparse(statement)
    assert written.startswith("report ")
    assert parse(written, session.session.vocabulary) == (statement,)
