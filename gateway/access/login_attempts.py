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

from gateway.access.rate_limits import SUBJECTS, network_of

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
class Failures(Generic[Subject]):
    """Failures of each subject in the last `seconds`: whether they are as many as `most`.

    The subject that failed longest ago is forgotten beyond `subjects` of them.
    """

    most: int
    seconds: float
    subjects: int
    # Times of failures, oldest first; subjects in order of their last one.
    _failures: dict[Subject, deque[float]] = field(default=Factory(dict), init=False)

    def __len__(self) -> int:
        """Subjects remembered."""
        return len(self._failures)

    def over(self, subject: Subject, now: float) -> bool:
        """Whether it has failed as often as it may."""
        failures = self._failures.get(subject)
        if failures is None or len(failures) < self.most:
            return False
        return now < failures[0] + self.seconds

    def add(self, subject: Subject, now: float) -> None:
        """Count a failure."""
        # The newest `most` tell all: the window is over when the oldest of them is.
        failures = self._failures.pop(subject, None) or deque(maxlen=self.most)
        while failures and failures[0] + self.seconds <= now:
            failures.popleft()
        failures.append(now)
        self._failures[subject] = failures
        if len(self._failures) > self.subjects:
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
    _addresses: Failures[str] = field(init=False)
    _keys: Failures[str] = field(init=False)
    _unknown: Failures[str] = field(init=False)
    # By key and address, of those addresses alone from which the key has been used.
    _own: Failures[tuple[str, str]] = field(init=False)
    _used_from: dict[str, OrderedDict[str, None]] = field(default=Factory(dict), init=False)

    def __attrs_post_init__(self) -> None:
        """Nothing has been guessed. Keys that exist are bounded by being configured."""
        self._addresses = Failures(self.per_address, ADDRESS_SECONDS, SUBJECTS)
        self._keys = Failures(self.per_key, KEY_SECONDS, SUBJECTS)
        self._unknown = Failures(self.per_key, KEY_SECONDS, UNKNOWN_KEYS)
        self._own = Failures(self.per_address, KEY_SECONDS, SUBJECTS)

    def blocks(self, client_id: str, address: str, *, known: bool) -> bool:
        """Whether no secret may be compared for that key now; `known` keys exist."""
        now = self.now()
        failures = self._keys if known else self._unknown
        if not failures.over(client_id[:KEY_CHARACTERS], now):
            return False
        network = network_of(address)
        own = network in self._used_from.get(client_id, ())
        return not own or self._own.over((client_id, network), now)

    def record_failure(self, client_id: str, address: str, *, known: bool) -> bool:
        """Count a guess; returns whether its address had made too many before."""
        now, network = self.now(), network_of(address)
        failures = self._keys if known else self._unknown
        failures.add(client_id[:KEY_CHARACTERS], now)
        if network in self._used_from.get(client_id, ()):
            self._own.add((client_id, network), now)
        if self._addresses.over(network, now):
            return True
        self._addresses.add(network, now)
        return False

    def record_success(self, client_id: str, address: str) -> None:
        """A key has been used from an address."""
        network = network_of(address)
        networks = self._used_from.setdefault(client_id, OrderedDict())
        networks[network] = None
        networks.move_to_end(network)
        if len(networks) > ADDRESSES_PER_KEY:
            networks.popitem(last=False)
