"""A script as a user might write it. test_typing.py type-checks it and runs it on a store."""

# ruff: noqa: PT009 - imq.assert_ is not a method of unittest

from __future__ import annotations

import sys
from datetime import timedelta

import imq
from imq import GB, MB, MiB, age, images, layers
from imq import field as f


def stale(days: int) -> imq.Query:
    return images.where(age(f.created) > timedelta(days=days), ~imq.in_use)


def report(session: imq.Connection) -> dict[str, int]:
    per_repository = images.group_by(f.repository).select(f.repository, total=imq.sum(f.size), tags=imq.count())
    return {row.repository: row.total for row in session(per_repository.order_by(imq.sum(f.size).desc()))}


def main(root: str) -> None:
    with imq.connect(root=root, jobs=2) as session:
        for image in session(images.where(f.dangling & (f.created < imq.ref("redis:latest").created))):
            print(image.size)
        session(imq.rm(images.where((f.size > 1 * GB) & ~f.in_use & (age(f.created) > "30d"))), dry_run=True)
        wide = layers.of(images.where(f.label.env == "prod"), "redis:7").where(f.size.between(1 * MB, 300 * MiB))
        for layer in session.stream(wide.order_by(f.size.desc(), f.index).limit(3, per=f.image)):
            print(layer["digest"], layer.size + 1)
        odd = (
            f.layers.any(f.size > 1.5 * GB) | f.containers.none() | (f.base.name == "debian:12") | (f.base.label.x == 1)
        )
        print(session((stale(30) | images.where(odd)).count()).scalar() + 1)
        kept = images.where(f["label", "a.b"].is_known()).except_newest(3, per=[f.repository, f.label["a.b"]])
        print(str(imq.tag(kept, as_="{{.Repository}}:old").as_("json")))
        outcome = session(imq.rm("no/such:1", force=True), dry_run=False) if "--rm" in sys.argv else session("help")
        try:
            outcome.raise_for_errors()
        except imq.ActionFailed as failed:
            print(failed.errors[0].code)
        session(imq.assert_(imq.no(images.where(f.user.in_(["root", "0"])))))
        session(imq.let("days", 30))
        print(imq.if_(f.dangling, imq.lower(f.tag), imq.coalesce(f.label.env, f.user, "none")).as_("x"))
        print(report(session), session.explain(stale(3)))


if __name__ == "__main__":
    main(sys.argv[1])
