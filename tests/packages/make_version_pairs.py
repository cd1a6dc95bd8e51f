"""Writes data/version_pairs.tsv: pairs of drawn versions with the order that the tools of each package system give.

It needs `packaging`, Debian's packages dpkg, python3-rpm, ruby, npm (which contains node-semver) and golang-go (which
contains golang.org/x/mod), and apk, which Debian does not have. The file was made with dpkg 1.21.23, rpm 4.18.0,
RubyGems 3.3.15, node-semver 7.8.5, Go 1.19.8, packaging 26.4 and the comparison of apk-tools 3.0.6:

    python tests/packages/make_version_pairs.py 250 > tests/packages/data/version_pairs.tsv
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import NamedTuple

Pairs = list[tuple[str, str]]


def draw_number(random_: random.Random) -> str:
    return random_.choice(("1", "1", "1", "1", "0", "2", "10", "01", "00", "20240131", "18446744073709551616"))


def draw_text(random_: random.Random, pieces: tuple[str, ...], most: int) -> str:
    return "".join(random_.choice(pieces) for _ in range(random_.randrange(most + 1)))


def draw_deb(random_: random.Random) -> str:
    pieces = ("~", "+", ".", "a", "b", "rc", "Z", "1", "0", "10", "~~", "dfsg", "deb12u", "-1")
    epoch = random_.choice(("", "", "", "0:", "1:"))
    revision = random_.choice(("", "-0", "-1", "-1+b1", "-0ubuntu1.2", "-1~bpo12+1", "-9+deb12u4"))
    return f"{epoch}{draw_number(random_)}{draw_text(random_, pieces, 5)}{revision}"


def draw_apk(random_: random.Random) -> str:
    numbers = [random_.choice(("0", "1", "1", "2", "10", "01", "00", "09")) for _ in range(random_.randrange(1, 4))]
    letter = random_.choice(("", "", "", "a", "b", "z"))
    suffixes = ("_alpha", "_beta1", "_pre2", "_rc", "_rc10", "_cvs", "_svn1", "_git20240131", "_hg", "_p", "_p1")
    drawn = "".join(random_.choice(suffixes) for _ in range(random_.choice((0, 0, 0, 1, 1, 2))))
    return (
        ".".join(numbers)
        + letter
        + drawn
        + random_.choice(("", "", "~ab12"))
        + random_.choice(("", "-r0", "-r2", "-r10"))
    )


def draw_rpm(random_: random.Random) -> str:
    pieces = ("~", "^", ".", "a", "b", "rc", "Z", "1", "0", "10", "_", "+", "git", "..")
    epoch = random_.choice(("", "", "", "0:", "1:"))
    release = random_.choice(("-1", "-2.el9", "-1.fc39", "-1~beta.el9", "-1^20240131", "-10"))
    return f"{epoch}{draw_number(random_)}{draw_text(random_, pieces, 5)}{release}"


def draw_python(random_: random.Random) -> str:
    release = ".".join(draw_number(random_) for _ in range(random_.randrange(1, 4)))
    pre = random_.choice(("", "", "a1", "b2", "rc1", "c1", ".alpha", "-pre1", "rc10"))
    post = random_.choice(("", "", "", ".post1", "-1", ".post", "rev2"))
    dev = random_.choice(("", "", "", ".dev0", ".dev3", "dev"))
    local = random_.choice(("", "", "", "+ubuntu.1", "+1", "+abc", "+1.2", "+1.a"))
    return f"{random_.choice(('', '', '', '1!', 'v'))}{release}{pre}{post}{dev}{local}"


def draw_semantic(random_: random.Random) -> str:
    numbers = ("1", "1", "1", "0", "2", "10")
    release = ".".join(random_.choice(numbers) for _ in range(3))
    parts = ("0", "1", "2", "10", "alpha", "beta", "rc", "a-b", "x7z", "1a", "-1")
    drawn = [random_.choice(parts) for _ in range(random_.randrange(4))]
    pre = "-" + ".".join(drawn) if drawn else ""
    return release + pre + random_.choice(("", "", "+build.1", "+20240131"))


def draw_go(random_: random.Random) -> str:
    special = ("v0.0.0-20210908233432-aa78b53d3365", "v0.0.0-20220715151400-c0bba94af5f8", "v2.0.0+incompatible",
               "v1.2.4-0.20220715151400-c0bba94af5f8", "v1", "v1.2")  # fmt: skip
    return random_.choice(special) if random_.random() < 0.3 else f"v{draw_semantic(random_)}"


def draw_gem(random_: random.Random) -> str:
    parts = ("0", "0", "1", "2", "10", "a", "b", "rc1", "pre", "beta2", "01", "00", "Z")
    tail = [random_.choice(parts) for _ in range(random_.randrange(5))]
    return ".".join((draw_number(random_), *tail)) + random_.choice(("", "", "", "-1", "-java"))


def order_deb(pairs: Pairs) -> list[int]:
    def holds(left: str, operator: str, right: str) -> bool:
        return (
            subprocess.run(["dpkg", "--compare-versions", left, operator, right], stderr=-3, check=False).returncode
            == 0
        )

    return [-1 if holds(left, "lt", right) else 1 if holds(left, "gt", right) else 0 for left, right in pairs]


def order_apk(pairs: Pairs) -> list[int]:
    def compare(left: str, right: str) -> str:
        command = ["apk", "version", "--test", left, right]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return ["<=>".index(compare(left, right)) - 1 for left, right in pairs]


def order_rpm(pairs: Pairs) -> list[int]:
    code = """
