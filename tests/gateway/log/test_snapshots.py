"""Snapshots: whole or not there, two of them, and nothing left lying about."""

import os
from pathlib import Path

import pytest

from gateway.log.errors import DamageError, VersionError
from gateway.log.event_hash import EventHash
from gateway.log.snapshots import Snapshot, Snapshots
from risk import RULES
from risk.exchange import Exchange
from tests.gateway.log.log_fixtures import QuickDisk, batches


def taken(most: int = 99) -> Snapshot:
    """Of the venue after so many batches."""
    exchange, trail = Exchange(), EventHash()
    for batch in batches()[:most]:
        for entry in batch:
            trail.observe(entry, exchange.apply(entry))
    return Snapshot.of(exchange, trail.sequence, b"c" * 16, trail)


def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The state goes on as the other one does."""
    snapshot = taken(3)
    path = Snapshots(tmp_path, QuickDisk()).write(snapshot)
    read = Snapshot.read(path)
    assert snapshot == read
    assert (RULES, batches()[2][-1].sequence, b"c" * 16) == (read.rules, read.sequence, read.chain)
    exchange, trail = read.exchange(), EventHash(read.event_hash, read.sequence)
    for batch in batches()[3:]:
        for entry in batch:
            trail.observe(entry, exchange.apply(entry))
    whole = taken()
    assert (whole.digest.hex(), whole.event_hash) == (exchange.digest(), trail.value)


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    """And what processes that are gone did not finish is removed."""
    store = Snapshots(tmp_path, QuickDisk())
    ours, gone = tmp_path / f"1.{os.getpid()}.tmp", tmp_path / f"1.{2**22 + 1}.tmp"
    for most in range(1, 5):
        ours.write_bytes(b"")
        gone.write_bytes(b"")
        newest = store.write(taken(most))
        assert newest == store.paths()[0]
        assert min(most, 2) == len(store.paths())
        assert (True, False) == (ours.exists(), gone.exists())


def test_writing_the_same_snapshot_twice_leaves_one_file(tmp_path: Path) -> None:
    """The venue at its end and whoever follows its log may both write it."""
    store = Snapshots(tmp_path, QuickDisk())
    for _ in range(3):
        path = store.write(taken(2))
    assert [path] == store.paths()
    assert [path] == list(tmp_path.iterdir())


def test_any_damage_is_noticed(tmp_path: Path) -> None:
    """Cut anywhere, or a bit flipped anywhere."""
    path = Snapshots(tmp_path, QuickDisk()).write(taken(1))
    data = path.read_bytes()
    for at in (*range(120), *range(120, len(data), 997), len(data) - 1):
        for wrong in (data[:at], data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]):
            path.write_bytes(wrong)
            with pytest.raises((DamageError, VersionError)):
                Snapshot.read(path)
