"""Private subscriptions belong to a log-in: however it ends, nothing private comes after it."""

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


def deal(harness: Harness) -> None:
    """Alice and Bob trade, with an order that rests a moment; nothing thinned is told yet."""
    for name, side in (("alice", "sell"), ("bob", "buy")):
        target = f"instrument_name={INSTRUMENT}&amount=10&price=65000"
        status, body = harness.get(f"/api/v2/private/{side}?{target}", basic(name))
        assert 200 == status, body


def trade(harness: Harness) -> None:
    """The same, and a second passes."""
    deal(harness)
    harness.tick()


def tell(harness: Harness) -> None:
    """Let the timers tell what has been collected."""
    for interval in ("100ms", "agg2"):
        harness.venue.feed.flush(interval)


def heard(client: Client) -> set[str]:
    """The channels that have told a client something since it was last asked."""
    channels = {push["params"]["channel"] for push in client.sink.pushes}
    client.sink.pushes.clear()
    return channels


@define(eq=False)
class Case:
    """A client with a log-in that listens to everything."""

    client: Client
    granted: Json
    place: str
    monkeypatch: pytest.MonkeyPatch

    @property
    def harness(self) -> Harness:
        return self.client.harness

    def elsewhere(self, scope: str = "") -> tuple[Client, Json]:
        """Another connection of the same named session."""
        other = self.harness.connect()
        return other, other.login("alice", scope=f"{self.place} {scope}")

    def refresh(self, at: Client, scope: str = "") -> None:
        at.call(
            "public/auth",
            grant_type="refresh_token",
            refresh_token=self.granted["refresh_token"],
            scope=scope,
        )


def expire(case: Case) -> None:
    case.harness.clock.time += 600_000


def log_out_elsewhere(case: Case) -> None:
    other, _ = case.elsewhere()
    other.carry_out(other.send(other.frame("private/logout", {"invalidate_token": True})))
    assert other.closed


def refresh_elsewhere(case: Case) -> None:
    case.refresh(case.harness.connect())


def refresh_over_http(case: Case) -> None:
    query = f"grant_type=refresh_token&refresh_token={case.granted['refresh_token']}"
    status, _ = case.harness.get(f"/api/v2/public/auth?{query}")
    assert 200 == status


def crowd_out(case: Case) -> None:
    for number in range(tokens.SESSIONS_PER_KEY):
        case.harness.connect().login("alice", scope=f"session:s{number}")


def forget_old_lines(case: Case) -> None:
    case.monkeypatch.setattr(tokens, "MAX_REVOKED_FAMILIES", 4)
    for _ in range(12):
        other = case.harness.connect()
        other.login("bob")
        other.carry_out(other.send(other.frame("private/logout", {})))


def remove_key(case: Case) -> None:
    case.harness.venue.authenticator.keys.remove("alice-key")


def give_key_away(case: Case) -> None:
    bob = ApiKey("alice-key", "alice-secret", 102, parse_scope("trade:read_write"))
    case.harness.venue.authenticator.keys.add(bob)


def log_in_as_another(case: Case) -> None:
    case.client.login("bob")


def narrow_by_refresh(case: Case) -> None:
    case.refresh(case.client, "wallet:read")


def narrow_by_log_in(case: Case) -> None:
    case.client.login("alice", scope=f"{case.place} wallet:read")


def narrow_by_log_in_elsewhere_and_here(case: Case) -> None:
    case.client.login("bob")
    case.client.login("alice", scope="wallet:read")


# What a private request is answered with afterwards.
WAYS: dict[Callable[[Case], None], int | None] = {
    expire: 13009,
    log_out_elsewhere: 13009,
    refresh_elsewhere: 13009,
    refresh_over_http: 13009,
    crowd_out: 13009,
    forget_old_lines: 13009,
    remove_key: 13009,
    give_key_away: 13009,
    narrow_by_refresh: 13021,
    narrow_by_log_in: 13021,
    narrow_by_log_in_elsewhere_and_here: 13021,
    log_in_as_another: None,
}
OF_SESSIONS = {log_out_elsewhere, refresh_elsewhere, refresh_over_http, crowd_out}
TABLE = [
    (end, code, place)
    for end, code in WAYS.items()
    for place in PLACES
    if place == "session" or end not in OF_SESSIONS
]


def listening(place: str, monkeypatch: pytest.MonkeyPatch, channels: tuple[str, ...]) -> Case:
    """A client that has heard something on each of these channels."""
    harness = Harness()
    client = harness.connect()
    granted = client.login("alice", scope=f"{PLACES[place]} {WRITE} expires:300")
    assert list(channels) == client.call("private/subscribe", channels=list(channels))
    harness.venue.feed.send_initial_snapshots(client.sink)
    trade(harness)
    tell(harness)
    assert set(channels) == heard(client)
    return Case(client, granted, PLACES[place], monkeypatch)


