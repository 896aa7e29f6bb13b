"""Writing frames to segment files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from gateway.log.disk import Disk, File
from gateway.log.frames import GENESIS, HEADER_BYTES, Header, encode_frame
from gateway.log.segments import Segment, segment_path
from risk import RULES
from risk.commands import Entry

SEGMENT_BYTES: Final = 64 * 2**20
"""Some 200,000 entries: such a file is copied, verified or deleted in about a second."""


@frozen
class EncodedBatch:
    """The frame of a batch: its bytes, its last sequence number and its hash."""

    data: bytes
    last_sequence: int
    hash: bytes


@define(eq=False)
class SegmentWriter:
    """Appends frames to the last segment, and begins a new one when that is full.

    `sequence` and `hash` are those of the last frame. `segment` is the segment to continue, which
    must end with a complete frame and have the present rules; None begins a new one.
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
        """Open or create the segment, so that disk errors show before the first entry."""
        if self.segment is None:
            self._begin()
        else:
            self._size = self.segment.size()
            self._file = self.disk.open_for_append(self.segment.path)

    def append(self, entries: Sequence[Entry]) -> None:
        """Make a batch durable. Raises DiskError, after which nothing may be appended."""
        self.write(self.encode(entries))

    def encode(self, entries: Sequence[Entry]) -> EncodedBatch:
        """Return the frame of the next batch, for `write`."""
        assert entries[0].sequence == self.sequence + 1, "the log has no gaps"
        data, following = encode_frame(entries, self.hash)
        return EncodedBatch(data, entries[-1].sequence, following)

    def write(self, batch: EncodedBatch) -> None:
        """Make a frame durable. Raises DiskError, after which nothing may be appended."""
        if self.is_full(batch):
            self.begin_segment()
        self.disk.write(self.file, batch.data)
        self.disk.sync(self.file)
        self.confirm(batch)

    def is_full(self, batch: EncodedBatch) -> bool:
        """Return whether `begin_segment` must be called before this frame is written."""
        return self._size > HEADER_BYTES and self._size + len(batch.data) > self.segment_bytes

    def begin_segment(self) -> None:
        """Begin the next segment. Raises DiskError, after which nothing may be appended."""
        self.close()
        self._begin()

    @property
    def file(self) -> File:
        """The file of the last segment, which the next frame goes to."""
        assert self._file is not None, "open comes first"
        return self._file

    def confirm(self, batch: EncodedBatch) -> None:
        """Record that a frame is durable."""
        self._size += len(batch.data)
        self.sequence, self.hash = batch.last_sequence, batch.hash

    def close(self) -> None:
        """Close the file. All frames are durable already."""
        if self._file is not None:
            self.disk.close(self._file)
            self._file = None

    def _begin(self) -> None:
        first = self.sequence + 1
        header = Header(RULES, first, self.hash).encode()
        self._file = self.disk.create(segment_path(self.folder, first))
        self.disk.write(self._file, header)
        self.disk.sync(self._file)
        self.disk.sync_directory(self.folder)
        self._size = len(header)
