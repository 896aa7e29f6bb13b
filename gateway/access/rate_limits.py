"""Rate-limit credits: how many requests a client may make.

Nothing here waits or reads a clock: times are seconds of a monotonic clock, passed in. All memory
is bounded, whatever the number of addresses.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

import msgspec
from attrs import Factory, define, field

# The longest delay that pacing imposes on an HTTP request.
MAX_DELAY_SECONDS: Final = 5.0

# Accounts and addresses remembered, about 200 bytes each. A pool that is idle for a minute is full,
# so dropping it changes nothing. To have an active one dropped, a client would need this many
# addresses, and with those it could exceed its rate anyway.
MAX_SUBJECTS: Final = 20_000


class Cost(StrEnum):
    """The pool of rate-limit credits that a method is paid from."""

    GENERAL = "general"
    GET_INSTRUMENTS = "get_instruments"
    SUBSCRIBE = "subscribe"
    TRANSACTION_LOG = "transaction_log"
    MOVE_POSITIONS = "move_positions"
    MATCHING = "matching"
    CANCEL_ALL = "cancel_all"


class RateDecision(msgspec.Struct, frozen=True, gc=False):
    """Whether a request may proceed, as its truth value, and else in how many seconds.

    `wait_seconds` is infinite for a request that costs more than its pool can hold.
    """

    wait_seconds: float = 0.0

    def __bool__(self) -> bool:
        """Whether the request may proceed now."""
        return self.wait_seconds == 0


ALLOWED: Final = RateDecision()


@define
class CreditPool:
    """Credits that refill by `per_second` up to `size`, and are spent on requests.

    A pool starts full. Over a period it admits at most `size` plus what was refilled meanwhile.
    """

    size: float
    per_second: float
    updated_at: float
    level: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start with a full burst."""
        self.level = self.size

    def take(self, cost: float, now: float) -> RateDecision:
        """Spend `cost` if the pool holds it; a rejected request costs nothing."""
        if now > self.updated_at:
            self.level += (now - self.updated_at) * self.per_second
            self.updated_at = now
            if self.level > self.size:
                self.level = self.size
        if cost <= self.level:
            self.level -= cost
            return ALLOWED
        missing = cost - self.level
        return RateDecision(math.inf if cost > self.size else missing / self.per_second)

    def charge(self, cost: float, now: float) -> None:
        """Spend `cost` even if the pool becomes negative; it then has to refill first."""
        self.take(0, now)
        self.level -= cost


class PoolTerms(msgspec.Struct, frozen=True, gc=False):
    """The size of a pool, its refill each second, and the cost of one request."""

    size: float
    per_second: float
    cost: float


@define
class CreditPools:
    """The pools of every account (by number) and of every address (by text)."""

    terms: Mapping[Cost, PoolTerms]
    max_pools: int = MAX_SUBJECTS
    # In order of use, least recently used first.
    _pools: OrderedDict[tuple[int | str, Cost], CreditPool] = field(
        default=Factory(OrderedDict), init=False
    )

    def __len__(self) -> int:
        """Return the number of pools remembered."""
        return len(self._pools)

    def charge(self, subject: int | str, cost: Cost, credits_: float, now: float) -> None:
        """Charge credits beyond the cost of a request that was paid for."""
        key = (subject, cost)
        (self._pools.get(key) or self._make(key, now)).charge(credits_, now)

    def spend(self, subject: int | str, cost: Cost, now: float) -> RateDecision:
        """Pay for one request of this cost."""
        terms = self.terms[cost]
        key = (subject, cost)
        pool = self._pools.get(key)
        if pool is not None:
            self._pools.move_to_end(key)
            return pool.take(terms.cost, now)
        return self._make(key, now).take(terms.cost, now)

    def _make(self, key: tuple[int | str, Cost], now: float) -> CreditPool:
        """Return a full pool; beyond the bound, the least recently used one is dropped."""
        terms = self.terms[key[1]]
        pool = self._pools[key] = CreditPool(terms.size, terms.per_second, now)
        if len(self._pools) > self.max_pools:
            self._pools.popitem(last=False)
        return pool


@define
class RequestPacer:
    """Delays the HTTP requests of an address that exceeds its rate."""

    per_second: float
    burst: float
    max_addresses: int = MAX_SUBJECTS
    # In order of use, least recently used first.
    _pools: OrderedDict[str, CreditPool] = field(default=Factory(OrderedDict), init=False)

    def __len__(self) -> int:
        """Return the number of addresses remembered."""
        return len(self._pools)

    def delay(self, address: str, cost: float, now: float) -> float:
        """Count a request of this cost; return for how many seconds to delay it, within a bound."""
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = CreditPool(self.burst, self.per_second, now)
            if len(self._pools) > self.max_addresses:
                self._pools.popitem(last=False)
        else:
            self._pools.move_to_end(address)
        pool.charge(cost, now)
        # Requests that were abandoned while they waited have been charged as well.
        pool.level = max(pool.level, -self.per_second * MAX_DELAY_SECONDS)
        return max(-pool.level / self.per_second, 0.0)


@define
class RateLimits:
    """The credit pools of one venue; `now` gives seconds of a monotonic clock."""

    pools: CreditPools
    now: Callable[[], float]

    def spend(self, subject: int | str, cost: Cost) -> RateDecision:
        """Pay for one request of an account, or of an address without a log-in."""
        paying = rate_limit_address(subject) if isinstance(subject, str) else subject
        return self.pools.spend(paying, cost, self.now())

    def charge(self, subject: int | str, cost: Cost, credits_: float) -> None:
        """Charge credits for the size of a reply, on top of the cost of its request."""
        paying = rate_limit_address(subject) if isinstance(subject, str) else subject
        self.pools.charge(paying, cost, credits_, self.now())


@lru_cache(maxsize=4_096)
def rate_limit_address(address: str) -> str:
    """Return the subject of an address: itself, or its /64 network in IPv6, which one host owns.

    An IPv4-mapped IPv6 address counts as its IPv4 address; text that is no IP address (a Unix
    socket) counts as it is.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), 64), strict=False))
