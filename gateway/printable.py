"""Text of others on a terminal or in a message: nothing in it may act on the terminal."""

from __future__ import annotations

import json
from typing import Final

# Whatever Python's repr would escape: control characters, separators of lines, marks that change
# the direction of text, lone surrogates. A blank is the one separator that prints.
_ESCAPE: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""The text with `\x1b` and its like for each character that does not print."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def printable_json(document: str) -> str:
    r"""A JSON document of one line with `\u001b` and its like for what does not print.

    Outside of its strings such a document has only characters that print.
    """
    if document.isprintable():
        return document
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in document)


def shortened(text: str, most: int = 80) -> str:
    """The text, or its beginning where it has more than `most` characters."""
    return text if len(text) <= most else f"{text[:most]}..."


def _escaped(character: str) -> str:
    return _ESCAPE.get(character) or character.encode("unicode_escape").decode("ascii")
