"""The view of the activity log: redrawn in place on a terminal, line by line elsewhere.

A thread writes it, because writing blocks while a terminal is paused or a pipe is full.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import trio
from attrs import define, field
from rich.console import Console
from rich.live import Live

from gateway.demo import render
from gateway.demo.activity import ActivityLog, Picture
from tidegate.client import Client

REDRAW_SECONDS: Final = 0.25
LINE_SECONDS: Final = 1.0


async def show_live(client: Client, activity: ActivityLog, console: Console) -> None:
    """Redraw four times a second until cancelled."""

    def redraw(picture: Picture) -> None:
        live.update(render.draw(picture, *console.size), refresh=True)

    with Live(console=console, auto_refresh=False) as live:
        await _repeat(client, activity, REDRAW_SECONDS, redraw)


async def show_lines(client: Client, activity: ActivityLog) -> None:
    """Print a line a second, and one for each step of a liquidation, until cancelled."""
    await _repeat(client, activity, LINE_SECONDS, Lines().print)


async def _repeat(
    client: Client, activity: ActivityLog, seconds: float, write: Callable[[Picture], None]
) -> None:
    async with (
        client.subscribe("trades.future.any.100ms") as trades,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(activity.follow, trades)
        while True:
            await trio.to_thread.run_sync(write, await activity.picture(client))
            await trio.sleep(seconds)


@define(eq=False)
class Lines:
    """Prints each event once."""

    _steps: int = field(default=0, init=False)
    _note: str = field(default="", init=False)

    def print(self, picture: Picture) -> None:
        """Write the lines that are new since the last picture."""
        sys.stdout.write("".join(f"{line}\n" for line in self.lines(picture)))
        sys.stdout.flush()

    def lines(self, picture: Picture) -> list[str]:
        """Return the lines that are new since the last picture, oldest first, and a summary."""
        lines = []
        if picture.note != self._note:
            self._note = picture.note
            lines.append(picture.note)
        steps = sum(picture.steps.values())
        new = picture.rounds[: steps - self._steps]
        self._steps = steps
        lines += [
            f"{render.clock(each.timestamp)} liquidation: {' '.join(render.describe(each))}"
            for each in reversed(new)
        ]
        marks = "  ".join(
            f"{book.instrument_name} {book.mark_price:,.2f}" for book in picture.books
        )
        lines.append(
            f"{marks}  orders {picture.orders_rate:,.0f}/s  trades {picture.trades_rate:,.1f}/s"
            f"  liquidation steps {steps}  insurance fund {render.funds(picture)}"
            f"  connections {picture.connections}"
        )
        return lines
