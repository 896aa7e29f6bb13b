"""The one place that assembles a venue: for the server, a replay, and the tests.

Benchmarks run the server itself, or the core without a gateway.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import trio

from gateway.access.authenticator import Authenticator, Keyring
from gateway.access.tokens import TOKEN_SECRET_BYTES, Tokens
from gateway.api.context import VenueContext
from gateway.clock import Clock, RealClock, SteadyClock
from gateway.config.schema import Config
from gateway.feed import Feed
from gateway.history.archive import Archive
from gateway.metrics import Metrics
from gateway.network.connection_limiter import ConnectionLimiter
from gateway.network.connection_services import ConnectionServices
from gateway.network.descriptors import connection_quotas
from gateway.network.frontend import Frontend
from gateway.sequencer.command_source import CommandSource
from gateway.server.access_limits import login_guard, rate_limits
from risk.exchange import Exchange


def build_venue(
    config: Config,
    clock: Clock,
    exchange: Exchange,
    keyring: Keyring,
    *,
    archive: Archive | None = None,
    wall: Clock | None = None,
    seconds: Callable[[], float] = trio.current_time,
    start: int = 0,
    recorded: bool = False,
) -> VenueContext:
    """Return what request handlers need of a venue. Nothing runs yet.

    `archive` is that of a replay that has read the exchange's history, a new one by default.
    Token lifetimes pass by `wall`; by default it is a SteadyClock, which no setting of the
    machine's clock moves, and clients sign requests by the machine's clock itself. `seconds` is
    the monotonic clock of the rate limits. `start` and `recorded` are those of VenueContext.
    """
    real = clock if isinstance(clock, RealClock) else RealClock()
    if archive is None:
        archive = Archive(exchange.state)
    return VenueContext(
        config=config,
        clock=clock,
        exchange=exchange,
        wall=wall or SteadyClock(real),
        signers=wall.now if wall else real.wall,
        authenticator=Authenticator(
            keyring,
            Tokens(secrets.token_bytes(TOKEN_SECRET_BYTES)),
            login_guard(config.limits, seconds),
        ),
        limits=rate_limits(config.limits, seconds),
        feed=Feed(exchange.state, archive, config.limits.subscriptions_per_connection),
        archive=archive,
        start=start,
        recorded=recorded,
    )


def build_frontend(venue: VenueContext, commands: CommandSource, metrics: Metrics) -> Frontend:
    """Return what serves clients of a venue. Raises ConfigError for an unusable certificate."""
    quotas = connection_quotas()
    limiter = ConnectionLimiter(venue.config.limits.connections_per_address, quotas.websocket)
    return Frontend(ConnectionServices(venue, commands, limiter, metrics), quotas)
