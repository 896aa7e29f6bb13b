"""Escape untrusted text, so that it cannot control the terminal or break a log line."""

from __future__ import annotations

import json
from typing import Final

# Everything that Python's repr would escape: control characters, line separators, marks that
# change the direction of text, lone surrogates. A space is the one separator that is printable.
_ESCAPE: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape_unprintable(text: str) -> str:
    r"""Return the text with `\x1b` and the like for each character that is not printable."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def escape_unprintable_json(document: str) -> str:
    r"""Return a one-line JSON document with `\u001b` and the like for unprintable characters.

    Outside its strings, such a document contains only printable characters.
    """
    if document.isprintable():
        return document
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in document)


def shorten(text: str, most: int = 80) -> str:
    """Return the text, cut to `most` characters and an ellipsis if it is longer."""
    return text if len(text) <= most else f"{text[:most]}..."


def _escaped(character: str) -> str:
    return _ESCAPE.get(character) or character.encode("unicode_escape").decode("ascii")
