"""Tests of channels that do not exist: omitted from the reply, counted and logged."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from gateway.feed.channel_names import GROUPED_BOOK, MISSING, Topic, missing_topic, parse
from gateway.feed.unknown_channels import LOG_INTERVAL_SECONDS, UNKNOWN_TOPIC, UnknownChannels
from gateway.metrics import Metrics
from tests.gateway.harness import Harness

BTC = "BTC-PERPETUAL"
CHART = f"chart.trades.{BTC}.1"
GROUPED = f"book.{BTC}.none.10.100ms"


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        (CHART, "chart.trades"),
        (GROUPED, GROUPED_BOOK),
        (f"incremental_ticker.{BTC}", "incremental_ticker"),
        ("platform_state", "platform_state"),
        ("platform_state.public_methods_state", "platform_state"),
        ("platform_stately", ""),
        ("user.lock", "user.lock"),
        ("user.mmp_trigger.btc_usd", "user.mmp_trigger"),
        ("instrument.state.any.any", "instrument.state"),
        ("chart.trade", ""),
        ("weather", ""),
        ("", ""),
        (f"book.{BTC}", ""),
    ],
)
def test_a_missing_channel_of_the_api_has_a_topic(name: str, topic: str) -> None:
    """A name below a missing topic has that topic; a name unknown to the API has none."""
    assert parse(name) is None
    assert topic == missing_topic(name)


def test_unknown_channels_are_omitted_and_counted() -> None:
    """Unlisted instruments and private channels of others are not counted."""
    harness = Harness()
    client = harness.connect("alice")
    asked = [CHART, CHART.replace("1", "5"), GROUPED, "weather", f"quote.{BTC}"]
    given = ["quote.NEVER", "user.portfolio.DOGE", *asked]
    assert [f"quote.{BTC}"] == client.call("private/subscribe", channels=given)
    assert [] == harness.connect().call("public/subscribe", channels=["user.orders.any.any.raw"])
    expected = {"chart.trades": 2, GROUPED_BOOK: 1, UNKNOWN_TOPIC: 1}
    assert expected == harness.venue.unknown_channels.counts
    metrics = Metrics()
    metrics.unknown_channels.counts = harness.venue.unknown_channels.counts
    lines = metrics.exposition().decode().splitlines()
    assert 'tidegate_unserved_channels_total{topic="chart.trades"} 2.0' in lines


def test_unknown_channels_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """It holds the counts since the last line, and one name as an example."""
    unknown_channels = UnknownChannels()
    with caplog.at_level(logging.WARNING):
        unknown_channels.note([CHART], 0.0)
        for second in range(1, int(LOG_INTERVAL_SECONDS)):
            unknown_channels.note([CHART, "a\nb\x1b[31m" + "x" * 10_000], float(second))
        unknown_channels.note(["weather"], LOG_INTERVAL_SECONDS)
    early, late = caplog.messages
    assert "chart.trades 1" in early
    assert repr(CHART) in early
    assert "chart.trades 59, unknown 60" in late
    assert "\n" not in early + late
    assert len(late) < 300


def test_the_number_of_counters_is_bounded() -> None:
    """Counts are by topic, never by name."""
    unknown_channels = UnknownChannels()
    unknown_channels.note((f"weather.{n}" for n in range(5_000)), 0.0)
    unknown_channels.note((f"chart.trades.X{n}.1" for n in range(5_000)), 0.0)
    assert {UNKNOWN_TOPIC: 5_000, "chart.trades": 5_000} == unknown_channels.counts


def test_the_documentation_lists_every_channel() -> None:
    """There is a row for each existing topic, and for each missing one."""
    text = Path("docs/API.md").read_text()
    table = text.partition("\n## Channels\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (.*) \| (yes|no) \|$", table, re.MULTILINE))
    there, missing = (
        {
            name.removesuffix(".…").partition(".{")[0]
            for row, here in rows.items()
            for name in re.findall(r"`([a-z][^`]*)`", row)
            if here == word
        }
        for word in ("yes", "no")
    )
    assert {topic.value for topic in Topic} == there
    assert {*MISSING, "book"} == missing


@pytest.mark.parametrize(
    ("method", "params", "data"),
    [
        ("private/mass_quote", {}, {"method": "private/mass_quote"}),
        ("public/get_index_chart_data", {}, {"method": "public/get_index_chart_data"}),
        ("private/buy", {"type": "stop_limit"}, {"param": "type"}),
        ("private/sell", {"linked_order_type": "x"}, {"param": "linked_order_type"}),
        ("private/buy", {"display_amount": 5}, {"param": "display_amount"}),
        ("private/buy", {"max_show": "5"}, {"param": "max_show"}),
        (
            "private/set_self_trading_config",
            {"mode": "cancel_maker", "extended_to_subaccounts": True},
            {"param": "extended_to_subaccounts"},
        ),
    ],
)
def test_an_error_names_what_is_not_implemented(
    method: str, params: dict[str, object], data: dict[str, str]
) -> None:
    """The error names the method, or the parameter that is not implemented."""
    order = {"instrument_name": BTC, "amount": 10, "price": 64_500}
    given = order | params if method in ("private/buy", "private/sell") else params
    error = Harness().connect("alice").error(method, **given)
    assert (10033, "not_implemented") == (error["code"], error["message"])
    assert {"reason": "not implemented", **data} == error["data"]


def test_a_method_unknown_to_the_api_is_not_found() -> None:
    """The error is -32601."""
    assert -32601 == Harness().connect("alice").error("private/weather")["code"]
