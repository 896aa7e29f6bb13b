"""What a method handler works with: the venue, the session of the client, and the call.

Everything here is data. `gateway.api.session` processes requests with it, and the methods read it.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import msgspec
from attrs import Factory, define, field

from gateway.access.authenticator import HTTP
from gateway.api.heartbeat import Heartbeat
from gateway.clock import SteadyClock
from gateway.feed.unknown_channels import UnknownChannels
from gateway.history.archive import find_market
from gateway.protocol.errors import ApiError, Code
from gateway.protocol.pending_request import InFlightLimiter
from risk.market import Market

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from book.units import Millis
    from gateway.access.authenticator import Authenticator, Principal
    from gateway.access.rate_limits import RateLimits
    from gateway.clock import Clock, RealClock
    from gateway.config.schema import Config
    from gateway.feed import Feed
    from gateway.history.archive import Archive
    from gateway.protocol.message_sink import MessageSink
    from gateway.protocol.pending_request import ReplyFormat
    from risk.exchange import Exchange


def _in_flight(venue: VenueContext) -> InFlightLimiter:
    limits = venue.config.limits
    return InFlightLimiter(limits.undecided_requests if limits.enabled else None)


@define(eq=False)
class VenueContext:
    """What methods read of the venue, and the few counters that they change. Nothing here waits.

    `clock` is venue time. `wall` times the lifetimes of tokens: it is steady, whatever happens to
    the machine's clock. `signers` returns the milliseconds that signatures are checked against;
    it follows the machine's clock, and by default `wall`.
    `node` and `start` are part of every origin. `closing` is set when the venue shuts down: it
    rejects every further change. A `recorded` venue is a replay of a log, which cannot be changed.
    `http_requests` numbers the requests of session 0, which all HTTP clients share.
    `unknown_channels` counts requests for channels that do not exist.
    """

    config: Config
    clock: Clock
    exchange: Exchange
    wall: Clock
    authenticator: Authenticator
    limits: RateLimits
    feed: Feed
    archive: Archive
    node: int = 0
    start: int = 0
    closing: bool = False
    recorded: bool = False
    signers: Callable[[], int] = field(default=Factory(lambda self: self.wall.now, takes_self=True))
    unknown_channels: UnknownChannels = field(factory=UnknownChannels, init=False)
    in_flight: InFlightLimiter = field(default=Factory(_in_flight, takes_self=True), init=False)
    _real: RealClock | None = field(default=None, init=False)
    http_requests: Iterator[int] = field(factory=lambda: count(1), init=False)

    def __attrs_post_init__(self) -> None:
        """Let the private subscriptions of a login end with it."""
        grants, authenticator, wall = self.feed.login_subscriptions, self.authenticator, self.wall
        grants.is_valid = lambda login: authenticator.is_valid(login, wall.now())
        grants.now = wall.now
        authenticator.tokens.on_revoked = grants.recheck_family
        authenticator.keys.on_key_changed = lambda: grants.recheck_family(None)
        if isinstance(wall, SteadyClock) and wall.real is self.clock:
            self._real = wall.real

    def token_time_at(self, micros: int) -> int:
        """Return the milliseconds of `wall` for a time of `clock` that was read just now."""
        real = self._real
        return self.wall.now() if real is None else micros // 1_000 + real.drift

    def admit(self, account: int, *, matching: bool) -> InFlightLimiter | None:
        """Admit a command; an order request (`matching`) takes a place among those in flight.

        Returns the limiter that has to get the place back, None if none was taken. Raises ApiError:
        11051 during shutdown, 13021 in a recorded venue, 10047 if the account has too many order
        requests in flight.
        """
        if self.recorded:
            self.require_live()
        if self.closing:
            raise ApiError(Code.SYSTEM_MAINTENANCE)
        if not matching or self.in_flight.limit is None:
            return None
        self.in_flight.acquire(account)
        return self.in_flight

    def require_live(self) -> None:
        """Raise ApiError 13021 in a recorded venue."""
        if self.recorded:
            reason = "this is a replay of a recorded venue: nothing can be changed"
            raise ApiError(Code.FORBIDDEN, data={"reason": reason})

    def market(self, name: str) -> Market:
        """Return a market, open or recently expired. Raises ApiError 13020."""
        market = find_market(self.exchange.state, name)
        if market is None:
            raise ApiError(Code.NOT_FOUND)
        return market


class HttpRequest(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The parts of an HTTP request that the API uses.

    `target` is path and query exactly as sent, since signatures cover it; `method` is what
    follows `/api/v2/`, empty for the bare path; `query` are its decoded pairs in order.
    """

    verb: str
    target: str
    method: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    authorization: str = ""


def _heartbeat(session: SessionState) -> Heartbeat:
    return Heartbeat(session.venue.config.limits.idle_seconds, session.opened_at)


@define(eq=False)
class SessionState:
    """The state of one WebSocket connection, or of one HTTP request, that methods read and set.

    `opened_at` is in seconds of the connection's clock, as are all times that are passed in later.
    `login` is the principal that the connection acts for; `confirmed` is the latest principal for
    which the exchange has started the session. `started` is set with the first StartSession, after
    which the end of the connection has to be submitted too; `starting` counts the StartSession
    commands in flight, and `account` is the account of the latest that took effect.
    """

    venue: VenueContext
    sink: MessageSink
    address: str
    websocket: bool = field(kw_only=True)
    opened_at: float = field(default=0.0, kw_only=True)
    login: Principal | None = field(default=None, init=False)
    confirmed: Principal | None = field(default=None, init=False)
    started: bool = field(default=False, init=False)
    starting: int = field(default=0, init=False)
    account: int | None = field(default=None, init=False)
    heartbeat: Heartbeat = field(default=Factory(_heartbeat, takes_self=True), init=False)

    @property
    def connection(self) -> str:
        """The connection that tokens of scope `connection` are bound to."""
        return str(self.sink.number) if self.websocket else HTTP

    def runs_for(self, account: int) -> bool:
        """Whether the session runs for that account and no StartSession is in flight."""
        return self.account == account and not self.starting


class Call(msgspec.Struct, frozen=True):
    """The context of a method call. `login` is the principal it acts for, None without a login.

    A session makes one Call for each login and uses it for all requests of that login.
    `account` is the account of the login and 0 without one, so that only methods with a scope may
    read it. `reply_formats` caches the cacheable reply formats by method name.
    """

    venue: VenueContext
    session: SessionState
    login: Principal | None
    account: int
    reply_formats: dict[str, ReplyFormat] = msgspec.field(default_factory=dict)

    @property
    def now(self) -> Millis:
        """Venue time."""
        return self.venue.clock.now()
