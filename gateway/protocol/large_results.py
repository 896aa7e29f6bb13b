"""Results of many rows, which are encoded in slices.

Clients choose how many rows a result has: ten thousand open orders, every level of a book. A
method copies the rows from the state in one step, so that they are consistent. Encoding takes ten
times as long; it is done in slices, so that the event loop can run other tasks in between.
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
"""Rows of a slice, about 2 us each. A result of no more rows is encoded at once."""


def run_to_end(job: EncodingJob) -> None:
    """Run all slices of a job in one go, where no event loop is held up by them."""
    while not job():
        pass


class Listing(msgspec.Struct, frozen=True):
    """A result of `rows` rows, as `pieces` of JSON text of at most ROWS rows each.

    Iterating encodes the pieces; the rows are copies, so that no later change affects them.
    """

    rows: int
    pieces: Iterator[bytes]

    def within(self, head: bytes, tail: bytes) -> Listing:
        """Return the listing with text before and after it."""
        return Listing(self.rows, chain((head,), self.pieces, (tail,)))


def array(items: Sequence[T], encode: Callable[[T], bytes]) -> Listing:
    """Return a JSON array of the items."""
    return Listing(len(items), _pieces(items, encode))


def joined(parts: Iterable[Listing | bytes]) -> Listing:
    """Return a concatenation of listings and text."""
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
    """A successful reply that is encoded in slices."""

    rows: int
    _meta: jsonrpc.RequestMeta
    _pieces: Iterator[bytes]
    _clock: Clock
    # Appended to in place: joining five megabytes at the end would take milliseconds.
    _text: bytearray = field(factory=bytearray, init=False)

    def advance(self) -> bytearray | None:
        """Encode the next slice; return the whole reply once it is complete, else None."""
        if not self._text:
            self._text += jsonrpc.result_around(self._meta, 0)[0]
        for piece in self._pieces:
            self._text += piece
            return None
        self._text += jsonrpc.result_around(self._meta, self._clock.micros())[1]
        return self._text

    def finish(self) -> bytes:
        """Encode the rest at once and return the whole reply."""
        while True:
            data = self.advance()
            if data is not None:
                return bytes(data)


def reply(meta: jsonrpc.RequestMeta, value: object, clock: Clock) -> bytes | LargeReply:
    """Return a successful reply, not yet encoded if the result has more than ROWS rows."""
    if type(value) is Listing:
        if value.rows > ROWS:
            return LargeReply(value.rows, meta, value.pieces, clock)
        value = Raw(b"".join(value.pieces))
    return jsonrpc.result(meta, value, clock.micros())
