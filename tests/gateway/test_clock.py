"""Tests of the venue's clock, with machine clocks that the test sets."""

from __future__ import annotations

import logging
import random

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import (
    CHECK_INTERVAL,
    LOG_INTERVAL,
    MAX_STEP,
    SLEW,
    Clock,
    RealClock,
    SteadyClock,
    lead_millis,
)
from tests.gateway.harness import HandClock

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
BOOT = 7_000 * SECOND
WALL = 1_790_000_000 * SECOND


@define
class Machine:
    """Two clocks: one that can be set, and one that only advances."""

    wall: int = WALL
    elapsed: int = BOOT

    def clock(self) -> RealClock:
        return RealClock(lambda: self.wall, lambda: self.elapsed)

    def wait(self, nanos: int) -> None:
        """Advance both clocks."""
        self.wall += nanos
        self.elapsed += nanos

    def run(self, clock: RealClock, nanos: int, each: int = SECOND // 10) -> None:
        """Advance both clocks, and read the venue's clock all the while."""
        for _ in range(nanos // each):
            self.wait(each)
            clock.micros()


def nanos(clock: RealClock) -> int:
    return clock.micros() * 1_000


def test_milliseconds_and_microseconds_are_one_clock() -> None:
    """A reading in microseconds, cut to milliseconds, is the reading in milliseconds."""
    clock: Clock = RealClock(lambda: 1_700_000_000_123_456_789, lambda: 5)
    assert (1_700_000_000_123, 1_700_000_000_123_456) == (clock.now(), clock.micros())


def test_the_default_is_the_machines_clock() -> None:
    """By default the clock reads the present: after 2024 and before 2100."""
    clock = RealClock()
    assert 1_704_067_200_000 < clock.now() < 4_102_444_800_000
    assert abs(clock.wall() - clock.now()) < 1_000
    assert abs(clock.lead_millis()) < 1_000


def test_a_correction_of_a_second_is_followed_at_once() -> None:
    """A second ahead is followed; a second back passes at half speed, for two seconds."""
    machine = Machine()
    clock = machine.clock()
    clock.micros()
    machine.wall += MAX_STEP
    assert machine.wall == nanos(clock)
    machine.run(clock, 10 * SECOND)
    machine.wall -= MAX_STEP
    before = nanos(clock)
    machine.run(clock, SECOND)
    assert before + SECOND // 2 == nanos(clock)
    machine.run(clock, SECOND)
    assert machine.wall == nanos(clock)
    assert not clock.clocks_apart


def test_a_suspend_is_no_jump() -> None:
    """A machine that slept for three days, with both clocks advancing, is followed at once."""
    machine = Machine()
    clock = machine.clock()
    clock.micros()
    machine.wait(72 * HOUR)
    assert machine.wall == nanos(clock)
    assert 0 == clock.lead_millis()


@pytest.mark.parametrize("wrong", [1, 10, 600])
def test_a_temporary_jump_ahead_gains_at_most_half_of_its_duration(wrong: int) -> None:
    """Venue time gains half of that and a second, never stands still, and agrees again."""
    machine = Machine()
    clock = machine.clock()
    clock.micros()
    machine.wall += HOUR
    machine.run(clock, wrong * SECOND)
    machine.wall -= HOUR
    led = nanos(clock) - machine.wall
    assert 0 < led <= wrong * SECOND // SLEW + MAX_STEP
    for _ in range(2 * led // SECOND):
        before = nanos(clock)
        machine.run(clock, SECOND)
        assert before < nanos(clock)
    machine.run(clock, SECOND)
    assert machine.wall == nanos(clock)


@pytest.mark.parametrize("jump", [2 * SECOND, 60 * SECOND, HOUR])
def test_venue_time_catches_up_with_a_lasting_jump(jump: int) -> None:
    """Venue time is half as fast again: an hour takes two, less what was followed at once."""
    machine = Machine()
    clock = machine.clock()
    clock.micros()
    machine.wall += jump
    machine.run(clock, 2 * (jump - MAX_STEP) - SECOND, SECOND)
    assert nanos(clock) < machine.wall
    machine.run(clock, 2 * SECOND, SECOND)
    assert machine.wall == nanos(clock)
    machine.run(clock, 2 * MAX_STEP, SECOND)
    assert not clock.clocks_apart


@pytest.mark.parametrize("ahead", [0, 1_000, 3_600_000])
def test_a_log_from_the_future_is_continued(ahead: int, caplog: pytest.LogCaptureFixture) -> None:
    """No reading is before its last stamp, time passes at half speed, and the log reports it."""
    machine = Machine()
    clock = machine.clock()
    last = WALL // 1_000_000 + ahead
    clock.start_at(last)
    assert last == clock.now()
    assert ahead == clock.lead_millis()
    machine.run(clock, SECOND)
    assert last + 500 + (500 if not ahead else 0) == clock.now()
    said = [record.getMessage() for record in caplog.records]
    if ahead <= 1_000:
        assert [] == said
    else:
        assert clock.clocks_apart
        (line,) = said
        assert line.startswith("venue time is 3600.0 s ahead of the machine's clock")
        assert "2026-" in line
        machine.run(clock, 2 * HOUR, SECOND)
        assert machine.wall == nanos(clock)
        assert "venue time and the machine's clock agree again" == caplog.records[-1].getMessage()


def test_repeated_jumps_are_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """An unstable clock logs at most a line a second, and the last line is true."""
    machine = Machine()
    clock = machine.clock()
    caplog.set_level(logging.WARNING)
    clock.micros()
    for number in range(3_000):
        machine.wait(SECOND // 1_000)
        machine.wall += HOUR if number % 2 else -HOUR
        clock.micros()
    assert 1 <= len(caplog.records) <= 3_000 // (LOG_INTERVAL * 1_000 // SECOND) + 1
    machine.run(clock, 20 * SECOND)
    assert not clock.clocks_apart


def test_signatures_are_checked_by_the_wall_clock() -> None:
    """Clients share that clock, wherever venue time is; it may go back."""
    machine = Machine()
    clock = machine.clock()
    clock.start_at(WALL // 1_000_000 + 3_600_000)
    assert WALL // 1_000_000 == clock.wall()
    machine.wall -= HOUR
    assert (WALL - HOUR) // 1_000_000 == clock.wall()


jumps = st.lists(
    st.tuples(
        st.integers(0, 30 * SECOND),
        st.one_of(
            st.just(0), st.integers(-2 * MAX_STEP, 2 * MAX_STEP), st.integers(-(2**62), 2**62)
        ),
    ),
    min_size=1,
    max_size=50,
)


@given(jumps)
def test_lifetimes_do_not_depend_on_the_wall_clock(steps: list[tuple[int, int]]) -> None:
    """They follow the clock that cannot be set, within a millisecond and the check interval."""
    machine = Machine()
    steady = SteadyClock(machine.clock())
    began = steady.micros()
    for passed, jump in steps:
        machine.wait(passed)
        machine.wall += jump
        gone = (machine.elapsed - BOOT) // 1_000
        assert abs(steady.micros() - began - gone) <= (CHECK_INTERVAL + SECOND // 1_000) // 1_000
        assert steady.now() == steady.micros() // 1_000


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 10 * SECOND, -10 * SECOND])
def test_a_jump_does_not_change_a_lifetime(jump: int) -> None:
    """A jump ahead does not end a token early, and one back does not extend it."""
    machine = Machine()
    clock = machine.clock()
    clock.start_at(WALL // 1_000_000 + 3_600_000)
    steady = SteadyClock(clock)
    end = steady.now() + 60_000
    machine.wall += jump
    machine.run(clock, 59 * SECOND)
    assert steady.now() < end
    machine.run(clock, 2 * SECOND)
    assert steady.now() > end


def test_a_clock_moved_by_hand_has_no_lead() -> None:
    """There is no other clock to compare it with."""
    assert 0 == lead_millis(HandClock())


@given(jumps)
def test_venue_time_stays_close_to_the_elapsed_time(
    steps: list[tuple[int, int]],
) -> None:
    """It never decreases, gains at most half of the elapsed time and a step, and loses half."""
    machine = Machine()
    clock = machine.clock()
    began = latest = nanos(clock)
    for passed, jump in steps:
        machine.wait(passed)
        machine.wall += jump
        reading = nanos(clock)
        assert reading >= latest
        gone = machine.elapsed - BOOT
        assert reading - began <= gone + gone // SLEW + MAX_STEP + CHECK_INTERVAL
        assert reading - began >= gone // SLEW - MAX_STEP - CHECK_INTERVAL - 1_000 * len(steps)
        latest = reading


def test_small_steps_add_up_to_no_more_than_large_ones() -> None:
    """A clock that runs a hundred times too fast is treated as a jump as well."""
    machine = Machine()
    clock = machine.clock()
    began = nanos(clock)
    chance = random.Random(1)
    for _ in range(20_000):
        passed = chance.randrange(SECOND // 1_000)
        machine.elapsed += passed
        machine.wall += 100 * passed
        clock.micros()
    gone = machine.elapsed - BOOT
    assert nanos(clock) - began <= gone + gone // SLEW + MAX_STEP + CHECK_INTERVAL
