"""Requests that are read in one go, envelope and parameters, by the method that they name.

Nearly every request is one that we have, well formed, and takes half the time this way. What is
not is looked at again, part by part, to find out what to say about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from gateway.api.table import Method, Params
from gateway.api.wire import LONG_ID


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A request of a method, which is the `row` of its type. `id` is as in wire.Request."""

    row: ClassVar[Method]
    params: Params
    id: Raw = Raw()


class Reader:
    """Reads requests of some methods, of all whose parameters are Params."""

    def __init__(self, methods: Iterable[Method]) -> None:
        kinds: list[Any] = [_frame_of(row) for row in methods if issubclass(row.params, Params)]
        decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(
            reduce(or_, kinds), strict=False
        )
        self._decode = decoder.decode

    def read(self, frame: bytes | str, limit: int) -> Frame | None:
        """A request with an id of up to `limit` bytes; None for what has to be looked at again.

        That may be well formed, too: text beyond ASCII, say, whose bytes we would have to count.
        """
        if len(frame) > limit or not frame.isascii():
            return None
        try:
            read = self._decode(frame)
        except (msgspec.DecodeError, RecursionError):
            return None
        identity = bytes(read.id)
        return read if identity.isdigit() and len(identity) < LONG_ID else None


def _frame_of(row: Method) -> type[Frame]:
    kind = msgspec.defstruct(
        row.name,
        [("params", row.params)],
        bases=(Frame,),
        namespace={"row": row},
        frozen=True,
        gc=False,
        tag_field="method",
        tag=row.name,
    )
    assert issubclass(kind, Frame)
    return kind
