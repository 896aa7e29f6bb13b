"""Tests that private subscriptions end with their log-in, however that ends."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from attrs import define, field

from gateway.access import tokens
from gateway.access.authenticator import ApiKey
from gateway.access.scope import parse_scope
from gateway.access.tokens import AuthError
from gateway.feed.feed import ENDED_CHANNELS_PER_CALL
from tests.gateway.harness import Client, Harness, Json

INSTRUMENT = "BTC-PERPETUAL"
INTERVALS = ("raw", "100ms", "agg2")
PRIVATE = (
    *(
        f"user.{kind}.{subject}.{interval}"
        for kind in ("orders", "trades", "changes")
        for subject in (INSTRUMENT, "future.BTC", "any.any")
        for interval in INTERVALS
    ),
    "user.portfolio.BTC",
    "user.portfolio.any",
)
PUBLIC = (
    f"trades.{INSTRUMENT}.100ms",
    f"book.{INSTRUMENT}.raw",
    f"ticker.{INSTRUMENT}.raw",
)
PLACES = {"connection": "connection", "session": "session:shared"}
WRITE = "trade:read_write account:read_write"


def basic(name: str) -> str:
    return "Basic " + b64encode(f"{name}-key:{name}-secret".encode()).decode()


def trade_and_rest_order(harness: Harness) -> None:
    """Alice and Bob trade, with an order that rests; conflated channels are not flushed."""
    for name, side in (("alice", "sell"), ("bob", "buy")):
        target = f"instrument_name={INSTRUMENT}&amount=10&price=65000"
        status, body = harness.get(f"/api/v2/private/{side}?{target}", basic(name))
        assert 200 == status, body


def trade(harness: Harness) -> None:
    """Trade as `trade_and_rest_order` does, and let a second pass."""
    trade_and_rest_order(harness)
    harness.tick()


def flush_all(harness: Harness) -> None:
    """Flush all conflated channels."""
    for interval in ("100ms", "agg2"):
        harness.venue.feed.flush(interval)


def received_channels(client: Client) -> set[str]:
    """Return the channels that a client received notifications on since the last call."""
    channels = {push["params"]["channel"] for push in client.sink.pushes}
    client.sink.pushes.clear()
    return channels


@define(eq=False)
class LoggedInCase:
    """A client with a log-in and subscriptions to every channel."""

    client: Client
    granted: Json
    place: str
    monkeypatch: pytest.MonkeyPatch

    @property
    def harness(self) -> Harness:
        return self.client.harness

    def second_connection(self, scope: str = "") -> tuple[Client, Json]:
        """Return another connection of the same named session."""
        other = self.harness.connect()
        return other, other.login("alice", scope=f"{self.place} {scope}")

    def refresh(self, at: Client, scope: str = "") -> None:
        at.call(
            "public/auth",
            grant_type="refresh_token",
            refresh_token=self.granted["refresh_token"],
            scope=scope,
        )


def expire(case: LoggedInCase) -> None:
    case.harness.clock.time += 600_000


def log_out_elsewhere(case: LoggedInCase) -> None:
    other, _ = case.second_connection()
    other.carry_out(other.send(other.frame("private/logout", {"invalidate_token": True})))
    assert other.closed


def refresh_elsewhere(case: LoggedInCase) -> None:
    case.refresh(case.harness.connect())


def refresh_over_http(case: LoggedInCase) -> None:
    query = f"grant_type=refresh_token&refresh_token={case.granted['refresh_token']}"
    status, _ = case.harness.get(f"/api/v2/public/auth?{query}")
    assert 200 == status


def exceed_named_sessions(case: LoggedInCase) -> None:
    for number in range(tokens.SESSIONS_PER_KEY):
        case.harness.connect().login("alice", scope=f"session:s{number}")


def drop_old_families(case: LoggedInCase) -> None:
    case.monkeypatch.setattr(tokens, "MAX_REVOKED_FAMILIES", 4)
    for _ in range(12):
        other = case.harness.connect()
        other.login("bob")
        other.carry_out(other.send(other.frame("private/logout", {})))


def reassign_key(case: LoggedInCase) -> None:
    bob = ApiKey("alice-key", "alice-secret", 102, parse_scope("trade:read_write"))
    case.harness.venue.authenticator.keys.add(bob)


def log_in_as_another(case: LoggedInCase) -> None:
    case.client.login("bob")


def narrow_by_refresh(case: LoggedInCase) -> None:
    case.refresh(case.client, "wallet:read")


def narrow_by_log_in(case: LoggedInCase) -> None:
    case.client.login("alice", scope=f"{case.place} wallet:read")


def narrow_by_log_in_elsewhere_and_here(case: LoggedInCase) -> None:
    case.client.login("bob")
    case.client.login("alice", scope="wallet:read")


# The error of a private request afterwards.
WAYS: dict[Callable[[LoggedInCase], None], int | None] = {
    expire: 13009,
    log_out_elsewhere: 13009,
    refresh_elsewhere: 13009,
    refresh_over_http: 13009,
    exceed_named_sessions: 13009,
    drop_old_families: 13009,
    reassign_key: 13009,
    narrow_by_refresh: 13021,
    narrow_by_log_in: 13021,
    narrow_by_log_in_elsewhere_and_here: 13021,
    log_in_as_another: None,
}
OF_SESSIONS = {log_out_elsewhere, refresh_elsewhere, refresh_over_http, exceed_named_sessions}
TABLE = [
    (end, code, place)
    for end, code in WAYS.items()
    for place in PLACES
    if place == "session" or end not in OF_SESSIONS
]


def subscribed_case(
    place: str, monkeypatch: pytest.MonkeyPatch, channels: tuple[str, ...]
) -> LoggedInCase:
    """Return a client that has received something on each of these channels."""
    harness = Harness()
    client = harness.connect()
    granted = client.login("alice", scope=f"{PLACES[place]} {WRITE} expires:300")
    assert list(channels) == client.call("private/subscribe", channels=list(channels))
    harness.venue.feed.send_initial_snapshots(client.sink)
    trade(harness)
    flush_all(harness)
    assert set(channels) == received_channels(client)
    return LoggedInCase(client, granted, PLACES[place], monkeypatch)


@pytest.mark.parametrize(("end", "code", "place"), TABLE)
def test_no_private_event_is_sent_after_a_log_in_ends(
    end: Callable[[LoggedInCase], None],
    code: int | None,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither earlier nor later events are sent; public channels continue."""
    case = subscribed_case(place, monkeypatch, PRIVATE + PUBLIC)
    trade(case.harness)
    end(case)
    received_channels(case.client)
    case.harness.tick()
    flush_all(case.harness)
    assert not {name for name in received_channels(case.client) if name.startswith("user.")}
    if end is not reassign_key:
        trade(case.harness)
        flush_all(case.harness)
        assert set(PUBLIC) == received_channels(case.client)
    held = case.harness.venue.feed.subscribed(case.client.sink)
    assert list(PUBLIC) == held
    assert 0 == len(case.harness.venue.feed.login_subscriptions)
    reply = case.client.request("private/get_open_orders")
    assert code == reply.get("error", {}).get("code")


