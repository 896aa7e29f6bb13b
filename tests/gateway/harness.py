"""Sessions, feed and exchange without I/O, for tests that send one request at a time.

All parts are the production ones except sockets, tasks and clocks: commands go directly from a
session to the exchange, and its events directly to the feed.
"""

from __future__ import annotations

from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from attrs import Factory, define, field

from book.units import SCALE, Millis
from gateway.access.authenticator import Keyring
from gateway.api.context import HttpRequest, VenueContext
from gateway.api.session import Session
from gateway.config import schema
from gateway.protocol.large_results import LargeReply
from gateway.protocol.outcome import Close, Outcome, Reply, Submit
from gateway.sequencer.bootstrap import configuration_commands, fill_keyring
from gateway.server.assembly import build_venue
from risk.commands import Command, Continue, EndSession, Entry, Origin, Tick
from risk.events import Event
from risk.exchange import Exchange

START = 1_760_000_000_000
PRICES = {
    "btc_usd": 65_000,
    "btc_usdc": 65_000,
    "eth_usd": 3_500,
    "eth_usdc": 3_500,
    "sol_usdc": 150,
}
ACCOUNTS = """
[[account]]
name = "alice"
client_id = "alice-key"
client_secret = "alice-secret"
deposits = { BTC = 100, ETH = 1000, USDC = 1000000 }
[[account]]
name = "bob"
client_id = "bob-key"
client_secret = "bob-secret"
deposits = { BTC = 100, ETH = 1000, USDC = 1000000 }
[[account]]
name = "reader"
client_id = "reader-key"
client_secret = "reader-secret"
scope = "account:read trade:read"
"""

Json = dict[str, Any]


def unlimited(settings: str) -> str:
    """Return the settings with rate limits disabled, unless they set `enabled` themselves.

    The clock of a harness stands still, so that credits would never be refilled.
    """
    if "enabled =" in settings:
        return settings
    if "[limits]" not in settings:
        return f"{settings}\n[limits]\nenabled = false\n"
    return settings.replace("[limits]", "[limits]\nenabled = false", 1)


@define
class HandClock:
    """A gateway.clock.Clock that tests set by hand."""

    time: int = START

    def now(self) -> Millis:
        """Milliseconds."""
        return Millis(self.time)

    def micros(self) -> int:
        """Microseconds."""
        return self.time * 1_000


def whole(reply: bytes | LargeReply) -> bytes:
    """Return the bytes of a reply."""
    return reply if isinstance(reply, bytes) else reply.finish()


@define(eq=False)
class Recorder:
    """A message sink that stores all messages, decoded; `large` are the large replies."""

    number: int
    replies: list[Json] = field(factory=list)
    pushes: list[Json] = field(factory=list)
    large: list[LargeReply] = field(factory=list)
    cuts: list[tuple[int, str]] = field(factory=list)

    def reply(self, data: bytes | LargeReply) -> None:
        """Store a reply."""
        self.large += [data] if isinstance(data, LargeReply) else []
        self.replies.append(msgspec.json.decode(whole(data)))

    def send_private(self, data: bytes) -> None:
        """Store a notification."""
        self.pushes.append(msgspec.json.decode(data))

    def try_send_public(self, data: bytes) -> bool:
        """Store a notification; the capacity is unlimited."""
        self.pushes.append(msgspec.json.decode(data))
        return True

    def disconnect(self, code: int, reason: str) -> None:
        """Store the close code and reason."""
        self.cuts.append((code, reason))


