"""The venue's clock."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import Clock, RealClock


def test_time_stands_still_while_the_machine_sets_its_clock_back() -> None:
    """A wall clock set back by two seconds gives the latest reading until it has caught up."""
    readings = iter([10_000_000_000, 8_000_000_000, 9_999_000_000, 10_001_000_000])
    clock: Clock = RealClock(lambda: next(readings))
    assert [10_000, 10_000, 10_000, 10_001] == [clock.now() for _ in range(4)]


def test_milliseconds_and_microseconds_are_one_clock() -> None:
    """A reading in microseconds, cut to milliseconds, is the reading in milliseconds."""
    clock = RealClock(lambda: 1_700_000_000_123_456_789)
    assert (1_700_000_000_123, 1_700_000_000_123_456) == (clock.now(), clock.micros())


def test_the_default_is_the_wall_clock() -> None:
    """Without a source the clock reads the present: after 2024 and before 2100."""
    assert 1_704_067_200_000 < RealClock().now() < 4_102_444_800_000


@given(st.lists(st.integers(0, 2**62), min_size=1))
def test_readings_never_decrease(nanos: list[int]) -> None:
    """Whatever the wall clock does, each reading is at least the one before."""
    readings = iter(nanos)
    clock = RealClock(lambda: next(readings))
    seen = [clock.micros() for _ in nanos]
    assert sorted(seen) == seen
