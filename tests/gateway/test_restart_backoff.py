"""Tests of the delays between restarts."""

from __future__ import annotations

from gateway.restart_backoff import RestartBackoff


def test_delays_double_up_to_the_longest() -> None:
    """A part that fails at once is started less and less often, but never given up."""
    backoff = RestartBackoff(1.0, 5.0)
    assert [1.0, 2.0, 4.0, 5.0, 5.0] == [backoff.delay_after(0.0) for _ in range(5)]


def test_a_long_run_resets_the_delay() -> None:
    """A run longer than the longest delay was healthy; one of that length was not."""
    backoff = RestartBackoff(1.0, 5.0)
    for _ in range(3):
        backoff.delay_after(0.0)
    assert 5.0 == backoff.delay_after(5.0)
    assert 1.0 == backoff.delay_after(5.1)
    assert 2.0 == backoff.delay_after(0.0)
