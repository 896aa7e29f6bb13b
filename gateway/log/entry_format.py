"""Entries of a log as text for people: which to show, and each in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import msgspec
from attrs import define, field

from book.instrument import Contract
from book.units import MONEY, SCALE
from book.units import text as decimal_text
from gateway.log.data_directory import DataDirectory
from gateway.log.errors import LogError
from gateway.log.frames import Frame
from gateway.log.segments import SegmentReader, list_segments, segment_of
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.printable import escape_unprintable, escape_unprintable_json
from gateway.session_numbers import split_session
from risk.commands import Command, Deposit, Entry, OpenAccount, Origin, StartSession, Withdraw
from risk.risk_terms import Terms
from risk.state import SYSTEM_ACCOUNTS

_ACCOUNT_DIGITS: Final = 18
_SCALED: Final = ("price", "amount")
_NAMING_COMMANDS: Final = (b'"command":"OpenAccount"', b'"command":"StartSession"')


class _Named(msgspec.Struct):
    number: int
    name: str


class _Names(msgspec.Struct):
    accounts: list[_Named]


@define(eq=False)
class AccountNames:
    """Names of accounts, and the accounts of sessions, as far as the log was read."""

    names: dict[int, str] = field(factory=lambda: dict(SYSTEM_ACCOUNTS))
    sessions: dict[int, int] = field(factory=dict)

    def learn(self, entry: Entry) -> None:
        """Record an account or a session that an entry opens."""
        command = entry.command
        if isinstance(command, OpenAccount):
            self.names.setdefault(command.account, command.name)
        elif isinstance(command, StartSession):
            self.sessions[command.session] = command.account

    def learn_names(self, payload: bytes) -> None:
        """Record the accounts of a snapshot."""
        known = msgspec.json.decode(payload, type=_Names)
        self.names |= {each.number: each.name for each in known.accounts}

    def account_of(self, entry: Entry) -> int | None:
        """Return the account that an entry concerns, or None."""
        account: int | None = getattr(entry.command, "account", None)
        session: int = getattr(entry.command, "session", 0)
        return self.sessions.get(session) if account is None else account

    def number_of(self, name: str) -> int | None:
        """Return the number of an account given by name or number; None for an unknown name."""
        # int() raises ValueError for thousands of digits.
        if name.isdecimal() and len(name) <= _ACCOUNT_DIGITS:
            return int(name)
        return next((number for number, known in self.names.items() if known == name), None)

    def label(self, account: int) -> str:
        """Return number and name of an account, as far as they are known."""
        name = self.names.get(account)
        return str(account) if name is None else f"{account}:{name}"


@define(eq=False)
class Selection:
    """The entries to show: from `first` to `last`, and only those of `account` if one is given."""

    directory: DataDirectory
    first: int = 1
    last: int | None = None
    account: str | None = None
    account_names: AccountNames = field(factory=AccountNames)

    def open(self) -> SegmentReader:
        """Return a reader that begins early enough. Raises LogError if there is no log."""
        every = list_segments(self.directory.log)
        if every and every[-1].header_incomplete():
            every.pop()
        if not every:
            raise LogError(f"{self.directory.path}: there is no log")
        # A pruned log may no longer hold the commands that opened the accounts.
        for path in Snapshots(self.directory.snapshots).paths()[:1]:
            self.account_names.learn_names(Snapshot.read(path).payload)
        # The StartSession of a session may be anywhere before its other entries.
        begin = every[0] if self.account is not None else segment_of(every, self.first)
        return SegmentReader(self.directory.log, begin or every[0])

    def select(self, frame: Frame, entries: Callable[[Frame], list[Entry]]) -> Iterator[Entry]:
        """Yield the entries of a frame that are to be shown."""
        early = frame.last < self.first
        if early and not any(mark in frame.payload for mark in _NAMING_COMMANDS):
            return
        for entry in entries(frame):
            self.account_names.learn(entry)
            if (
                entry.sequence >= self.first
                and not self.is_past(entry.sequence)
                and self._fits(entry)
            ):
                yield entry

    def is_past(self, sequence: int) -> bool:
        """Return whether nothing is to be shown from this entry on."""
        return self.last is not None and sequence > self.last

    def _fits(self, entry: Entry) -> bool:
        if self.account is None:
            return True
        number = self.account_names.number_of(self.account)
        return number is not None and self.account_names.account_of(entry) == number


def account_numbers(directory: DataDirectory) -> dict[str, int]:
    """Return the numbers of all accounts in a log, by name. Raises LogError."""
    nothing = Selection(directory, first=sys.maxsize, account="")
    reader = nothing.open()
    for frame in reader.frames():
        for _ in nothing.select(frame, reader.entries):
            raise AssertionError("no sequence number is that large")
    return {name: number for number, name in nothing.account_names.names.items()}


def format_line(entry: Entry, names: AccountNames) -> str:
    """Return one line: number, time, origin, command, and the fields that differ from defaults."""
    command = entry.command
    fields = " ".join(
        f"{name}={_format_value(command, name, value, names)}"
        for name, value in _changed_fields(command)
    )
    sender = f"{_format_origin(entry.origin):>10}"
    if entry.origin.key:
        # Escaped like other client texts, but without quotes.
        fields += f" key={msgspec.json.encode(entry.origin.key).decode()[1:-1]}"
    text = f"{type(command).__name__} {fields}".rstrip()
    return escape_unprintable(f"{entry.sequence:>9}  {_format_time(entry.time)}  {sender}  {text}")


def format_json(entry: Entry) -> str:
    """Return an entry as JSON, in the core's integer units."""
    return escape_unprintable_json(msgspec.json.encode(entry).decode())


def _changed_fields(command: Command) -> Iterator[tuple[str, object]]:
    """Yield the fields whose values differ from their defaults."""
    for each in msgspec.structs.fields(type(command)):
        value = getattr(command, each.name)
        if each.default is msgspec.NODEFAULT or value != each.default:
            yield each.name, value


def _format_value(command: Command, name: str, value: Any, names: AccountNames) -> str:
    if name == "account":
        return names.label(value)
    if name in _SCALED:
        money = isinstance(command, Deposit | Withdraw)
        return decimal_text(value, MONEY if money else SCALE)
    if name == "prices":
        return ",".join(f"{index}:{decimal_text(price, SCALE)}" for index, price in value)
    if name == "valid_until":
        return _format_time(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Contract):
        return f"{value.family}-{'DATED' if value.dated else 'PERPETUAL'}"
    if isinstance(value, Terms):
        # Twelve numbers would make the line unreadable; `--json` shows them.
        return "..."
    return msgspec.json.encode(value).decode()


def _format_time(millis: int) -> str:
    moment = datetime.fromtimestamp(millis // 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{millis % 1_000:03}Z"


def _format_origin(origin: Origin) -> str:
    """Return start and session of the sender, and the number of the request."""
    if not origin.request:
        return "venue"
    start, session = split_session(origin.session)
    sender = f"{start}.{session}" if origin.session else str(origin.start)
    return f"{sender}#{origin.request}"
