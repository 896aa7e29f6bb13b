"""How much a client may ask for: rate-limit credits.

Nothing here waits or reads a clock: times are seconds of a monotonic clock, passed in, and an
answer is a Verdict. All memory is bounded, whatever the number of addresses.
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

# Nothing waits longer for its address's rate of HTTP requests.
MAX_DELAY_SECONDS: Final = 5.0

# Accounts and addresses remembered, some 200 bytes each. Idle for a minute, a pool is full, and
# forgetting it changes nothing. Whoever makes us forget an earlier one needs
# this many addresses of their own, and with those needs no such trick.
MAX_SUBJECTS: Final = 20_000


class Cost(StrEnum):
    """Which pool of rate-limit credits a method is paid from."""

    GENERAL = "general"
    GET_INSTRUMENTS = "get_instruments"
    SUBSCRIBE = "subscribe"
    TRANSACTION_LOG = "transaction_log"
    MOVE_POSITIONS = "move_positions"
    MATCHING = "matching"
    CANCEL_ALL = "cancel_all"


class RateDecision(msgspec.Struct, frozen=True, gc=False):
    """Whether something may happen: its truth value. If not now, `wait_seconds` says when.

    It is infinite for what never can.
    """

    wait_seconds: float = 0.0

    def __bool__(self) -> bool:
        """Whether it may happen now."""
        return self.wait_seconds == 0


ALLOWED: Final = RateDecision()


@define
class CreditPool:
    """Credits that come back by the second up to `size`, and are spent on requests.

    It starts full. Between two times it lets through at most `size` and what came back meanwhile.
    """

    size: float
    per_second: float
    updated_at: float
    level: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        """A new subject has its whole burst."""
        self.level = self.size

    def take(self, cost: float, now: float) -> RateDecision:
        """Spend `cost` if there is as much; a refusal costs nothing."""
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
        """Spend `cost` in any case: what is missing has to come back before anything is let in."""
        self.take(0, now)
        self.level -= cost


class PoolTerms(msgspec.Struct, frozen=True, gc=False):
    """A kind of pool: its size, what it gets back each second, and the price of one request."""

    size: float
    per_second: float
    cost: float


@define
class CreditPools:
    """The pools of every account (by number) and of every address (by text)."""

    terms: Mapping[Cost, PoolTerms]
    max_pools: int = MAX_SUBJECTS
    # In order of use, the longest unused first.
    _pools: OrderedDict[tuple[int | str, Cost], CreditPool] = field(
        default=Factory(OrderedDict), init=False
    )

    def __len__(self) -> int:
        """Pools remembered."""
        return len(self._pools)

    def charge(self, subject: int | str, cost: Cost, credits_: float, now: float) -> None:
        """Take so many credits more for a request that has been paid for."""
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
        """A full pool, in place of the one that was unused the longest where there are too many."""
        terms = self.terms[key[1]]
        pool = self._pools[key] = CreditPool(terms.size, terms.per_second, now)
        if len(self._pools) > self.max_pools:
            self._pools.popitem(last=False)
        return pool


@define
class RequestPacer:
    """How fast each address may send HTTP requests: those that come faster wait for their turn."""

    per_second: float
    burst: float
    max_addresses: int = MAX_SUBJECTS
    # In order of use, the longest unused first.
    _pools: OrderedDict[str, CreditPool] = field(default=Factory(OrderedDict), init=False)

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._pools)

    def delay(self, address: str, cost: float, now: float) -> float:
        """Count a request of this cost; returns the seconds that it has to wait, a few at most."""
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = CreditPool(self.burst, self.per_second, now)
            if len(self._pools) > self.max_addresses:
                self._pools.popitem(last=False)
        else:
            self._pools.move_to_end(address)
        pool.charge(cost, now)
        # What was given up while it waited has been counted as well.
        pool.level = max(pool.level, -self.per_second * MAX_DELAY_SECONDS)
        return max(-pool.level / self.per_second, 0.0)


@define
class RateLimits:
    """All of it for one venue, with its clock: `now` gives seconds of a monotonic clock."""

    pools: CreditPools
    now: Callable[[], float]

    def spend(self, subject: int | str, cost: Cost) -> RateDecision:
        """Pay for one request of an account, or of an address where nobody is logged in."""
        paying = rate_limit_address(subject) if isinstance(subject, str) else subject
        return self.pools.spend(paying, cost, self.now())

    def charge(self, subject: int | str, cost: Cost, credits_: float) -> None:
        """Take credits for the size of an answer, on top of those of its request."""
        paying = rate_limit_address(subject) if isinstance(subject, str) else subject
        self.pools.charge(paying, cost, credits_, self.now())


@lru_cache(maxsize=4_096)
def rate_limit_address(address: str) -> str:
    """Whom an address counts as: itself, or its /64 network in IPv6, which one host has whole.

    IPv4 in IPv6 clothes counts as IPv4, and what is no IP address (a Unix socket) as it is.
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
