"""Segment files of a log, and a reader of their frames as one chain.

A reader may run beside a writer, also in another process: it ignores what is incomplete.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from gateway.files import open_regular
from gateway.log.disk import disk_errors
from gateway.log.errors import DamageError, LogError, VersionError
from gateway.log.frames import (
    HEADER_BYTES,
    Frame,
    FrameError,
    Header,
    NewerFormatError,
    contains_frame,
    decode_frame,
)
from risk.commands import Entry

_NAME: Final = re.compile(r"[0-9]{20}\.seg")


@frozen
class Segment:
    """A segment file. `first` is its first sequence number, according to its name."""

    path: Path
    first: int

    def header(self) -> Header:
        """Read its header. Raises DamageError and VersionError."""
        with disk_errors(self.path), open_regular(self.path) as file:
            data = file.read(HEADER_BYTES)
        try:
            header = Header.decode(data)
        except FrameError as error:
            raise DamageError(self.path, error.offset, error.what) from error
        except NewerFormatError as error:
            raise VersionError(f"{self.path}: {error}") from error
        if header.first != self.first:
            what = f"a segment that begins with entry {header.first}, not with that of its name"
            raise DamageError(self.path, 0, what)
        return header

    def header_incomplete(self) -> bool:
        """Return whether its header is incomplete, so that it holds no frame yet."""
        with disk_errors(self.path), open_regular(self.path) as file:
            head = file.read(HEADER_BYTES)
        try:
            Header.decode(head)
        except FrameError:
            return not contains_frame(self.read(), 0)
        except NewerFormatError:
            return False
        return False

    def size(self) -> int:
        """Return its present size in bytes."""
        with disk_errors(self.path):
            return self.path.stat().st_size

    def read(self, offset: int = 0) -> bytes:
        """Return its bytes from `offset` on."""
        with disk_errors(self.path), open_regular(self.path) as file:
            file.seek(offset)
            return file.read()


def segment_path(folder: Path, first: int) -> Path:
    """Return the path of the segment that begins with entry `first`."""
    return folder / f"{first:020}.seg"


def list_segments(folder: Path) -> list[Segment]:
    """Return all segments, oldest first; none if the directory does not exist."""
    with disk_errors(folder):
        if not folder.is_dir():
            return []
        names = os.listdir(folder)  # noqa: PTH208 - faster, and readers poll the directory
    names = sorted(name for name in names if _NAME.fullmatch(name))
    return [Segment(folder / name, int(name[:20])) for name in names]


def segment_of(every: Sequence[Segment], sequence: int) -> Segment | None:
    """Return the segment that holds an entry or, if it is not written yet, will hold it."""
    return next((each for each in reversed(every) if each.first <= sequence), None)


@define(eq=False)
class SegmentReader:
    """Reads the frames of a log from one segment on, and checks each against the previous one.

    `frames` ends where no complete frame follows, and may be called again later. `sequence` and
    `hash` are those of the last frame that it yielded; `segment` and `offset` are the position of
    the next one. `fault` is why the bytes there are not a complete frame: they are a torn tail or a
    write in progress, as anything else raises DamageError.
    """

    folder: Path
    segment: Segment
    header: Header = field(init=False)
    offset: int = field(default=HEADER_BYTES, init=False)
    sequence: int = field(init=False)
    hash: bytes = field(init=False)
    fault: FrameError | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.header = self.segment.header()
        self.sequence, self.hash = self.header.first - 1, self.header.previous

    def frames(self) -> Iterator[Frame]:
        """Yield the complete frames after the present position. Raises DamageError."""
        while True:
            # Before reading the segment: once it has a successor, nothing is added to it.
            following = next(
                (each for each in list_segments(self.folder) if each.first > self.segment.first),
                None,
            )
            yield from self._rest()
            if following is None:
                return
            if self.fault is not None:
                raise DamageError(self.segment.path, self.offset, self.fault.what)
            if not self._enter(following):
                return

    def entries(self, frame: Frame) -> list[Entry]:
        """Return the entries of the frame that was yielded last. Raises DamageError."""
        try:
            return frame.entries()
        except FrameError as error:
            raise DamageError(self.segment.path, self.offset - frame.size, error.what) from error

    def batches(self, last: float = math.inf) -> Iterator[list[Entry]]:
        """Yield the entries of each frame, up to the one that ends with entry `last`."""
        if self.sequence >= last:
            return
        for frame in self.frames():
            yield self.entries(frame)
            if frame.last >= last:
                return

    def unfinished_bytes(self) -> int:
        """Return the number of bytes after the last complete frame, once `frames` has ended.

        They are an unfinished write. Raises DamageError if a complete frame follows them.
        """
        if self.fault is None:
            return 0
        rest = self.segment.read(self.offset)
        try:
            decode_frame(rest, 0)
        except FrameError as error:
            if contains_frame(rest, 1):
                raise DamageError(self.segment.path, self.offset, error.what) from error
            return len(rest)
        # The write has been completed meanwhile.
        return 0

    @property
    def empty(self) -> bool:
        """Whether no frame of the present segment was read yet."""
        return self.offset == HEADER_BYTES

    def _rest(self) -> Iterator[Frame]:
        """Yield the complete frames that are left in the present segment."""
        self.fault = None
        data, at = self.segment.read(self.offset), 0
        while at < len(data):
            try:
                frame = decode_frame(data, at)
            except FrameError as error:
                self.fault = error
                return
            self._advance(frame)
            at += frame.size
            yield frame

    def _advance(self, frame: Frame) -> None:
        if frame.previous != self.hash:
            what = "a frame that does not follow the one before"
            raise DamageError(self.segment.path, self.offset, what)
        if frame.first != self.sequence + 1:
            what = f"entry {frame.first} where {self.sequence + 1} was due"
            raise DamageError(self.segment.path, self.offset, what)
        self.offset += frame.size
        self.sequence, self.hash = frame.last, frame.hash

    def _enter(self, following: Segment) -> bool:
        """Go on to the next segment; return False while its header is incomplete."""
        if following.header_incomplete() and following == list_segments(self.folder)[-1]:
            return False
        header = following.header()
        if (header.first, header.previous) != (self.sequence + 1, self.hash):
            raise DamageError(following.path, 0, "a segment that does not follow the one before")
        self.segment, self.header, self.offset = following, header, HEADER_BYTES
        return True


def reader_after(folder: Path, sequence: int, chain: bytes) -> SegmentReader | None:
    """Return a reader of the entries after `sequence`, whose frame has the hash `chain`.

    Return None if the log holds no entry yet and would begin with the next one. Raises LogError if
    the log does not hold entry `sequence`, or holds another one in its place.
    """
    every = list_segments(folder)
    empty = every.pop() if every and every[-1].header_incomplete() else None
    if not every and (empty.first if empty else 1) == sequence + 1:
        return None
    segment = segment_of(every, sequence + 1)
    if segment is None:
        raise LogError(
            f"{folder}: the log does not reach back to entry {sequence + 1}, and there is no"
            " snapshot that would make up for it"
        )
    reader = SegmentReader(folder, segment)
    if reader.sequence < sequence:
        for _ in reader.frames():
            if reader.sequence >= sequence:
                break
    if reader.sequence < sequence:
        raise LogError(
            f"{folder}: the log ends with entry {reader.sequence}, and there is a snapshot of"
            f" entry {sequence}: the end of the log is missing"
        )
    if (reader.sequence, reader.hash) != (sequence, chain):
        raise LogError(f"{folder}: the snapshot of entry {sequence} is of another log")
    return reader
