"""What held the event loop of a venue: steps of its tasks that took long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

LEAST: Final = 0.010
"""Seconds of a step that is noted."""

MOST: Final = 0.050
"""Seconds that no step may take."""


class Hold(msgspec.Struct, frozen=True):
    """One step that held the loop.

    `began` is on the clock that all processes share. Seconds by that clock, of the processor, and
    of full garbage collections in it; the last part of the time may not have been ours at all,
    where others want the processor. `where` is what it was at when half of `MOST` was over.
    """

    began: float
    seconds: float
    processor: float
    collecting: float
    task: str
    where: str

    def __str__(self) -> str:
        """For people."""
        collecting = f", {self.collecting * 1e3:.0f} of it collecting" if self.collecting else ""
        where = f" ({self.where})" if self.where else ""
        return (
            f"{self.processor * 1e3:.0f} ms of processor, {self.seconds * 1e3:.0f} by the clock"
            f"{collecting}, in {self.task}{where}"
        )


def read(file: Path, ready: float, ended: float) -> Iterator[Hold]:
    """Those that a venue has noted between two moments."""
    for line in file.read_bytes().splitlines():
        hold = msgspec.json.decode(line, type=Hold)
        if ready <= hold.began < ended:
            yield hold
