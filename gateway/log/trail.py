"""The trail: a hash over all events since the first entry, by which replays tell that they agree.

It costs a few microseconds an entry and nothing for the size of the state, so the live venue can
leave it in the log as it goes, where a replay finds it and compares.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec
from attrs import define, field

from gateway.log.errors import DivergenceError
from risk.commands import Checkpoint, Entry
from risk.events import Event

TRAIL_BYTES: Final = 16
START: Final = bytes(TRAIL_BYTES)

CHECKPOINT_ENTRIES: Final = 10_000
"""From one checkpoint to the next: half a second of a replay, by which a difference is found."""

REMEMBERED: Final = 4_096
"""A checkpoint is in the log behind the entry that it speaks of: behind a batch that is applied,
one that waits and one that is written, of some 300 entries each."""

_HEAD: Final = struct.Struct(f">{TRAIL_BYTES}sQ")
_encoder: Final = msgspec.json.Encoder()


@define(eq=False)
class Trail:
    """The trail up to the last entry that it was shown."""

    value: bytes = START
    sequence: int = 0
    _recent: list[tuple[int, bytes]] = field(init=False)
    _hashed: bytearray = field(init=False, factory=lambda: bytearray(_HEAD.size))

    def __attrs_post_init__(self) -> None:
        self._recent = [(0, START)] * REMEMBERED
        self._recent[self.sequence % REMEMBERED] = (self.sequence, self.value)

    def observe(self, entry: Entry, events: Sequence[Event]) -> None:
        """Take in what an entry did."""
        sequence, hashed = entry.sequence, self._hashed
        _HEAD.pack_into(hashed, 0, self.value, sequence)
        _encoder.encode_into(events, hashed, _HEAD.size)
        self.value = value = blake2b(hashed, digest_size=TRAIL_BYTES).digest()
        self.sequence = sequence
        self._recent[sequence % REMEMBERED] = (sequence, value)

    def at(self, sequence: int) -> bytes | None:
        """The trail up to an earlier entry; None where that is not remembered."""
        known, value = self._recent[sequence % REMEMBERED]
        return value if known == sequence else None

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
class Checkpoints:
    """Proposes a checkpoint of a trail every so many entries. An observer of the live venue."""

    trail: Trail
    propose: Callable[[Checkpoint], None]
    every: int = CHECKPOINT_ENTRIES
    _last: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._last = self.trail.sequence

    def observe(self, entry: Entry, events: Sequence[Event]) -> None:
        """Take in what an entry did, and say where that leads when it is time to."""
        self.trail.observe(entry, events)
        if entry.sequence >= self._last + self.every:
            self._last = entry.sequence
            self.propose(self.trail.checkpoint())
