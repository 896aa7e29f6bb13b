"""The demo as it runs beside the venue: bots, control socket, shock and view in one nursery."""

from __future__ import annotations

import logging
import signal
import sys
from functools import partial

import trio
from attrs import define, field
from rich.console import Console

from book.units import SCALE
from gateway.config.schema import AccountSettings, Config
from gateway.demo import control, keyboard, view
from gateway.demo.activity import ActivityLog
from gateway.demo.bots import keep_connected, run_bot
from gateway.demo.gradual_shock import GradualShock
from gateway.demo.makers import make_markets
from gateway.demo.options import Options
from gateway.demo.participants import Participants, assemble
from gateway.demo.snippet import ccxt_snippet
from gateway.demo.takers import gamble, take
from gateway.server.process import serve_until_signalled
from gateway.server.server import Running
from tidegate.auto_reset_event import AutoResetEvent
from tidegate.client import Client

logger = logging.getLogger(__name__)


async def play(config: Config, options: Options) -> None:
    """Run a venue with its crowd until a signal comes."""
    config, cast = assemble(config)

    def announce(running: Running) -> None:
        sys.stdout.write(introduction(running, cast.guests))
        sys.stdout.flush()

    async def accompany(running: Running) -> None:
        await Demo(running, cast, options).run()

    await serve_until_signalled(config, announce, accompany)


@define(eq=False)
class Demo:
    """Everything beside the venue."""

    running: Running
    cast: Participants
    options: Options
    tape: ActivityLog = field(init=False)
    _slide: GradualShock = field(factory=GradualShock, init=False)
    _news: AutoResetEvent = field(factory=AutoResetEvent, init=False)

    def __attrs_post_init__(self) -> None:
        """The tape is this venue's."""
        self.tape = ActivityLog(self.running)

    async def run(self) -> None:
        """Until cancelled."""
        self.running.observers.append(self.tape.observe)
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(control.listen, self.running.http.port, self.shock)
            except control.ControlError as error:
                # The rest of the demo is as good without it.
                logger.warning("`tidegate shock` will not work: %s", error)
            url = self.running.websocket_url
            for accounts, game in (
                (self.cast.makers, make_markets),
                (self.cast.takers, take),
                (self.cast.gamblers, gamble),
            ):
                for account in accounts:
                    nursery.start_soon(run_bot, url, account, game)
            nursery.start_soon(self._move_market)
            nursery.start_soon(self.tape.count)
            console = Console()
            live = console.is_terminal and not self.options.plain
            terminal = keyboard.terminal() if live else None
            if terminal is not None:
                # As Ctrl-C would, which ends all of it in order.
                nursery.start_soon(keyboard.watch, terminal, _interrupt)
            nursery.start_soon(
                keep_connected, url, None, partial(self._show, console if live else None)
            )
            if self.options.shock is not None:
                nursery.start_soon(self._shock_later, self.options.shock)

    def shock(self, fraction: float) -> dict[str, float]:
        """Begin to move every index by a fraction of itself; returns where that leads."""
        self._slide.begin(fraction, max(1, round(self.options.over_seconds)))
        self._news.set()
        running = self.running
        prices = running.index_sources.prices(running.venue.clock.now())
        heading = {name: price / SCALE * self._slide.factor for name, price in prices}
        told = ", ".join(f"{name} {price:,.2f}" for name, price in heading.items())
        self.tape.note = f"shock of {fraction:+.2%}, to {told}"
        return heading

    async def _move_market(self) -> None:
        """Take the steps that are due, one a second, each with a Tick of its own."""
        while True:
            await self._news.wait()
            while self._slide.steps:
                self.running.index_sources.shock(self._slide.step())
                self.running.supervisor.tick()
                await trio.sleep(1)

    async def _shock_later(self, fraction: float) -> None:
        await trio.sleep(self.options.after_seconds)
        self.shock(fraction)

    async def _show(self, console: Console | None, client: Client) -> None:
        if console is None:
            await view.show_lines(client, self.tape)
        else:
            await view.show_live(client, self.tape, console)


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def introduction(running: Running, guests: tuple[AccountSettings, ...]) -> str:
    """Where the venue is, who the user may be on it, and how to begin."""
    first = guests[0]
    snippet = ccxt_snippet(
        running.http_url, running.websocket_url, first.client_id, first.client_secret
    )
    lines = [
        f"tidegate ready http={running.http_url} ws={running.websocket_url}",
        "",
        "Funded accounts (client_id, client_secret):",
        *(f"  {guest.client_id}  {guest.client_secret}" for guest in guests),
        "",
        "Trade with ccxt:",
        "",
        *(f"    {line}" if line else "" for line in snippet.splitlines()),
        "",
        "Drop the market from another terminal: tidegate shock -20%",
        "",
    ]
    return "".join(f"{line}\n" for line in lines)
