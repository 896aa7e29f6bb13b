"""The queue of commands that the venue itself proposes: bounded, and `put` never waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, TypeVar, assert_never

from attrs import define, field

from risk.commands import Checkpoint, Continue, EndSession, Liquidate, Tick

SystemCommand = Tick | Continue | Checkpoint | Liquidate | EndSession
Key = TypeVar("Key")
Value = TypeVar("Value")

# Of each kind in one batch, besides the single ones. Under load, batches come a hundred times a
# second and more: 16 liquidations in each keep up with a cascade, and delay an order by about three
# milliseconds. A thousand connections lost at once take a small part of each batch.
MAX_PER_BATCH: Final = 16


@define(eq=False)
class SystemQueue:
    """Session ends, ticks, liquidations and other system commands on their way to the log.

    Commands are keyed by session, by account and currency, or by their kind, of which the newest is
    kept, so that the size is bounded by what exists. `put` is a plain call that never raises,
    because it serves as clean-up in tasks that may not wait. After `close` it does nothing: no log
    is left.
    """

    _wake: Callable[[], None]
    _tick: Tick | None = field(default=None, init=False)
    _continuation: Continue | None = field(default=None, init=False)
    _checkpoint: Checkpoint | None = field(default=None, init=False)
    _liquidations: dict[tuple[int, str], Liquidate] = field(factory=dict, init=False)
    _ends: dict[int, EndSession] = field(factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    def __bool__(self) -> bool:
        """Whether any command is queued."""
        return any(
            (self._tick, self._continuation, self._checkpoint, self._liquidations, self._ends)
        )

    def put(self, command: SystemCommand) -> None:
        """Propose a command, which replaces an earlier one of the same key."""
        if self._closed:
            return
        match command:
            case Tick():
                self._tick = command
            case Continue():
                self._continuation = command
            case Checkpoint():
                self._checkpoint = command
            case Liquidate(account=account, currency=currency):
                self._liquidations[account, currency] = command
            case EndSession(session=session):
                # The first one stays: a disconnect after a log-out does not override it.
                self._ends.setdefault(session, command)
            case _:
                assert_never(command)
        self._wake()

    @property
    def has_ended_sessions(self) -> bool:
        """Whether ends of sessions are queued."""
        return bool(self._ends)

    def drops_commands_of(self, session: int) -> bool:
        """Whether a session has ended whose commands in the inbox are to be dropped."""
        end = self._ends.get(session)
        return end is not None and not end.quietly

    def take(self) -> list[SystemCommand]:
        """Return the next system commands, except session ends."""
        singles = (self._tick, self._continuation, self._checkpoint)
        self._tick = self._continuation = self._checkpoint = None
        batch: list[SystemCommand] = [each for each in singles if each is not None]
        return [*batch, *_pop_oldest(self._liquidations)]

    def take_ends(self) -> list[EndSession]:
        """Return the next session ends."""
        return list(_pop_oldest(self._ends))

    def close(self) -> None:
        """Drop what is queued and accept nothing more, because the log has ended."""
        self._closed = True
        self._tick = self._continuation = self._checkpoint = None
        self._liquidations.clear()
        self._ends.clear()


def _pop_oldest(queue: dict[Key, Value]) -> Iterator[Value]:
    for key in list(islice(queue, MAX_PER_BATCH)):
        yield queue.pop(key)
