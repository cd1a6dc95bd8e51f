"""Imports requests without its optional character detection, and with the garbage collector off.

Importing it takes 62 ms of processor time this way instead of 71 (CPython 3.11, requests 2.34; 5 ms of the 9 are the
collector's). That is 3 % of the shortest pull that tests/bench measures (`two-layer`, 290 ms). The frozen executable
contains no character detection at all, and requests would print a warning about that.

Only the command line and the frozen executable allow it. A program that embeds imq must not: requests would detect no
encodings for that program either.
"""

from __future__ import annotations

_ENCODING_DETECTORS = ("charset_normalizer", "chardet")
_is_allowed = False


def allow_fast_import() -> None:
    """Allow `import_requests_if_allowed` to act: no other code of this process uses requests."""
    global _is_allowed  # noqa: PLW0603 - as global as the modules that it is about
    _is_allowed = True


def import_requests_if_allowed() -> None:
    """Import requests without character detection after `allow_fast_import`; otherwise do nothing."""
    if _is_allowed:
        import_requests()


def import_requests() -> None:
    """Import requests without character detection; does nothing when it is already imported."""
    import gc
    import sys
    import warnings

    if "requests" in sys.modules:
        return
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    hidden = [name for name in _ENCODING_DETECTORS if name not in modules]
    collecting = gc.isenabled()
    gc.disable()
    try:
        modules.update(dict.fromkeys(hidden))  # None makes the import raise ModuleNotFoundError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # requests warns that it found no detector
            import requests  # noqa: F401
    finally:
        for name in hidden:
            del modules[name]
        if collecting:
            gc.enable()
