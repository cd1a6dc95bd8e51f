"""Python: PEP 440, `[N!]N(.N)*[{a|b|rc}N][.postN][.devN][+local]`, in all spellings that it normalises."""

from __future__ import annotations

import re

from .sort_key import encode_number, encode_word

_VERSION = re.compile(
    r"v?(?:([0-9]+)!)?([0-9]+(?:\.[0-9]+)*)"
    r"(?:[-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?([0-9]+)?)?"
    r"(?:-([0-9]+)|[-_.]?(post|rev|r)[-_.]?([0-9]+)?)?"
    r"(?:[-_.]?(dev)[-_.]?([0-9]+)?)?"
    r"(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.ASCII,
)
_END, _NUMBER = b"\x01", b"\x02"
_PRERELEASES = {
    "a": b"\x02", "alpha": b"\x02", "b": b"\x03", "beta": b"\x03",
    "c": b"\x04", "rc": b"\x04", "pre": b"\x04", "preview": b"\x04",
}  # fmt: skip
_BEFORE_PRERELEASES, _AFTER_PRERELEASES = b"\x01", b"\x05"
_NO_POST, _POST = b"\x01", b"\x02"
_DEV, _NO_DEV = b"\x01", b"\x02"
_LOCAL_END, _LOCAL_WORD, _LOCAL_NUMBER = b"\x01", b"\x02", b"\x03"


def make_key(text: str) -> bytes | None:
    """Return the key of a version; None if it does not follow PEP 440."""
    match = _VERSION.fullmatch(text.strip().lower())
    if match is None:
        return None
    epoch, release, pre, pre_number, implicit_post, post, post_number, dev, dev_number, local = match.groups()
    numbers = release.split(".")
    while len(numbers) > 1 and not numbers[-1].strip("0"):
        numbers.pop()
    key = encode_number(epoch or "") + b"".join(_NUMBER + encode_number(number) for number in numbers) + _END
    if pre is not None:
        key += _PRERELEASES[pre] + encode_number(pre_number or "")
    elif dev is not None and post is None and implicit_post is None:
        key += _BEFORE_PRERELEASES
    else:
        key += _AFTER_PRERELEASES
    if post is None and implicit_post is None:
        key += _NO_POST
    else:
        key += _POST + encode_number(implicit_post or post_number or "")
    key += _NO_DEV if dev is None else _DEV + encode_number(dev_number or "")
    for part in re.split(r"[-_.]", local) if local is not None else ():
        key += _LOCAL_NUMBER + encode_number(part) if part.isdecimal() else _LOCAL_WORD + encode_word(part)
    return key + _LOCAL_END
