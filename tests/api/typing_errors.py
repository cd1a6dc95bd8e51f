"""Mistakes for a type checker: test_typing.py expects an error in each line marked `# error`, and in no other."""

# ruff: noqa: B018 - the lookups are under test

from __future__ import annotations

import imq
from imq import age, images
from imq import field as f

images.wheer(f.dangling)  # error
images.where(f.danglign)  # error
images.where(f.dangling)
images.where("dangling")  # error
images.where(True)  # error
images.order_by("size")  # error
images.limit(1, per=f.repository, by=f.size)  # error
images.as_(3)  # error
f.base.naem  # error
f.label.anything
imq.ref("redis:7").craeted  # error
f.size.beween(1, 2)  # error
age()  # error
age(f.created, f.created)  # error
imq.loewr(f.tag)  # error
imq.rm("a", forc=True)  # error
imq.reindex("a")  # error
imq.rm(3)  # error
imq.save("a", to=3)  # error
imq.connect(jobs="many")  # error
imq.connect()("images").dict()  # error
imq.connect()(f.dangling == 3)("x")  # error
for _ in images:  # error
    pass
