"""Logs and states of earlier versions remain readable: tests/data holds samples."""

from __future__ import annotations

import gzip
import io
import json
import runpy
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from gateway.cli.progress import ConsoleMeter
from gateway.log.data_directory import DataDirectory
from gateway.log.entry_format import Selection
from gateway.log.errors import VersionError
from gateway.log.frames import FORMAT
from gateway.log.recovery import recover
from gateway.log.segments import list_segments
from gateway.log.snapshots import Snapshots
from gateway.log.verify import Verification, Verified
from risk import RULES, snapshot
from risk.commands import AnyCommand, Continue, Entry, Origin
from risk.exchange import Exchange
from tests.gateway.log.log_fixtures import LogDirectory, QuickDisk
from tests.gateway.log.log_writer_fixture import LoggedVenue

DATA = Path(__file__).parents[2] / "data"
SCRIPT = Path(__file__).parents[3] / "scripts" / "sample_log.py"
END = json.loads((DATA / f"log-{RULES}.json").read_text())
LAST = END["sequence"]
LAST_OF_RULES_1 = 31
STATES = gzip.decompress((DATA / "states-1.jsonl.gz").read_bytes()).splitlines()


def sample(folder: Path, rules: int = RULES) -> DataDirectory:
    """A copy, which may be written to."""
    return DataDirectory(Path(shutil.copytree(DATA / f"log-{rules}", folder / "log")))


def verified(directory: DataDirectory) -> Verified:
    """What `tidegate log verify` proves."""
    return Verification(directory, ConsoleMeter(Console(file=io.StringIO()))).run()


def test_the_sample_is_what_this_version_writes(tmp_path: Path) -> None:
    """Where this fails, results have changed: the script's docstring says what to do."""
    written = tmp_path / "log"
    end = runpy.run_path(str(SCRIPT))["write"](written)
    assert END == end
    kept = DATA / f"log-{RULES}"
    files = sorted(path.relative_to(kept) for path in kept.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())
    for file in files:
        assert (kept / file).read_bytes() == (written / file).read_bytes(), file


def test_the_sample_is_verified() -> None:
    """From its first entry and both its snapshots, to the state that its own version came to."""
    found = verified(DataDirectory(DATA / f"log-{RULES}"))
    assert (1, LAST, END["digest"]) == (found.scan.first, found.scan.last, found.digest)
    assert {24: "prices in steps of nothing"} == found.scan.skips
    # One checkpoint of each start, and a snapshot after each.
    assert (3, 3) == (found.checkpoints, found.snapshots)


def test_the_sample_starts_a_venue(tmp_path: Path) -> None:
    """From the newest snapshot, from the older one, and without any."""
    directory = sample(tmp_path)
    for start in (LAST, 23, 0):
        recovery = recover(directory, QuickDisk())
        for _ in recovery.run():
            pass
        replay = recovery.replayer
        assert (start, LAST) == (recovery.start, recovery.sequence)
        assert END["digest"] == replay.exchange.digest()
        assert END["trail"] == replay.event_hash.value.hex()
        for path in Snapshots(directory.snapshots).paths()[:1]:
            path.unlink()


def test_the_sample_holds_every_kind_of_command() -> None:
    """A kind that is missing belongs into it."""
    chosen = Selection(DataDirectory(DATA / f"log-{RULES}"))
    reader = chosen.open()
    entries = [entry for frame in reader.frames() for entry in reader.entries(frame)]
    assert set(get_args(AnyCommand)) == {type(entry.command) for entry in entries}
    assert ["once"] == [entry.origin.key for entry in entries if entry.origin.key]


def test_versions_change_on_purpose() -> None:
    """Another format or other rules need a sample of their own, and a line in the changelog."""
    assert (1, 2) == (FORMAT, RULES)


