"""Snapshots: files with the state after an entry, put in place atomically.

    header   magic 8, format u16, rules u32, sequence u64, hash of the frame 16, event hash 20,
             digest of the state 16, length of the payload u64, checksum 16
    payload  the state's facts, as risk.snapshot writes them

The checksum is BLAKE2b of the header before it and the payload.
"""

from __future__ import annotations

import os
import struct
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
from attrs import define, field, frozen

from gateway.files import open_regular
from gateway.log.disk import Disk, disk_errors
from gateway.log.errors import DamageError, LogError, VersionError
from gateway.log.event_hash import EVENT_HASH_BYTES, EventHash
from gateway.log.frames import HASH_BYTES
from risk import RULES
from risk.exchange import Exchange
from risk.snapshot import dump, load

MAGIC: Final = b"TIDESNAP"
FORMAT: Final = 1
"""Version of this format. Newer ones are rejected; older ones remain readable."""

KEPT: Final = 2
"""How many are kept: the newest, and one more in case it is damaged."""

_DIGEST_BYTES: Final = 16
_HEADER: Final = struct.Struct(f">8sHIQ{HASH_BYTES}s{EVENT_HASH_BYTES}s{_DIGEST_BYTES}sQ")


@frozen
class Snapshot:
    """The state after entry `sequence`, which ended a frame whose hash is `chain`."""

    rules: int
    sequence: int
    chain: bytes
    event_hash: bytes
    digest: bytes
    payload: bytes

    @classmethod
    def of(cls, exchange: Exchange, sequence: int, chain: bytes, event_hash: EventHash) -> Snapshot:
        """Return a snapshot of the present state, after entry `sequence`, the last of its frame."""
        payload = dump(exchange.state)
        return cls(RULES, sequence, chain, event_hash.value, _hash(payload), payload)

    def encode(self) -> bytes:
        """Return the file's bytes."""
        fields = _HEADER.pack(
            MAGIC,
            FORMAT,
            self.rules,
            self.sequence,
            self.chain,
            self.event_hash,
            self.digest,
            len(self.payload),
        )
        return b"".join((fields, _hash(fields, self.payload), self.payload))

    @classmethod
    def read(cls, path: Path) -> Snapshot:
        """Read a file. Raises DamageError, or VersionError for a later format."""
        with disk_errors(path), open_regular(path) as file:
            data = file.read()
        if len(data) < _HEADER.size + _DIGEST_BYTES or not data.startswith(MAGIC):
            raise DamageError(path, 0, "no snapshot")
        _, version, rules, sequence, chain, trail, digest, length = _HEADER.unpack_from(data)
        if version > FORMAT:
            raise VersionError(
                f"{path}: snapshot format {version}; this version reads up to {FORMAT}"
            )
        fields, rest = data[: _HEADER.size], data[_HEADER.size :]
        checksum, payload = rest[:_DIGEST_BYTES], rest[_DIGEST_BYTES:]
        if len(payload) != length or checksum != _hash(fields, payload):
            raise DamageError(path, 0, "a snapshot with a wrong checksum")
        return cls(rules, sequence, chain, trail, digest, payload)

    def exchange(self) -> Exchange:
        """Return the exchange in this state. Raises LogError for an invalid payload."""
        try:
            exchange = Exchange(load(self.payload))
        except msgspec.DecodeError as error:
            raise LogError(f"no state that this version knows: {error}") from error
        # Under other rules the digest may cover other facts.
        if self.rules == RULES and exchange.digest() != self.digest.hex():
            raise LogError("read back, the state has another digest")
        return exchange


@define(eq=False)
class Snapshots:
    """The directory of the snapshots, which are named by their sequence numbers."""

    folder: Path
    disk: Disk = field(factory=Disk)

    def paths(self) -> list[Path]:
        """Return their paths, newest first; none if the directory does not exist."""
        with disk_errors(self.folder):
            if not self.folder.is_dir():
                return []
            return sorted(
                (p for p in self.folder.glob("*.snap") if p.stem.isdecimal()), reverse=True
            )

    def write(self, snapshot: Snapshot) -> Path:
        """Write a snapshot, and remove those that are no longer needed. Raises DiskError.

        At every moment the directory holds only complete snapshots, and at least those that it held
        before or two newer ones.
        """
        target = self.folder / f"{snapshot.sequence:020}.snap"
        # The venue and its follower may write at the same time.
        unfinished = target.with_suffix(f".{os.getpid()}.tmp")
        self.disk.remove(unfinished)
        file = self.disk.create(unfinished)
        self.disk.write(file, snapshot.encode())
        self.disk.sync(file)
        self.disk.close(file)
        self.disk.rename(unfinished, target)
        self.disk.sync_directory(self.folder)
        self._tidy()
        return target

    def _tidy(self) -> None:
        superfluous = self.paths()[KEPT:]
        for path in (*superfluous, *self._abandoned()):
            self.disk.remove(path)

    def _abandoned(self) -> list[Path]:
        """Return the unfinished files of processes that have ended."""
        with disk_errors(self.folder):
            return [p for p in self.folder.glob("*.*.tmp") if not _runs(p.suffixes[-2][1:])]


def _runs(pid: str) -> bool:
    """Return whether a process runs."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _hash(*parts: bytes) -> bytes:
    hasher = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        hasher.update(part)
    return hasher.digest()
