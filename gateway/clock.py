"""Venue time: the clock that stamps entries and that clients read. Trio's clock times I/O."""

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

# Nanoseconds by which the wall clock may differ from the elapsed time and be followed at once:
# a correction by a time service, which is rarely more.
MAX_STEP: Final = 1_000_000_000
FOLLOWED_MILLIS: Final = MAX_STEP // 1_000_000
"""Beyond this difference, the wall clock is not followed at once."""
# Beyond that, venue time runs at half speed, or half as fast again, until both agree.
SLEW: Final = 2
# For how much wall time the second clock is not read, which would double the cost of a reading.
CHECK_INTERVAL: Final = 50_000_000
# Between two log messages about the clock.
LOG_INTERVAL: Final = 1_000_000_000

_MILLI: Final = 1_000_000
_SECOND: Final = 1_000_000_000

# Without such a clock (macOS), the monotonic one includes time spent suspended as well.
_read_elapsed: Final = partial(
    time.clock_gettime_ns, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)


class Clock(Protocol):
    """The source of venue time: the machine's clock, or one moved by hand."""

    def now(self) -> Millis:
        """Return milliseconds since 1970-01-01 UTC, never less than an earlier reading."""
        ...

    def micros(self) -> int:
        """Return the same time in microseconds, as in `usIn` and `usOut` of replies."""
        ...


@define(eq=False)
class RealClock:
    """The machine's wall clock, bounded by a clock that cannot be set.

    Readings never decrease, because the log orders entries by them and clients measure `usDiff`
    with them. `read_elapsed` includes the time while the machine is suspended, so that waking is no
    jump; neither is a correction of up to MAX_STEP. If the wall clock jumps further ahead, venue
    time follows at one and a half times the normal speed: however far the clock jumps, venue time
    gains no more than MAX_STEP and half of the time for which the clock is wrong. If the wall clock
    is behind, venue time runs at half speed until it has caught up; a clock that stood still would
    let nothing expire.

    `drift` is the number of milliseconds to add to a reading to get the time that the wall clock
    would show if it had never been set.
    """

    read_nanos: Callable[[], int] = time.time_ns
    read_elapsed: Callable[[], int] = _read_elapsed
    # All in nanoseconds: the latest reading, and the wall time up to which no check is needed.
    _latest: int = field(default=0, init=False)
    _unchecked_until: int = field(default=0, init=False)
    # Of the last check: the elapsed time, and what to add to it for venue time.
    _elapsed: int | None = field(default=None, init=False)
    _offset: int = field(default=0, init=False)
    # What had to be added at the first check.
    _origin: int = field(default=0, init=False)
    drift: int = field(default=0, init=False)
    _reported: bool = field(default=False, init=False)
    _reported_at: int | None = field(default=None, init=False)

    def now(self) -> Millis:
        """Return milliseconds since 1970-01-01 UTC, never less than an earlier reading."""
        return Millis(self.micros() // 1_000)

    def micros(self) -> int:
        """Return the same time in microseconds, as in `usIn` and `usOut` of replies."""
        wall = self.read_nanos()
        if self._latest <= wall < self._unchecked_until:
            self._latest = wall
            return wall // 1_000
        self._check(wall)
        return self._latest // 1_000

    def wall(self) -> Millis:
        """Return milliseconds of the wall clock, by which clients sign; they may decrease."""
        return Millis(self.read_nanos() // _MILLI)

    def lead_millis(self) -> int:
        """Return how many milliseconds venue time leads the wall clock; negative if it lags."""
        wall = self.read_nanos()
        self._check(wall)
        return (self._latest - wall) // _MILLI

    @property
    def clocks_apart(self) -> bool:
        """Whether venue time and wall clock differed by more than MAX_STEP when last checked."""
        return self._reported

    def start_at(self, time: int) -> None:
        """Start no earlier than this, in milliseconds: entries of the log bear such times."""
        self._latest = max(self._latest, time * _MILLI)
        self._unchecked_until = 0
        self.micros()

    def _check(self, wall: int) -> None:
        """Take a reading and compare both clocks."""
        elapsed = self.read_elapsed()
        offset = wall - elapsed
        if self._elapsed is None:
            passed = 0
            self._offset = self._origin = offset
        else:
            passed = max(elapsed - self._elapsed, 0)
            # Follow a clock that was set by at most half of the elapsed time.
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
        """Log when the clocks differ, and when they agree again."""
        apart = self._latest - wall
        # Hysteresis: at the limit itself, every reading would be a change.
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
                _format_time(self._latest),
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
    """A gateway.clock.Clock for lifetimes, unaffected by changes of the machine's clock.

    It starts with the machine's time, and may later differ from that and from venue time.
    """

    real: RealClock

    def now(self) -> Millis:
        """Return milliseconds."""
        return Millis(self.micros() // 1_000)

    def micros(self) -> int:
        """Return microseconds."""
        # Read first, because a reading may change the drift.
        reading = self.real.micros()
        return reading + self.real.drift * 1_000


def lead_millis(clock: Clock) -> int:
    """Return by how many milliseconds venue time leads the wall clock; 0 if moved by hand."""
    return clock.lead_millis() if isinstance(clock, RealClock) else 0


def _format_time(nanos: int) -> str:
    try:
        return datetime.fromtimestamp(nanos // _SECOND, UTC).isoformat()
    except (OverflowError, ValueError):
        # After the year 9999.
        return f"{nanos // _SECOND} s after 1970"
