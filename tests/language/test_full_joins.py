"""Chains of joins of every kind, with the full join at each place, against nested loops."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.session.session import Session

    Row = dict[str, str | None]

KINDS = ("left", "inner", "full")
FILES = ("a", "b", "c", "d")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.chdir(tmp_path)
    opened = open_session(tmp_path / "store")
    yield opened
    opened.close()


def write_tables(folder: Path, seed: int) -> dict[str, list[Row]]:
    """Write the files with random keys, some of them unknown or repeated, and return their rows."""
    chosen = random.Random(seed)
    tables: dict[str, list[Row]] = {}
    for name in FILES:
        keys = [chosen.choice(["k1", "k2", "k3", "k4", None]) for _ in range(chosen.randint(1, 4))]
        rows: list[Row] = [{"k": key, "v": f"{name}{at}"} for at, key in enumerate(keys)]
        tables[name] = rows
        lines = [f"{row['k'] or ''},{row['v']}" for row in rows]
        (folder / f"{name}.csv").write_text("\n".join(["k,v", *lines, f"x,{name}-extra"]) + "\n")
        rows.append({"k": "x", "v": f"{name}-extra"})
    return tables


def join(
    left: list[dict[str, Row]], name: str, rows: list[Row], kind: str, on: Callable[..., bool]
) -> list[dict[str, Row]]:
    """Join rows by nested loops, as the language defines it."""
    nothing: Row = {"k": None, "v": None}
    pairs = [(at, other) for at, row in enumerate(left) for other, new in enumerate(rows) if on(row, new)]
    result = [{**left[at], name: rows[other]} for at, other in pairs]
    if kind != "inner":
        matched = {at for at, _ in pairs}
        result += [{**row, name: nothing} for at, row in enumerate(left) if at not in matched]
    if kind == "full":
        matched = {other for _, other in pairs}
        empty = dict.fromkeys(FILES[: FILES.index(name)], nothing)
        result += [{**empty, name: row} for other, row in enumerate(rows) if other not in matched]
    return result


def equal(side: str) -> Callable[[dict[str, Row], Row], bool]:
    return lambda row, new: row[side]["k"] is not None and row[side]["k"] == new["k"]


@pytest.mark.parametrize("kinds", list(itertools.product(KINDS, KINDS)), ids="-".join)
def test_a_chain_of_joins(session: Session, tmp_path: Path, kinds: tuple[str, ...]) -> None:
    for seed in range(4):
        tables = write_tables(tmp_path, seed)
        for sides in itertools.product(("a", "b"), ("a", "b", "c")):
            text, expected = 'rows of "a.csv"', [{"a": row} for row in tables["a"] if row["k"] != "x" or seed % 2]
            if not seed % 2:
                text = '(rows of "a.csv" where k is unknown or k != x)'
            chain = zip(("b", "c", "d"), (*kinds, "full"), ("a", *sides), strict=True)
            for name, kind, side in chain:
                own = "k" if side == "a" else f"{side}.k"
                text += f' {kind} join (rows of "{name}.csv") as {name} on {name}.k = .{own}'
                expected = join(expected, name, tables[name], kind, equal(side))
            result = execute(session, f"{text} select v, b.v as bv, c.v as cv, d.v as dv").rows
            found = sorted(str(tuple(row.values())) for row in result)
            assert found == sorted(str(tuple(row[name]["v"] for name in FILES)) for row in expected), text
