"""Log-ins with a wrong secret: how many may be tried, by address and by key.

Only guesses count: a wrong secret or signature, never a token, whose seal cannot be guessed, and
never what the right secret made. Nothing here waits; times are seconds of a monotonic clock. All
memory is bounded, whatever is guessed.
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

# Ids that no key has are counted like those of keys, so that a refusal does not tell which exist;
# forgetting one costs no more than that. Each holds PER_KEY times: some 5 MB in all. Of longer ids
# than keys have, as much is kept as those have.
UNKNOWN_KEYS: Final = 2_000
KEY_CHARACTERS: Final = 64

# Addresses remembered from which a key was used: servers and desks of one owner.
ADDRESSES_PER_KEY: Final = 16

Subject = TypeVar("Subject")


@define
class FailureCounter(Generic[Subject]):
    """Failures of each subject in the last `seconds`: whether they are as many as `most`.

    The subject that failed longest ago is forgotten beyond `subjects` of them.
    """

    limit: int
    seconds: float
    max_subjects: int
    # Times of failures, oldest first; subjects in order of their last one.
    _failures: dict[Subject, deque[float]] = field(default=Factory(dict), init=False)

    def __len__(self) -> int:
        """Subjects remembered."""
        return len(self._failures)

    def limit_reached(self, subject: Subject, now: float) -> bool:
        """Whether it has failed as often as it may."""
        failures = self._failures.get(subject)
        if failures is None or len(failures) < self.limit:
            return False
        return now < failures[0] + self.seconds

    def add(self, subject: Subject, now: float) -> None:
        """Count a failure."""
        # The newest `most` tell all: the window is over when the oldest of them is.
        failures = self._failures.pop(subject, None) or deque(maxlen=self.limit)
        while failures and failures[0] + self.seconds <= now:
            failures.popleft()
        failures.append(now)
        self._failures[subject] = failures
        if len(self._failures) > self.max_subjects:
            del self._failures[next(iter(self._failures))]


@define
class LoginGuard:
    """Wrong secrets, and whom they cost what.

    The key is what is guarded: after `per_key` guesses in an hour, wherever they came from, no
    secret is compared with it. That must not shut its owner out, so addresses from which it has
    been used are still heard, as long as they do not guess themselves: `per_address` times an hour.

    An address that has guessed `per_address` times in a minute gets that for an answer to more of
    its guesses; but others may share it, and what is right is let in.
    """

    per_address: int = PER_ADDRESS
    per_key: int = PER_KEY
    now: Callable[[], float] = time.monotonic
    _by_address: FailureCounter[str] = field(init=False)
    _by_key: FailureCounter[str] = field(init=False)
    _by_unknown_id: FailureCounter[str] = field(init=False)
    # By key and address, of those addresses alone from which the key has been used.
    _by_key_and_address: FailureCounter[tuple[str, str]] = field(init=False)
    _addresses_of_key: dict[str, OrderedDict[str, None]] = field(default=Factory(dict), init=False)

    def __attrs_post_init__(self) -> None:
        """Nothing has been guessed. Keys that exist are bounded by being configured."""
        self._by_address = FailureCounter(self.per_address, ADDRESS_SECONDS, MAX_SUBJECTS)
        self._by_key = FailureCounter(self.per_key, KEY_SECONDS, MAX_SUBJECTS)
        self._by_unknown_id = FailureCounter(self.per_key, KEY_SECONDS, UNKNOWN_KEYS)
        self._by_key_and_address = FailureCounter(self.per_address, KEY_SECONDS, MAX_SUBJECTS)

    def blocks(self, client_id: str, address: str, *, known: bool) -> bool:
        """Whether no secret may be compared for that key now; `known` keys exist."""
        now = self.now()
        failures = self._by_key if known else self._by_unknown_id
        if not failures.limit_reached(client_id[:KEY_CHARACTERS], now):
            return False
        network = rate_limit_address(address)
        own = network in self._addresses_of_key.get(client_id, ())
        return not own or self._by_key_and_address.limit_reached((client_id, network), now)

    def record_failure(self, client_id: str, address: str, *, known: bool) -> bool:
        """Count a guess; returns whether its address had made too many before."""
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
        """A key has been used from an address."""
        network = rate_limit_address(address)
        networks = self._addresses_of_key.setdefault(client_id, OrderedDict())
        networks[network] = None
        networks.move_to_end(network)
        if len(networks) > ADDRESSES_PER_KEY:
            networks.popitem(last=False)