import json, re, rpm, sys
def split(text):
    epoch, colon, rest = text.partition(":")
    version, _, release = (rest if colon else text).rpartition("-")
    return (epoch if colon else "0", version, release)
print(json.dumps([rpm.labelCompare(split(a), split(b)) for a, b in json.load(sys.stdin)]))
"""
    return run_json(["/usr/bin/python3", "-c", code], pairs)


def order_python(pairs: Pairs) -> list[int]:
    from packaging.version import Version

    return [(Version(left) > Version(right)) - (Version(left) < Version(right)) for left, right in pairs]


def order_npm(pairs: Pairs) -> list[int]:
    root = subprocess.run(["npm", "root", "--global"], capture_output=True, text=True, check=True).stdout.strip()
    code = f"""
const semver = require({json.dumps(root + "/npm/node_modules/semver")});
const pairs = JSON.parse(require("fs").readFileSync(0));
console.log(JSON.stringify(pairs.map(([a, b]) => semver.compare(a, b))));
"""
    return run_json(["node", "-e", code], pairs)


def order_gem(pairs: Pairs) -> list[int]:
    code = (
        "require 'json'; puts JSON.parse(STDIN.read).map { |a, b| Gem::Version.new(a) <=> Gem::Version.new(b) }.to_json"
    )
    return run_json(["ruby", "-e", code], pairs)


def order_go(pairs: Pairs) -> list[int]:
    code = """package main

import (
	"encoding/json"
	"os"

	"pairs/semver"
)

func main() {
	var pairs [][2]string
	if err := json.NewDecoder(os.Stdin).Decode(&pairs); err != nil {
		panic(err)
	}
	orders := make([]int, len(pairs))
	for at, pair := range pairs {
		orders[at] = semver.Compare(pair[0], pair[1])
	}
	json.NewEncoder(os.Stdout).Encode(orders)
}
"""
    with tempfile.TemporaryDirectory() as folder:
        root = subprocess.run(["go", "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
        shutil.copytree(f"{root}/src/cmd/vendor/golang.org/x/mod/semver", f"{folder}/semver")
        pathlib.Path(folder, "main.go").write_text(code)
        pathlib.Path(folder, "go.mod").write_text("module pairs\n\ngo 1.18\n")
        return run_json(["go", "run", "."], pairs, folder)


def run_json(command: list[str], pairs: Pairs, folder: str | None = None) -> list[int]:
    done = subprocess.run(command, input=json.dumps(pairs), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return list(json.loads(done.stdout))


class System(NamedTuple):
    draw: Callable[[random.Random], str]
    respell: Callable[[str], str]
    """Spells a version in another way."""
    order: Callable[[Pairs], list[int]]


SYSTEMS = {
    "deb": System(draw_deb, lambda text: text if text[1:2] == ":" else f"0:0{text}", order_deb),
    "apk": System(draw_apk, lambda text: text, order_apk),
    "rpm": System(draw_rpm, lambda text: text.replace(".", "_").replace("+", ".."), order_rpm),
    "python": System(draw_python, lambda text: text.upper().replace("RC", "-pre_").replace("POST", "R"), order_python),
    "npm": System(draw_semantic, lambda text: text.partition("+")[0] + "+other", order_npm),
    "go": System(draw_go, lambda text: text.partition("+")[0] + "+x" if text.count(".") == 2 else text, order_go),
    "gem": System(draw_gem, lambda text: text.replace("-", ".pre.") + ".0", order_gem),
}


def main() -> None:
    count, seed = int(sys.argv[1]), int(os.environ.get("SEED", "0"))
    for system in sys.argv[2:] or SYSTEMS:
        draw, respell, order = SYSTEMS[system]
        random_ = random.Random(f"{system}{seed}")
        pairs = [(draw(random_), draw(random_)) for _ in range(count * 9 // 10)]
        pairs += [(version, respell(version)) for version in (draw(random_) for _ in range(count // 10))]
        for (left, right), found in zip(pairs, order(pairs), strict=True):
            print(system, left, "<=>"[found + 1], right, sep="\t")


if __name__ == "__main__":
    main()