@pytest.mark.parametrize("channel", PRIVATE)
@pytest.mark.parametrize("place", PLACES)
def test_each_kind_of_channel_ends_when_the_token_expires(
    channel: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token expires between two milliseconds, without any request."""
    case = subscribed_case(place, monkeypatch, (channel,))
    clock, login = case.harness.clock, case.client.session.login
    assert login is not None
    clock.time = login.expires_at - 1_001
    case.harness.tick()
    flush_all(case.harness)
    assert clock.time == login.expires_at - 1
    received_channels(case.client)
    trade_and_rest_order(case.harness)
    flush_all(case.harness)
    assert {channel} == received_channels(case.client)
    trade_and_rest_order(case.harness)
    clock.time += 1
    received_channels(case.client)
    flush_all(case.harness)
    trade_and_rest_order(case.harness)
    flush_all(case.harness)
    assert set() == received_channels(case.client)


def test_channels_of_a_token_parameter_end_with_that_token() -> None:
    """A token among the parameters ends its own subscriptions, independent of the log-in's."""
    harness = Harness()
    client, owner = harness.connect("alice"), harness.connect()
    token = owner.login("bob", scope=f"session:lent {WRITE}")["access_token"]
    client.call("private/subscribe", channels=[f"user.orders.{INSTRUMENT}.raw"])
    theirs = "user.orders.any.any.raw"
    client.call("private/subscribe", channels=[theirs], access_token=token)
    trade(harness)
    assert {theirs, f"user.orders.{INSTRUMENT}.raw"} == received_channels(client)
    client.login("reader")
    trade(harness)
    assert {theirs} == received_channels(client)
    owner.carry_out(owner.send(owner.frame("private/logout", {})))
    trade(harness)
    assert set() == received_channels(client)


CONTINUED: dict[str, Callable[[LoggedInCase], object]] = {
    "refresh": lambda case: case.refresh(case.client),
    "refresh, no narrower than needed": lambda case: case.refresh(
        case.client, "trade:read account:read"
    ),
    "log-in again": lambda case: case.client.login("alice", scope=f"{case.place} {WRITE}"),
    "log-in of another connection": lambda case: case.second_connection("trade:read"),
    "end of another connection": lambda case: case.harness.connect("alice").hang_up(),
}


@pytest.mark.parametrize("how", CONTINUED)
@pytest.mark.parametrize("place", PLACES)
def test_a_renewed_log_in_keeps_its_channels(
    how: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot that refreshes its token or logs in again need not subscribe again."""
    case = subscribed_case(place, monkeypatch, PRIVATE + PUBLIC)
    CONTINUED[how](case)
    received_channels(case.client)
    trade(case.harness)
    flush_all(case.harness)
    assert set(PRIVATE + PUBLIC) == received_channels(case.client)
    case.harness.clock.time += 400_000
    case.harness.tick()
    trade(case.harness)
    flush_all(case.harness)
    private = {name for name in received_channels(case.client) if name.startswith("user.")}
    assert bool(private) == (how == "log-in again")


def test_channels_move_once_the_venue_accepts_the_log_in() -> None:
    """A log-in that the venue refuses moves no channels, also when requests are pipelined."""
    harness = Harness()
    client = harness.connect("alice")
    channel = "user.orders.any.any.raw"
    client.call("private/subscribe", channels=[channel])
    grants = [
        client.frame(
            "public/auth",
            {
                "grant_type": "client_credentials",
                "client_id": f"{name}-key",
                "client_secret": f"{name}-secret",
            },
        )
        for name in ("bob", "reader")
    ]
    outcomes = [outcome for grant in grants for outcome in client.send(grant)]
    for outcome in outcomes:
        harness.venue.feed.unregister_request(outcome.origin)  # type: ignore[union-attr]
        outcome.pending.refuse(10047)  # type: ignore[union-attr]
    assert client.session.login is not None
    assert "alice-key" == client.session.login.client_id
    trade(harness)
    assert {channel} == received_channels(client)
    assert [] == client.call("private/get_open_orders")


def test_the_last_of_several_pipelined_log_ins_gets_the_session() -> None:
    """After Alice, Bob and Alice log in without waiting, the session is Alice's."""
    harness = Harness()
    client = harness.connect("alice")
    grants = [
        client.frame(
            "public/auth",
            {
                "grant_type": "client_credentials",
                "client_id": f"{name}-key",
                "client_secret": f"{name}-secret",
            },
        )
        for name in ("bob", "alice")
    ]
    for outcomes in [client.send(grant) for grant in grants]:
        client.carry_out(outcomes)
    assert 101 == harness.exchange.state.sessions[client.sink.number].account
    order = {"instrument_name": INSTRUMENT, "amount": 10, "price": 60_000}
    assert "open" == client.call("private/buy", **order)["order"]["order_state"]


@define(eq=False)
class RandomClient:
    """A client that stores every token that it was given, to check which are valid."""

    client: Client
    tokens: list[tuple[str, str]] = field(factory=list)

    def may_receive(self, account: int, scope: str) -> bool:
        venue, session = self.client.harness.venue, self.client.session
        for access, _ in self.tokens:
            try:
                principal = venue.authenticator.verify(
                    access, connection=session.connection, address="127.0.0.1", now=venue.wall.now()
                )
            except AuthError:
                continue
            if principal.account == account and principal.scope.allows(scope):
                return True
        return False


@define(eq=False)
class RandomClients:
    """Clients that log in, refresh, narrow, subscribe and leave at random."""

    random: random.Random
    harness: Harness = field(factory=Harness)
    clients: list[RandomClient] = field(factory=list)

    def step(self) -> None:
        choose = self.random.choice
        if len(self.clients) < 4:
            self.clients.append(RandomClient(self.harness.connect()))
        chosen = choose(self.clients)
        match self.random.randrange(8):
            case 0 | 1:
                self.log_in(chosen)
            case 2:
                self.refresh(chosen)
            case 3 | 4 | 5:
                self.subscribe(chosen)
            case 6:
                self.harness.clock.time += choose((100, 900, 1_500, 3_000))
            case _:
                chosen.client.carry_out(
                    chosen.client.send(
                        chosen.client.frame(
                            "private/logout", {"invalidate_token": choose((True, False))}
                        )
                    )
                )
                if chosen.client.closed:
                    chosen.client.hang_up()
                    self.clients.remove(chosen)

    def log_in(self, chosen: RandomClient) -> None:
        choose = self.random.choice
        scope = " ".join(
            (
                choose(("connection", "session:a", "session:b")),
                choose(("trade:read", "account:read", "trade:read account:read", "wallet:read")),
                choose(("", "", "expires:1", "expires:4")),
            )
        )
        granted = chosen.client.login(choose(("alice", "bob")), scope=scope)
        chosen.tokens.append((granted["access_token"], granted["refresh_token"]))

    def refresh(self, chosen: RandomClient) -> None:
        owner = self.random.choice(self.clients)
        if not owner.tokens:
            return
        _, token = self.random.choice(owner.tokens)
        scope = self.random.choice(("", "trade:read", "account:read"))
        reply = chosen.client.request(
            "public/auth", grant_type="refresh_token", refresh_token=token, scope=scope
        )
        if "result" in reply:
            granted = reply["result"]
            chosen.tokens.append((granted["access_token"], granted["refresh_token"]))

    def subscribe(self, chosen: RandomClient) -> None:
        channels = self.random.sample(PRIVATE, 5)
        params: Json = {"channels": channels}
        owner = self.random.choice(self.clients)
        if owner.tokens and self.random.random() < 0.3:
            access, _ = self.random.choice(owner.tokens)
            params["access_token"] = access
            chosen.tokens.append((access, ""))
        chosen.client.request("private/subscribe", **params)

    def check(self) -> int:
        """Cause events and check that each was allowed; return how many were received."""
        received = 0
        for cause in (trade_and_rest_order, flush_all, Harness.tick, flush_all):
            cause(self.harness)
            received += sum(map(self._check_received, self.clients))
        return received

    def _check_received(self, chosen: RandomClient) -> int:
        pushes = [push["params"] for push in chosen.client.sink.pushes]
        chosen.client.sink.pushes.clear()
        for push in pushes:
            scope = "account:read" if "portfolio" in push["channel"] else "trade:read"
            # Portfolios and bare positions do not name their account.
            owners = _accounts(push["data"]) or {101, 102}
            assert any(chosen.may_receive(account, scope) for account in owners), push
        return len(pushes)


def _accounts(data: object) -> set[int]:
    """Return the accounts that private data belongs to."""
    if isinstance(data, dict):
        mine = {data["user_id"]} if "user_id" in data else set()
        return mine.union(*(_accounts(value) for value in data.values()))
    if isinstance(data, list):
        return set().union(*(_accounts(value) for value in data))
    return set()


@pytest.mark.parametrize("seed", range(12))
def test_only_valid_log_ins_receive_private_events(seed: int) -> None:
    """Each private event is one that a valid token of the connection allows."""
    random_clients = RandomClients(random.Random(seed))
    received = 0
    for _ in range(60):
        random_clients.step()
        received += random_clients.check()
    assert received
    for chosen in random_clients.clients:
        chosen.client.hang_up()
    grants = random_clients.harness.venue.feed.login_subscriptions
    assert (
        0
        == len(grants)
        == len(grants._of_sink)
        == len(grants._of_family)
        == len(grants._families_to_check)
    )
    assert 0 == len(grants._by_name)


def test_a_thousand_channels_stop_at_once_and_are_removed_in_slices() -> None:
    """One log-out ends the channels of 32 connections at once; the removal is sliced."""
    harness = Harness()
    granted: Json = {}
    clients = [harness.connect() for _ in range(32)]
    for client in clients:
        granted = client.login("alice", scope="session:one")
        assert list(PRIVATE) == client.call("private/subscribe", channels=list(PRIVATE))
        harness.venue.feed.send_initial_snapshots(client.sink)
        received_channels(client)
    again = clients[0]
    renewal = {"grant_type": "refresh_token", "refresh_token": granted["refresh_token"]}
    harness.get("/api/v2/public/auth?" + urlencode(renewal))
    again.login("alice")
    kept = "user.orders.any.any.raw"
    feed = harness.venue.feed
    trade_and_rest_order(harness)
    left = sum(len(feed.subscribed(client.sink)) for client in clients)
    assert 0 < left <= 32 * len(PRIVATE) - ENDED_CHANNELS_PER_CALL
    again.call("private/subscribe", channels=[kept])
    for _ in range(32 * len(PRIVATE) // ENDED_CHANNELS_PER_CALL + 1):
        trade_and_rest_order(harness)
        flush_all(harness)
    assert [{kept}, *[set()] * 31] == [received_channels(client) for client in clients]
    assert [[kept], *[[]] * 31] == [feed.subscribed(client.sink) for client in clients]
    assert not feed._ended_logins