@define(eq=False)
class Harness:
    """A venue with funded accounts, index prices and empty order books."""

    settings: str = ""
    clock: HandClock = field(factory=HandClock)
    seconds: float = 0.0
    venue: VenueContext = field(init=False)
    _sessions: count[int] = field(default=Factory(lambda: count(1)), init=False)

    def __attrs_post_init__(self) -> None:
        """Apply the same commands as a start of the server."""
        parsed = schema.parse(unlimited(self.settings) + ACCOUNTS)
        exchange, keyring = Exchange(), Keyring()
        fill_keyring(keyring, parsed, exchange.state)
        self.venue = build_venue(
            parsed,
            self.clock,
            exchange,
            keyring,
            wall=self.clock,
            seconds=lambda: self.seconds,
        )
        for command in configuration_commands(parsed, exchange.state, 0):
            self.apply(command)
        self.tick()

    @property
    def exchange(self) -> Exchange:
        """The exchange that the sessions use."""
        return self.venue.exchange

    def tick(self, **moved: float) -> None:
        """Let a second pass; `moved` are the indices that differ from PRICES."""
        self.clock.time += 1_000
        prices = sorted((PRICES | moved).items())
        self.apply(Tick(prices=tuple((name, int(price * SCALE)) for name, price in prices)))

    def apply(self, command: Command, origin: Origin | None = None) -> list[Event]:
        """Apply a command and the Continue commands that it requires; publish the events."""
        events = self._entry(command, origin or Origin())
        while self.exchange.busy:
            events += self._entry(Continue(), Origin())
        return events

    def _entry(self, command: Command, origin: Origin) -> list[Event]:
        state = self.exchange.state
        entry = Entry(state.sequence + 1, self.clock.time, origin, command)
        events = self.exchange.apply(entry)
        self.venue.feed.publish(entry, events)
        return events

    def connect(self, name: str = "") -> Client:
        """Return a WebSocket client, logged in if a name is given."""
        sink = Recorder(next(self._sessions))
        client = Client(self, sink, Session(self.venue, sink, "127.0.0.1", websocket=True))
        if name:
            client.login(name)
        return client

    def http(self, request: HttpRequest, address: str = "127.0.0.1") -> tuple[int, Json]:
        """Return status and body of the reply to an HTTP request."""
        sink = Recorder(0)
        outcome = Session(self.venue, sink, address, websocket=False).receive_http(request)
        if isinstance(outcome, Submit):
            self.apply(outcome.command, outcome.origin)
            return outcome.pending.status, sink.replies[0]
        assert isinstance(outcome, Reply)
        return outcome.status, msgspec.json.decode(whole(outcome.data))

    def get(self, target: str, authorization: str = "") -> tuple[int, Json]:
        """Do the same for a GET of a target such as `/api/v2/public/test?x=1`."""
        path, _, query = target.partition("?")
        pairs = tuple(parse_qsl(query, keep_blank_values=True))
        return self.http(
            HttpRequest(
                verb="GET",
                target=target,
                method=path.removeprefix("/api/v2/"),
                query=pairs,
                authorization=authorization,
            )
        )


@define(eq=False)
class Client:
    """One WebSocket client of a harness."""

    harness: Harness
    sink: Recorder
    session: Session
    closed: Close | None = None
    _ids: count[int] = field(default=Factory(lambda: count(1)), init=False)

    def send(self, frame: bytes | str) -> list[Outcome]:
        """Return the outcomes of a frame, without applying any command."""
        self.session.begin_chunk()
        return self.session.receive(frame)

    def carry_out(self, outcomes: list[Outcome]) -> None:
        """Handle outcomes as a connection does."""
        for outcome in outcomes:
            match outcome:
                case Reply(data=data):
                    self.sink.reply(data)
                case Submit(command=command, origin=origin):
                    self.harness.apply(command, origin)
                case Close():
                    self.closed = outcome

    def frame(self, method: str, params: Json) -> bytes:
        """Return the bytes of a request with the next id."""
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        return msgspec.json.encode(request)

    def request(self, method: str, /, **params: object) -> Json:
        """Send a request and return the whole reply."""
        before = len(self.sink.replies)
        self.carry_out(self.send(self.frame(method, params)))
        assert len(self.sink.replies) == before + 1, "one request, one reply"
        return self.sink.replies[-1]

    def call(self, method: str, /, **params: object) -> Any:
        """Send a request that must succeed and return its result."""
        reply = self.request(method, **params)
        assert "result" in reply, reply
        return reply["result"]

    def error(self, method: str, /, **params: object) -> Json:
        """Send a request that must be rejected and return its error."""
        reply = self.request(method, **params)
        assert "error" in reply, reply
        return dict(reply["error"])

    def login(self, name: str, **params: object) -> Json:
        """Log in with the client's secret and return the result of public/auth."""
        result: Json = self.call(
            "public/auth",
            grant_type="client_credentials",
            client_id=f"{name}-key",
            client_secret=f"{name}-secret",
            **params,
        )
        return result

    def hang_up(self) -> None:
        """Drop the connection."""
        if self.session.started:
            self.harness.apply(EndSession(session=self.sink.number))
        self.harness.venue.feed.remove_connection(self.sink)
