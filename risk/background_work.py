"""Background work: work too large for one entry is a phase, advanced in bounded slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from book.order import CancelReason, OrderRecord
from risk import orders
from risk.commands import Origin
from risk.events import CancelledAll

if TYPE_CHECKING:
    from risk.position import Wallet
    from risk.state import Phase, State


def begin(state: State, *started: Phase) -> None:
    """Start phases with a slice of work; the unfinished ones precede all other phases.

    Orders are thus cancelled before a settlement in progress reopens the market.
    """
    budget = state.parameters.slice
    for phase in started:
        if budget > 0:
            budget -= max(1, phase.advance(state, budget))
    state.phases.extendleft(phase for phase in reversed(started) if not phase.done)


def advance(state: State) -> None:
    """Advance the phases, in their order, by one slice of work."""
    budget = state.parameters.slice
    while state.phases and budget > 0:
        phase = state.phases[0]
        budget -= max(1, phase.advance(state, budget))
        if phase.done:
            state.phases.popleft()


@define(eq=False)
class CancelOrders:
    """Cancel these orders of an account, if they are still open, then answer `origin`."""

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
        """Return 0: cancelling orders needs no money."""
        return 0

    def advance(self, state: State, budget: int) -> int:
        """Cancel the next orders; the last step emits the answer."""
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
