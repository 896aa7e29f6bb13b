"""Limits on log-ins with a wrong secret, by address and by key.

Only a wrong secret or signature counts. A token does not, because its signature cannot be guessed,
and neither does any request made with the right secret. Nothing here waits; times are seconds of a
monotonic clock. All memory is bounded.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from attrs import Factory, define, field

from gateway.access.rate_limits import MAX_SUBJECTS, rate_limit_address

ADDRESS_SECONDS: Final = 60.0
KEY_SECONDS: Final = 3_600.0

PER_ADDRESS: Final = 20
PER_KEY: Final = 100

# Client ids without a key are counted like those with one, so that a refusal does not reveal which
# exist. Each holds PER_KEY times, about 5 MB in all. Longer ids are cut to the length of a key's.
UNKNOWN_KEYS: Final = 2_000
KEY_CHARACTERS: Final = 64

# Addresses remembered from which a key was used: servers and desks of one owner.
ADDRESSES_PER_KEY: Final = 16

Subject = TypeVar("Subject")


@define
class FailureCounter(Generic[Subject]):
    """Counts the failures of each subject in the last `seconds`, up to `limit`.

    Beyond `max_subjects`, the subject whose last failure is the oldest is dropped.
    """

    limit: int
    seconds: float
    max_subjects: int
    # Times of failures, oldest first; subjects in the order of their last failure.
    _failures: dict[Subject, deque[float]] = field(default=Factory(dict), init=False)

    def __len__(self) -> int:
        """Return the number of subjects remembered."""
        return len(self._failures)

    def limit_reached(self, subject: Subject, now: float) -> bool:
        """Whether a subject has failed `limit` times within the window."""
        failures = self._failures.get(subject)
        if failures is None or len(failures) < self.limit:
            return False
        return now < failures[0] + self.seconds

    def add(self, subject: Subject, now: float) -> None:
        """Count a failure."""
        # The newest `limit` times suffice: the limit is reached until the oldest of them has
        # expired.
        failures = self._failures.pop(subject, None) or deque(maxlen=self.limit)
        while failures and failures[0] + self.seconds <= now:
            failures.popleft()
        failures.append(now)
        self._failures[subject] = failures
        if len(self._failures) > self.max_subjects:
            del self._failures[next(iter(self._failures))]


@define
class LoginGuard:
    """Blocks the guessing of secrets.

    After `per_key` wrong secrets for a key in an hour, from whatever addresses, no secret is
    compared with that key. Its owner is not locked out: addresses from which the key was used
    successfully stay allowed, up to `per_address` wrong secrets of their own in an hour.

    An address with `per_address` wrong secrets in a minute gets another error for further ones. A
    right secret from it is accepted, because other clients may share the address.
    """

    per_address: int = PER_ADDRESS
    per_key: int = PER_KEY
    now: Callable[[], float] = time.monotonic
    _by_address: FailureCounter[str] = field(init=False)
    _by_key: FailureCounter[str] = field(init=False)
    _by_unknown_id: FailureCounter[str] = field(init=False)
    # By key and address, only for addresses from which the key was used successfully.
    _by_key_and_address: FailureCounter[tuple[str, str]] = field(init=False)
    _addresses_of_key: dict[str, OrderedDict[str, None]] = field(default=Factory(dict), init=False)

    def __attrs_post_init__(self) -> None:
        """Create the counters. Existing keys need no bound of their own: they are configured."""
        self._by_address = FailureCounter(self.per_address, ADDRESS_SECONDS, MAX_SUBJECTS)
        self._by_key = FailureCounter(self.per_key, KEY_SECONDS, MAX_SUBJECTS)
        self._by_unknown_id = FailureCounter(self.per_key, KEY_SECONDS, UNKNOWN_KEYS)
        self._by_key_and_address = FailureCounter(self.per_address, KEY_SECONDS, MAX_SUBJECTS)

    def blocks(self, client_id: str, address: str, *, known: bool) -> bool:
        """Whether no secret may be compared with that key now; `known` means that it exists."""
        now = self.now()
        failures = self._by_key if known else self._by_unknown_id
        if not failures.limit_reached(client_id[:KEY_CHARACTERS], now):
            return False
        network = rate_limit_address(address)
        own = network in self._addresses_of_key.get(client_id, ())
        return not own or self._by_key_and_address.limit_reached((client_id, network), now)

    def record_failure(self, client_id: str, address: str, *, known: bool) -> bool:
        """Count a wrong secret; return whether its address had reached its limit before."""
        now, network = self.now(), rate_limit_address(address)
        failures = self._by_key if known else self._by_unknown_id
        failures.add(client_id[:KEY_CHARACTERS], now)
        if network in self._addresses_of_key.get(client_id, ()):
            self._by_key_and_address.add((client_id, network), now)
        if self._by_address.limit_reached(network, now):
            return True
        self._by_address.add(network, now)
        return False

    def record_success(self, client_id: str, address: str) -> None:
        """Remember that a key was used from an address."""
        network = rate_limit_address(address)
        networks = self._addresses_of_key.setdefault(client_id, OrderedDict())
        networks[network] = None
        networks.move_to_end(network)
        if len(networks) > ADDRESSES_PER_KEY:
            networks.popitem(last=False)
