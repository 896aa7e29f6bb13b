"""Logs of earlier versions are read for ever: this one's is kept for all that follow."""

import io
import shutil
from pathlib import Path
from typing import get_args

from rich.console import Console

from gateway.log.frames import FORMAT
from gateway.log.lock import DataDirectory
from gateway.log.progress import Meter
from gateway.log.recovery import recover
from gateway.log.show import Selection
from gateway.log.snapshots import Snapshots
from gateway.log.verify import Verification
from risk import RULES
from risk.records import AnyCommand
from tests.gateway.log.paper import QuickDisk

DATA = Path(__file__).parents[2] / "data" / "log-1"
LAST = 31
DIGEST = "7a1c6c29865570ba2e7a240bebfe4021"
TRAIL = "1c1928bd7b15cdd923abfc60dbf2634dc7f33c5d"


def sample(folder: Path) -> DataDirectory:
    """A copy, which may be written to."""
    return DataDirectory(Path(shutil.copytree(DATA, folder / "log-1")))


def test_the_kept_log_is_proved() -> None:
    """From its first entry and both its snapshots, to the state that its own version came to."""
    found = Verification(DataDirectory(DATA), Meter(Console(file=io.StringIO()))).run()
    assert (1, LAST, DIGEST) == (found.survey.first, found.survey.last, found.digest)
    assert {24: "prices in steps of nothing"} == found.survey.skips
    # One checkpoint of each start, and a snapshot after each.
    assert (3, 3) == (found.checkpoints, found.snapshots)


def test_the_kept_log_starts_a_venue(tmp_path: Path) -> None:
    """From the newest snapshot, from the older one, and without any."""
    directory = sample(tmp_path)
    for start in (31, 23, 0):
        recovery = recover(directory, QuickDisk())
        for _ in recovery.run():
            pass
        replay = recovery.replay
        assert (start, LAST) == (recovery.start, recovery.sequence)
        assert (DIGEST, TRAIL) == (replay.exchange.digest(), replay.trail.value.hex())
        for path in Snapshots(directory.snapshots).paths()[:1]:
            path.unlink()


def test_the_kept_log_holds_every_kind_of_command() -> None:
    """Of this version; a new kind belongs in a new log."""
    assert (1, 1) == (FORMAT, RULES)
    chosen = Selection(DataDirectory(DATA))
    reader = chosen.open()
    entries = [entry for frame in reader.frames() for entry in reader.entries(frame)]
    assert set(get_args(AnyCommand)) == {type(entry.command) for entry in entries}
    assert ["once"] == [entry.origin.key for entry in entries if entry.origin.key]
