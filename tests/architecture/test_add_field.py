"""A field that image configs hold is added by one declaration: everything else follows from it."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import imq.engine.catalog.tables.image_config as declared
import pytest
from imq.engine.oci.digest import Digest
from store.support.stores import StoreSession
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    from pathlib import Path

DECLARATIONS = """
    Field("domain", DataType.TEXT, "the domain name", aliases=("dns",), config=FromConfig("Domainname", "string")),
    Field("shell", DataType.LIST, "the shell of RUN", config=FromConfig("Shell", "list")),
    Field("options", DataType.MAP, "the options; options.NAME is one", config=FromConfig("Options", "map")),
"""
RUN = """
import importlib.util, sys
name = "imq.engine.catalog.tables.image_config"
spec = importlib.util.spec_from_file_location(name, sys.argv[1])
sys.modules[name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""
IMAGE = Image([layer({"a": b"a"})], settings={"Domainname": "a.example", "Shell": ["/bin/ash", "-c"]})
WRONG = Image([layer({"b": b"b"})], settings={"Domainname": 5, "Shell": {"a": 1}, "Options": {"depth": "3", "x": 1}})


class Scratch:
    """A package in which some fields are declared that imq does not have, and a store of two images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "store"
        self.module = folder / "image_config.py"
        source = pathlib.Path(declared.__file__).read_text(encoding="utf-8")
        head, end = source.rstrip().removesuffix(")"), ")\n"
        self.module.write_text(head + DECLARATIONS + end, encoding="utf-8")
        layout = Layout(self.root)
        layout.add(IMAGE, "app:1")
        layout.add(WRONG, "other:1")

    def imq(self, *words: str) -> str:
        """Run a command line in the scratch package and return its output."""
        return self.run("from imq.cli.main import run\nsys.argv[:2] = ['imq']\nrun()", *words)

    def run(self, program: str, *words: str) -> str:
        """Run a program in the scratch package and return its output."""
        command = [sys.executable, "-c", RUN + textwrap.dedent(program), str(self.module), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def query(self, text: str) -> Any:
        """Return the rows of a query on the store, with all fields unless it selects some."""
        text += "" if " select " in text else " select *"
        return json.loads(self.imq("--root", str(self.root), f"{text} as json"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    return Scratch(tmp_path_factory.mktemp("scratch"))


def test_the_index_that_was_made_without_the_field_is_rebuilt(scratch: Scratch) -> None:
    with StoreSession(scratch.root) as held:
        assert held.names() == ["app:1", "other:1"]
    rows = scratch.query("images order by name select name, domain, shell, options")
    assert rows == [
        {"name": "app:1", "domain": "a.example", "shell": ["/bin/ash", "-c"], "options": {}},
        {"name": "other:1", "domain": None, "shell": None, "options": {"depth": "3", "x": ""}},
    ]
    with StoreSession(scratch.root) as held:
        assert held.names() == ["app:1", "other:1"]


def test_the_field_is_in_conditions_and_in_json(scratch: Scratch) -> None:
    assert [row["name"] for row in scratch.query('images where dns = "a.example" and shell has "-c"')] == ["app:1"]
    assert [row["name"] for row in scratch.query("images where options.depth = 3")] == ["other:1"]
    (row,) = scratch.query("images where name = app:1")
    assert row["domain"] == "a.example"
    assert row["shell"] == ["/bin/ash", "-c"]


def test_templates_and_column_titles_have_the_field(scratch: Scratch) -> None:
    root = ("--root", str(scratch.root))
    template = 'images where domain is known format "{{.Domain}} {{join .Shell "+"}}"'.replace('"+"', "`+`")
    assert scratch.imq(*root, template) == "a.example /bin/ash+-c\n"
    assert scratch.imq(*root, "images where name = app:1 select domain").split() == ["DOMAIN", "a.example"]


def test_completion_and_help_offer_the_field(scratch: Scratch) -> None:
    completed = scratch.run(
        """
        from imq.engine.help.completion import complete
        from imq.grammar.lexer import Vocabulary
        words = Vocabulary(frozenset({"rm"}), frozenset({"images"}), frozenset({"json"}))
        print(*[word.text for word in complete("images where dom", 16, words).words])
        """
    )
    assert "domain" in completed.split()
    assert "the domain name" in scratch.imq("help domain")


def test_the_python_form_has_the_field(scratch: Scratch) -> None:
    printed = scratch.run(
        """
        import imq
        with imq.connect(root=sys.argv[2]) as session:
            print([row.domain for row in session(imq.images.where(imq.field.domain == "a.example"))])
        """,
        str(scratch.root),
    )
    assert printed == "['a.example']\n"


def test_registry_tables_and_their_cache_have_the_field(scratch: Scratch) -> None:
    printed = scratch.run(
        """
        import json, sqlite3
        from imq.engine.oci.config import Config
        from imq.engine.oci.digest import Digest
        from imq.engine.sources.registry.tables import CONFIG, TABLES
        from imq.engine.sources.registry import tags
        from imq.engine.store.registry_cache import RegistryCache
        connection = sqlite3.connect(":memory:", isolation_level=None, uri=True)
        cache = RegistryCache(connection, None)
        cache.add_configs([(Digest(sys.argv[2]), Config.parse(sys.argv[3].encode()))])
        print(*connection.execute("SELECT domain, shell FROM config").fetchone())
        for table in ("tags", "images"):
            assert TABLES[table].get_field("dns").level is CONFIG
        """,
        str(Digest.of(IMAGE.config)),
        IMAGE.config.decode(),
    )
    assert printed == 'a.example ["/bin/ash","-c"]\n'
