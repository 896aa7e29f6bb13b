"""The text format of entries, and the selection of entries."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from book.order import Side
from book.units import MONEY, SCALE
from gateway.log.entry_format import Selection, account_numbers, format_json, format_line
from gateway.log.errors import LogError
from gateway.log.maintenance import prune_segments
from risk.commands import (
    CancelAll,
    Deposit,
    EndSession,
    Entry,
    OpenAccount,
    Origin,
    Place,
    StartSession,
    Tick,
)
from risk.state import FIRST_CLIENT, SYSTEM_ACCOUNTS
from tests.gateway.harness import START
from tests.gateway.log.log_fixtures import SESSION, batches
from tests.gateway.log.log_writer_fixture import LoggedVenue


def shown(scribe: LoggedVenue, **wanted: Any) -> list[Entry]:
    """What is selected."""
    chosen = Selection(scribe.book.directory, **wanted)
    reader = chosen.open()
    return [entry for frame in reader.frames() for entry in chosen.select(frame, reader.entries)]


def numbers(entries: list[Entry]) -> list[int]:
    """Their sequence numbers."""
    return [entry.sequence for entry in entries]


def test_an_entry_is_one_line(tmp_path: Path) -> None:
    """Who, what, when; numbers as people write them, and nothing that is as it always is."""
    scribe = LoggedVenue.after_trading(tmp_path)
    chosen = Selection(scribe.book.directory)
    reader = chosen.open()
    for frame in reader.frames():
        list(chosen.select(frame, reader.entries))
    name = chosen.account_names.names[101]
    origin = Origin(0, 1, 2**32 + 7, 3)
    for command, expected in (
        (
            Place(
                account=101,
                instrument="BTC-PERPETUAL",
                side=Side.BUY,
                amount=SCALE // 8,
            ),
            f'Place account=101:{name} instrument="BTC-PERPETUAL" side=buy amount=0.125',
        ),
        (
            Deposit(account=2, currency="BTC", amount=MONEY // 4),
            'Deposit account=2:insurance fund currency="BTC" amount=0.25',
        ),
        (
            Tick(prices=(("btc_usd", 65_000 * SCALE),)),
            "Tick prices=btc_usd:65000",
        ),
        (CancelAll(account=999), "CancelAll account=999"),
    ):
        text = format_line(Entry(17, START + 5, origin, command), chosen.account_names)
        assert f"       17  2025-10-09T08:53:20.005Z       1.7#3  {expected}" == text


def test_exactly_the_entries_of_a_range_are_shown(tmp_path: Path) -> None:
    """For each range, across segments."""
    whole = [entry for batch in batches() for entry in batch]
    for size in (1, 2_500, 2**20):
        scribe = LoggedVenue.after_trading(tmp_path / str(size), size)
        assert numbers(whole) == numbers(shown(scribe))
        assert [entry.command for entry in whole] == [each.command for each in shown(scribe)]
        assert [5, 6, 7] == numbers(shown(scribe, first=5, last=7))
        assert [scribe.sequence] == numbers(shown(scribe, first=scribe.sequence))
        assert [] == shown(scribe, first=scribe.sequence + 1)


def test_an_account_is_found_by_name_and_by_number(tmp_path: Path) -> None:
    """With its sessions, which started before the range that is asked for."""
    scribe = LoggedVenue.after_trading(tmp_path, 1)
    scribe.write(EndSession(session=SESSION), EndSession(session=SESSION + 1))
    for account, session in ((101, SESSION), (102, SESSION + 1)):
        name = next(
            n for n, number in account_numbers(scribe.book.directory).items() if number == account
        )
        found = shown(scribe, account=name)
        assert found == shown(scribe, account=str(account))
        kinds = {type(entry.command) for entry in found}
        assert {OpenAccount, Deposit, StartSession, Place, EndSession} <= kinds
        late = shown(scribe, account=name, first=scribe.sequence - 1)
        assert [EndSession(session=session)] == [entry.command for entry in late]
    assert [] == shown(scribe, account="nobody")


def test_a_pruned_log_still_knows_its_accounts(tmp_path: Path) -> None:
    """Their names are in the snapshots."""
    scribe = LoggedVenue.after_trading(tmp_path, 1)
    known = account_numbers(scribe.book.directory)
    for _ in range(2):
        scribe.snapshot()
        scribe.trade(1)
    assert prune_segments(scribe.book.directory, scribe.book.disk)
    assert known == account_numbers(scribe.book.directory)
    clients = {name for name, number in known.items() if number >= FIRST_CLIENT}
    assert clients == set(known) - set(SYSTEM_ACCOUNTS.values())
    assert {"alice", "bob"} <= clients


def test_json_is_the_whole_entry(tmp_path: Path) -> None:
    """Decoding the JSON returns an equal entry."""
    scribe = LoggedVenue.after_trading(tmp_path)
    entries = list(shown(scribe))
    assert entries
    for entry in entries:
        told = msgspec.json.decode(format_json(entry))
        assert {"sequence", "time", "origin", "command"} == set(told)
        assert type(entry.command).__name__ == told["command"]["command"]


def test_a_directory_without_a_log_raises(tmp_path: Path) -> None:
    """A wrong path is not taken for an empty log."""
    scribe = LoggedVenue.after_trading(tmp_path)
    for path in scribe.book.directory.log.iterdir():
        path.unlink()
    with pytest.raises(LogError, match="there is no log"):
        shown(scribe)
