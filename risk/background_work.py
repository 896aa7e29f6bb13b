"""Work too large for one entry: a phase in the state, advanced a bounded number of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from book.order import CancelReason, OrderRecord
from risk import orders
from risk.commands import Origin
from risk.events import CancelledAll

if TYPE_CHECKING:
    from risk.position import Wallet
    from risk.state import State


class Phase(Protocol):
    """One piece of work in progress: an attrs class of plain values, so that it can be kept."""

    done: bool

    def advance(self, state: State, budget: int) -> int:
        """Do at most `budget` steps, at least one where work is left; returns how many."""
        ...

    def withheld(self, state: State, wallet: Wallet, /) -> int:
        """How much of a wallet's money this work may still claim; it cannot be withdrawn."""
        ...


def begin(state: State, *started: Phase) -> None:
    """Start phases with a slice of work at once; what is left of them goes before all others.

    So an order that must go is gone before a settlement in progress lets anybody trade again.
    """
    budget = state.parameters.slice
    for phase in started:
        if budget > 0:
            budget -= max(1, phase.advance(state, budget))
    state.phases.extendleft(phase for phase in reversed(started) if not phase.done)


def advance(state: State) -> None:
    """One slice of the phases in line."""
    budget = state.parameters.slice
    while state.phases and budget > 0:
        phase = state.phases[0]
        budget -= max(1, phase.advance(state, budget))
        if phase.done:
            state.phases.popleft()


@define(eq=False)
class CancelOrders:
    """Cancel these orders of an account, as far as they are still open; then tell who asked."""

    account: int
    order_ids: list[int]
    reason: CancelReason
    origin: Origin | None = None
    detailed: bool = False
    next: int = 0
    count: int = 0
    records: list[OrderRecord] = field(factory=list)
    done: bool = False

    def withheld(self, _state: State, _wallet: Wallet, /) -> int:
        """Nothing: orders alone are concerned."""
        return 0

    def advance(self, state: State, budget: int) -> int:
        """Cancel the next orders; the last step reports."""
        open_orders = state.accounts[self.account].orders
        end = min(self.next + budget, len(self.order_ids))
        for order_id in self.order_ids[self.next : end]:
            order = open_orders.get(order_id)
            if order is not None:
                orders.cancel(state, order, self.reason)
                self.count += 1
                if self.detailed:
                    self.records.append(order.record())
        used, self.next = end - self.next, end
        if end == len(self.order_ids):
            self.done = True
            if self.origin is not None:
                state.emit(CancelledAll(self.origin, self.count, tuple(self.records)))
        return used
