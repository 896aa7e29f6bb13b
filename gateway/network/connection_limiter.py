"""Limits the number of WebSocket connections, in all and per address."""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from http import HTTPStatus
from typing import Final

import trio
from attrs import define, field

# Each connection may leave a session end in the system queue and has four tasks and, at worst, a
# full outbox.
MAX_CONNECTIONS: Final = 8_192


class Refusal(Enum):
    """Why a connection gets no slot; the value is the HTTP status to answer with."""

    ADDRESS = HTTPStatus.TOO_MANY_REQUESTS
    VENUE = HTTPStatus.SERVICE_UNAVAILABLE


@define(eq=False)
class ConnectionLimiter:
    """Counts connections by session number. A slot is taken at accept, before the handshake.

    A slot is freed when the end of its session is in the log, not when its socket closes: a client
    that reconnects in a loop gets no faster than its sessions end.
    """

    per_address: int
    total: int = MAX_CONNECTIONS
    _sessions: dict[int, str] = field(factory=dict, init=False)
    _addresses: Counter[str] = field(factory=Counter, init=False)
    # Slots that penalties occupy, with the time on trio's clock at which they become free.
    _penalties: deque[tuple[float, str]] = field(factory=deque, init=False)

    def __len__(self) -> int:
        """The number of connections with a slot."""
        return len(self._sessions)

    def take(self, session: int, address: str) -> Refusal | None:
        """Take a slot; return why there is none, or None."""
        while self._penalties and self._penalties[0][0] <= trio.current_time():
            self._release(self._penalties.popleft()[1])
        if len(self._sessions) >= self.total:
            return Refusal.VENUE
        if self._addresses[address] >= self.per_address:
            return Refusal.ADDRESS
        self._sessions[session] = address
        self._addresses[address] += 1
        return None

    def free(self, session: int) -> None:
        """Free a session's slot, if it has one."""
        address = self._sessions.pop(session, None)
        if address is None:
            return
        self._release(address)

    def penalise(self, address: str, until: float) -> None:
        """Occupy a slot of an address until a time on trio's clock.

        Calls must be in order of `until`.
        """
        self._addresses[address] += 1
        self._penalties.append((until, address))

    def _release(self, address: str) -> None:
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
