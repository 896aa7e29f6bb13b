"""How many connections there may be, in all and from one address."""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from http import HTTPStatus
from typing import Final

import trio
from attrs import define, field

# Every connection may have a session end waiting in the lane, five tasks and, at worst, a full
# outbox; a machine that carries more than this needs the operator's thought anyway.
MAX_CONNECTIONS: Final = 8_192


class Refusal(Enum):
    """Why there is no slot; the value is the HTTP status that says so."""

    ADDRESS = HTTPStatus.TOO_MANY_REQUESTS
    VENUE = HTTPStatus.SERVICE_UNAVAILABLE


@define(eq=False)
class ConnectionLimiter:
    """Connections by session number. A slot is taken at accept, before the handshake.

    It is freed when the end of its session is in the log, not when the socket closes: a client
    that reconnects in a loop is held to the pace at which its sessions end.
    """

    per_address: int
    total: int = MAX_CONNECTIONS
    _sessions: dict[int, str] = field(factory=dict, init=False)
    _addresses: Counter[str] = field(factory=Counter, init=False)
    # Slots that are taken by no connection, by the time on trio's clock at which they are free.
    _penalties: deque[tuple[float, str]] = field(factory=deque, init=False)

    def __len__(self) -> int:
        """Slots taken."""
        return len(self._sessions)

    def take(self, session: int, address: str) -> Refusal | None:
        """Take a slot, or say why not."""
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
        """Give a slot back; nothing happens where there is none."""
        address = self._sessions.pop(session, None)
        if address is None:
            return
        self._release(address)

    def penalise(self, address: str, until: float) -> None:
        """Take up a slot of an address until a time on trio's clock, not before earlier ones."""
        self._addresses[address] += 1
        self._penalties.append((until, address))

    def _release(self, address: str) -> None:
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
