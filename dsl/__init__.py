"""imq: query container images and act on the results.

    >>> import imq
    >>> from imq import images, field as f, GB
    >>> query = images.where((f.size > 1 * GB) & ~f.in_use)
    >>> str(query)
    'images where size > 1GB and not in_use'
    >>> with imq.connect() as session:                                # doctest: +SKIP
    ...     for image in session(query):
    ...         print(image.name, image.size)

docs/REFERENCE.md and `help()` of each name document the API. Names are resolved when they are first used: importing the
package loads nothing, since the command line imports it too.
"""

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        from ._version import VERSION

        return VERSION
    if name.startswith("__"):  # Python looks these up in every module
        raise AttributeError(name)
    from imq.api.namespace import resolve_name

    value = globals()[name] = resolve_name(name)
    return value


def __dir__() -> list[str]:
    from imq.api.namespace import all_names

    return sorted(all_names())
