"""The event hash: a running hash over all events, which shows whether two replays agree.

Its cost is small and does not depend on the size of the state, so the live venue writes it into
the log as checkpoints while it trades, and each replay compares them.

Nearly every entry rests or removes one order. The order's id, account, price and size determine
the outcome of such an entry, so only those enter a CRC: encoding and hashing its four events took
an eighth of the venue's time. The events of all other entries, among them everything that moves
money or a position, are hashed in full.
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
"""The hash of events hashed in full, then the CRC of the others, big-endian."""

START: Final = bytes(EVENT_HASH_BYTES)

CHECKPOINT_ENTRIES: Final = 10_000
"""Distance of checkpoints: half a second of a replay, so that a difference is located closely."""

REMEMBERED: Final = 4_096
"""A checkpoint is logged some entries after the one that it describes: after the batches that are
being applied, waiting and being written at that time, of some 300 entries each."""

_HEAD: Final = struct.Struct(f">{_HASH_BYTES}sIQ")
_encoder: Final = msgspec.json.Encoder()

# Sequence number of the entry, then order id, account, price, amount and filled amount, each below
# 2**63 because the gateway accepts no larger numbers. If the order was removed, the sequence number
# is negated.
_pack_order: Final = struct.Struct(">qqqqqq").pack
_SIGNS: Final[dict[type, int]] = {Ordered: 1, Cancelled: -1}


@define(eq=False)
class EventHash:
    """The event hash up to the last observed entry; `start` is its value at entry `sequence`.

    `on_checkpoint_due` is called at each entry from number `next_checkpoint` on.
    """

    start: bytes = START
    sequence: int = 0
    next_checkpoint: float = field(init=False, default=math.inf)
    on_checkpoint_due: Callable[[], None] = field(init=False, default=lambda: None)
    _hash: bytes = field(init=False)
    _sum: int = field(init=False)
    # Earlier values, as a ring indexed by sequence number. Arrays of numbers, because freeing
    # objects that have left the processor's cache meanwhile is slow.
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
        """The present value, from which another EventHash can continue."""
        return _value(self._hash, self._sum)

    def observe(self, entry: Entry, events: Sequence[Event]) -> None:
        """Include the events of an entry."""
        number, first = entry.sequence, events[0] if events else None
        sign = _SIGNS.get(type(first))
        if sign is None or len(events) > PLAIN_EVENTS:
            self._hash_all(number, events)
        else:
            order = first.order  # type: ignore[union-attr]  # both kinds have one
            packed = _pack_order(
                sign * number,
                order.order_id,
                order.account,
                order.price,
                order.amount,
                order.filled,
            )
            self._sum = crc32(packed, self._sum)
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
        """Return the value at an earlier entry, or None if it is no longer stored."""
        place = sequence % REMEMBERED
        if self._numbers[place] != sequence:
            return None
        return _value(self._hashes[place], self._sums[place])

    def checkpoint(self) -> Checkpoint:
        """Return the command by which the live venue logs the present value."""
        return Checkpoint(sequence=self.sequence, digest=self.value.hex())

    def compare(self, checkpoint: Checkpoint) -> bool:
        """Return whether a checkpoint could be compared. Raises DivergenceError if it differs."""
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
    """Proposes a checkpoint after every `every` entries of a live venue."""

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
    """Return the events without the copies of trades in Ordered, which are half of the bytes."""
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
