"""Entries as people read them: one line each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import msgspec
from attrs import define, field

from book.instrument import Contract
from book.units import MONEY, SCALE, text
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
_TEACHES: Final = (b'"command":"OpenAccount"', b'"command":"StartSession"')


class _Named(msgspec.Struct):
    number: int
    name: str


class _Names(msgspec.Struct):
    accounts: list[_Named]


@define(eq=False)
class AccountNames:
    """Names of accounts, and whose sessions are whose, as far as the log was read."""

    names: dict[int, str] = field(factory=lambda: dict(SYSTEM_ACCOUNTS))
    sessions: dict[int, int] = field(factory=dict)

    def learn(self, entry: Entry) -> None:
        """Take in an entry."""
        command = entry.command
        if isinstance(command, OpenAccount):
            self.names.setdefault(command.account, command.name)
        elif isinstance(command, StartSession):
            self.sessions[command.session] = command.account

    def learn_names(self, payload: bytes) -> None:
        """Take in the accounts of a snapshot."""
        known = msgspec.json.decode(payload, type=_Names)
        self.names |= {each.number: each.name for each in known.accounts}

    def account_of(self, entry: Entry) -> int | None:
        """Whom an entry is about, None where it is about nobody in particular."""
        account: int | None = getattr(entry.command, "account", None)
        session: int = getattr(entry.command, "session", 0)
        return self.sessions.get(session) if account is None else account

    def number_of(self, name: str) -> int | None:
        """The account with that name or number, None where there is none yet."""
        # Python refuses to read thousands of digits.
        if name.isdecimal() and len(name) <= _ACCOUNT_DIGITS:
            return int(name)
        return next((number for number, known in self.names.items() if known == name), None)

    def label(self, account: int) -> str:
        """Number and name."""
        name = self.names.get(account)
        return str(account) if name is None else f"{account}:{name}"


@define(eq=False)
class Selection:
    """Which entries to show: from one to another, and those about one account where named."""

    directory: DataDirectory
    first: int = 1
    last: int | None = None
    account: str | None = None
    account_names: AccountNames = field(factory=AccountNames)

    def open(self) -> SegmentReader:
        """A reader that begins early enough. Raises LogError where there is no such log."""
        every = list_segments(self.directory.log)
        if every and every[-1].header_incomplete():
            every.pop()
        if not every:
            raise LogError(f"{self.directory.path}: there is no log")
        # A log that was pruned no longer says who is who.
        for path in Snapshots(self.directory.snapshots).paths()[:1]:
            self.account_names.learn_names(Snapshot.read(path).payload)
        # Whose a session is says an entry that may be anywhere before.
        begin = every[0] if self.account is not None else segment_of(every, self.first)
        return SegmentReader(self.directory.log, begin or every[0])

    def select(self, frame: Frame, entries: Callable[[Frame], list[Entry]]) -> Iterator[Entry]:
        """What is to be shown of a frame."""
        early = frame.last < self.first
        if early and not any(mark in frame.payload for mark in _TEACHES):
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
        """Whether nothing more is to be shown from that entry on."""
        return self.last is not None and sequence > self.last

    def _fits(self, entry: Entry) -> bool:
        if self.account is None:
            return True
        wanted = self.account_names.number_of(self.account)
        return wanted is not None and self.account_names.account_of(entry) == wanted


def account_numbers(directory: DataDirectory) -> dict[str, int]:
    """Every account that the log knows, by name. Raises LogError."""
    nothing = Selection(directory, first=sys.maxsize, account="")
    reader = nothing.open()
    for frame in reader.frames():
        for _ in nothing.select(frame, reader.entries):
            raise AssertionError("no entry is so late")
    return {name: number for number, name in nothing.account_names.names.items()}


def format_line(entry: Entry, who: AccountNames) -> str:
    """An entry in one line: number, time, origin, command, and what it says beyond defaults."""
    command = entry.command
    said = " ".join(f"{name}={_value(command, name, each, who)}" for name, each in _said(command))
    sender = f"{_origin(entry.origin):>10}"
    if entry.origin.key:
        # As the other texts of clients, but without quotes: a backslash is doubled.
        said += f" key={msgspec.json.encode(entry.origin.key).decode()[1:-1]}"
    words = f"{type(command).__name__} {said}".rstrip()
    return escape_unprintable(f"{entry.sequence:>9}  {_time(entry.time)}  {sender}  {words}")


def format_json(entry: Entry) -> str:
    """An entry as JSON, in the core's integer units."""
    return escape_unprintable_json(msgspec.json.encode(entry).decode())


def _said(command: Command) -> Iterator[tuple[str, object]]:
    """The fields that are not as they would be anyway."""
    for each in msgspec.structs.fields(type(command)):
        value = getattr(command, each.name)
        if each.default is msgspec.NODEFAULT or value != each.default:
            yield each.name, value


def _value(command: Command, name: str, value: Any, who: AccountNames) -> str:
    if name == "account":
        return who.label(value)
    if name in _SCALED:
        money = isinstance(command, Deposit | Withdraw)
        return text(value, MONEY if money else SCALE)
    if name == "prices":
        return ",".join(f"{index}:{text(price, SCALE)}" for index, price in value)
    if name == "valid_until":
        return _time(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Contract):
        return f"{value.family}-{'DATED' if value.dated else 'PERPETUAL'}"
    if isinstance(value, Terms):
        # Twelve numbers, which would make the line unreadable; as JSON they are there.
        return "..."
    return msgspec.json.encode(value).decode()


def _time(millis: int) -> str:
    moment = datetime.fromtimestamp(millis // 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{millis % 1_000:03}Z"


def _origin(origin: Origin) -> str:
    """Start and session of whoever sent it, and which of their requests it was."""
    if not origin.request:
        return "venue"
    start, session = split_session(origin.session)
    sender = f"{start}.{session}" if origin.session else str(origin.start)
    return f"{sender}#{origin.request}"
