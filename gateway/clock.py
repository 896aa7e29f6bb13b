"""Venue time: what entries are stamped with and clients read. Not trio's clock, which times I/O."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

from attrs import define, field

from book.units import Millis

logger = logging.getLogger(__name__)

# Nanoseconds that a wall clock may differ from what is known to have passed and be followed at
# once: a step of a time service that had lost its servers for a while, and seldom more.
MAX_STEP: Final = 1_000_000_000
FOLLOWED_MILLIS: Final = MAX_STEP // 1_000_000
"""Further apart than this, the machine's clock is not followed at once."""
# Beyond that venue time runs at half speed, or half as fast again, until both agree.
SLEW: Final = 2
# How far the wall clock may be read without a look at the other one, which costs as much again.
CHECK_INTERVAL: Final = 50_000_000
# Between two messages about the clock, however often it jumps.
LOG_INTERVAL: Final = 1_000_000_000

_MILLI: Final = 1_000_000
_SECOND: Final = 1_000_000_000

# Where there is no such clock (macOS), the monotonic one counts a suspend as well.
_read_elapsed: Final = partial(
    time.clock_gettime_ns, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)


class Clock(Protocol):
    """Where the venue's time comes from: real here, moved by hand for a test or an operator."""

    def now(self) -> Millis:
        """Milliseconds since 1970-01-01 UTC; never less than an earlier reading."""
        ...

    def micros(self) -> int:
        """The same clock in microseconds: what replies carry as `usIn` and `usOut`."""
        ...


@define(eq=False)
class RealClock:
    """The machine's wall clock, held to what a clock that cannot be set says has passed.

    Readings never go back, because the log orders entries by them and a client measures `usDiff`
    with them. `read_elapsed` counts the time in which the machine is suspended, so that the end of
    a suspend is no jump, and neither is a correction of up to STEP. A wall clock that jumps
    further ahead is followed half as fast again as time passes: however far it jumps, for as long
    as it is wrong, venue time gains no more than half of that and STEP. A reading that leads the
    wall clock passes at half speed until that has caught up: time that stood still would let
    nothing expire and no supervision lapse.

    `drift` is what is to be added to a reading, in milliseconds, for what it would be if the wall
    clock had never been set since the first.
    """

    read_nanos: Callable[[], int] = time.time_ns
    read_elapsed: Callable[[], int] = _read_elapsed
    # All in nanoseconds: the latest reading, and the wall up to which it is one without a check.
    _latest: int = field(default=0, init=False)
    _unchecked_until: int = field(default=0, init=False)
    # Of the last check: the other clock, and what is to be added to it.
    _elapsed: int | None = field(default=None, init=False)
    _offset: int = field(default=0, init=False)
    # What was to be added to it at first.
    _origin: int = field(default=0, init=False)
    drift: int = field(default=0, init=False)
    _reported: bool = field(default=False, init=False)
    _reported_at: int | None = field(default=None, init=False)

    def now(self) -> Millis:
        """Milliseconds since 1970-01-01 UTC; never less than an earlier reading."""
        return Millis(self.micros() // 1_000)

    def micros(self) -> int:
        """The same clock in microseconds: what replies carry as `usIn` and `usOut`."""
        wall = self.read_nanos()
        if self._latest <= wall < self._unchecked_until:
            self._latest = wall
            return wall // 1_000
        self._check(wall)
        return self._latest // 1_000

    def wall(self) -> Millis:
        """Milliseconds of the wall clock as it is, which clients sign by: it may go back."""
        return Millis(self.read_nanos() // _MILLI)

    def lead(self) -> int:
        """Milliseconds that venue time is ahead of the wall clock; below zero it is behind."""
        wall = self.read_nanos()
        self._check(wall)
        return (self._latest - wall) // _MILLI

    @property
    def clocks_apart(self) -> bool:
        """Whether venue time and the wall clock were further apart than STEP when last compared."""
        return self._reported

    def start_at(self, time: int) -> None:
        """No reading is less than this, in milliseconds: entries are stamped with it already."""
        self._latest = max(self._latest, time * _MILLI)
        self._unchecked_until = 0
        self.micros()

    def _check(self, wall: int) -> None:
        """Take a reading with a look at both clocks."""
        elapsed = self.read_elapsed()
        offset = wall - elapsed
        if self._elapsed is None:
            passed = 0
            self._offset = self._origin = offset
        else:
            passed = max(elapsed - self._elapsed, 0)
            # Never further away than in one step of it.
            most = passed // SLEW
            self._offset += min(max(offset - self._offset, -most), most)
        self._elapsed = elapsed
        expected = elapsed + self._offset
        reading = min(max(wall, expected - MAX_STEP), expected + MAX_STEP)
        slowly = self._latest + passed // SLEW
        self._latest = reading if reading >= self._latest else slowly
        self._unchecked_until = wall + CHECK_INTERVAL if self._latest == wall else 0
        self.drift = (elapsed + self._origin - self._latest) // _MILLI
        self._report(wall, elapsed)

    def _report(self, wall: int, elapsed: int) -> None:
        """Say in the log that the clocks part, and that they agree again."""
        apart = self._latest - wall
        # Not at the edge itself, where they would part and agree with every reading.
        astray = abs(apart) > (MAX_STEP // 2 if self._reported else MAX_STEP)
        if astray is self._reported:
            return
        if self._reported_at is not None and elapsed - self._reported_at < LOG_INTERVAL:
            return
        self._reported, self._reported_at = astray, elapsed
        if not astray:
            logger.warning("venue time and the machine's clock agree again")
        elif apart > 0:
            logger.warning(
                "venue time is %.1f s ahead of the machine's clock: that was set back, or wrong"
                " when the last entries of the log were stamped. Venue time goes on from %s at half"
                " speed until the machine's clock has caught up",
                apart / _SECOND,
                _text(self._latest),
            )
        else:
            logger.warning(
                "the machine's clock has jumped %.1f s ahead of venue time, which follows half as"
                " fast again as time passes. If the machine is right, a restart of the venue takes"
                " its time at once",
                -apart / _SECOND,
            )


@define(eq=False)
class SteadyClock:
    """A gateway.clock.Clock by which lifetimes pass, however the machine's is set meanwhile.

    It begins with the machine's time; later it may differ from that and from venue time.
    """

    real: RealClock

    def now(self) -> Millis:
        """Milliseconds."""
        return Millis(self.micros() // 1_000)

    def micros(self) -> int:
        """Microseconds."""
        # The reading may change the drift, and comes first.
        reading = self.real.micros()
        return reading + self.real.drift * 1_000


def lead_of(clock: Clock) -> int:
    """Milliseconds that venue time is ahead of the wall clock; 0 where it is moved by hand."""
    return clock.lead() if isinstance(clock, RealClock) else 0


def _text(nanos: int) -> str:
    try:
        return datetime.fromtimestamp(nanos // _SECOND, UTC).isoformat()
    except (OverflowError, ValueError):
        # Beyond the year 9999.
        return f"{nanos // _SECOND} s after 1970"
