"""Builds the documentation site from the pages of the checkout: `python build/site/make_site.py FOLDER`.

It needs Zensical, the successor of Material for MkDocs, which ended. A link to a page that the site lacks, or to a
heading that does not exist, fails the build.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_TASK = re.compile(r"^([A-Z](?:[^`#\n]|\n(?!\n))+?)\n((?:Needs: [^\n]+\n)?)\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A task of the cookbook: what it does, what it waits for, and its statements."""


def list_pages() -> dict[str, str]:
    """Return the pages of the site: their paths in the checkout, and their names there."""
    docs = sorted(name for name in os.listdir(os.path.join(CHECKOUT, "dsl", "docs")) if name.endswith(".md"))
    return {
        "README.md": "index.md",
        "build/OPERATORS.md": "OPERATORS.md",
        "engine/README.md": "ENGINE.md",
        "tests/bench/README.md": "SPEED.md",
        **{f"dsl/docs/{name}": name for name in docs},
    }


def rewrite(text: str, path: str, pages: dict[str, str]) -> str:
    """Return a page with its links to other pages as they are on the site.

    Each task of the cookbook is a heading, so that the search leads to it, and its statements are coloured.
    """

    def replace(match: re.Match[str]) -> str:
        target = match[2]
        if re.match(r"\w+:", target):
            return match[0]
        found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if found not in pages:
            raise SystemExit(f"make_site: {path} links to {target}, which is no page of the site")
        return f"{match[1]}{pages[found]}{match[3]}"

    text = _LINK.sub(replace, text)
    if not path.endswith("COOKBOOK.md"):
        return text
    return _TASK.sub(
        lambda task: f"### {' '.join(task[1].split()).removesuffix('.')}\n\n{task[2]}\n```imq\n{task[3]}```", text
    )


def main(output: str) -> None:
    """Write the site to a folder, which is replaced."""
    pages = list_pages()
    with tempfile.TemporaryDirectory() as scratch:
        os.mkdir(os.path.join(scratch, "pages"))
        shutil.copy(os.path.join(HERE, "zensical.toml"), scratch)
        for path, name in pages.items():
            with open(os.path.join(CHECKOUT, path), encoding="utf-8") as source:
                text = rewrite(source.read(), path, pages)
            with open(os.path.join(scratch, "pages", name), "w", encoding="utf-8") as page:
                page.write(text)
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.stderr.write(done.stdout + done.stderr)
            raise SystemExit(1)
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(os.path.join(scratch, "site"), output)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
