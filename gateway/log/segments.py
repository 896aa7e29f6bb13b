"""Segment files: which there are, and their frames read as one chain.

A reader may run beside a writer, also in another process: what is not whole yet is not there.
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
    """A segment file; its name says its first sequence number."""

    path: Path
    first: int

    def header(self) -> Header:
        """Its header. Raises DamageError and VersionError."""
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
        """Whether its header never became whole, so that it holds nothing yet."""
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
        """How many bytes it has by now."""
        with disk_errors(self.path):
            return self.path.stat().st_size

    def read(self, offset: int = 0) -> bytes:
        """Its bytes from `offset` on."""
        with disk_errors(self.path), open_regular(self.path) as file:
            file.seek(offset)
            return file.read()


def segment_path(folder: Path, first: int) -> Path:
    """Where the segment that begins with entry `first` is."""
    return folder / f"{first:020}.seg"


def list_segments(folder: Path) -> list[Segment]:
    """All segments, oldest first; none where there is no such folder."""
    with disk_errors(folder):
        if not folder.is_dir():
            return []
        found = os.listdir(folder)  # noqa: PTH208 - followers ask all the time, and it is faster
    names = sorted(name for name in found if _NAME.fullmatch(name))
    return [Segment(folder / name, int(name[:20])) for name in names]


def segment_of(every: Sequence[Segment], sequence: int) -> Segment | None:
    """The segment that holds an entry, or will when it is written."""
    return next((each for each in reversed(every) if each.first <= sequence), None)


@define(eq=False)
class SegmentReader:
    """The frames of a log from one segment on, each checked against the one before.

    `frames` ends where nothing more is whole and may be called again for what has come since.
    `sequence` and `hash` are those of the last frame that it gave; `segment` and `offset` are
    where the next one will be. `fault` says why what is there is not whole: a torn tail, or a
    write under way, since anything else raises DamageError.
    """

    folder: Path
    segment: Segment
    header: Header = field(init=False)
    offset: int = field(default=HEADER_BYTES, init=False)
    sequence: int = field(init=False)
    hash: bytes = field(init=False)
    fault: FrameError | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Start before its first frame. Raises DamageError and VersionError."""
        self.header = self.segment.header()
        self.sequence, self.hash = self.header.first - 1, self.header.previous

    def frames(self) -> Iterator[Frame]:
        """The whole frames that have not been given yet."""
        while True:
            # In this order: a segment that has a successor by now is complete when it is read.
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
        """The entries of the frame that was given last. Raises DamageError."""
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
        """Bytes of an unfinished write behind the last whole frame, once `frames` has ended.

        Raises DamageError where a whole frame follows them, so that they are something else.
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
        # It was being written, and is whole by now.
        return 0

    @property
    def empty(self) -> bool:
        """Whether the present segment has had no frame so far."""
        return self.offset == HEADER_BYTES

    def _rest(self) -> Iterator[Frame]:
        """What is whole of the present segment."""
        self.fault = None
        data, at = self.segment.read(self.offset), 0
        while at < len(data):
            try:
                frame = decode_frame(data, at)
            except FrameError as error:
                self.fault = error
                return
            self._follow(frame)
            at += frame.size
            yield frame

    def _follow(self, frame: Frame) -> None:
        if frame.previous != self.hash:
            what = "a frame that does not follow the one before"
            raise DamageError(self.segment.path, self.offset, what)
        if frame.first != self.sequence + 1:
            what = f"entry {frame.first} where {self.sequence + 1} was due"
            raise DamageError(self.segment.path, self.offset, what)
        self.offset += frame.size
        self.sequence, self.hash = frame.last, frame.hash

    def _enter(self, following: Segment) -> bool:
        """Go on to the next segment; False while its header is not whole."""
        if following.header_incomplete() and following == list_segments(self.folder)[-1]:
            return False
        header = following.header()
        if (header.first, header.previous) != (self.sequence + 1, self.hash):
            raise DamageError(following.path, 0, "a segment that does not follow the one before")
        self.segment, self.header, self.offset = following, header, HEADER_BYTES
        return True


def reader_after(folder: Path, sequence: int, chain: bytes) -> SegmentReader | None:
    """A reader of what follows entry `sequence`, whose frame has the hash `chain`.

    None where the log holds nothing and that entry is the one before it. Raises LogError where
    the log does not hold that entry, or another one in its place.
    """
    every = list_segments(folder)
    unbegun = every.pop() if every and every[-1].header_incomplete() else None
    if not every and (unbegun.first if unbegun else 1) == sequence + 1:
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
