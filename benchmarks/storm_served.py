"""The storm over the gateway: a venue of many accounts falls while clients place orders.

The accounts are made by the core, and a venue starts on a snapshot of them, with its log on the
disk. Its indices play a file: some calm, then a fifth off every price in ten steps. A maker quotes
around the index, as the venue tells of it, once a second. Ten clients place orders and cancel
them on a schedule, a hundred a second together; delays count from the schedule, those of calm
until the first step and those of the storm from then until few are left who are liquidated, an
eighth of what they hold each second.

Afterwards the log is replayed, and after each step all accounts are scanned for who is below
maintenance margin: each must have had a round by the end. The log also tells how long it waited.

    python benchmarks/storm_served.py [--quick]
"""

from __future__ import annotations

import gc
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Final
from urllib.request import urlopen

import attrs
import msgspec

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crowd import Crowd, Peer, Trader, log_in, open_peers, percentile, request
from benchmarks.figures import NO_FOLLOWER, Figure, command
from benchmarks.judge import judged
from benchmarks.load import TIDEGATE, cpu_seconds, server
from benchmarks.margin import BATCH, INSTRUMENTS, MAKER, PRICES, Venue, venue_with
from benchmarks.storm import endow
from book.units import SCALE
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.event_hash import EventHash
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.writer import SegmentWriter
from risk.commands import Entry, Origin, Tick

STEPS: Final = 10
FALL: Final = 20
"""Percent, in so many steps."""

CLIENTS: Final = 10
PER_SECOND: Final = 100
QUOTED: Final = 10
"""Contracts a side and an account that the maker offers to take."""

QUIET: Final = 0.02
"""Rounds a second, of an account, that are no storm any more."""

_COUNT: Final = re.compile(
    rb'^tidegate_commands_total{command="Liquidate"} ([0-9.e+]+)', re.MULTILINE
)


@attrs.frozen
class Times:
    """Seconds: before calm, of calm, of a step, and after which the storm must be over."""

    settling: float
    calm: float
    step: float
    most: float


