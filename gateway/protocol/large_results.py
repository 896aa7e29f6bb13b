"""Results of many rows, whose text is made a slice at a time.

The client decides how many rows an answer has: ten thousand open orders, every level of a book.
A handler copies the rows from the state in one step, so that they are of one moment; their text
takes ten times as long, and is made in slices between which the event loop turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from attrs import define, field
from msgspec import Raw

from gateway.protocol import jsonrpc

if TYPE_CHECKING:
    from gateway.clock import Clock

T = TypeVar("T")

EncodingJob = Callable[[], bool]
"""Encode one slice; return whether it was the last."""

ROWS: Final = 256
"""Rows of a slice, some 2 us each. An answer of no more than these is encoded at once."""


def run_to_end(job: EncodingJob) -> None:
    """Run all slices of a job in one go, where no event loop is held up by them."""
    while not job():
        pass


class Listing(msgspec.Struct, frozen=True):
    """A result of so many `rows`, as `pieces` of JSON text that hold at most ROWS of them each.

    The pieces are made while they are iterated over, and read nothing that may change meanwhile.
    """

    rows: int
    pieces: Iterator[bytes]

    def within(self, head: bytes, tail: bytes) -> Listing:
        """The same as a part of a larger text."""
        return Listing(self.rows, chain((head,), self.pieces, (tail,)))


def array(items: Sequence[T], encode: Callable[[T], bytes]) -> Listing:
    """A JSON array of these items."""
    return Listing(len(items), _pieces(items, encode))


def joined(parts: Iterable[Listing | bytes]) -> Listing:
    """Listings one after the other, with text in between."""
    parts = tuple(parts)
    pieces = ((part,) if isinstance(part, bytes) else part.pieces for part in parts)
    rows = sum(part.rows for part in parts if isinstance(part, Listing))
    return Listing(rows, chain.from_iterable(pieces))


def _pieces(items: Sequence[T], encode: Callable[[T], bytes]) -> Iterator[bytes]:
    opening = b"["
    for start in range(0, len(items), ROWS):
        yield opening + b",".join(map(encode, items[start : start + ROWS]))
        opening = b","
    yield b"]" if items else b"[]"


@define(eq=False)
class LargeReply:
    """A reply that is encoded a slice at a time."""

    rows: int
    _meta: jsonrpc.RequestMeta
    _pieces: Iterator[bytes]
    _clock: Clock
    # Grows where it is: to join five megabytes in the end would take milliseconds.
    _text: bytearray = field(factory=bytearray, init=False)

    def advance(self) -> bytearray | None:
        """Encode the next slice; returns the whole reply once nothing is left."""
        if not self._text:
            self._text += jsonrpc.result_around(self._meta, 0)[0]
        for piece in self._pieces:
            self._text += piece
            return None
        self._text += jsonrpc.result_around(self._meta, self._clock.micros())[1]
        return self._text

    def finish(self) -> bytes:
        """The whole reply, at once."""
        while True:
            data = self.advance()
            if data is not None:
                return bytes(data)


def reply(meta: jsonrpc.RequestMeta, value: object, clock: Clock) -> bytes | LargeReply:
    """A successful reply; one of many rows is still to be encoded."""
    if type(value) is Listing:
        if value.rows > ROWS:
            return LargeReply(value.rows, meta, value.pieces, clock)
        value = Raw(b"".join(value.pieces))
    return jsonrpc.result(meta, value, clock.micros())
