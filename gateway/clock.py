"""Venue time: what entries are stamped with and clients read. Not trio's clock, which times I/O."""

import time
from collections.abc import Callable
from typing import Protocol

from attrs import define, field

from book.units import Millis


class Clock(Protocol):
    """Where the venue's time comes from: real here, moved by hand for a test or an operator."""

    def now(self) -> Millis:
        """Milliseconds since 1970-01-01 UTC; never less than an earlier reading."""
        ...

    def micros(self) -> int:
        """The same clock in microseconds: what replies carry as `usIn` and `usOut`."""
        ...


@define
class RealClock:
    """The machine's wall clock, which stands still while the machine sets it back.

    It follows the wall and not the monotonic clock, which stops while a laptop sleeps: expiries
    are wall-clock times, and clients sign theirs. It waits rather than goes back because the log
    orders entries by it and a client measures `usDiff` with it.
    """

    read_nanos: Callable[[], int] = time.time_ns
    _latest: int = field(default=0, init=False)

    def now(self) -> Millis:
        """Milliseconds since 1970-01-01 UTC; never less than an earlier reading."""
        return Millis(self.micros() // 1_000)

    def micros(self) -> int:
        """The same clock in microseconds: what replies carry as `usIn` and `usOut`."""
        now = self.read_nanos() // 1_000
        if now > self._latest:
            self._latest = now
        return self._latest
