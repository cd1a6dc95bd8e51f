"""How a name or ID of a statement finds rows of `images`, by docker's rules."""

from __future__ import annotations

from imq.engine.oci.digest import parse_hex_prefix
from imq.engine.oci.reference import Reference
from imq.grammar import ast


def match_image_name(text: str) -> ast.Expr:
    """Return the condition for rows of `images` with this name, or with an ID that begins with it.

    Raises `InvalidReference` for a string that is neither.
    """
    digits = parse_hex_prefix(text)
    by_id = None if digits is None else ast.Comparison("=", ast.Field(("id",)), ast.Literal(digits, quoted=True))
    if text.startswith("sha256:") and by_id is not None:
        return by_id
    name = str(Reference.parse(text).with_default_tag())
    by_name = ast.Comparison("=", ast.Field(("name",)), ast.Literal(name, quoted=True))
    return by_name if by_id is None else ast.Or((by_name, by_id))
