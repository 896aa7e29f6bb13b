"""Tests of the rate limits and the log-in guard that a configuration gives."""

from __future__ import annotations

import pytest

from gateway.access.rate_limits import Cost, CreditPools
from gateway.config.schema import Limits
from gateway.server.access_limits import login_guard, pool_terms, rate_limits


@pytest.mark.parametrize(
    ("cost", "burst", "per_minute"),
    [
        (Cost.GENERAL, 100, 1_200),
        (Cost.GET_INSTRUMENTS, 50, 60),
        (Cost.SUBSCRIBE, 10, 200),
        (Cost.TRANSACTION_LOG, 8, 60),
        (Cost.MOVE_POSITIONS, 6, 6),
        (Cost.MATCHING, 100, 1_800),
        (Cost.CANCEL_ALL, 100, 1_800),
    ],
)
def test_the_defaults_are_those_of_the_api(cost: Cost, burst: int, per_minute: int) -> None:
    """Burst and sustained rate of each class of methods match what the API publishes."""
    terms = pool_terms(Limits())
    pools = CreditPools(terms)
    assert burst == sum(bool(pools.spend(7, cost, 0.0)) for _ in range(burst + 50))
    assert per_minute == pytest.approx(terms[cost].per_second / terms[cost].cost * 60)


def test_every_cost_has_a_pool() -> None:
    """A method without a pool would raise KeyError when it is called."""
    assert set(Cost) == set(pool_terms(Limits()))


def test_rate_limits_follow_the_configuration_and_the_clock() -> None:
    """A configured burst of one request is spent by one request and refilled by the clock."""
    now = 0.0
    limits = rate_limits(Limits(matching_burst=1), lambda: now)
    assert limits.spend(7, Cost.MATCHING)
    assert not limits.spend(7, Cost.MATCHING)
    now = 60.0
    assert limits.spend(7, Cost.MATCHING)


def test_the_log_in_guard_follows_the_configuration() -> None:
    """A key is blocked after as many wrong secrets as the configuration allows."""
    guard = login_guard(Limits(login_attempts_per_key=2), lambda: 0.0)
    for _ in range(2):
        assert not guard.blocks("key", "192.0.2.1", known=True)
        guard.record_failure("key", "192.0.2.1", known=True)
    assert guard.blocks("key", "192.0.2.1", known=True)
