"""Irregular files in place of regular ones are rejected at once, with their names."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from gateway.cli import main
from gateway.config import schema
from gateway.config.toml_reader import ConfigError
from gateway.files import IrregularFileError, open_regular
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.errors import DiskError, LogError
from gateway.log.follower import Follower
from gateway.log.recovery import recover
from gateway.log.scan import newest_start
from gateway.log.snapshots import Snapshots
from gateway.network.sockets import load_tls
from gateway.sequencer.index_prices import read_csv
from tests.gateway.log.log_writer_fixture import LoggedVenue

Make = Callable[[Path], None]


def directory(path: Path) -> None:
    """A folder, with something in it."""
    path.mkdir()
    (path / "file").touch()


def socket_file(path: Path) -> None:
    """A socket of a name; names of sockets are short, and so it is made elsewhere."""
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            bound.bind(path.name[:60])
            Path(path.name[:60]).rename(path.name)
        finally:
            os.chdir(here)


def linked_fifo(path: Path) -> None:
    """A symbolic link to a FIFO."""
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def loop(path: Path) -> None:
    """A symbolic link to itself."""
    path.symlink_to(path.name)


KINDS: dict[str, tuple[Make, str]] = {
    "FIFO": (os.mkfifo, "a FIFO, not a regular file"),
    "link to a FIFO": (
        linked_fifo,
        "a FIFO, not a regular file",
    ),
    "directory": (directory, "[Ii]s a directory|a directory, not a regular file"),
    "socket": (socket_file, "a socket, not a regular file|No such device or address"),
    "endless device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a regular file"),
    "empty device": (lambda path: path.symlink_to("/dev/null"), "a device, not a regular file"),
    "loop": (loop, "Too many levels of symbolic links"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """A test that would hang fails."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def in_place_of(path: Path, kind: str) -> str:
    """Put something else where a file is; returns what is to be said of it."""
    path.unlink(missing_ok=True)
    make, said = KINDS[kind]
    make(path)
    return said


def recorded(path: Path) -> DataDirectory:
    """A log of several segments, with two snapshots, whose venue has ended."""
    scribe = LoggedVenue.after_trading(path, 2_500)
    for _ in range(2):
        scribe.snapshot()
        scribe.trade(3)
    scribe.close()
    return scribe.book.directory


@every_kind
@pytest.mark.parametrize("place", [0, 1, -1])
def test_an_irregular_segment_is_rejected(
    kind: str, place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All commands that read a log, and a starting venue, exit with status 65 and name the file."""
    kept = recorded(tmp_path / "data")
    # So that all of them are read.
    shutil.rmtree(kept.snapshots)
    segment = sorted(kept.log.iterdir())[place]
    said = in_place_of(segment, kind)
    for verb in ("show", "verify", "snapshot"):
        assert 65 == main(["log", verb, str(kept.path)]), verb
        error = capsys.readouterr().err
        assert re.search(f"{segment.name}: ({said})", error), (verb, error)
    for read in (lambda: recover(kept, Disk()), lambda: Follower.open(kept, Disk())):
        with pytest.raises(LogError, match=said):
            read()


@every_kind
def test_an_irregular_snapshot_is_passed_over(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As for a damaged snapshot, the previous one is used and the reason is logged."""
    kept = recorded(tmp_path / "data")
    snapshots = Snapshots(kept.snapshots)
    last, before = snapshots.paths()
    said = in_place_of(last, kind)
    start, _ = newest_start(snapshots)
    assert int(before.stem) == start.sequence
    assert re.search(f"{last.name}: ({said})", caplog.text)
    assert 65 == main(["log", "verify", str(kept.path)])


@every_kind
def test_an_irregular_lock_file_is_rejected(kind: str, tmp_path: Path) -> None:
    """It would not lock anything, or cannot be written."""
    kept = recorded(tmp_path / "data")
    said = in_place_of(kept.path / "LOCK", kind)
    with pytest.raises((LogError, DiskError), match=f"LOCK.*({said})"), kept.locked(Disk()):
        pass


@every_kind
@pytest.mark.parametrize("folder", ["", "log", "snapshots"])
def test_a_file_in_place_of_a_directory_is_rejected(kind: str, folder: str, tmp_path: Path) -> None:
    """For the data directory and for each directory in it."""
    if kind == "directory":
        return
    path = tmp_path / "data" / folder
    path.parent.mkdir(exist_ok=True)
    in_place_of(path, kind)
    with (
        pytest.raises((LogError, DiskError), match=f"{path}"),
        DataDirectory(tmp_path / "data").locked(Disk()),
    ):
        pass


@every_kind
def test_an_irregular_configuration_file_is_rejected(kind: str, tmp_path: Path) -> None:
    """With its name."""
    file = tmp_path / "venue.toml"
    said = in_place_of(file, kind)
    with pytest.raises(ConfigError, match=f"{file}: cannot be read: .*({said})"):
        schema.load(file)


@every_kind
def test_an_irregular_index_recording_is_rejected(kind: str, tmp_path: Path) -> None:
    """With its name."""
    file = tmp_path / "index.csv"
    said = in_place_of(file, kind)
    with pytest.raises(ConfigError, match=f"{file}: cannot be read: .*({said})"):
        read_csv(file)


@every_kind
@pytest.mark.parametrize("which", ["certificate", "key"])
def test_an_irregular_certificate_or_key_is_rejected(kind: str, which: str, tmp_path: Path) -> None:
    """And so is a key."""
    files = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key")}
    for file in files.values():
        file.touch()
    said = in_place_of(files[which], kind)
    with pytest.raises(ConfigError, match=f"cannot use .*({said})"):
        load_tls(files["certificate"], files["key"])


def test_an_unusable_path_is_not_a_disk_failure(tmp_path: Path) -> None:
    """For a name that is too long and for a path through a file."""
    (tmp_path / "file").touch()
    for path in (tmp_path / ("x" * 300), tmp_path / "file" / "data"):
        with (
            pytest.raises(LogError, match=r"name too long|[Nn]ot a directory"),
            DataDirectory(path).locked(Disk()),
        ):
            pass
        with pytest.raises(ConfigError, match=r"name too long|[Nn]ot a directory"):
            read_csv(path)


def test_a_regular_file_is_read_also_through_links(tmp_path: Path) -> None:
    """Symbolic links to regular files are accepted."""
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "second").symlink_to("link")
    for name in ("file", "link", "second"):
        with open_regular(tmp_path / name) as opened:
            assert b"data" == opened.read()
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
    with pytest.raises(IrregularFileError):
        open_regular(tmp_path)
