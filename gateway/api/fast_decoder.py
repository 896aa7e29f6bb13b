"""Requests that are read in one go, envelope and parameters, by the method that they name.

Nearly every request is one that we have, well formed, and takes half the time this way. What is
not is looked at again, part by part, to find out what to say about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from gateway.api.registry import Method, Params

_EXACT: Final = 2**53
# Where strings are read as the type of their field, 1.0 is an integer unless it may be a float.
_Id = Annotated[int, Meta(ge=-_EXACT, le=_EXACT)] | float | str


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A request of a method, which is the `row` of its type."""

    row: ClassVar[Method]
    params: Params
    id: int | str = ""


class Reader:
    """Reads requests of some methods, of all whose parameters are Params."""

    def __init__(self, methods: Iterable[Method]) -> None:
        kinds: list[Any] = [_frame_of(row) for row in methods if issubclass(row.params, Params)]
        decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(
            reduce(or_, kinds), strict=False, float_hook=Decimal
        )
        self._decode = decoder.decode

    def read(self, frame: bytes | str, limit: int) -> Frame | None:
        """A request with an id, of up to `limit` bytes; None for what has to be looked at again.

        That may be well formed, too: text beyond ASCII, say, whose bytes we would have to count.
        """
        if len(frame) > limit or not frame.isascii():
            return None
        try:
            read = self._decode(frame)
        except (msgspec.DecodeError, RecursionError, InvalidOperation):
            return None
        # An id of 0 or "" looks as if there were none, and a float is echoed as it was written.
        return read if read.id and type(read.id) is not float else None


def _frame_of(row: Method) -> type[Frame]:
    kind = msgspec.defstruct(
        row.name,
        [("params", row.params), ("id", _Id, "")],
        bases=(Frame,),
        namespace={"row": row},
        frozen=True,
        gc=False,
        tag_field="method",
        tag=row.name,
    )
    assert issubclass(kind, Frame)
    return kind
