"""Verification of a log: its bytes are intact, and replaying it reproduces what the venue did.

First all checksums and the chain are checked. Then the log is replayed from the first entry and
from each snapshot: the replays must match the checkpoints in the log and the digests of the
snapshots, and end in the same state. Meanwhile the balances and margins are regularly recomputed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Protocol

from attrs import define, field, frozen

from gateway.log.data_directory import DataDirectory
from gateway.log.errors import DivergenceError, IdentityError
from gateway.log.replayer import LogReplayer
from gateway.log.scan import LogScan, ReplayStart, log_bytes, scan_log
from gateway.log.snapshots import Snapshot
from risk import RULES
from risk.commands import Checkpoint

CHECK_ENTRIES: Final = 10_000
"""Entries between two consistency checks. The cost of a check grows with the state: at a thousand
accounts, some milliseconds after half a second of replay."""


class Meter(Protocol):
    """Shows the progress of a verification."""

    def measure(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Begin a piece of work of size `total`; call what the block gets with each step's size."""
        ...


@frozen
class Verified:
    """The result of a successful verification.

    `entries` counts the replayed entries of all replays, `checkpoints` and `snapshots` what was
    compared, and `checks` the consistency checks. `digest` is that of the final state, empty if
    nothing could be replayed.
    """

    scan: LogScan
    entries: int
    checkpoints: int
    snapshots: int
    checks: int
    digest: str


@define(eq=False)
class Verification:
    """Verifies a log, which may be in use; entries that are added meanwhile are ignored.

    Raises DamageError with file and offset, DivergenceError and IdentityError with the entry, other
    LogErrors, and ApplyError for an entry that cannot be applied and is not skipped.
    """

    directory: DataDirectory
    meter: Meter
    every: int = CHECK_ENTRIES
    _entries: int = field(default=0, init=False)
    _checkpoints: int = field(default=0, init=False)
    _compared: int = field(default=0, init=False)
    _checks: int = field(default=0, init=False)

    def run(self) -> Verified:
        """Verify the log from every start."""
        with self.meter.measure("checksums and chain, bytes", log_bytes(self.directory)) as advance:
            scan = scan_log(self.directory, advance)
        ends = {start.sequence: self._replay(scan, start) for start in scan.starts()}
        if len(set(ends.values())) > 1:
            states = ", ".join(f"from entry {start}: {end}" for start, end in ends.items())
            raise DivergenceError(f"replays come to different states at the end: {states}")
        digest = next(iter(ends.values()), "")
        return Verified(
            scan, self._entries, self._checkpoints, self._compared, self._checks, digest
        )

    def _replay(self, scan: LogScan, start: ReplayStart) -> str:
        """Replay to the end of the scan; return the digest there."""
        what = f"replay from entry {start.sequence + 1}, entries"
        expected = {snapshot.sequence: snapshot for snapshot in scan.snapshots}
        replay, reader = start.replayer(scan.skips), start.reader(self.directory)
        due = start.sequence + self.every
        with self.meter.measure(what, scan.last - start.sequence) as advance:
            for entries in reader.batches(scan.last) if reader else ():
                for entry in entries:
                    replay.apply(entry)
                    self._checkpoints += isinstance(entry.command, Checkpoint)
                last = entries[-1].sequence
                if last in expected:
                    self._compare(replay, expected[last])
                if last >= due:
                    self._check(replay, last)
                    due = last + self.every
                self._entries += len(entries)
                advance(len(entries))
        self._check(replay, scan.last)
        return replay.exchange.digest()

    def _compare(self, replay: LogReplayer, snapshot: Snapshot) -> None:
        if replay.event_hash.value != snapshot.event_hash:
            raise DivergenceError(
                f"up to entry {snapshot.sequence} the replay came to other events than its snapshot"
                f" says (trail {replay.event_hash.value.hex()}, not {snapshot.event_hash.hex()})"
            )
        # Under other rules the digest may cover other facts.
        if snapshot.rules == RULES:
            digest = replay.exchange.digest()
            if digest != snapshot.digest.hex():
                raise DivergenceError(
                    f"after entry {snapshot.sequence} the replay is in another state than its"
                    f" snapshot (digest {digest}, not {snapshot.digest.hex()})"
                )
        self._compared += 1

    def _check(self, replay: LogReplayer, sequence: int) -> None:
        try:
            replay.exchange.check()
        except AssertionError as error:
            raise IdentityError(f"after entry {sequence} an identity is broken: {error}") from error
        self._checks += 1
