"""Tests of the metrics that a scrape returns."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from book.order import Side
from book.units import SCALE
from gateway.metrics import WAIT_BOUNDS, FastHistogram, Metrics
from risk.commands import Cancel, Continue, Entry, Origin, Place
from risk.events import Liquidated, LiquidationStep
from tests.gateway.feed_fixture import ALICE, BOB, BTC, Desk

CANCEL = Entry(1, 0, Origin(), Cancel(account=ALICE, order_id=1))


def test_commands_are_counted_by_kind() -> None:
    """However often metrics are read, each command counts once, in the usual format."""
    metrics = Metrics()
    for entry in (CANCEL, Entry(2, 0, Origin(), Continue()), CANCEL):
        metrics.count_entry(entry, [])
        metrics.exposition()
    metrics.count_entry(CANCEL, [])
    lines = metrics.exposition().decode().splitlines()
    assert "# TYPE tidegate_commands_total counter" in lines
    assert "# HELP tidegate_commands_total Commands applied, by kind." in lines
    assert 'tidegate_commands_total{command="Cancel"} 3.0' in lines
    assert 'tidegate_commands_total{command="Continue"} 1.0' in lines
    assert any(line.startswith('tidegate_commands_created{command="Cancel"} ') for line in lines)


def test_events_are_counted() -> None:
    """Fills are counted, and the steps of liquidations by name."""
    desk, metrics = Desk(), Metrics()
    for price in (50_000, 50_000.5):
        desk.place(ALICE, Side.SELL, 10, price)
    taking = Place(
        account=BOB, instrument=BTC, side=Side.BUY, amount=20 * SCALE, price=50_001 * SCALE
    )
    step = Liquidated(ALICE, "BTC", LiquidationStep.REDUCED, BTC, 10, 50_000)
    metrics.count_entry(CANCEL, [*desk.apply(taking), step])
    sample = metrics.registry.get_sample_value
    assert 2 == sample("tidegate_fills_total")
    assert 1 == sample("tidegate_liquidations_total", {"step": "reduced"})


def test_a_fast_histogram_is_exposed_like_one_of_the_library() -> None:
    """The lines are the same for values within a bucket, at a bound and above all bounds."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    fast = FastHistogram("waits_seconds", "How long.", WAIT_BOUNDS)
    library = Histogram("waits_seconds", "How long.", buckets=WAIT_BOUNDS, registry=theirs)
    ours.register(fast)
    for seconds in (0.0, *WAIT_BOUNDS, 0.25, 0.25, 4.0):
        fast.observe(seconds)
        library.observe(seconds)
    lines = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert lines == generate_latest(ours).splitlines()
