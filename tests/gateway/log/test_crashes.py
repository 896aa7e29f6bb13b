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
from tests.gateway.log.paper import Book, QuickDisk, batches, digests


class Crash(BaseException):
    """The power is gone: nothing that comes after is done."""


class Fate(Enum):
    """What becomes of bytes and names that were not synced."""

    KEPT = "all of them reach the disk"
    TORN = "of each write the first half does, and zeros for the rest"
    LOST = "none does"


@define(eq=False)
class CrashingDisk(Disk):
    """A disk that stops the process at a step, and knows what was durable by then."""

    crash_at: int
    steps: int = field(default=0, init=False)
    _durable: dict[Path, int] = field(factory=dict, init=False)
    _undo: dict[Path, list[Callable[[], object]]] = field(factory=dict, init=False)

    def create(self, path: Path) -> File:
        """A name that is lost unless its directory is synced."""
        self._step()
        self._durable[path] = 0
        self._undo.setdefault(path.parent, []).append(lambda: path.unlink(missing_ok=True))
        return super().create(path)

    def append(self, path: Path) -> File:
        """What earlier processes left is durable."""
        self._durable[path] = path.stat().st_size
        return super().append(path)

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
        self._durable[file.path] = file.path.stat().st_size

    def rename(self, source: Path, target: Path) -> None:
        """A name that is the old one again unless the directory is synced."""
        self._step()
        before = target.read_bytes() if target.exists() else None

        def undo() -> None:
            target.rename(source)
            if before is not None:
                target.write_bytes(before)

        self._undo.setdefault(target.parent, []).append(undo)
        self._durable[target] = self._durable.pop(source)
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        """A name that is there again unless the directory is synced."""
        if path.exists():
            self._step()
            data = path.read_bytes()
            self._undo.setdefault(path.parent, []).append(lambda: path.write_bytes(data))
        super().remove(path)

    def sync_directory(self, folder: Path) -> None:
        """The names in it are durable now."""
        self._step()
        self._undo.pop(folder, None)

    def settle(self, path: Path) -> None:
        """Nothing is left over here from earlier processes."""

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.crash_at:
            raise Crash

    def restart(self, fate: Fate) -> None:
        """Leave on the real disk what the crash has left of it."""
        if fate is Fate.KEPT:
            return
        for path, size in self._durable.items():
            if path.exists() and path.stat().st_size > size:
                data = path.read_bytes()
                kept = size + (len(data) - size) // 2 if fate is Fate.TORN else size
                zeros = len(data) - kept if fate is Fate.TORN else 0
                path.write_bytes(data[:kept] + bytes(zeros))
        if fate is Fate.LOST:
            for undos in self._undo.values():
                for undo in reversed(undos):
                    undo()


@define(eq=False)
class Clerk:
    """Writes batches and snapshots to a data directory, and knows what was acknowledged."""

    book: Book
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
        for number, batch in enumerate(batches()):
            if batch[0].sequence <= found.sequence:
                continue
            writer.append(batch)
            self.acknowledged = batch[-1].sequence
            for entry in batch:
                found.replay.apply(entry)
            if number % 2:
                snapshot = Snapshot.of(
                    found.replay.exchange, writer.sequence, writer.hash, found.replay.trail
                )
                Snapshots(book.directory.snapshots, self.disk).write(snapshot)
        writer.close()


def crash(book: Book, step: int, fate: Fate, acknowledged: int) -> tuple[int, bool]:
    """Work until a step; returns what is acknowledged by then, and whether it came to that step."""
    disk = CrashingDisk(step)
    clerk = Clerk(book, disk, acknowledged)
    try:
        clerk.work()
    except Crash:
        disk.restart(fate)
        return clerk.acknowledged, True
    return clerk.acknowledged, False


@pytest.mark.parametrize("fate", Fate)
def test_a_crash_at_any_step_leaves_what_was_acknowledged(tmp_path: Path, fate: Fate) -> None:
    """No less, and at most the batch that was being written; every time, also twice in a row."""
    known = digests(batches())
    ends = [0, *(batch[-1].sequence for batch in batches())]
    step, crashed = 0, True
    while crashed:
        step += 1
        book = Book(tmp_path / str(step), QuickDisk())
        acknowledged, crashed = crash(book, step, fate, 0)
        acknowledged, _ = crash(book, 1 + step % 7, fate, acknowledged)
        sequence, digest = book.end()
        assert sequence in [each for each in ends if each >= acknowledged][:2]
        assert known[sequence] == digest
        Clerk(book, QuickDisk()).work()
        assert (ends[-1], known[ends[-1]]) == book.end()
    assert step > 40
