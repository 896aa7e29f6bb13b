"""The log on disk: one frame per batch, synced before anybody hears of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

import trio
from attrs import define, field, frozen

from gateway.clock import Clock
from gateway.log import Durable, Source
from gateway.log.disk import Disk, File
from gateway.log.frames import GENESIS, HEADER_BYTES, Header, encode
from gateway.log.segments import Segment, path_of
from risk import RULES
from risk.commands import Entry

SEGMENT_BYTES: Final = 64 * 2**20
"""Some 200,000 entries: a file that is copied, checked or deleted in about a second."""


@frozen
class Framed:
    """A batch as it goes to the disk: its bytes, its first and last sequence, its hash."""

    data: bytes
    first: int
    last: int
    hash: bytes


@define(eq=False)
class Writer:
    """Appends frames to the last segment, and begins a new one when that is full.

    `sequence` and `hash` are those of the last frame. `segment` is where it is, whole to its
    last byte and of our rules; None begins a new one.
    """

    folder: Path
    disk: Disk = field(factory=Disk)
    sequence: int = 0
    hash: bytes = GENESIS
    segment: Segment | None = None
    segment_bytes: int = SEGMENT_BYTES
    _file: File | None = field(default=None, init=False)
    _size: int = field(default=0, init=False)

    def open(self) -> None:
        """Make ready, so that what is wrong with the disk shows before the first entry."""
        if self.segment is None:
            self._begin()
        else:
            self._size = self.segment.path.stat().st_size
            self._file = self.disk.append(self.segment.path)

    def append(self, entries: Sequence[Entry]) -> None:
        """Make a batch durable. Raises DiskError, after which nothing may be appended."""
        self.write(self.frame(entries))

    def frame(self, entries: Sequence[Entry]) -> Framed:
        """The next batch, which `write` makes durable."""
        data, following = encode(entries, self.hash)
        return Framed(data, entries[0].sequence, entries[-1].sequence, following)

    def write(self, framed: Framed) -> None:
        """Make it durable. Raises DiskError, after which nothing may be appended."""
        assert framed.first == self.sequence + 1, "the log has no gaps"
        data = framed.data
        if self._size > HEADER_BYTES and self._size + len(data) > self.segment_bytes:
            self.close()
            self._begin()
        assert self._file is not None, "open comes first"
        self.disk.write(self._file, data)
        self.disk.sync(self._file)
        self._size += len(data)
        self.sequence, self.hash = framed.last, framed.hash

    def close(self) -> None:
        """Close the file. Everything is durable already."""
        if self._file is not None:
            self.disk.close(self._file)
            self._file = None

    def _begin(self) -> None:
        first = self.sequence + 1
        header = Header(RULES, first, self.hash).encode()
        self._file = self.disk.create(path_of(self.folder, first))
        self.disk.write(self._file, header)
        self.disk.sync(self._file)
        self.disk.sync_directory(self.folder)
        self._size = len(header)


@define(eq=False)
class FileLog:
    """Stamps, numbers, and writes: one batch in one thread, while the next one collects.

    `time` is that of the last entry: stamps never go back, also where the machine's clock was
    set back between two starts. `observe` is told the seconds that each batch took, in the thread
    that wrote it.
    `inline` writes without a thread, for tests whose clock does not wait for one.
    """

    clock: Clock
    writer: Writer
    time: int = 0
    observe: Callable[[float], None] = lambda _seconds: None
    inline: bool = False
    _thread: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def run(self, source: Source, durable: Durable) -> None:
        """Send each batch once it is on the disk. Raises DiskError; the venue must stop then."""
        with durable:
            while batch := await source.take():
                # One reading for all: what one sync makes durable together happened together.
                self.time = max(self.time, self.clock.now())
                entries = [
                    Entry(sequence, self.time, proposal.origin, proposal.command)
                    for sequence, proposal in enumerate(batch, self.writer.sequence + 1)
                ]
                # Here and not in the thread, which then needs the interpreter for nothing: to pass
                # it to and fro takes longer.
                framed = self.writer.frame(entries)
                if self.inline:
                    self._write(framed)
                else:
                    # Not abandoned when cancelled: nobody may write behind the back of who
                    # believes that the log has ended.
                    await trio.to_thread.run_sync(self._write, framed, limiter=self._thread)
                try:
                    await durable.send(entries)
                except trio.BrokenResourceError:
                    # Whoever applies them has failed, and says so itself.
                    return

    def _write(self, framed: Framed) -> None:
        began = perf_counter()
        self.writer.write(framed)
        self.observe(perf_counter() - began)
