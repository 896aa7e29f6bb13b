"""Build the rate limits and the log-in guard from the configuration."""

from __future__ import annotations

from collections.abc import Callable

from gateway.access.login_attempts import LoginGuard
from gateway.access.rate_limits import Cost, CreditPools, PoolTerms, RateLimits
from gateway.config.schema import Limits


def pool_terms(limits: Limits) -> dict[Cost, PoolTerms]:
    """Return the size, refill and price of each pool, as configured."""
    refill = limits.credits_per_second
    return {
        Cost.GENERAL: PoolTerms(limits.general_pool, refill, limits.general_cost),
        Cost.GET_INSTRUMENTS: PoolTerms(
            limits.get_instruments_pool, refill, limits.get_instruments_cost
        ),
        Cost.SUBSCRIBE: PoolTerms(limits.subscribe_pool, refill, limits.subscribe_cost),
        Cost.TRANSACTION_LOG: PoolTerms(
            limits.transaction_log_pool, refill, limits.transaction_log_cost
        ),
        Cost.MOVE_POSITIONS: PoolTerms(
            limits.move_positions_pool, refill, limits.move_positions_cost
        ),
        Cost.MATCHING: PoolTerms(limits.matching_burst, limits.matching_per_second, 1),
        Cost.CANCEL_ALL: PoolTerms(limits.cancel_all_burst, limits.cancel_all_per_second, 1),
    }


def rate_limits(limits: Limits, now: Callable[[], float]) -> RateLimits:
    """Return the rate limits. Callers check `limits.enabled` before they spend credits."""
    return RateLimits(CreditPools(pool_terms(limits)), now)


def login_guard(limits: Limits, now: Callable[[], float]) -> LoginGuard:
    """Return the guard that counts wrong secrets; `now` gives seconds of a monotonic clock."""
    return LoginGuard(limits.login_attempts, limits.login_attempts_per_key, now)
