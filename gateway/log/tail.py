"""The end of a log that another process is writing."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

from attrs import define

from gateway.log.frames import Frame
from gateway.log.segments import SegmentReader


@define(eq=False)
class LogTail:
    """The frames of a log in the making, each once it is known to be durable.

    A frame can be read before it is synced, and where its sync fails it is gone after the next
    start, with another one in its place. But nobody writes a frame before the last one is synced:
    all that are there are durable, except the last.
    """

    reader: SegmentReader

    def frames(self) -> Iterator[Frame]:
        """What has become durable since the last call. Take them all. Raises DamageError."""
        held: Frame | None = None
        before = after = copy(self.reader)
        for frame in self.reader.frames():
            if held is not None:
                yield held
            held, before, after = frame, after, copy(self.reader)
        self.reader.unfinished_bytes()
        # So that the last one, which may yet become another, is read again.
        self.reader = before
