"""Who had to be liquidated, and when each was: told by a replay of the log, without the watch."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from benchmarks.margin import CURRENCIES
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.recovery import recover
from gateway.log.snapshots import Snapshots
from risk import margin
from risk.commands import Entry, Tick
from risk.events import Event, Liquidated
from risk.state import FIRST_CLIENT, State

NOT_YET = 2_000
"""Milliseconds: a venue that is stopped in the middle of its work has not forgotten the rest."""


@attrs.define
class Judge:
    """Looks on as a log is replayed: who was below maintenance margin, and who had a round, when.

    Times are those of the log, in ms; `fell` is that of the first step. Marks move on between the
    steps, so that from then on every account is looked at with every Tick.
    """

    state: State
    due: dict[tuple[int, str], int] = attrs.field(factory=dict)
    met: dict[tuple[int, str], int] = attrs.field(factory=dict)
    fell: int = 0
    _prices: tuple[tuple[str, int], ...] = ()

    def observe(self, entry: Entry, events: Sequence[Event]) -> None:
        """Look at every account when marks have moved."""
        if isinstance(entry.command, Tick):
            if not self.fell and self._prices not in ((), entry.command.prices):
                self.fell = entry.time
            self._prices = entry.command.prices
            if self.fell:
                self.scan(entry.time)
        for event in events:
            if isinstance(event, Liquidated):
                self.met.setdefault((event.account, event.currency), entry.time)

    def scan(self, time: int) -> None:
        """Look at every account."""
        for currency in CURRENCIES:
            for account, wallet in self.state.wallets[currency].items():
                held = any(position.size for position in wallet.positions.values())
                if held and account >= FIRST_CLIENT and margin.is_locked(self.state, wallet):
                    self.due.setdefault((account, currency), time)

    @property
    def forgotten(self) -> int:
        """How many were due and had no round, but for those whom the end of the log came upon."""
        late = (key for key, at in self.due.items() if at < self.state.time - NOT_YET)
        return len(set(late) - self.met.keys())

    @property
    def seconds(self) -> float:
        """From the first step until all who were due had a round."""
        return (max(self.met[key] for key in self.due if key in self.met) - self.fell) / 1e3

    @property
    def longest(self) -> float:
        """Seconds that an account waited for its round."""
        return max(self.met[key] - at for key, at in self.due.items() if key in self.met) / 1e3


def judged(directory: DataDirectory) -> Judge:
    """Replay a log from the oldest snapshot, and prove that in the end all balances sum up."""
    for newer in Snapshots(directory.snapshots).paths()[:-1]:
        newer.unlink()
    recovery = recover(directory, Disk())
    exchange = recovery.replayer.exchange
    judge = Judge(exchange.state)
    recovery.replayer.observers.append(judge.observe)
    for _ in recovery.run():
        pass
    exchange.check()
    return judge
