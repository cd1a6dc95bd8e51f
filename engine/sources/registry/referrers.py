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
    """Rows of referrers. They can change, so every statement requests them again."""

    columns = (
        "_lookup", "_path", "registry", "repository", "source", "name", "subject", "artifact_type", "digest",
        "media_type", "annotations", "created", "size",
    )  # fmt: skip

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Resolve the names, and list the referrers of their digests."""
        self.create({})
        names_scan = ResolvedNames(self.reader, self.scan)
        names_scan.resolve(names, DIGEST, "digest")
        rows = names_scan.read_selected("1", "registry, _path, digest, problem, _lookup, repository, source, name")
        problems = [row for row in rows if row[3] is not None]
        self.insert((row[4], row[1], row[0], row[5], row[6], row[7], *(None,) * 7, row[3]) for row in problems)
        resolved = [row for row in rows if row[2] is not None and row[3] is None]
        requests = (
            (number, Reference(str(row[0]), str(row[1])), Digest(str(row[2]))) for number, row in enumerate(resolved)
        )
        for number, result in self.reader.batch.fetch_referrers(requests):
            row = resolved[number]
            if isinstance(result, ImqError):
                message = self.reader.add_problem(result, str(row[5]), self.error_view)
                self.insert([(row[4], row[1], row[0], row[5], row[6], row[7], *(None,) * 7, message)])
            else:
                self.insert(_make_row(row, one) for one in result)
        names_scan.close()


def _make_row(row: Sequence[Raw], referrer: Descriptor) -> tuple[object, ...]:
    """Return the row of one referrer, without a problem."""
    return (
        row[4], row[1], row[0], row[5], row[6],
        f"{row[5]}@{referrer.digest}",
        row[2],
        referrer.artifact_type or None,
        referrer.digest,
        referrer.media_type,
        json.dumps(dict(referrer.annotations), ensure_ascii=False),
        parse_time(referrer.annotations.get(_CREATED)),
        referrer.size,
        None,
    )  # fmt: skip
