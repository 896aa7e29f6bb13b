"""Prometheus metrics, in a registry of their own, so that one process can run two venues."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Final

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from risk.commands import Entry
from risk.events import Event, Liquidated, Traded

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

# From a batch in memory (under a millisecond) to the time limit of the inbox (seconds).
WAIT_BOUNDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5)
# No step holds the event loop for over 50 ms. Twice a second is cheap and finds what lasts.
_LAG_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LAG_PERIOD: Final = 0.5


class TypeCounter(Collector):
    """A counter whose one label is the name of a type; its owner increments `counts`.

    The library's counter takes a lock and adds floats, which takes ten times as long: too much for
    the path of every order.
    """

    def __init__(self, name: str, documentation: str, label: str) -> None:
        """Start at zero."""
        self.counts: defaultdict[type, int] = defaultdict(int)
        self._description = name, documentation, label
        self._since = time.time()

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the counts, for a scrape."""
        name, documentation, label = self._description
        family = CounterMetricFamily(name, documentation, labels=[label])
        for kind, count in self.counts.items():
            family.add_metric([kind.__name__], count, created=self._since)
        yield family


class LabelledCounts(Collector):
    """A counter with one label, whose owner sets `counts` to its own mapping of label to count."""

    def __init__(self, name: str, documentation: str, label: str) -> None:
        """Start without counts."""
        self.counts: Mapping[str, int] = {}
        self._description = name, documentation, label

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the counts, for a scrape."""
        name, documentation, label = self._description
        family = CounterMetricFamily(name, documentation, labels=[label])
        for key, count in self.counts.items():
            family.add_metric([key], count)
        yield family


class FastHistogram(Collector):
    """A histogram in seconds, for values recorded by one thread for every client or batch.

    Like TypeCounter, it avoids the library's lock and floats.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        """Start without observations."""
        self._description = name, documentation
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Record one value."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the cumulative buckets, for a scrape."""
        # The text format writes bounds as Go does, which equals Python's repr below 1e6.
        names = [*map(repr, self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(*self._description, buckets=buckets, sum_value=self._sum)


class Metrics:
    """Counters, gauges and histograms. Recording is a plain call of about a microsecond."""

    def __init__(self) -> None:
        """Start all at zero."""
        self.registry = CollectorRegistry()
        counter = partial(Counter, namespace="tidegate", registry=self.registry)
        gauge = partial(Gauge, namespace="tidegate", registry=self.registry)
        histogram = partial(Histogram, namespace="tidegate", registry=self.registry)
        self.connections = gauge("connections", "WebSocket connections, from accept to the end.")
        self.http_connections = gauge("http_connections", "HTTP connections.")
        self.http_failures = counter(
            "http_failures", "HTTP connections that did not end well, by reason.", ["reason"]
        )
        self.http_requests = gauge("http_requests", "HTTP requests being served.")
        self.inbox_depth = gauge("inbox_depth", "Lists of commands in the inbox.")
        self.inbox_wait = FastHistogram(
            "tidegate_inbox_wait_seconds",
            "How long a list of commands waited for the log.",
            WAIT_BOUNDS,
        )
        self.log_write = FastHistogram(
            "tidegate_log_write_seconds", "How long a batch took to be on the disk.", WAIT_BOUNDS
        )
        self.commands = TypeCounter("tidegate_commands", "Commands applied, by kind.", "command")
        self.unknown_channels = LabelledCounts(
            "tidegate_unserved_channels",
            "Channels that clients asked for and that do not exist here, by topic.",
            "topic",
        )
        for own in (self.inbox_wait, self.log_write, self.commands, self.unknown_channels):
            self.registry.register(own)
        self.fills = counter("fills", "Trades in the book.")
        self.liquidations = counter("liquidations", "Steps of liquidations, by step.", ["step"])
        self.outbox_drops = counter(
            "outbox_drops",
            "What did not fit into a client's outbox: public data left out, private data that"
            " cost the client its connection.",
            ["kind"],
        )
        self.clock_lead = gauge(
            "clock_lead_seconds",
            "How far venue time is ahead of the machine's clock; below zero it is behind.",
        )
        self.floods = counter(
            "floods",
            "WebSocket connections cut for sending too many frames or bytes, by reason.",
            ["reason"],
        )
        self.crashes = counter("crashes", "Exceptions caught at a boundary: bugs.", ["boundary"])
        self.loop_lag = histogram(
            "loop_lag_seconds",
            "How late a timer fires: the event loop was busy.",
            buckets=_LAG_BOUNDS,
        )

    def count_entry(self, entry: Entry, events: Sequence[Event]) -> None:
        """Count an entry of the log and its events."""
        self.commands.counts[type(entry.command)] += 1
        self.count_events(entry, events)

    def count_events(self, _entry: Entry, events: Sequence[Event]) -> None:
        """Count only the events of an entry: trades, and steps of liquidations."""
        for event in events:
            if type(event) is Traded:
                self.fills.inc()
            elif type(event) is Liquidated:
                self.liquidations.labels(event.step.value).inc()

    def exposition(self) -> bytes:
        """Return all metrics in the text format that Prometheus scrapes."""
        return generate_latest(self.registry)

    async def measure_loop_lag(self) -> None:
        """Measure the lag of the event loop until cancelled."""
        while True:
            due = trio.current_time() + _LAG_PERIOD
            await trio.sleep_until(due)
            self.loop_lag.observe(trio.current_time() - due)