def start_of(accounts: int) -> int:
    """When to begin to make so many accounts, for the venue to be no later than we are."""
    return (int(time.time()) - accounts // BATCH - 60) * 1000


def keep(venue: Venue, directory: DataDirectory) -> None:
    """Leave the venue in a data directory: a snapshot, and a log that goes on from there."""
    disk = Disk()
    with directory.locked(disk):
        # A log that begins with the next entry, so that there is a frame for the snapshot to name.
        venue.sequence += 1
        entry = Entry(
            venue.sequence, venue.time, Origin(), Tick(prices=tuple(venue.prices.items()))
        )
        venue.exchange.apply(entry)
        writer = SegmentWriter(directory.log, disk, venue.sequence - 1)
        writer.open()
        writer.append([entry])
        writer.close()
        snapshot = Snapshot.of(venue.exchange, venue.sequence, writer.hash, EventHash())
        Snapshots(directory.snapshots, disk).write(snapshot)


def recorded(times: Times) -> Iterator[tuple[int, float]]:
    """(milliseconds, part of the price) from the first reading on."""
    first = times.settling + times.calm
    yield 0, 1.0
    for step in range(1, STEPS + 1):
        yield int((first + (step - 1) * times.step) * 1000), 1 - FALL * step / STEPS / 100


def configuration(folder: Path, directory: DataDirectory, http: int, times: Times) -> Path:
    """Write the configuration: the indices, the maker and the clients; returns the file."""
    sections = [
        f'[server]\nhttp = "127.0.0.1:{http}"\nwebsocket = "127.0.0.1:0"',
        f'data_dir = "{directory.path}"',
        NO_FOLLOWER,
        "[limits]\nenabled = false",
    ]
    for name, price in PRICES.items():
        rows = [f"{at},{price * part}" for at, part in recorded(times)]
        file = folder / f"{name}.csv"
        file.write_text("\n".join(["timestamp,price", *rows]))
        sections.append(f'[[index]]\nname = "{name}"\nsource = "csv"\nfile = "{file}"')
    names = [str(MAKER), *(f"client{number}" for number in range(1, CLIENTS + 1))]
    sections += [
        f'[[account]]\nname = "{name}"\nclient_id = "id{number}"\n'
        f'client_secret = "secret{number}"\ndeposits = {{ BTC = 100 }}'
        for number, name in enumerate(names)
    ]
    path = folder / "venue.toml"
    path.write_text("\n".join(sections))
    return path


class Client(Trader):
    """Offers above what the price begins with, and so above all that follows, and cancels.

    `samples` are (due, delay) of what was answered.
    """

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer, PRICES["btc_usd"] * 102 // 100)
        self.samples: list[tuple[float, float]] = []

    def ask(self, due: float) -> None:
        """Send the next request."""
        if self._open:
            super().ask(due)
        else:
            self._place(due, "sell")

    def handle(self, message: bytes) -> bool:
        """Note what a message says."""
        known = len(self.delays)
        reply = super().handle(message)
        self.samples += [(perf_counter() - delay, delay) for delay in self.delays[known:]]
        return reply


class _Notified(msgspec.Struct):
    index_name: str
    price: float


class _Params(msgspec.Struct):
    data: _Notified


class _Message(msgspec.Struct):
    params: _Params | None = None
    error: msgspec.Raw = msgspec.Raw()


class Maker:
    """Quotes both sides of all instruments around each price that the venue tells of.

    `fell` is when the first lower price was heard, 0.0 before; `refused` are errors.
    """

    def __init__(self, peer: Peer, venue: Venue, accounts: int) -> None:
        self.peer = peer
        self.fell = 0.0
        self.refused: list[bytes] = []
        self._markets = {
            venue.market(name).index.name: venue.market(name).instrument for name in INSTRUMENTS
        }
        self._contracts = QUOTED * accounts
        channels = [f"deribit_price_index.{index}" for index in self._markets]
        self._ask("public/subscribe", {"channels": channels})

    def handle(self, message: bytes) -> None:
        """Quote anew around the price of a notification."""
        said = msgspec.json.decode(message, type=_Message)
        if said.error:
            self.refused.append(bytes(said.error))
        if said.params is None:
            return
        index, price = said.params.data.index_name, said.params.data.price
        if not self.fell and price < PRICES[index]:
            self.fell = perf_counter()
        instrument = self._markets[index]
        contract, middle = instrument.contract, instrument.floor_to_tick(int(price * SCALE))
        amount = self._contracts * contract.contract_size / SCALE
        name = {"instrument_name": instrument.name}
        self._ask("private/cancel_all_by_instrument", name)
        for method, quoted in (("buy", middle - contract.tick), ("sell", middle + contract.tick)):
            order = name | {"amount": amount, "price": quoted / SCALE}
            self._ask(f"private/{method}", order)

    def _ask(self, method: str, params: object) -> None:
        self.peer.send(msgspec.json.encode(request(1, method, params)))


@attrs.define
class Rounds:
    """Counts rounds of liquidation by what the venue tells operators, twice a second."""

    url: str
    quiet: float
    seen: list[tuple[float, float]] = attrs.field(factory=list)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count while the block runs."""
        enough = threading.Event()
        thread = threading.Thread(target=self._count, args=[enough])
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()

    def _count(self, enough: threading.Event) -> None:
        while not enough.wait(0.5):
            with urlopen(self.url) as answer:
                found = _COUNT.search(answer.read())
            self.seen.append((perf_counter(), float(found[1]) if found else 0.0))

    def over(self, since: float) -> bool:
        """Whether for three seconds there was no more than what is quiet."""
        late = [(at, count) for at, count in self.seen if at >= max(since, perf_counter() - 4)]
        if not late or late[-1][0] - late[0][0] < 3:
            return False
        return late[-1][1] - late[0][1] <= self.quiet * (late[-1][0] - late[0][0])


@attrs.define
class Storm:
    """What was seen: its seconds, delays, processor seconds of the server beyond calm, refusals."""

    seconds: float
    calm: list[float]
    storm: list[float]
    used: float
    refused: int


def weather(url: str, pid: int, http: int, venue: Venue, accounts: int, times: Times) -> Storm:
    """Let it happen, and place orders all along."""
    peers = open_peers(url, 1 + CLIENTS)
    log_in(peers, range(1 + CLIENTS))
    maker = Maker(peers[0], venue, accounts)
    clients = {peer: Client(peer) for peer in peers[1:]}
    crowd, order = Crowd(peers), list(clients.values())
    rounds = Rounds(f"http://127.0.0.1:{http}/metrics", QUIET * accounts)

    def read(seconds: float) -> None:
        for peer, messages in crowd.read(seconds):
            assert not peer.ended, "a client was cut"
            for message in messages:
                clients[peer].handle(message) if peer in clients else maker.handle(message)

    began = perf_counter()
    cpu = [(began, cpu_seconds(pid))]
    ended, number = 0.0, 0
    with rounds.counted():
        while not ended:
            due = began + number / PER_SECOND
            while (left := due - perf_counter()) > 0:
                read(left + 0.001)
            order[number % CLIENTS].ask(due)
            number += 1
            if number % PER_SECOND == 0:
                cpu.append((perf_counter(), cpu_seconds(pid)))
                last = maker.fell + (STEPS - 1) * times.step
                if maker.fell and (rounds.over(last) or perf_counter() - last > times.most):
                    ended = perf_counter()
    end = perf_counter() + 10
    while any(client.due for client in order) and perf_counter() < end:
        read(0.1)
    crowd.close()
    fell = maker.fell
    samples = [sample for client in order for sample in client.samples]
    for refusal in maker.refused[:3]:
        print(f"  the maker was refused: {refusal!r}", flush=True)
    usual = _used(cpu, fell - times.calm, fell) / times.calm
    return Storm(
        ended - fell,
        [delay for due, delay in samples if fell - times.calm <= due < fell],
        [delay for due, delay in samples if fell <= due < ended],
        _used(cpu, fell, ended) - usual * (ended - fell),
        sum(sum(client.refusals.values()) for client in order),
    )


def _used(cpu: Sequence[tuple[float, float]], start: float, end: float) -> float:
    within = [used for at, used in cpu if start - 1 <= at <= end + 1]
    return within[-1] - within[0]


def figures(venue: Venue, accounts: int, times: Times) -> list[Figure]:
    """Serve that venue, and let it fall."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        directory = DataDirectory(folder / "data")
        keep(venue, directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            http = free.getsockname()[1]
        config = configuration(folder, directory, http, times)
        serve = [TIDEGATE, "serve", "--config", str(config)]
        began = perf_counter()
        with server(serve, watched=True) as (url, pid):
            print(
                f"  {accounts:,} accounts served after {perf_counter() - began:.1f} s", flush=True
            )
            seen = weather(url, pid, http, venue, accounts, times)
        judge = judged(directory)
    calm, storm = (percentile(delays, 99) * 1e3 for delays in (seen.calm, seen.storm))
    title = "storm, served"
    return [
        Figure(
            f"{title}: {accounts:,} accounts, -{FALL} % in {STEPS} steps of {times.step:.0f} s",
            "all due accounts are liquidated",
            f"{len(judge.due):,} were due, {judge.forgotten} forgotten; all balances sum up",
            not judge.forgotten,
        ),
        Figure(
            f"{title}: p99 of others' orders",
            "≤ 5 x calm",
            f"{storm:.1f} ms, {storm / calm:.1f} x calm ({calm:.1f}); p50 "
            f"{percentile(seen.storm, 50) * 1e3:.1f}, worst {max(seen.storm) * 1e3:.0f} ms; "
            f"{seen.refused} refused",
            storm <= 5 * calm,
        ),
        Figure(
            f"{title}: time and cost",
            "given",
            f"all had a round {judge.seconds:.1f} s after the first step, the last of them "
            f"{judge.longest:.1f} s after its own; {seen.used / len(judge.met) * 1e6:.0f} µs of "
            f"processor an account in {seen.seconds:.0f} s, beyond calm",
        ),
    ]


def measure(quick: bool) -> list[Figure]:
    """One storm; to make the accounts takes longer than the storm itself."""
    accounts = 2_000 if quick else 100_000
    times = Times(3.0, 8.0, 1.0, 60.0) if quick else Times(15.0, 20.0, 4.0, 240.0)
    gc.disable()
    venue = venue_with(accounts, start_of(accounts))
    endow(venue)
    gc.enable()
    return figures(venue, accounts, times)


if __name__ == "__main__":
    command(__doc__, measure)
