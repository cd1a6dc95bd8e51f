"""A quicker start for programs that are imq and nothing else: the command line and the frozen executable.

Importing requests takes longer than many a small pull. A quarter of that goes into what imq never uses, the guessing
of text encodings, and into garbage collections while classes are made that stay. A program that embeds imq as a
library must not call this: requests would guess no encodings for it either.
"""

from __future__ import annotations

_GUESSERS = ("charset_normalizer", "chardet")


def import_requests() -> None:
    """Import requests without its guessing of text encodings; does nothing when it is imported already."""
    import gc
    import sys
    import warnings

    if "requests" in sys.modules:
        return
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    hidden = [name for name in _GUESSERS if name not in modules]
    collecting = gc.isenabled()
    gc.disable()
    try:
        modules.update(dict.fromkeys(hidden))  # None: the import system then says that there is no such module
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # requests warns that it finds none
            import requests  # noqa: F401
    finally:
        for name in hidden:
            del modules[name]
        if collecting:
            gc.enable()
