"""Subscribing and unsubscribing. The feed's tests cover the notifications."""

import pytest

from tests.gateway.harness import Client, Harness

BOOK = "book.BTC-PERPETUAL.100ms"
RAW = "book.BTC-PERPETUAL.raw"
QUOTE = "quote.BTC-PERPETUAL"
ORDERS = "user.orders.any.any.raw"
PORTFOLIO = "user.portfolio.btc"


@pytest.fixture
def harness() -> Harness:
    return Harness()


def subscribed(client: Client) -> list[str]:
    return client.harness.venue.feed.subscribed(client.sink)


def test_subscribe_returns_channel_names_as_the_client_wrote_them(harness: Harness) -> None:
    """Unknown channels are left out of the result; duplicates count once."""
    client = harness.connect("alice")
    asked = [QUOTE, "quote.NEVER", "weather", PORTFOLIO, "user.portfolio.BTC", QUOTE, ""]
    accepted = client.call("private/subscribe", channels=asked, scope="ignored")
    assert [QUOTE, PORTFOLIO, "user.portfolio.BTC"] == accepted
    assert accepted == subscribed(client)


def test_without_a_login_only_public_channels_without_raw_are_available(harness: Harness) -> None:
    """13778 for the whole request; private channels are left out."""
    client = harness.connect()
    error = client.error("public/subscribe", channels=[QUOTE, RAW])
    expected = {"code": 13778, "message": "raw_subscriptions_not_available_for_unauthorized"}
    assert expected == error
    assert [] == subscribed(client)
    assert [QUOTE] == client.call("public/subscribe", channels=[QUOTE, ORDERS])
    assert 10000 == client.error("private/subscribe", channels=[QUOTE])["code"]
    client.login("alice")
    assert [RAW] == client.call("public/subscribe", channels=[RAW, ORDERS])


def test_private_channels_need_their_scope(harness: Harness) -> None:
    """account:read for the portfolio, trade:read for the others; the rest is omitted."""
    client = harness.connect()
    client.login("alice", scope="trade:read")
    channels = [PORTFOLIO, ORDERS, "user.trades.any.any.raw"]
    assert channels[1:] == client.call("private/subscribe", channels=channels)
    client.login("alice", scope="account:read")
    assert [PORTFOLIO] == client.call("private/subscribe", channels=channels)


def test_unsubscribe_returns_the_channels_that_were_subscribed(harness: Harness) -> None:
    """Single channels, all public ones, or all."""
    client = harness.connect("alice")
    channels = [BOOK, QUOTE, ORDERS, PORTFOLIO]
    client.call("private/subscribe", channels=channels)
    assert [QUOTE] == client.call("public/unsubscribe", channels=[QUOTE, "weather", RAW, QUOTE])
    assert [PORTFOLIO] == client.call("private/unsubscribe", channels=[PORTFOLIO])
    assert "ok" == client.call("public/unsubscribe_all")
    assert [ORDERS] == subscribed(client)
    assert "ok" == client.call("private/unsubscribe_all")
    assert [] == subscribed(client)


def test_order_notifications_go_only_to_the_owner(harness: Harness) -> None:
    """A private channel has the notifications of the login's account only."""
    alice, bob = harness.connect("alice"), harness.connect("bob")
    for client in (alice, bob):
        client.call("private/subscribe", channels=[ORDERS])
    alice.call("private/buy", instrument_name="BTC-PERPETUAL", amount=10, price=64_500)
    (push,) = alice.sink.pushes
    assert (ORDERS, "open") == (push["params"]["channel"], push["params"]["data"]["order_state"])
    assert [] == bob.sink.pushes


@pytest.mark.parametrize(
    ("settings", "channels"),
    [
        ("[limits]\nsubscriptions_per_connection = 1\n", [BOOK, QUOTE]),
        ("", [f"quote.{number}" for number in range(501)]),
        ("", "quote.BTC-PERPETUAL"),
        ("", None),
        ("", [5]),
    ],
)
def test_one_call_takes_a_bounded_number_of_channels(settings: str, channels: object) -> None:
    """500 in one call, and the configured number per connection."""
    client = Harness(settings).connect()
    error = client.error("public/subscribe", channels=channels)
    assert (-32602, "channels") == (error["code"], error["data"]["param"])
    assert [] == subscribed(client)


def test_the_channel_limit_includes_existing_subscriptions() -> None:
    """Subscribing again to the same channel takes no further place."""
    client = Harness("[limits]\nsubscriptions_per_connection = 1\n").connect()
    assert [QUOTE] == client.call("public/subscribe", channels=[QUOTE])
    assert [QUOTE] == client.call("public/subscribe", channels=[QUOTE])
    assert -32602 == client.error("public/subscribe", channels=[BOOK])["code"]
    client.call("public/unsubscribe", channels=[QUOTE])
    assert [BOOK] == client.call("public/subscribe", channels=[BOOK])
