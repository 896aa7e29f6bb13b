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
    """Run a venue with its bots until a signal comes."""
    config, participants = assemble(config)

    def announce(running: Running) -> None:
        sys.stdout.write(introduction(running, participants.guests))
        sys.stdout.flush()

    async def accompany(running: Running) -> None:
        await Demo(running, participants, options).run()

    await serve_until_signalled(config, announce, accompany)


@define(eq=False)
class Demo:
    """The tasks beside the venue: bots, control socket, shocks and view."""

    running: Running
    participants: Participants
    options: Options
    activity: ActivityLog = field(init=False)
    _gradual_shock: GradualShock = field(factory=GradualShock, init=False)
    _wake: AutoResetEvent = field(factory=AutoResetEvent, init=False)

    def __attrs_post_init__(self) -> None:
        """Create the activity log of this venue."""
        self.activity = ActivityLog(self.running)

    async def run(self) -> None:
        """Run all tasks until cancelled."""
        self.running.observers.append(self.activity.observe)
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(control.listen, self.running.http.port, self.shock)
            except control.ControlError as error:
                # The rest of the demo does not need it.
                logger.warning("`tidegate shock` will not work: %s", error)
            url = self.running.websocket_url
            for accounts, game in (
                (self.participants.makers, make_markets),
                (self.participants.takers, take),
                (self.participants.gamblers, gamble),
            ):
                for account in accounts:
                    nursery.start_soon(run_bot, url, account, game)
            nursery.start_soon(self._move_market)
            nursery.start_soon(self.activity.count)
            console = Console()
            live = console.is_terminal and not self.options.plain
            terminal = keyboard.terminal() if live else None
            if terminal is not None:
                # The same signal as Ctrl-C, which stops the demo in order.
                nursery.start_soon(keyboard.watch, terminal, _interrupt)
            nursery.start_soon(
                keep_connected, url, None, partial(self._show, console if live else None)
            )
            if self.options.shock is not None:
                nursery.start_soon(self._shock_later, self.options.shock)

    def shock(self, fraction: float) -> dict[str, float]:
        """Begin to move every index by a fraction of itself; return the prices to come."""
        self._gradual_shock.begin(fraction, max(1, round(self.options.over_seconds)))
        self._wake.set()
        running = self.running
        prices = running.index_sources.prices(running.venue.clock.now())
        targets = {name: price / SCALE * self._gradual_shock.factor for name, price in prices}
        listed = ", ".join(f"{name} {price:,.2f}" for name, price in targets.items())
        self.activity.note = f"shock of {fraction:+.2%}, to {listed}"
        return targets

    async def _move_market(self) -> None:
        """Take the steps that are due, one a second, each with a Tick of its own."""
        while True:
            await self._wake.wait()
            while self._gradual_shock.steps:
                self.running.index_sources.shock(self._gradual_shock.step())
                self.running.supervisor.tick()
                await trio.sleep(1)

    async def _shock_later(self, fraction: float) -> None:
        await trio.sleep(self.options.after_seconds)
        self.shock(fraction)

    async def _show(self, console: Console | None, client: Client) -> None:
        if console is None:
            await view.show_lines(client, self.activity)
        else:
            await view.show_live(client, self.activity, console)


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def introduction(running: Running, guests: tuple[AccountSettings, ...]) -> str:
    """Return the text printed at the start: addresses, accounts and a ccxt example."""
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
