"""What an operator watches, in a registry of its own, so that two venues fit into one process."""

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

# Waits span a batch in memory (under a millisecond) to the time limit of the inbox (seconds).
WAIT_BOUNDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5)
# No step holds the loop over 50 ms. Twice a second costs nothing and meets what lasts.
_LAG_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LAG_PERIOD: Final = 0.5


class TypeCounter(Collector):
    """A counter with one label, the name of a type, whose owner adds to `counts` by itself.

    The library's own takes a lock and adds floats, ten times as long as this: too much for what
    every order passes.
    """

    def __init__(self, name: str, documentation: str, label: str) -> None:
        """Nothing is counted yet."""
        self.counts: defaultdict[type, int] = defaultdict(int)
        self._description = name, documentation, label
        self._since = time.time()

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What was counted, for a scrape."""
        name, documentation, label = self._description
        family = CounterMetricFamily(name, documentation, labels=[label])
        for kind, count in self.counts.items():
            family.add_metric([kind.__name__], count, created=self._since)
        yield family


class LabelledCounts(Collector):
    """A counter with one label whose owner has a mapping of label to count, `watched` by it."""

    def __init__(self, name: str, documentation: str, label: str) -> None:
        """Nothing is watched yet."""
        self.counts: Mapping[str, int] = {}
        self._description = name, documentation, label

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What was counted, for a scrape."""
        name, documentation, label = self._description
        family = CounterMetricFamily(name, documentation, labels=[label])
        for key, count in self.counts.items():
            family.add_metric([key], count)
        yield family


class FastHistogram(Collector):
    """A histogram in seconds, for what is observed from one thread for every client or batch.

    Like Tally it spares the library's lock and its floats.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        """Nothing is observed yet."""
        self._description = name, documentation
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What was observed, for a scrape; each bucket holds all that is smaller, too."""
        # The exposition format writes bounds as Go does, which is as Python does below 1e6.
        names = [*map(repr, self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(*self._description, buckets=buckets, sum_value=self._sum)


class Metrics:
    """Counters, gauges and histograms. Recording is a plain call of about a microsecond."""

    def __init__(self) -> None:
        """Everything starts at zero."""
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
        """Count an entry of the log and what came of it."""
        self.commands.counts[type(entry.command)] += 1
        self.count_events(entry, events)

    def count_events(self, _entry: Entry, events: Sequence[Event]) -> None:
        """Count only what came of an entry: trades, and steps of liquidations."""
        for event in events:
            if type(event) is Traded:
                self.fills.inc()
            elif type(event) is Liquidated:
                self.liquidations.labels(event.step.value).inc()

    def exposition(self) -> bytes:
        """All of it in the text format that Prometheus scrapes."""
        return generate_latest(self.registry)

    async def measure_loop_lag(self) -> None:
        """Measure the loop's lag until cancelled."""
        while True:
            due = trio.current_time() + _LAG_PERIOD
            await trio.sleep_until(due)
            self.loop_lag.observe(trio.current_time() - due)
