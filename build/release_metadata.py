"""The addresses of a release: what `build/release.sh --url URL --maintainer "NAME <ADDRESS>"` writes into its files.

    python build/release_metadata.py [--url URL | --url NAME=URL]… [--maintainer "NAME <ADDRESS>"] COMMAND

COMMAND is:

  project FILE   adds the addresses to a copy of pyproject.toml, and so to the metadata of wheel and source archive, and
                 makes the links of its README.md absolute: relative ones lead nowhere on PyPI
  sbom FILE      adds them to a CycloneDX document
  control        prints the fields of a Debian package
  labels         prints LABEL instructions for an image
  missing        prints one line for each option that was not given, and what the metadata lacks without it
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAMES = ("Homepage", "Documentation", "Source", "Issues", "Changelog")
"""The labels that PyPI shows with icons: https://packaging.python.org/en/latest/specifications/well-known-project-urls."""
REFERENCE_TYPES = {
    "Homepage": "website",
    "Documentation": "documentation",
    "Source": "vcs",
    "Issues": "issue-tracker",
    "Changelog": "release-notes",
}
"""The types of CycloneDX's `externalReferences`."""
LABELS = {"Homepage": "url", "Documentation": "documentation", "Source": "source"}
"""The annotations of OCI, without `org.opencontainers.image.`."""
MAINTAINERS = "The maintainers of imq"
FORBIDDEN = re.compile(r"""[\s"'\\$<>`]""")
"""Characters that TOML, a Dockerfile instruction or a control file would read as syntax. No address needs them."""


RELATIVE_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^()\s]+)(?=\))")
"""The target of a link of Markdown to a file of the checkout."""


