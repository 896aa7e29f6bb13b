"""Tests that private subscriptions end with their log-in, however that ends."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from attrs import define

from gateway.access import tokens
from gateway.access.authenticator import ApiKey
from gateway.access.scope import parse_scope
from gateway.feed.feed import ENDED_CHANNELS_PER_CALL
from tests.gateway.feed.private_channels import (
    INSTRUMENT,
    PRIVATE,
    flush_all,
    trade,
    trade_and_rest_order,
)
from tests.gateway.harness import Client, Harness, Json

PUBLIC = (
    f"trades.{INSTRUMENT}.100ms",
    f"book.{INSTRUMENT}.raw",
    f"ticker.{INSTRUMENT}.raw",
)
PLACES = {"connection": "connection", "session": "session:shared"}
WRITE = "trade:read_write account:read_write"


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