@pytest.mark.parametrize(("end", "code", "place"), TABLE)
def test_no_private_event_comes_after_the_end_of_a_log_in(
    end: Callable[[Case], None], code: int | None, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what was collected before it, nor what happens later; public channels go on."""
    case = listening(place, monkeypatch, PRIVATE + PUBLIC)
    trade(case.harness)
    end(case)
    heard(case.client)
    case.harness.tick()
    tell(case.harness)
    assert not {name for name in heard(case.client) if name.startswith("user.")}
    if end not in (remove_key, give_key_away):
        trade(case.harness)
        tell(case.harness)
        assert set(PUBLIC) == heard(case.client)
    held = case.harness.venue.feed.subscribed(case.client.sink)
    assert list(PUBLIC) == held
    assert 0 == len(case.harness.venue.feed.login_subscriptions)
    reply = case.client.request("private/get_open_orders")
    assert code == reply.get("error", {}).get("code")


@pytest.mark.parametrize("channel", PRIVATE)
@pytest.mark.parametrize("place", PLACES)
def test_each_kind_of_channel_ends_at_the_very_time(
    channel: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last millisecond of a token it tells, in the next it does not; no request comes."""
    case = listening(place, monkeypatch, (channel,))
    clock, login = case.harness.clock, case.client.session.login
    assert login is not None
    clock.time = login.expires_at - 1_001
    case.harness.tick()
    tell(case.harness)
    assert clock.time == login.expires_at - 1
    heard(case.client)
    deal(case.harness)
    tell(case.harness)
    assert {channel} == heard(case.client)
    deal(case.harness)
    clock.time += 1
    heard(case.client)
    tell(case.harness)
    deal(case.harness)
    tell(case.harness)
    assert set() == heard(case.client)


def test_the_channels_end_with_a_token_in_the_request() -> None:
    """What a token among the parameters subscribed to ends with that, not with the log-in."""
    harness = Harness()
    client, owner = harness.connect("alice"), harness.connect()
    token = owner.login("bob", scope=f"session:lent {WRITE}")["access_token"]
    client.call("private/subscribe", channels=[f"user.orders.{INSTRUMENT}.raw"])
    theirs = "user.orders.any.any.raw"
    client.call("private/subscribe", channels=[theirs], access_token=token)
    trade(harness)
    assert {theirs, f"user.orders.{INSTRUMENT}.raw"} == heard(client)
    client.login("reader")
    trade(harness)
    assert {theirs} == heard(client)
    owner.carry_out(owner.send(owner.frame("private/logout", {})))
    trade(harness)
    assert set() == heard(client)


CONTINUED: dict[str, Callable[[Case], object]] = {
    "refresh": lambda case: case.refresh(case.client),
    "refresh, no narrower than needed": lambda case: case.refresh(
        case.client, "trade:read account:read"
    ),
    "log-in again": lambda case: case.client.login("alice", scope=f"{case.place} {WRITE}"),
    "log-in of another connection": lambda case: case.elsewhere("trade:read"),
    "end of another connection": lambda case: case.harness.connect("alice").hang_up(),
}


@pytest.mark.parametrize("how", CONTINUED)
@pytest.mark.parametrize("place", PLACES)
def test_a_log_in_that_goes_on_keeps_its_channels(
    how: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot that refreshes its token or logs in again need not subscribe again."""
    case = listening(place, monkeypatch, PRIVATE + PUBLIC)
    CONTINUED[how](case)
    heard(case.client)
    trade(case.harness)
    tell(case.harness)
    assert set(PRIVATE + PUBLIC) == heard(case.client)
    case.harness.clock.time += 400_000
    case.harness.tick()
    trade(case.harness)
    tell(case.harness)
    private = {name for name in heard(case.client) if name.startswith("user.")}
    assert bool(private) == (how == "log-in again")


def test_channels_are_handed_on_when_the_venue_has_agreed() -> None:
    """A log-in that the venue refuses takes nothing from the one before, also when pipelined."""
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
    assert {channel} == heard(client)
    assert [] == client.call("private/get_open_orders")


def test_a_log_in_that_returns_while_another_is_undecided_gets_its_session_back() -> None:
    """Alice, Bob and Alice again in one go: the venue's session is Alice's at the end."""
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
class Listener:
    """A client that remembers every token that it was ever given, to ask what still counts."""

    client: Client
    tokens: list[tuple[str, str]] = field(factory=list)

    def may_hear(self, account: int, scope: str) -> bool:
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
class Chance:
    """Clients that log in, refresh, narrow, subscribe and leave at random."""

    random: random.Random
    harness: Harness = field(factory=Harness)
    listeners: list[Listener] = field(factory=list)

    def step(self) -> None:
        choose = self.random.choice
        if len(self.listeners) < 4:
            self.listeners.append(Listener(self.harness.connect()))
        listener = choose(self.listeners)
        match self.random.randrange(8):
            case 0 | 1:
                self.log_in(listener)
            case 2:
                self.refresh(listener)
            case 3 | 4 | 5:
                self.subscribe(listener)
            case 6:
                self.harness.clock.time += choose((100, 900, 1_500, 3_000))
            case _:
                listener.client.carry_out(
                    listener.client.send(
                        listener.client.frame(
                            "private/logout", {"invalidate_token": choose((True, False))}
                        )
                    )
                )
                if listener.client.closed:
                    listener.client.hang_up()
                    self.listeners.remove(listener)

    def log_in(self, listener: Listener) -> None:
        choose = self.random.choice
        scope = " ".join(
            (
                choose(("connection", "session:a", "session:b")),
                choose(("trade:read", "account:read", "trade:read account:read", "wallet:read")),
                choose(("", "", "expires:1", "expires:4")),
            )
        )
        granted = listener.client.login(choose(("alice", "bob")), scope=scope)
        listener.tokens.append((granted["access_token"], granted["refresh_token"]))

    def refresh(self, listener: Listener) -> None:
        owner = self.random.choice(self.listeners)
        if not owner.tokens:
            return
        _, token = self.random.choice(owner.tokens)
        scope = self.random.choice(("", "trade:read", "account:read"))
        reply = listener.client.request(
            "public/auth", grant_type="refresh_token", refresh_token=token, scope=scope
        )
        if "result" in reply:
            granted = reply["result"]
            listener.tokens.append((granted["access_token"], granted["refresh_token"]))

    def subscribe(self, listener: Listener) -> None:
        channels = self.random.sample(PRIVATE, 5)
        params: Json = {"channels": channels}
        owner = self.random.choice(self.listeners)
        if owner.tokens and self.random.random() < 0.3:
            access, _ = self.random.choice(owner.tokens)
            params["access_token"] = access
            listener.tokens.append((access, ""))
        listener.client.request("private/subscribe", **params)

    def check(self) -> int:
        """Cause events; all that is told may be told when it is. Returns how much was."""
        told = 0
        for cause in (deal, tell, Harness.tick, tell):
            cause(self.harness)
            told += sum(map(self._judge, self.listeners))
        return told

    def _judge(self, listener: Listener) -> int:
        pushes = [push["params"] for push in listener.client.sink.pushes]
        listener.client.sink.pushes.clear()
        for push in pushes:
            scope = "account:read" if "portfolio" in push["channel"] else "trade:read"
            # Portfolios and bare positions do not say whose they are.
            owners = _accounts(push["data"]) or {101, 102}
            assert any(listener.may_hear(account, scope) for account in owners), push
        return len(pushes)


def _accounts(data: object) -> set[int]:
    """The accounts that private data names as its owner."""
    if isinstance(data, dict):
        mine = {data["user_id"]} if "user_id" in data else set()
        return mine.union(*(_accounts(value) for value in data.values()))
    if isinstance(data, list):
        return set().union(*(_accounts(value) for value in data))
    return set()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_log_ins_do_only_those_that_count_are_told(seed: int) -> None:
    """Each private event is one that some token of the connection may still ask for."""
    chance = Chance(random.Random(seed))
    told = 0
    for _ in range(60):
        chance.step()
        told += chance.check()
    assert told
    for listener in chance.listeners:
        listener.client.hang_up()
    grants = chance.harness.venue.feed.login_subscriptions
    assert (
        0
        == len(grants)
        == len(grants._of_sink)
        == len(grants._of_family)
        == len(grants._families_to_check)
    )
    assert 0 == len(grants._by_name)


def test_a_thousand_channels_of_a_session_end_at_once_and_are_removed_by_and_by() -> None:
    """One word may end what 32 connections listen to: all is silent, the work is in slices."""
    harness = Harness()
    granted: Json = {}
    clients = [harness.connect() for _ in range(32)]
    for client in clients:
        granted = client.login("alice", scope="session:one")
        assert list(PRIVATE) == client.call("private/subscribe", channels=list(PRIVATE))
        harness.venue.feed.send_initial_snapshots(client.sink)
        heard(client)
    again = clients[0]
    renewal = {"grant_type": "refresh_token", "refresh_token": granted["refresh_token"]}
    harness.get("/api/v2/public/auth?" + urlencode(renewal))
    again.login("alice")
    kept = "user.orders.any.any.raw"
    feed = harness.venue.feed
    deal(harness)
    left = sum(len(feed.subscribed(client.sink)) for client in clients)
    assert 0 < left <= 32 * len(PRIVATE) - ENDED_CHANNELS_PER_CALL
    again.call("private/subscribe", channels=[kept])
    for _ in range(32 * len(PRIVATE) // ENDED_CHANNELS_PER_CALL + 1):
        deal(harness)
        tell(harness)
    assert [{kept}, *[set()] * 31] == [heard(client) for client in clients]
    assert [[kept], *[[]] * 31] == [feed.subscribed(client.sink) for client in clients]
    assert not feed._ended_logins
