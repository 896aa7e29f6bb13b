"""The trail: a hash over all that happened, by which replays tell that they agree.

It costs little for an entry and nothing for the size of the state, so the live venue can leave it
in the log as it goes, where a replay finds it and compares.

Of nearly every entry all that happens is that one order comes to rest, or leaves. Which order, at
what price and of what size then tells everything that could be otherwise, and goes into a
checksum: to write such an entry's four events and hash them took an eighth of the venue's time.
All that any other entry did, whatever moves money or a position, is hashed as it is.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final
from zlib import crc32

import msgspec
from attrs import define, field

from gateway.log.errors import DivergenceError
from risk.commands import Checkpoint, Entry
from risk.events import PLAIN_EVENTS, Cancelled, Event, Ordered, Traded

_HASH_BYTES: Final = 16
_SUM_BYTES: Final = 4
EVENT_HASH_BYTES: Final = _HASH_BYTES + _SUM_BYTES
"""A hash of what is hashed, then a checksum of the rest, big-endian."""

START: Final = bytes(EVENT_HASH_BYTES)

CHECKPOINT_ENTRIES: Final = 10_000
"""From one checkpoint to the next: half a second of a replay, by which a difference is found."""

REMEMBERED: Final = 4_096
"""A checkpoint is in the log behind the entry that it speaks of: behind a batch that is applied,
one that waits and one that is written, of some 300 entries each."""

_HEAD: Final = struct.Struct(f">{_HASH_BYTES}sIQ")
_encoder: Final = msgspec.json.Encoder()

# Number of the entry, order, account, price, amount, filled: all inside 63 bits, as the gateway
# takes no larger ones. Where the order left, the number of the entry is below zero.
_told: Final = struct.Struct(">qqqqqq").pack
_SIGNS: Final[dict[type, int]] = {Ordered: 1, Cancelled: -1}


@define(eq=False)
class EventHash:
    """The trail up to the last entry that it was shown; `start` is its value up to `sequence`.

    `reached` is called at each entry from number `due` on.
    """

    start: bytes = START
    sequence: int = 0
    next_checkpoint: float = field(init=False, default=math.inf)
    on_checkpoint_due: Callable[[], None] = field(init=False, default=lambda: None)
    _hash: bytes = field(init=False)
    _sum: int = field(init=False)
    # What it was at which entry, by the entry's number. Arrays: objects that are kept for so long
    # have left the processor's cache by the time they are let go.
    _numbers: array[int] = field(init=False)
    _sums: array[int] = field(init=False)
    _hashes: list[bytes] = field(init=False)
    _hashed: bytearray = field(init=False, factory=lambda: bytearray(_HEAD.size))

    def __attrs_post_init__(self) -> None:
        self._hash = self.start[:_HASH_BYTES]
        self._sum = int.from_bytes(self.start[_HASH_BYTES:])
        self._numbers = array("Q", bytes(8 * REMEMBERED))
        self._sums = array("Q", bytes(8 * REMEMBERED))
        self._hashes = [START[:_HASH_BYTES]] * REMEMBERED
        self._remember(self.sequence)

    @property
    def value(self) -> bytes:
        """The trail, by which another one can go on from here."""
        return _value(self._hash, self._sum)

    def observe(self, entry: Entry, events: Sequence[Event]) -> None:
        """Take in what an entry did."""
        number, first = entry.sequence, events[0] if events else None
        sign = _SIGNS.get(type(first))
        if sign is None or len(events) > PLAIN_EVENTS:
            self._hash_all(number, events)
        else:
            order = first.order  # type: ignore[union-attr]  # both kinds have one
            told = _told(
                sign * number,
                order.order_id,
                order.account,
                order.price,
                order.amount,
                order.filled,
            )
            self._sum = crc32(told, self._sum)
        self.sequence = number
        self._remember(number)
        if number >= self.next_checkpoint:
            self.on_checkpoint_due()

    def _remember(self, number: int) -> None:
        place = number % REMEMBERED
        self._numbers[place] = number
        self._sums[place] = self._sum
        self._hashes[place] = self._hash

    def _hash_all(self, sequence: int, events: Sequence[Event]) -> None:
        hashed = self._hashed
        _HEAD.pack_into(hashed, 0, self._hash, self._sum, sequence)
        _encoder.encode_into(_once(events), hashed, _HEAD.size)
        self._hash = blake2b(hashed, digest_size=_HASH_BYTES).digest()

    def at(self, sequence: int) -> bytes | None:
        """The trail up to an earlier entry; None where that is not remembered."""
        place = sequence % REMEMBERED
        if self._numbers[place] != sequence:
            return None
        return _value(self._hashes[place], self._sums[place])

    def checkpoint(self) -> Checkpoint:
        """What the live venue leaves in the log."""
        return Checkpoint(sequence=self.sequence, digest=self.value.hex())

    def compare(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint could be compared. Raises DivergenceError where it differs."""
        value = self.at(checkpoint.sequence)
        if value is not None and value.hex() != checkpoint.digest:
            raise DivergenceError(
                f"up to entry {checkpoint.sequence} the replay came to other events than the venue"
                f" did (trail {value.hex()}, not {checkpoint.digest}): read this log with the"
                " version of the program that wrote it"
            )
        return value is not None


@define(eq=False)
class CheckpointProposer:
    """Proposes a checkpoint every so many entries of a live venue, whose trail tells it when."""

    event_hash: EventHash
    propose: Callable[[Checkpoint], None]
    every: int = CHECKPOINT_ENTRIES

    def __attrs_post_init__(self) -> None:
        self.event_hash.next_checkpoint, self.event_hash.on_checkpoint_due = (
            self.event_hash.sequence + self.every,
            self._propose,
        )

    def _propose(self) -> None:
        self.event_hash.next_checkpoint = self.event_hash.sequence + self.every
        self.propose(self.event_hash.checkpoint())


def _once(events: Sequence[Event]) -> Sequence[Event]:
    """The events, without the trades of an answer that are events themselves: half of the bytes."""
    trade = None
    for place, event in enumerate(events):
        kind = type(event)
        if kind is Traded:
            trade = event
        elif kind is Ordered:
            answer: Ordered = event  # type: ignore[assignment]
            if trade is None or not answer.trades or answer.trades[-1] != trade:
                return events
            short = Ordered(answer.origin, answer.order, ())
            return [*events[:place], short, *events[place + 1 :]]
    return events


def _value(hashed: bytes, checksum: int) -> bytes:
    return hashed + checksum.to_bytes(_SUM_BYTES)
