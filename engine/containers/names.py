"""Names for containers that are created without one: two words, as docker and podman choose them."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

_FIRST = (
    "agile", "amber", "blue", "bold", "brave", "bright", "calm", "clever", "crisp", "eager", "early", "fair", "fresh",
    "gentle", "golden", "green", "happy", "jolly", "keen", "kind", "light", "lively", "lucid", "mellow", "merry",
    "neat", "noble", "proud", "quick", "quiet", "rapid", "sharp", "silent", "silver", "smart", "steady", "sunny",
    "swift", "vivid", "wise",
)  # fmt: skip
_SECOND = (
    "acorn", "anchor", "aspen", "badger", "beacon", "birch", "brook", "canyon", "cedar", "comet", "coral", "crane",
    "delta", "ember", "falcon", "fern", "finch", "garnet", "harbor", "heron", "island", "lantern", "lark", "maple",
    "meadow", "nebula", "otter", "pebble", "pine", "quartz", "raven", "reef", "river", "sparrow", "spruce", "summit",
    "thistle", "tulip", "walnut", "willow",
)  # fmt: skip


def choose_name(id_: str, used: Container[str]) -> str:
    """Return a name from the digits of an ID that is not used yet."""
    number = int(id_[:16], 16)
    words = f"{_FIRST[number % len(_FIRST)]}_{_SECOND[number // len(_FIRST) % len(_SECOND)]}"
    return words if words not in used else f"{words}_{id_[:6]}"