def test_a_log_of_rules_1_that_a_snapshot_covers_goes_on(tmp_path: Path) -> None:
    """The venue had stopped in order: the new version continues in a segment of its own rules."""
    directory = sample(tmp_path, 1)
    before = verified(directory)
    assert (LAST_OF_RULES_1, LAST_OF_RULES_1) == (before.scan.foreign, before.scan.last)
    book = LogDirectory(directory.path)
    recovery = book.recover()
    assert (LAST_OF_RULES_1, LAST_OF_RULES_1) == (recovery.start, recovery.sequence)
    recovery.replayer.exchange.check()
    scribe = LoggedVenue.resume(book, recovery)
    scribe.trade(3)
    scribe.checkpoint()
    scribe.close()
    assert [1, 1, RULES] == [each.header().rules for each in list_segments(directory.log)]
    again = book.recover()
    assert (scribe.sequence, scribe.exchange.digest()) == (
        again.sequence,
        again.replayer.exchange.digest(),
    )
    found = verified(directory)
    assert scribe.exchange.digest() == found.digest
    assert (LAST_OF_RULES_1, scribe.sequence) == (found.scan.foreign, found.scan.last)
    assert scribe.sequence - LAST_OF_RULES_1 == found.entries


def test_a_log_of_rules_1_with_entries_behind_its_snapshot_is_refused(tmp_path: Path) -> None:
    """Only the version that wrote them can replay them; the message says what to do."""
    directory = sample(tmp_path, 1)
    Snapshots(directory.snapshots).paths()[0].unlink()
    with pytest.raises(VersionError, match=r"under rules 1.*tidegate log snapshot"):
        recover(directory, QuickDisk())
    # Nothing was written or cut: the old version can still finish its log.
    shutil.copy(DATA / "log-1" / "snapshots" / f"{LAST_OF_RULES_1:020}.snap", directory.snapshots)
    assert LAST_OF_RULES_1 == recover(directory, QuickDisk()).sequence


@pytest.mark.parametrize("number", range(len(STATES)))
def test_a_state_of_rules_1_is_read_and_loses_nothing(number: int) -> None:
    """Every fact of it is a fact of the state as read; facts that are new have their defaults."""
    data = STATES[number]
    state = snapshot.load(data)
    exchange = Exchange(state)
    exchange.check()
    changed = set(missing(json.loads(data), json.loads(snapshot.dump(state)), "state"))
    # Listed while their currency was settled, markets were open then.
    assert changed <= {f"state.markets[{place}].state" for place in range(len(state.markets))}
    for _ in range(10_000):
        if not exchange.busy:
            break
        entry = Entry(state.sequence + 1, state.time, Origin(), Continue())
        exchange.apply(entry)
        exchange.check()
    assert not exchange.busy


def missing(old: Any, new: Any, path: str) -> Any:
    """Where the new document does not say what the old one says."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            if key in new:
                yield from missing(value, new[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from missing(one, other, f"{path}[{index}]")
    elif old != new:
        yield path


def test_the_states_of_rules_1_hold_every_kind_of_work() -> None:
    """Each kind of phase, open sessions, kept outcomes, undecided requests, expired markets."""
    states = [json.loads(data) for data in STATES]
    kinds = {phase["kind"] for state in states for phase in state["phases"]}
    assert {"CancelOrders", "Settlement", "Delivery", "Deleverage"} == kinds
    for name in ("sessions", "outcomes", "undecided", "expired", "overtaken", "deposited"):
        assert any(state[name] for state in states), name


def test_orders_of_a_session_that_ended_are_not_those_of_a_later_one() -> None:
    """Under rules 1 a session could start again under the number of one that had logged out."""
    document = next(s for s in map(json.loads, STATES) if s["sessions"] and any_order(s))
    order, session = any_order(document), document["sessions"][0]
    order["session"] = session["number"]
    session["orders"] = []
    for market in document["markets"]:
        for other in market["queue"]:
            if other is not order and other["session"] == session["number"]:
                other["session"] = 0
    state = snapshot.load(json.dumps(document).encode())
    Exchange(state).check()
    assert 0 == state.accounts[order["account"]].orders[order["order_id"]].session


def any_order(document: Any) -> Any:
    """An open order of a state, None where there is none."""
    return next((order for market in document["markets"] for order in market["queue"]), None)
