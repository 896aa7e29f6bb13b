"""The nursery tree of a running venue, and the way to embed one.

Core (log, matcher) outside, then what feeds it (supervisor, timers), then connections, then
listeners: started from the outside in, stopped from the inside out.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack

import trio
from attrs import define, field

from gateway.archive import Archive
from gateway.auth import Authenticator, Keyring
from gateway.bootstrap import Bootstrap, differences, fill_keyring, next_start
from gateway.clock import Clock, RealClock, SteadyClock, lead_of
from gateway.config import Config
from gateway.descriptors import shares
from gateway.failure import VENUE_ERRORS, Failure
from gateway.feed import Feed
from gateway.front import Address, Front
from gateway.guesses import guesses_of
from gateway.index import IndexBoard, open_board
from gateway.intake import Intake
from gateway.keeper import Keeper, open_keeper
from gateway.limits import rate_limits
from gateway.log import Log
from gateway.log.disk import Disk
from gateway.log.errors import StalledError
from gateway.log.file import FileLog
from gateway.log.lock import DataDirectory
from gateway.log.memory import MemoryLog
from gateway.matcher import Matcher, Observer
from gateway.metrics import Metrics
from gateway.settings import Endpoint
from gateway.slots import Slots
from gateway.sockets import Bound, bind_both
from gateway.supervisor import Supervisor
from gateway.tokens import TOKEN_SECRET_BYTES, Tokens
from gateway.venue import Venue
from risk import liquidation
from risk.commands import Entry, Origin, Tick
from risk.exchange import Exchange

logger = logging.getLogger(__name__)

# From the decision to stop until the last snapshot is written or given up. What then ends a process
# within two seconds is gateway.signals, a little later.
SNAPSHOT_SECONDS = 1.7


@define(eq=False)
class Running:
    """A venue that serves: where, and what whoever embeds it may read, move and stop.

    `observers` are told of every entry and its events from now on; whoever joins them must
    neither wait nor raise. `failure` is set when the venue must end: what still runs then, a
    client that reads nothing, say, does not matter.
    """

    http: Endpoint
    websocket: Endpoint
    venue: Venue
    board: IndexBoard
    metrics: Metrics
    supervisor: Supervisor
    observers: list[Observer]
    stopping: trio.Event
    log_closed: trio.Event
    failure: Failure
    log: Log

    @property
    def http_url(self) -> str:
        """What clients use as the base of HTTP requests."""
        return self._address.http_url

    @property
    def websocket_url(self) -> str:
        """What clients open a WebSocket to."""
        return self._address.websocket_url

    @property
    def _address(self) -> Address:
        encrypted = self.venue.config.server.tls is not None
        return Address(self.http, self.websocket, encrypted)

    def stop(self) -> None:
        """Shut down in order: everything accepted is answered, everybody is told. A plain call."""
        self.stopping.set()

    def stalled(self) -> StalledError | None:
        """What keeps the log from being closed, where something has for a while."""
        return self.log.stalled() if isinstance(self.log, FileLog) else None

    def abandon(self) -> None:
        """The process ends without having closed the log: nothing may write to it any more."""
        if isinstance(self.log, FileLog):
            self.log.abandon()


async def serve(
    config: Config,
    *,
    clock: Clock | None = None,
    log: Log | None = None,
    disk: Disk | None = None,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a venue until it is stopped; reports `Running` once clients can connect.

    `clock` is venue time, the machine's by default. `log` takes the place of the configured one,
    and `disk` of the real one. Cancelled, it ends at once, without goodbyes.
    Raises ConfigError for a configuration that cannot be served, LogError for a data directory
    that cannot be used, DiskError when the disk fails, and ApplyError for an entry that cannot be
    applied; from inside the venue, wrapped in exception groups.
    """
    clock = clock or RealClock()
    with ExitStack() as stack:
        bound = stack.enter_context(bind_both(config.server.http, config.server.websocket))
        keeper = None
        if log is None and config.server.data_dir is not None:
            directory = DataDirectory(config.server.data_dir)
            keeper = stack.enter_context(open_keeper(directory, config.log, clock, disk=disk))
            await keeper.catch_up()
            log = keeper.log
            if isinstance(clock, RealClock):
                clock.start_at(keeper.log.time)
        server = _Server.build(config, clock, log or MemoryLog(clock), keeper)
        # flake8-async wants to see the call.
        await server.run(bound, lambda running: task_status.started(running))  # noqa: PLW0108


