"""The longest entry that each command can bring about: none may take over 50 ms.

    python benchmarks/worst_entries.py [--quick] [CASE ...]

Every case builds a venue in which one command has as much to do as possible, with the sizes of a
busy venue (`--quick`: a tenth), and applies the command and all Continue entries that follow it.
The figure is the processor time of the longest of these entries. docs/ARCHITECTURE.md names the
bound of each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# Python puts this file's own directory first, and there `book` would be a benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.figures import Figure, show
from benchmarks.worst_case_accounts import (
    add_currency,
    endangered,
    expiry,
    expiry_with_orders,
    jump,
    set_product,
    settlement,
    shared_loss,
)
from benchmarks.worst_case_liquidation import (
    choose_next,
    deleverage,
    deleverage_after_settlement,
    deleverage_cutting,
    deleverage_everywhere,
    deleverage_with_orders,
    liquidate,
)
from benchmarks.worst_case_orders import (
    cancel,
    cancel_all,
    close_by_sweep,
    cut_reduce_only,
    end_session,
    end_sessions,
    far_reduce_only,
    fill_reduce_only,
    first_order_after_a_tick,
    own_orders,
    sweep,
    sweep_by_edit,
    withdraw,
)
from benchmarks.worst_case_venue import ORDERS
from book.order import OrderType, TimeInForce

MOST = 0.050
"""The most seconds of processor time that an entry may take."""

FOK: dict[str, Any] = {"time_in_force": TimeInForce.FILL_OR_KILL}
CASES: dict[str, tuple[Callable[[int], float], int]] = {
    "limit order through many makers": (sweep, 20_000),
    "fill-or-kill order through many makers": (partial(sweep, **FOK), 20_000),
    "market order through many makers": (
        partial(sweep, type=OrderType.MARKET),
        20_000,
    ),
    "edit into many makers": (sweep_by_edit, ORDERS),
    "close_position through many makers": (close_by_sweep, ORDERS),
    "order that cancels own orders": (own_orders, ORDERS),
    "fills beside far reduce-only orders": (far_reduce_only, ORDERS),
    "a fill that cuts reduce-only orders": (cut_reduce_only, ORDERS),
    "fill-or-kill that cuts reduce-only orders": (partial(cut_reduce_only, **FOK), ORDERS),
    "fills of reduce-only orders": (fill_reduce_only, ORDERS),
    "first order of an account after a Tick": (first_order_after_a_tick, ORDERS),
    "cancel after a Tick": (cancel, ORDERS),
    "withdraw after a Tick": (withdraw, ORDERS),
    "cancel_all, detailed": (cancel_all, ORDERS),
    "end of a session with orders": (end_session, ORDERS),
    "end of all sessions of a process": (end_sessions, 10_000),
    "daily settlement": (settlement, 10_000),
    "expiry": (expiry, 10_000),
    "expiry for accounts with many orders": (expiry_with_orders, 2_000),
    "jump of the clock, days": (jump, 3_650),
    "loss shared at settlement": (shared_loss, 10_000),
    "Tick that endangers all accounts": (endangered, 10_000),
    "Tick over thin books": (partial(endangered, deep=True), 100),
    "liquidation of an account with orders": (liquidate, ORDERS),
    "deleveraging": (deleverage, 10_000),
    "deleveraging that was not foreseen": (partial(deleverage, ready=False), 5_000),
    "deleveraging that cuts reduce-only orders": (deleverage_cutting, ORDERS),
    "deleveraging in many markets": (deleverage_everywhere, 45),
    "choice of whom to liquidate": (choose_next, 2_000),
    "deleveraging of accounts with many orders": (deleverage_with_orders, 2_000),
    "deleveraging after a settlement": (deleverage_after_settlement, 20_000),
    "new terms for a product": (set_product, 10_000),
    "first product in a currency": (add_currency, 50_000),
}
"""Case name -> (measurement, size): the number of makers, orders, accounts, markets or days."""


def figures(quick: bool, names: list[str] | None = None) -> list[Figure]:
    """Measure the longest entry of each case whose name contains one of `names`."""
    found = []
    for name, (measure, size) in CASES.items():
        if names and not any(wanted in name for wanted in names):
            continue
        scaled = max(3, size // 10) if quick else size
        seconds = measure(scaled)
        print(f"{name}: {seconds * 1e3:.1f} ms", flush=True)
        figure = f"worst entry: {name}, {scaled:,}"
        aim = f"≤ {MOST * 1e3:.0f} ms"
        found.append(Figure(figure, aim, f"{seconds * 1e3:.1f} ms", seconds <= MOST))
    return found


def main() -> None:
    """Measure the cases named on the command line and show the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of each size")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="parts of their names")
    options = parser.parse_args()
    show(figures(options.quick, options.cases))


if __name__ == "__main__":
    main()
