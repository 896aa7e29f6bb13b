"""Proving a log: that it is as it was written, and that replaying it comes to what the venue did.

Every checksum and the chain; then a replay from the first entry and one from each snapshot, which
must come to the trails that the live venue left in the log, to the digests of the snapshots and,
all of them, to the same end. On the way the identities of money and margin are proved from
scratch.
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
"""From one proof of the identities to the next. One costs as much as the state is large: some
milliseconds at a thousand accounts, after half a second of replay."""


class Meter(Protocol):
    """Shows the progress of a verification."""

    def measure(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Begin a piece of work of size `total`; call what the block gets with each step's size."""
        ...


@frozen
class Verified:
    """What was proved of a log.

    `entries` were replayed, in all, `checkpoints` trails and `snapshots` digests compared, and
    the identities proved `checks` times. `digest` is that of the end; empty where nothing could
    be replayed.
    """

    scan: LogScan
    entries: int
    checkpoints: int
    snapshots: int
    checks: int
    digest: str


@define(eq=False)
class Verification:
    """The proof of a log, which may be in use; what comes while it runs is left out.

    Raises the LogError that fits what is not as it should be: DamageError with file and offset,
    DivergenceError and IdentityError with the entry, and ApplyError for one that cannot be
    applied and is not skipped.
    """

    directory: DataDirectory
    meter: Meter
    every: int = CHECK_ENTRIES
    _entries: int = field(default=0, init=False)
    _checkpoints: int = field(default=0, init=False)
    _compared: int = field(default=0, init=False)
    _checks: int = field(default=0, init=False)

    def run(self) -> Verified:
        """Prove everything."""
        with self.meter.measure("checksums and chain, bytes", log_bytes(self.directory)) as advance:
            found = scan_log(self.directory, advance)
        ends = {start.sequence: self._replay(found, start) for start in found.starts()}
        if len(set(ends.values())) > 1:
            told = ", ".join(f"from entry {start}: {end}" for start, end in ends.items())
            raise DivergenceError(f"replays come to different states at the end: {told}")
        digest = next(iter(ends.values()), "")
        return Verified(
            found, self._entries, self._checkpoints, self._compared, self._checks, digest
        )

    def _replay(self, found: LogScan, start: ReplayStart) -> str:
        """Replay to the end, which was `found`; returns the digest there."""
        what = f"replay from entry {start.sequence + 1}, entries"
        expected = {snapshot.sequence: snapshot for snapshot in found.snapshots}
        replay, reader = start.replayer(found.skips), start.reader(self.directory)
        due = start.sequence + self.every
        with self.meter.measure(what, found.last - start.sequence) as advance:
            for entries in reader.batches(found.last) if reader else ():
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
        self._check(replay, found.last)
        return replay.exchange.digest()

    def _compare(self, replay: LogReplayer, snapshot: Snapshot) -> None:
        if replay.event_hash.value != snapshot.event_hash:
            raise DivergenceError(
                f"up to entry {snapshot.sequence} the replay came to other events than its snapshot"
                f" says (trail {replay.event_hash.value.hex()}, not {snapshot.event_hash.hex()})"
            )
        # A snapshot from before a change of rules has the digest of other facts.
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