@define(eq=False)
class _Server:
    venue: Venue
    log: Log
    keeper: Keeper | None
    board: IndexBoard
    intake: Intake
    metrics: Metrics
    matcher: Matcher
    supervisor: Supervisor
    front: Front
    log_closed: trio.Event = field(factory=trio.Event)
    failure: Failure = field(factory=Failure)

    @classmethod
    def build(cls, config: Config, clock: Clock, log: Log, keeper: Keeper | None) -> _Server:
        """Every part, wired; nothing runs yet."""
        board = open_board(config.index)
        exchange = keeper.exchange if keeper else Exchange()
        state = exchange.state
        start = next_start(state)
        metrics = Metrics()
        intake = Intake(Origin(start=start), metrics.inbox_wait.observe)
        metrics.inbox_depth.set_function(lambda: intake.inbox.depth)
        archive = keeper.archive if keeper else Archive(state)
        keyring = Keyring()
        fill_keyring(keyring, config, state)
        real = clock if isinstance(clock, RealClock) else RealClock()
        metrics.clock_lead.set_function(lambda: lead_of(clock) / 1_000)
        venue = Venue(
            config=config,
            clock=clock,
            exchange=exchange,
            wall=SteadyClock(real),
            signers=real.wall,
            authenticator=Authenticator(
                keyring,
                Tokens(secrets.token_bytes(TOKEN_SECRET_BYTES)),
                guesses_of(config.limits, trio.current_time),
            ),
            limits=rate_limits(config.limits, trio.current_time),
            feed=Feed(state, archive, config.limits.subscriptions_per_connection),
            archive=archive,
            start=start,
        )
        supervisor = Supervisor(
            clock=clock,
            board=board,
            pending=lambda tried: liquidation.pending(state, tried=tried),
            propose=intake.propose,
            crashed=metrics.crashes.labels("supervisor").inc,
            busy=lambda: exchange.busy,
            strict=config.server.strict,
        )
        descriptors = shares()
        slots = Slots(config.limits.connections_per_address, descriptors.websocket)
        metrics.connections.set_function(lambda: len(slots))
        front = Front(venue, intake, slots, metrics, shares=descriptors)
        matcher = Matcher(
            exchange,
            propose=intake.propose,
            ended=slots.free,
            observers=[venue.feed.publish],
            attendants=[metrics.happened, supervisor.observe],
            counts=metrics.commands.counts,
            settled=front.settle,
        )
        if keeper:
            matcher.observers.insert(0, keeper.watch(intake.propose))
            keeper.log.observe = metrics.log_write.observe
            board.resume({name: i.price for name, i in state.indices.items()}, clock.now())
        return cls(venue, log, keeper, board, intake, metrics, matcher, supervisor, front)

    async def run(self, bound: Bound, ready: Callable[[Running], None]) -> None:
        """The tree. It ends from the inside, by the end of the stream through the core."""
        await self._run_core(bound, ready)
        self.log_closed.set()
        if self.keeper:
            left = self.front.stopped_at + SNAPSHOT_SECONDS - trio.current_time()
            await self._vital(self.keeper.finish, max(left, 0.0))

    async def _vital(self, run: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run a part without which the venue must end at once."""
        try:
            await run(*arguments)
        except VENUE_ERRORS as error:
            self.failure.set(error)
            raise

    async def _run_core(self, bound: Bound, ready: Callable[[Running], None]) -> None:
        durable, entries = trio.open_memory_channel[Sequence[Entry]](1)
        try:
            async with trio.open_nursery() as core:
                core.start_soon(self._vital, self.log.run, self.intake, durable)
                core.start_soon(self._vital, self.matcher.run, entries)
                await self._bootstrap()
                async with trio.open_nursery() as helpers:
                    helpers.start_soon(self.supervisor.run)
                    helpers.start_soon(self.metrics.watch_loop)
                    helpers.start_soon(self.front.flush)
                    running = self._running(bound)
                    await self.front.serve(bound, lambda: ready(running))
                    helpers.cancel_scope.cancel()
                self.intake.close()
        finally:
            self.intake.abort()

    async def _bootstrap(self) -> None:
        venue = self.venue
        bootstrap = Bootstrap(
            [
                *differences(venue.config, venue.exchange.state, venue.start),
                # With prices from the first moment on, a client can trade at once.
                Tick(prices=self.board.prices(venue.clock.now())),
            ],
            Origin(venue.node, venue.start),
        )
        self.matcher.observers.append(bootstrap.observe)
        await bootstrap.run(self.intake.inbox)
        self.matcher.observers.remove(bootstrap.observe)

    def _running(self, bound: Bound) -> Running:
        return Running(
            bound.http_endpoint,
            bound.websocket_endpoint,
            self.venue,
            self.board,
            self.metrics,
            self.supervisor,
            self.matcher.observers,
            self.front.stopping,
            self.log_closed,
            self.failure,
            self.log,
        )
