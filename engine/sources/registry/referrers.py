"""The table `referrers`: the artifacts that refer to images."""

from __future__ import annotations

import json

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.engine.oci.timestamp import parse_time
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .table_scan import RegistryScan
from .tables import DIGEST
from .tags import ResolvedNames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.manifest import Descriptor

_CREATED = "org.opencontainers.image.created"


class Referrers(RegistryScan):
    """Rows of referrers. They are mutable, so every statement requests them."""

    columns = (
        "_lookup", "_path", "registry", "repository", "source", "name", "subject", "artifact_type", "digest",
        "media_type", "annotations", "created", "size",
    )  # fmt: skip

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Resolve the names, and list the referrers of their digests."""
        self.create({})
        of = ResolvedNames(self.reader, self.scan)
        of.resolve(names, DIGEST, "digest")
        rows = of.read_selected("1", "registry, _path, digest, problem, _lookup, repository, source, name")
        problems = [row for row in rows if row[3] is not None]
        self.insert((row[4], row[1], row[0], row[5], row[6], row[7], *(None,) * 7, row[3]) for row in problems)
        asked = [row for row in rows if row[2] is not None and row[3] is None]
        wanted = ((place, Reference(str(row[0]), str(row[1])), Digest(str(row[2]))) for place, row in enumerate(asked))
        for place, found in self.reader.batch.fetch_referrers(wanted):
            row = asked[place]
            if isinstance(found, ImqError):
                said = self.reader.add_problem(found, str(row[5]), self.error_view)
                self.insert([(row[4], row[1], row[0], row[5], row[6], row[7], *(None,) * 7, said)])
            else:
                self.insert(_row(row, one) for one in found)
        of.close()


def _row(row: Sequence[Raw], found: Descriptor) -> tuple[object, ...]:
    """Return the row of one referrer, without a problem."""
    return (
        row[4], row[1], row[0], row[5], row[6],
        f"{row[5]}@{found.digest}",
        row[2],
        found.artifact_type or None,
        found.digest,
        found.media_type,
        json.dumps(dict(found.annotations), ensure_ascii=False),
        parse_time(found.annotations.get(_CREATED)),
        found.size,
        None,
    )  # fmt: skip
