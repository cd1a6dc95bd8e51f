"""What a statement will do, as data: dry run, confirmation and execution look at the same frozen list.

`Planned` is how an action is shown before it is done, `Outcome` what came of it; both are rows of an answer.
"""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table
from imq.engine.result import Column, RowSet, exit_code_of
from imq.grammar.errors import listed
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Reference
    from imq.grammar import ast
    from imq.grammar.errors import ImqError


class Pull(Record):
    """Fetch an image from its registry: for this machine's platform, for one, for several, or (`every`) for all."""

    reference: Reference
    platforms: tuple[Platform, ...] = ()
    every: bool = False


class Push(Record):
    """Send an image of the store to a registry, as `reference`; no `platforms` mean all of an index."""

    reference: Reference
    root: Digest
    id: Digest
    platforms: tuple[Platform, ...] = ()


class Copy(Record):
    """Make `target` name in its registry what `source` names in its own; no `platforms` mean all of an index.

    With `referrers` what is attached to it goes along.
    """

    source: Reference
    target: Reference
    platforms: tuple[Platform, ...] = ()
    referrers: bool = False


class Untag(Record):
    """Take one name from an image; the image stays."""

    name: str
    root: Digest
    id: Digest


class Remove(Record):
    """Remove an image with all its names. `frees` are the bytes on disk that nothing else needs then."""

    names: tuple[str, ...]
    root: Digest
    id: Digest
    frees: int = 0


class DropPlatform(Record):
    """Remove the image of one platform of an index that stays, with what is said about it; names stay as they are.

    `name` are the names of the index, `others` the platforms that stay; `frees` as of `Remove`.
    """

    name: str
    root: Digest
    id: Digest
    manifest: Digest
    platform: str
    others: tuple[str, ...] = ()
    frees: int = 0


class Stay(Record):
    """Leave an image or a file as it is; `why` is told. It is nothing that went wrong."""

    name: str
    id: Digest
    why: str


class Tag(Record):
    """Give an image a name. `moves_from` is the id of the image that loses it, if one does."""

    name: Reference
    root: Digest
    id: Digest
    moves_from: Digest | None = None


class RemoveTag(Record):
    """Take a tag away in its registry. `others` have the manifest too, and stay.

    `only_tag`: the manifest must stay even if nothing else has it. `needed` are the names and digests that must mean
    the same afterwards. `subject` is what it is attached to, when that goes with the same statement.
    """

    name: Reference
    digest: Digest
    others: tuple[str, ...] = ()
    only_tag: bool = False
    needed: tuple[tuple[Reference, Digest], ...] = ()
    subject: Digest | None = None


class RemoveManifest(Record):
    """Remove a manifest in its registry, with all its tags. `needed` and `subject` as of `RemoveTag`."""

    name: Reference
    tags: tuple[str, ...]
    needed: tuple[tuple[Reference, Digest], ...] = ()
    subject: Digest | None = None


class VerifyThere(Record):
    """See that a registry has every manifest and blob that a name reaches."""

    name: Reference
    digest: Digest


class Join(Record):
    """Make `name` an index of several images of registries, one for each platform."""

    name: Reference
    parts: tuple[tuple[Reference, Digest], ...]


class Import(Record):
    """Make an image of one layer from a folder or a tar archive. `path` "-" is standard input."""

    path: str
    name: Reference | None
    changes: tuple[str, ...]
    message: str
    platform: Platform


class Load(Record):
    """Take in the images of an archive (docker's or OCI) or of a folder with an OCI layout."""

    path: str


class Save(Record):
    """Write images into one archive that docker load and OCI tools read. Each image: its root and its names.

    `existing` is what was at the path when this was planned: see `kind_of_output`. `force`: it may be replaced unasked.
    """

    path: str
    images: tuple[tuple[Digest, tuple[str, ...]], ...]
    size: int
    existing: str = ""
    force: bool = False


class Export(Record):
    """Unpack an image to the folder `path`; what is there is replaced with `force`, or is an empty folder.

    `packed` not None: into an archive, which is packed so (see `compression.compressor`; "" is not at all).
    `existing` and `force` are as of `Save`.
    """

    path: str
    name: str
    root: Digest
    id: Digest
    force: bool = False
    packed: str | None = None
    existing: str = ""


class Collect(Record):
    """Remove blobs that no image reaches."""


class Verify(Record):
    """Hash every blob of an image again, and unpack its layers.

    `repairs`: fetch what is damaged or missing again, from `places`, the repositories that the image's names give.
    """

    name: str
    root: Digest
    id: Digest
    repairs: bool = False
    places: tuple[Reference, ...] = ()


class Reindex(Record):
    """Derive the index again from the blobs."""


class Login(Record):
    """Let a user in at a registry. `user` "" is asked for, as is the password when `secret` is ""; else it is a file.

    `secret` "stdin" is standard input.
    """

    host: str
    user: str = ""
    secret: str = ""


class Logout(Record):
    """Forget the credentials for a registry."""

    host: str


class Exec(Record):
    """Run a program with these arguments, and wait for it."""

    argv: tuple[str, ...]


class Fail(Record):
    """What cannot be done of a statement, beside what can: listed with the rest, and told as its outcome."""

    verb: str
    target: str
    error: ImqError


Action = (
    Pull
    | Push
    | Copy
    | Untag
    | Remove
    | DropPlatform
    | Stay
    | Tag
    | RemoveTag
    | RemoveManifest
    | VerifyThere
    | Join
    | Import
    | Load
    | Save
    | Export
    | Collect
    | Verify
    | Reindex
    | Exec
    | Fail
    | Login
    | Logout
)


WRITES_THERE = (Push, Copy, RemoveTag, RemoveManifest, Join)
"""Actions after which names in registries may stand for something else."""


