"""Tests of parsing channel names."""

import pytest

from gateway.feed.channel_names import Channel, Interval, Topic, parse, subjects


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("book.BTC-PERPETUAL.raw", Channel(Topic.BOOK, "BTC-PERPETUAL", "", Interval.RAW)),
        ("book.BTC-25DEC26.agg2", Channel(Topic.BOOK, "BTC-25DEC26", "", Interval.SLOW)),
        ("ticker.ETH-PERPETUAL.100ms", Channel(Topic.TICKER, "ETH-PERPETUAL", "", Interval.FAST)),
        ("quote.BTC-PERPETUAL", Channel(Topic.QUOTE, "BTC-PERPETUAL", "", Interval.RAW)),
        ("trades.BTC-PERPETUAL.raw", Channel(Topic.TRADES, "BTC-PERPETUAL", "", Interval.RAW)),
        ("trades.future.btc.100ms", Channel(Topic.TRADES, "future.BTC", "BTC", Interval.FAST)),
        ("trades.any.any.raw", Channel(Topic.TRADES, "any.any", "any", Interval.RAW)),
        ("deribit_price_index.btc_usd", Channel(Topic.INDEX, "btc_usd", "", Interval.RAW)),
        (
            "perpetual.BTC-PERPETUAL.100ms",
            Channel(Topic.PERPETUAL, "BTC-PERPETUAL", "", Interval.FAST),
        ),
        ("user.orders.any.ANY.raw", Channel(Topic.ORDERS, "any.any", "any", Interval.RAW)),
        (
            "user.trades.SOL_USDC-PERPETUAL.100ms",
            Channel(Topic.OWN_TRADES, "SOL_USDC-PERPETUAL", "", Interval.FAST),
        ),
        (
            "user.changes.option.eth.agg2",
            Channel(Topic.CHANGES, "option.ETH", "ETH", Interval.SLOW),
        ),
        ("user.portfolio.Btc", Channel(Topic.PORTFOLIO, "BTC", "BTC", Interval.RAW)),
        ("user.portfolio.any", Channel(Topic.PORTFOLIO, "any", "any", Interval.RAW)),
    ],
)
def test_a_channel_name_is_parsed(name: str, channel: Channel) -> None:
    """Topic, subject, currency and interval follow from the name; letter case is ignored."""
    assert channel == parse(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "book",
        "book.BTC-PERPETUAL",
        "book.BTC-PERPETUAL.1s",
        "book..raw",
        "book.BTC-PERPETUAL.none.10.100ms",
        "incremental_ticker.BTC-PERPETUAL",
        "chart.trades.BTC-PERPETUAL.1",
        "quote.BTC-PERPETUAL.raw",
        "trades.stock.BTC.raw",
        "ticker.future.BTC.raw",
        "user",
        "user.orders",
        "user.orders.raw",
        "user.portfolio",
        "user.portfolio.BTC.raw",
        "user.mmp_trigger.btc_usd",
        "orders.any.any.raw",
    ],
)
def test_an_unknown_name_has_no_channel(name: str) -> None:
    """Clients request channels of other venues; an unknown name is no error."""
    assert parse(name) is None


@pytest.mark.parametrize(
    ("name", "scope", "needs_login"),
    [
        ("book.BTC-PERPETUAL.raw", None, True),
        ("book.BTC-PERPETUAL.100ms", None, False),
        ("trades.any.BTC.raw", None, True),
        ("quote.BTC-PERPETUAL", None, False),
        ("deribit_price_index.btc_usd", None, False),
        ("user.orders.any.any.raw", "trade:read", False),
        ("user.portfolio.BTC", "account:read", False),
    ],
)
def test_scope_and_log_in_that_a_channel_needs(
    name: str, scope: str | None, needs_login: bool
) -> None:
    """Private channels need a scope, public raw ones any log-in."""
    channel = parse(name)
    assert channel is not None
    assert (scope, needs_login) == (channel.scope, channel.needs_login)


def test_an_instrument_is_covered_by_five_subjects() -> None:
    """It is covered by its own name, and by its kind and currency, each of which may be `any`."""
    assert (
        "BTC-PERPETUAL",
        "future.BTC",
        "future.any",
        "any.BTC",
        "any.any",
    ) == subjects("BTC-PERPETUAL", "future", "BTC")