class Maintainer(NamedTuple):
    """A person or a list, and an address for mail."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} <{self.address}>"


def parse_address(text: str) -> str:
    """Return an https address without a slash at its end. Raises ArgumentTypeError."""
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or FORBIDDEN.search(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as https://HOST/PATH")
    if parts.username is not None:
        raise argparse.ArgumentTypeError(f"the address of {parts.hostname} contains a user name")
    return text.rstrip("/")


def parse_url(text: str) -> dict[str, str]:
    """Return the addresses that one `--url` gives, by their names. Raises ArgumentTypeError."""
    name, equals, address = text.partition("=")
    if equals and "://" not in name:
        known = {known.lower(): known for known in NAMES}.get(name.lower())
        if known is None:
            raise argparse.ArgumentTypeError(f"unknown name {name!r}; expected one of {', '.join(NAMES)}")
        return {known: parse_address(address)}
    base = parse_address(text)
    if urlsplit(base).query or urlsplit(base).fragment:
        raise argparse.ArgumentTypeError(f"{text!r} has a query or a fragment: paths cannot be appended to it")
    # GitHub, Gitea and Forgejo have the pages of a repository directly below it; GitLab has them below "-".
    pages = f"{base}/-" if "gitlab" in (urlsplit(base).hostname or "") else base
    return {
        "Homepage": base,
        "Documentation": f"{base}#readme",
        "Source": base,
        "Issues": f"{pages}/issues",
        "Changelog": f"{pages}/releases",
    }


def parse_maintainer(text: str) -> Maintainer:
    """Return the parts of `NAME <ADDRESS>`. Raises ArgumentTypeError."""
    found = re.fullmatch(r"""([^<>"\\$`\x00-\x1f\x7f]*[^<>"\\$`\s]) <([^@\s<>"\\$`]+@[^@\s<>"\\$`]+)>""", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME <ADDRESS>")
    return Maintainer(found[1], found[2])


def merge_urls(several: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return all addresses in the order of NAMES. One with a name replaces the one that a base address gives."""
    ordered = sorted(several, key=len, reverse=True)
    merged = {name: address for urls in ordered for name, address in urls.items()}
    return {name: merged[name] for name in NAMES if name in merged}


def add_to_project(text: str, urls: Mapping[str, str], maintainer: Maintainer | None) -> str:
    """Return a pyproject.toml with `[project.urls]` and `maintainers`."""
    quote = json.dumps  # a JSON string is a TOML string
    if maintainer:
        entry = f"maintainers = [{{ name = {quote(maintainer.name)}, email = {quote(maintainer.address)} }}]"
        text = text.replace("[project]\n", f"[project]\n{entry}\n", 1)
    if urls:
        text += "\n[project.urls]\n" + "".join(f"{name} = {quote(address)}\n" for name, address in urls.items())
    tomllib.loads(text)
    return text


def make_links_absolute(text: str, source: str) -> str:
    """Return a text of Markdown whose links to files lead to the repository at an address, on GitHub or GitLab."""
    pages = f"{source}/-" if "gitlab" in (urlsplit(source).hostname or "") else source
    return RELATIVE_LINK.sub(lambda link: f"{pages}/blob/HEAD/{link[1]}", text)


def add_to_sbom(document: dict[str, Any], urls: Mapping[str, str], maintainer: Maintainer | None) -> None:
    """Add the addresses to the component that a CycloneDX document is about."""
    component = document["metadata"]["component"]
    if urls:
        component["externalReferences"] = [
            {"type": REFERENCE_TYPES[name], "url": address} for name, address in urls.items()
        ]
    if maintainer:
        component["authors"] = [{"name": maintainer.name, "email": maintainer.address}]


def format_control(urls: Mapping[str, str], maintainer: Maintainer | None) -> list[str]:
    """Return the fields Maintainer and Homepage of a Debian package."""
    lines = [f"Maintainer: {maintainer or MAINTAINERS}"]
    return [*lines, f"Homepage: {urls['Homepage']}"] if "Homepage" in urls else lines


def format_labels(urls: Mapping[str, str], maintainer: Maintainer | None) -> list[str]:
    """Return LABEL instructions with the annotations that OCI defines."""
    values = {label: urls[name] for name, label in LABELS.items() if name in urls}
    if maintainer:
        values["authors"] = str(maintainer)
    return [f'LABEL org.opencontainers.image.{label}="{value}"' for label, value in values.items()]


def list_missing(urls: Mapping[str, str], maintainer: Maintainer | None) -> list[str]:
    """Return a sentence for each option that was not given."""
    missing = []
    lacking = [name for name in NAMES if name not in urls]
    if lacking:
        missing.append(f"the metadata has no {', '.join(lacking)}: add --url https://HOST/PATH")
    if maintainer is None:
        missing.append('the metadata has no address of a maintainer: add --maintainer "NAME <ADDRESS>"')
    return missing


def main(arguments: Sequence[str]) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="release_metadata.py", allow_abbrev=False)
    parser.add_argument("--url", action="append", default=[], type=parse_url, metavar="URL")
    parser.add_argument("--maintainer", type=parse_maintainer, metavar="NAME <ADDRESS>")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("project", "sbom"):
        commands.add_parser(name).add_argument("file", type=pathlib.Path)
    for name in ("control", "labels", "missing"):
        commands.add_parser(name)
    options = parser.parse_args(arguments)
    urls, maintainer = merge_urls(options.url), options.maintainer
    match options.command:
        case "project":
            options.file.write_text(add_to_project(options.file.read_text("utf-8"), urls, maintainer), "utf-8")
            readme = options.file.with_name("README.md")
            if "Source" in urls and readme.exists():
                readme.write_text(make_links_absolute(readme.read_text("utf-8"), urls["Source"]), "utf-8")
        case "sbom":
            document = json.loads(options.file.read_text("utf-8"))
            add_to_sbom(document, urls, maintainer)
            options.file.write_text(f"{json.dumps(document, indent=2, ensure_ascii=False)}\n", "utf-8")
        case command:
            lines = {"control": format_control, "labels": format_labels, "missing": list_missing}[command]
            print("".join(f"{line}\n" for line in lines(urls, maintainer)), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