def unasked(actions: Sequence[Action]) -> list[str]:
    """Return the paths of files that actions replace, and that nobody has said may be replaced."""
    writes = (action for action in actions if isinstance(action, Export | Save))
    return [action.path for action in writes if action.existing == "file" and not action.force]


class Outcome(Record):
    """What came of an action: `size` are the bytes freed, fetched or written; `error` says why nothing came of it."""

    action: str
    target: str
    image: Digest | None = None
    size: int | None = None
    note: str | None = None
    error: ImqError | None = None

    def row(self) -> tuple[str | int | None, ...]:
        """Return the outcome as a row of `OUTCOMES`."""
        code, message = (self.error.code, self.error.message) if self.error is not None else (None, None)
        return self.action, self.target, self.image, self.size, self.note, code, message


OUTCOMES = Table(
    "outcomes",
    "What an action did, or (dry run) would do: one row for each thing.",
    (
        Field("action", DataType.TEXT, "what was done"),
        Field("target", DataType.TEXT, "to what"),
        Field("image", DataType.DIGEST, "the id of the image", title="IMAGE ID"),
        Field("size", DataType.SIZE, "bytes freed, fetched or written"),
        Field("note", DataType.TEXT, "a remark"),
        Field("error", DataType.TEXT, "the code of what went wrong"),
        Field("message", DataType.TEXT, "what went wrong"),
    ),
    default_columns=("action", "target", "image", "size"),
    order=(),
)


def _chosen(platforms: tuple[Platform, ...]) -> str:
    return f" for {', '.join(map(str, platforms))}" if platforms else ""


_REPLACED = {
    "": "",
    "file": ", in the place of the file that is there",
    "folder": ", in the place of the folder that is there",
    "stream": ", into what is there",
}
"""What the plan says of what is at a path already."""


def describe(action: Action) -> Outcome:
    """Return how an action is listed before it is done."""
    match action:
        case Pull(reference, platforms, every):
            chosen = "all platforms" if every else ", ".join(map(str, platforms))
            return Outcome("pull", str(reference), note=f"for {chosen}" if chosen else None)
        case Push(reference, _, id_, platforms):
            return Outcome("push", str(reference), id_, note=_chosen(platforms).strip() or None)
        case Copy(source, target, platforms, referrers):
            along = " with referrers" if referrers else ""
            return Outcome("copy", str(target), note=f"from {source}{_chosen(platforms)}{along}")
        case Untag(name, _, id_):
            return Outcome("untag", name, id_)
        case Remove(names, _, id_, frees):
            return Outcome("remove", ", ".join(names) or "<none>", id_, frees)
        case DropPlatform(name, _, id_, _, platform, others, frees):
            return Outcome("drop", name, id_, frees, note=f"{platform}; kept: {listed(others)}")
        case Stay(name, id_, why):
            return Outcome("stay", name, id_, note=why)
        case Tag(name, _, id_, moves_from):
            return Outcome("tag", str(name), id_, note=f"moves from {moves_from.short}" if moves_from else None)
        case RemoveTag(name, digest, others):
            note = f"{digest.short}, which stays for {listed(others)}" if others else digest.short
            return Outcome("untag" if others else "remove", str(name), note=note)
        case RemoveManifest(name, tags):
            return Outcome("remove", str(name), note=f"with its tags: {listed(tags)}" if tags else None)
        case VerifyThere(name, digest):
            return Outcome("verify", str(name), note=digest.short)
        case Join(name, parts):
            return Outcome("index", str(name), note=f"of {listed(str(part) for part, _ in parts)}")
        case Import(path, name):
            return Outcome("import", str(name) if name else "<none>", note=f"from {path}")
        case Load(path):
            return Outcome("load", path)
        case Save(path, images, size, existing):
            images_said = f"{len(images)} image{'s' if len(images) != 1 else ''}"
            return Outcome("save", path, size=size, note=f"{images_said}{_REPLACED[existing]}")
        case Export(path, name, _, id_, force, _, existing):
            replaced = _REPLACED[existing] if existing != "folder" or force else ""
            return Outcome("export", path, id_, note=f"{name}{replaced}")
        case Collect():
            return Outcome("collect", "blobs that no image reaches")
        case Verify(name, _, id_, repairs, places):
            named = ", ".join(at.familiar_name for at in places) or "where other images that have it are from"
            return Outcome("verify", name, id_, note=f"what is damaged comes again from {named}" if repairs else None)
        case Reindex():
            return Outcome("reindex", "the index")
        case Login(host, user):
            return Outcome("login", host, note=f"as {user}" if user else None)
        case Logout(host):
            return Outcome("logout", host)
        case Exec(argv):
            return Outcome("exec", " ".join(argv))
        case Fail(verb, target, error):
            return Outcome(verb, target, error=error)


def outcomes(results: Sequence[Outcome], output: ast.Output, form: str) -> RowSet:
    """Return outcomes as an answer in `form`: for people the columns that say something, for programs all of them."""
    from imq.engine.render.formats import form_named

    rows = [result.row() for result in results]
    every = output.template is not None or form_named(output.form or form).whole
    kept = [
        (place, field)
        for place, field in enumerate(OUTCOMES.fields)
        if every
        or field.name in ("action", "target")
        or (field.name != "message" and any(row[place] is not None for row in rows))
    ]
    errors = tuple(result.error for result in results if result.error is not None)
    code = 0
    if errors:  # some items failed; when all did, what they needed decides
        code = 1 if len(errors) < len(results) else exit_code_of(errors)
    return RowSet(
        tuple(Column(field.name, field.heading, field.type, field) for _, field in kept),
        [tuple(row[place] for place, _ in kept) for row in rows],
        output,
        OUTCOMES,
        errors=errors,
        exit_code=code,
    )
