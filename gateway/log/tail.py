"""Reading a log while another process writes it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

from attrs import define

from gateway.log.frames import Frame
from gateway.log.segments import SegmentReader


@define(eq=False)
class LogTail:
    """Reads the durable frames of a log that is being written.

    A frame can be read before it is synced, and if the sync fails, the next start may write another
    one in its place. A frame is written only after the previous one was synced, so every frame
    except the last is durable.
    """

    reader: SegmentReader

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that became durable since the last call. Raises DamageError.

        Exhaust the iterator: the position is set at its end.
        """
        held: Frame | None = None
        before = after = copy(self.reader)
        for frame in self.reader.frames():
            if held is not None:
                yield held
            held, before, after = frame, after, copy(self.reader)
        self.reader.unfinished_bytes()
        # The last frame may still be replaced, so the next call reads it again.
        self.reader = before
