"""Notebooks, logging, and the data frames of other libraries."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.api.log import LoggingProgress
from imq.notebook import Magic, load_ipython_extension

if TYPE_CHECKING:
    import pathlib


class Shell:
    """What the extension uses of IPython's shell."""

    def __init__(self) -> None:
        self.user_ns: dict[str, Any] = {}
        self.magics: dict[str, tuple[Any, str]] = {}

    def register_magic_function(self, function: Any, magic_kind: str, magic_name: str) -> None:
        self.magics[magic_name] = (function, magic_kind)


@pytest.fixture
def shell() -> Shell:
    shell = Shell()
    load_ipython_extension(shell)
    return shell


def test_the_extension_registers_one_magic_for_lines_and_cells(shell: Shell) -> None:
    assert {name: kind for name, (_, kind) in shell.magics.items()} == {"imq": "line_cell"}


def test_a_cell_returns_its_last_result(shell: Shell, library_root: str) -> None:
    run, _ = shell.magics["imq"]
    result = run(f'--root "{library_root}"', "let wanted = 7\nimages where tag = $wanted select name")
    assert result.dicts() == [{"name": "redis:7"}]
    assert "redis:7" in result._repr_html_()


def test_a_cell_can_name_its_result(shell: Shell, library_root: str) -> None:
    run, _ = shell.magics["imq"]
    assert run(f"--root {library_root} large <<", "images count") is None
    assert shell.user_ns["large"].scalar() > 1


def test_errors_are_written_and_not_raised(shell: Shell, library_root: str, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = shell.magics["imq"]
    assert run(f"--root {library_root}", "images where siz > 1") is None
    assert "size" in capsys.readouterr().err
    assert run("--wrong", "images") is None
    assert "options: --source" in capsys.readouterr().err


def test_removals_need_a_word(shell: Shell, own: imq.Connection, tmp_path: pathlib.Path, capsys: Any) -> None:
    run, _ = shell.magics["imq"]
    before = own("images count").scalar()
    assert run(f"--root {tmp_path / 'store'}", "rm redis:7") is None
    assert "%%imq --yes" in capsys.readouterr().err
    assert own("images count").scalar() == before
    assert run(f"--yes --root {tmp_path / 'store'}", "rm redis:7").ok
    assert own("images count").scalar() == before - 1


def test_lines_use_the_default_store(monkeypatch: pytest.MonkeyPatch, library_root: str) -> None:
    monkeypatch.setenv("IMQ_ROOT", library_root)
    result = Magic({}).run("images count")
    assert result is not None
    assert result.scalar() > 1


def test_warnings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    progress = LoggingProgress()
    with caplog.at_level(logging.INFO, "imq"):
        progress.warn("no %s")
        progress.note("done")
        progress.begin("pull redis:7", 12)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "no %s"),
        ("INFO", "done"),
        ("INFO", "pull redis:7 (12 bytes)"),
    ]


QUERY = "images order by name select name, id, size, created, dangling, label, ports, age(created) as age"


def test_data_frames(session: imq.Connection) -> None:
    pandas = pytest.importorskip("pandas")
    frame = session(QUERY).to_pandas()
    assert list(frame.columns) == ["name", "id", "size", "created", "dangling", "label", "ports", "age"]
    assert frame["size"].sum() == sum(size or 0 for size in session("images select size").column("size"))
    assert isinstance(frame["created"].max(), pandas.Timestamp)
    assert len(session("images where tag = absent select name").to_pandas()) == 0


def test_arrow_tables(session: imq.Connection) -> None:
    pytest.importorskip("pyarrow")
    table = session(QUERY).to_arrow()
    assert table.schema.field("size").type == "int64"
    assert str(table.schema.field("created").type) == "timestamp[us, tz=UTC]"
    assert str(table.schema.field("label").type) == "map<string, string>"
    assert table.num_rows == len(session(QUERY))
    assert session("images where tag = absent select name, size").to_arrow().num_rows == 0


def test_results_without_columns_are_no_tables(session: imq.Connection) -> None:
    result = session("help images")
    with pytest.raises((TypeError, ImportError)):
        result.to_pandas()


@pytest.mark.parametrize(("method", "library"), [("to_pandas", "pandas"), ("to_arrow", "pyarrow")])
def test_a_missing_library_is_named(
    session: imq.Connection, monkeypatch: pytest.MonkeyPatch, method: str, library: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(ImportError, match=rf"{method} needs another library: pip install \"imq\["):
        getattr(session("images"), method)()
