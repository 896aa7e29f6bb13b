"""A machine that stops at any step leaves a log that holds what was acknowledged, and no more."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path

import pytest
from attrs import define, field

from gateway.log.disk import Disk, File
from gateway.log.recovery import recover
from gateway.log.snapshots import Snapshot, Snapshots
from tests.gateway.log.log_fixtures import LogDirectory, QuickDisk, batches, digests


class Crash(BaseException):
    """The power is gone: nothing that comes after is done."""


class Fate(Enum):
    """What becomes of bytes and names that were not synced."""

    KEPT = "all of them reach the disk"
    TORN = "of each write the first half does, and zeros for the rest"
    LOST = "none does"


@define(eq=False)
class CrashingDisk(Disk):
    """A disk that stops the process at a step, and knows what was durable by then.

    With the `durable` and `undo` of another one it goes on with what the kernel held for it.
    """

    crash_at: int
    durable: dict[Path, int] = field(factory=dict)
    undo: dict[Path, list[Callable[[], object]]] = field(factory=dict)
    steps: int = field(default=0, init=False)

    def create(self, path: Path) -> File:
        """A name that is lost unless its directory is synced."""
        self._step()
        self.durable[path] = 0
        self.undo.setdefault(path.parent, []).append(lambda: path.unlink(missing_ok=True))
        return super().create(path)

    def open_for_append(self, path: Path) -> File:
        """What earlier processes left is durable."""
        self.durable.setdefault(path, path.stat().st_size)
        return super().open_for_append(path)

    def write(self, file: File, data: bytes) -> None:
        """Bytes that are lost unless their file is synced; a crash writes half of them."""
        try:
            self._step()
        except Crash:
            super().write(file, data[: len(data) // 2])
            raise
        super().write(file, data)

    def sync(self, file: File) -> None:
        """What was written is durable now."""
        self._step()
        self.durable[file.path] = file.path.stat().st_size

    def rename(self, source: Path, target: Path) -> None:
        """A name that is the old one again unless the directory is synced."""
        self._step()
        before = target.read_bytes() if target.exists() else None

        def undo() -> None:
            target.rename(source)
            if before is not None:
                target.write_bytes(before)

        self.undo.setdefault(target.parent, []).append(undo)
        self.durable[target] = self.durable.pop(source)
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        """A name that is there again unless the directory is synced."""
        if path.exists():
            self._step()
            data = path.read_bytes()
            self.undo.setdefault(path.parent, []).append(lambda: path.write_bytes(data))
        super().remove(path)

    def sync_directory(self, folder: Path) -> None:
        """The names in it are durable now."""
        self._step()
        self.undo.pop(folder, None)

    def sync_and_drop_cache(self, path: Path) -> None:
        """What an earlier process left to the kernel is durable now."""
        self._step()
        self.durable[path] = path.stat().st_size

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.crash_at:
            raise Crash

    def restart(self, fate: Fate) -> None:
        """Leave on the real disk what the crash has left of it."""
        if fate is Fate.KEPT:
            return
        for path, size in self.durable.items():
            if path.exists() and path.stat().st_size > size:
                data = path.read_bytes()
                kept = size + (len(data) - size) // 2 if fate is Fate.TORN else size
                zeros = len(data) - kept if fate is Fate.TORN else 0
                path.write_bytes(data[:kept] + bytes(zeros))
        if fate is Fate.LOST:
            for undos in self.undo.values():
                for undo in reversed(undos):
                    undo()


@define(eq=False)
class Clerk:
    """Writes batches and snapshots to a data directory, and knows what was acknowledged."""

    book: LogDirectory
    disk: Disk
    acknowledged: int = 0

    def work(self) -> None:
        """Recover, and write what is not in the log yet; a snapshot now and then."""
        book = self.book
        found = recover(book.directory, self.disk)
        for _ in found.run():
            pass
        self.acknowledged = max(self.acknowledged, found.sequence)
        writer = found.writer(self.disk, segment_bytes=2_500)
        writer.open()
        for number, batch in enumerate(BATCHES):
            if batch[0].sequence <= found.sequence:
                continue
            writer.append(batch)
            self.acknowledged = batch[-1].sequence
            for entry in batch:
                found.replayer.apply(entry)
            if number % 2:
                snapshot = Snapshot.of(
                    found.replayer.exchange, writer.sequence, writer.hash, found.replayer.event_hash
                )
                Snapshots(book.directory.snapshots, self.disk).write(snapshot)
        writer.close()


def crash(book: LogDirectory, disk: CrashingDisk, acknowledged: int) -> tuple[int, bool]:
    """Work until the disk crashes; returns what is acknowledged by then, and whether it did."""
    clerk = Clerk(book, disk, acknowledged)
    try:
        clerk.work()
    except Crash:
        return clerk.acknowledged, True
    return clerk.acknowledged, False


BATCHES = batches()
KNOWN = digests(BATCHES)
"""The digest at the end of each batch."""


def finish(book: LogDirectory, acknowledged: int) -> None:
    """Compare what is left with what was acknowledged, and do the rest of the work."""
    sequence, digest = book.replay_to_end()
    assert sequence in [end for end in KNOWN if end >= acknowledged][:2]
    assert KNOWN[sequence] == digest
    Clerk(book, QuickDisk()).work()
    assert (BATCHES[-1][-1].sequence, KNOWN[BATCHES[-1][-1].sequence]) == book.replay_to_end()


@pytest.mark.parametrize("fate", Fate)
def test_a_crash_at_any_step_leaves_what_was_acknowledged(tmp_path: Path, fate: Fate) -> None:
    """No less, and at most the batch that was being written; every time, also twice in a row."""
    step, crashed, twice = 0, True, 0
    while crashed:
        step += 1
        book = LogDirectory(tmp_path / str(step))
        disk = CrashingDisk(step)
        acknowledged, crashed = crash(book, disk, 0)
        if crashed:
            disk.restart(fate)
        disk = CrashingDisk(1 + step % 7)
        acknowledged, again = crash(book, disk, acknowledged)
        if again:
            disk.restart(fate)
        twice += crashed and again
        finish(book, acknowledged)
    assert step > 40
    assert twice > 30


def test_what_a_killed_process_left_to_the_kernel_is_made_durable_first(tmp_path: Path) -> None:
    """The next one builds on it, and then the power goes."""
    step, crashed, twice = 0, True, 0
    while crashed:
        step += 1
        book = LogDirectory(tmp_path / str(step))
        killed = CrashingDisk(step)
        acknowledged, crashed = crash(book, killed, 0)
        disk = CrashingDisk(4 + step % 9, killed.durable, killed.undo)
        acknowledged, again = crash(book, disk, acknowledged)
        if again:
            disk.restart(Fate.LOST)
        twice += crashed and again
        finish(book, acknowledged)
    assert twice > 30
