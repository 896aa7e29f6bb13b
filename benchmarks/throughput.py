"""Durable, risk-checked orders with private events, beside a bare WebSocket echo.

As `orders.py`, but the venue syncs every batch to the disk before it answers, and each client
listens to its orders, so that every request is answered by a reply and an event.

    python benchmarks/throughput.py [--quick]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.figures import NO_FOLLOWER, Figure, command
from benchmarks.load import CASES, HEAD, TIDEGATE, Result, measure, ratio, row, venue_config
from benchmarks.orders import ECHO

CHANNELS: Final = ("user.orders.BTC-PERPETUAL.raw",)
AIMS: Final = {(20, 10): 2.0, (100, 1): 1.0}


def durable(case: tuple[int, int], seconds: float, *, watched: bool = False) -> Result:
    """One run of a venue that starts with nothing."""
    with tempfile.TemporaryDirectory() as folder:
        data = f'data_dir = "{folder}/data"'
        config = venue_config(Path(folder, "venue.toml"), case[0], data, NO_FOLLOWER)
        serve = [TIDEGATE, "serve", "--config", str(config)]
        return measure(serve, *case, seconds, channels=CHANNELS, watched=watched)


def figures(quick: bool) -> list[Figure]:
    """Pairs of runs, and the median of their ratios."""
    rounds, seconds = (1, 0.5) if quick else (5, 3.0)
    found = []
    print(HEAD)
    for case in CASES:
        echoes, venues = [], []
        for _ in range(rounds):
            echoes.append(measure([sys.executable, "-c", ECHO], *case, seconds))
            venues.append(durable(case, seconds))
        # Apart: the stopwatch would slow the others.
        durable(case, seconds, watched=True)
        print(row(case, "echo", echoes))
        print(row(case, "durable venue", venues), flush=True)
        times, aim = ratio(venues, echoes), AIMS[case]
        rates = [median(run.rate for run in runs) for runs in (venues, echoes)]
        found.append(
            Figure(
                f"durable orders/s, {case[0]} x {case[1]}, ÷ bare echo of trio-websocket",
                f"≥ {aim}",
                f"{times:.2f} ({rates[0]:,.0f}/s ÷ {rates[1]:,.0f}/s)",
                times >= aim,
            )
        )
    return found


if __name__ == "__main__":
    command(__doc__, figures)
