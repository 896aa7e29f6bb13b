"""Tests of rate-limit credits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.rate_limits import (
    MAX_DELAY_SECONDS,
    Cost,
    CreditPool,
    CreditPools,
    PoolTerms,
    RateDecision,
    RateLimits,
    RequestPacer,
    rate_limit_address,
)


def test_a_pool_gives_its_burst_and_then_its_rate() -> None:
    """50,000 credits at 500 a request are 100 at once, then 20 a second."""
    pool = CreditPool(50_000, 10_000, updated_at=0.0)
    assert 100 == sum(bool(pool.take(500, 0.0)) for _ in range(150))
    assert RateDecision(0.05) == pool.take(500, 0.0)
    assert 20 == sum(bool(pool.take(500, 1.0)) for _ in range(150))


def test_a_rejected_request_costs_nothing() -> None:
    """Rejected requests do not delay the next accepted one."""
    pool = CreditPool(1, 1, updated_at=0.0)
    assert pool.take(1, 0.0)
    assert [False] * 9 == [bool(pool.take(1, tenth / 10)) for tenth in range(1, 10)]
    assert pool.take(1, 1.0)


def test_time_that_goes_back_gives_no_credit() -> None:
    """The seconds between a reading and an earlier one are not credited twice."""
    pool = CreditPool(1, 1, updated_at=0.0)
    assert [True, False, False, True] == [bool(pool.take(1, at)) for at in (10.0, 5.0, 10.5, 11.0)]


def test_a_cost_beyond_the_pool_is_never_accepted() -> None:
    """The wait is infinite."""
    assert RateDecision(math.inf) == CreditPool(10, 1, updated_at=0.0).take(11, 1e9)


steps = st.lists(st.tuples(st.floats(-5, 50), st.floats(0.001, 120)), min_size=1, max_size=60)


@given(steps, st.floats(1, 100), st.floats(0.01, 100))
def test_a_pool_never_lets_through_more_than_burst_and_refill(
    steps: list[tuple[float, float]], size: float, per_second: float
) -> None:
    """Between any two times, also if time goes back, at most size + time x rate passes."""
    pool = CreditPool(size, per_second, updated_at=0.0)
    now = latest = 0.0
    passed: list[tuple[float, float]] = []
    for pause, cost in steps:
        now = max(0.0, now + pause)
        latest = max(latest, now)
        if pool.take(cost, now):
            passed.append((latest, cost))
        assert 0 <= pool.level <= size
    for first in range(len(passed)):
        spent = 0.0
        for at, cost in passed[first:]:
            spent += cost
            assert spent <= (size + (at - passed[first][0]) * per_second) * (1 + 1e-9)


@given(steps, st.floats(1, 100), st.floats(0.01, 100))
def test_the_wait_of_a_decision_is_sufficient(
    steps: list[tuple[float, float]], size: float, per_second: float
) -> None:
    """A client that waits for that time and a microsecond is accepted."""
    pool = CreditPool(size, per_second, updated_at=0.0)
    now = 0.0
    for pause, cost in steps:
        now += abs(pause)
        verdict = pool.take(cost, now)
        if not verdict and verdict.wait_seconds < math.inf:
            now += verdict.wait_seconds + 1e-6
            assert pool.take(cost, now)


def test_subjects_and_classes_have_pools_of_their_own() -> None:
    """Another account, an address, or another class of methods does not drain a pool."""
    pools = CreditPools({Cost.MATCHING: PoolTerms(1, 1, 1), Cost.CANCEL_ALL: PoolTerms(1, 1, 1)})
    assert pools.spend(1, Cost.MATCHING, 0.0)
    assert not pools.spend(1, Cost.MATCHING, 0.0)
    assert pools.spend(2, Cost.MATCHING, 0.0)
    assert pools.spend("1", Cost.MATCHING, 0.0)
    assert pools.spend(1, Cost.CANCEL_ALL, 0.0)


def test_the_number_of_pools_is_bounded() -> None:
    """The least recently used pool is dropped first; one in use keeps its debt."""
    pools = CreditPools({Cost.GENERAL: PoolTerms(1, 0.001, 1)}, max_pools=10)
    assert pools.spend("flooder", Cost.GENERAL, 0.0)
    for number in range(1_000):
        assert pools.spend(number, Cost.GENERAL, 0.0)
        assert not pools.spend("flooder", Cost.GENERAL, 0.0)
    assert 10 == len(pools)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unix:", "unix:"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str, network: str) -> None:
    """One host has a whole /64, so a limit by single address would not bind it."""
    assert network == rate_limit_address(address)


def test_the_addresses_of_one_ipv6_network_share_a_pool() -> None:
    """The pool refills by the clock that the limits were given."""
    now = 0.0
    limits = RateLimits(CreditPools({Cost.MATCHING: PoolTerms(1, 30.0, 1)}), lambda: now)
    assert limits.spend("2001:db8::1", Cost.MATCHING)
    assert not limits.spend("2001:db8::2", Cost.MATCHING)
    assert limits.spend(7, Cost.MATCHING)
    now = 60.0
    assert limits.spend("2001:db8::2", Cost.MATCHING)


arrivals = st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from((1, 5, 10))), max_size=200)


@given(arrivals, st.floats(1, 100), st.floats(10, 500))
def test_an_address_is_paced_to_its_burst_and_rate(
    arrivals: list[tuple[float, int]], burst: float, per_second: float
) -> None:
    """With the delays, at most burst and rate pass in any time, in order."""
    pacer = RequestPacer(per_second, burst)
    now, spent = 0.0, 0.0
    served: list[tuple[float, float]] = []
    for pause, cost in arrivals:
        now += pause
        wait = pacer.delay("a", cost, now)
        assert 0 <= wait <= MAX_DELAY_SECONDS
        if wait == MAX_DELAY_SECONDS:
            return
        spent += cost
        served.append((now + wait, spent))
        assert spent <= burst + (now + wait) * per_second + 1e-6
    assert served == sorted(served)
    assert 0 == RequestPacer(per_second, burst).delay("b", burst, now)


def test_a_delay_is_bounded_whatever_was_abandoned() -> None:
    """Connections that end while they wait do not delay later ones."""
    pacer = RequestPacer(10, 10)
    assert MAX_DELAY_SECONDS == [pacer.delay("a", 5, 0.0) for _ in range(1_000)][-1]
    assert 0 == pacer.delay("a", 1, MAX_DELAY_SECONDS + 0.1)


def test_the_number_of_paced_addresses_is_bounded() -> None:
    """The least recently used address is dropped."""
    pacer = RequestPacer(1, 1, max_addresses=2)
    assert [0, 0, 0] == [pacer.delay(address, 1, 0.0) for address in "abc"]
    assert 2 == len(pacer)
    assert [1, 0] == [pacer.delay(address, 1, 0.0) for address in "ba"]


def test_charging_for_the_size_of_a_reply_may_leave_a_debt() -> None:
    """The debt has to refill before the next request is accepted; a pool starts full."""
    pools = CreditPools({Cost.GENERAL: PoolTerms(1_000, 100, 500)})
    pools.charge("client", Cost.GENERAL, 1_500, 0.0)
    assert 10.0 == pools.spend("client", Cost.GENERAL, 0.0).wait_seconds
    assert pools.spend("client", Cost.GENERAL, 10.0)
    pools.charge("client", Cost.GENERAL, 50, 10.0)
    assert 5.5 == pools.spend("client", Cost.GENERAL, 10.0).wait_seconds
    assert pools.spend("other", Cost.GENERAL, 10.0)
