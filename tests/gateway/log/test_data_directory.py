"""One process at a time writes to a data directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.errors import LockedError

HOLD = """
import sys
from pathlib import Path
from gateway.log.disk import Disk
from gateway.log.data_directory import DataDirectory
with DataDirectory(Path(sys.argv[1])).locked(Disk()):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    """The error names the first process; a killed process leaves no lock."""
    directory = DataDirectory(tmp_path / "data")
    command = [sys.executable, "-c", HOLD, str(directory.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert b"locked\n" == first.stdout.readline()
        with (
            pytest.raises(LockedError, match=rf"in use by another process \(pid {first.pid}\)"),
            directory.locked(Disk()),
        ):
            pytest.fail("two processes hold it")
        first.kill()
    with directory.locked(Disk()):
        assert f"{os.getpid()}\n" == (directory.path / "LOCK").read_text()


def test_missing_directories_are_created(tmp_path: Path) -> None:
    """They are not readable for others."""
    directory = DataDirectory(tmp_path / "deep" / "data")
    with directory.locked(Disk()):
        for folder in (directory.path, directory.log, directory.snapshots):
            assert folder.is_dir()
            assert not folder.stat().st_mode & 0o007
