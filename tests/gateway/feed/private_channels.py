"""Private channels of every kind, and trades that publish on all of them."""

from __future__ import annotations

from base64 import b64encode

from tests.gateway.harness import Harness

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
