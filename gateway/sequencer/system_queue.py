"""What the venue itself proposes: it never waits, never overflows and is never left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, TypeVar, assert_never

from attrs import define, field

from risk.commands import Checkpoint, Continue, EndSession, Liquidate, Tick

SystemCommand = Tick | Continue | Checkpoint | Liquidate | EndSession
Key = TypeVar("Key")
Value = TypeVar("Value")

# Of each kind in one batch, beside the single ones. In a storm batches are small and come a hundred
# times a second and more: 16 liquidations in each keep up with a cascade, and take some three
# milliseconds, behind which an order waits; and a thousand connections lost at once take a small
# part of each batch from the others.
MAX_PER_BATCH: Final = 16


@define(eq=False)
class SystemQueue:
    """Session ends, ticks, liquidations and the like on their way to the log.

    Each kind is keyed, by session, by account and currency, or by being the newest of its kind,
    so that what it holds is bounded by what exists. `put` is a plain call that never raises:
    it is the clean-up of tasks that may not wait. After `close` it does nothing, for there is
    nobody left to log it.
    """

    _wake: Callable[[], None]
    _tick: Tick | None = field(default=None, init=False)
    _continuation: Continue | None = field(default=None, init=False)
    _checkpoint: Checkpoint | None = field(default=None, init=False)
    _liquidations: dict[tuple[int, str], Liquidate] = field(factory=dict, init=False)
    _ends: dict[int, EndSession] = field(factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return any(
            (self._tick, self._continuation, self._checkpoint, self._liquidations, self._ends)
        )

    def put(self, command: SystemCommand) -> None:
        """Propose; a second proposal of the same key takes the place of the first."""
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
                # The first word stands: a log-out is not undone by the hang-up that follows it.
                self._ends.setdefault(session, command)
            case _:
                assert_never(command)
        self._wake()

    @property
    def has_ended_sessions(self) -> bool:
        """Whether any session has ended of late."""
        return bool(self._ends)

    def drops_commands_of(self, session: int) -> bool:
        """Whether a session has ended that might still have commands in the inbox."""
        end = self._ends.get(session)
        return end is not None and not end.quietly

    def take(self) -> list[SystemCommand]:
        """This batch's share of what keeps the venue supervised."""
        singles = (self._tick, self._continuation, self._checkpoint)
        self._tick = self._continuation = self._checkpoint = None
        batch: list[SystemCommand] = [each for each in singles if each is not None]
        return [*batch, *_pop_oldest(self._liquidations)]

    def take_ends(self) -> list[EndSession]:
        """This batch's share of who has gone."""
        return list(_pop_oldest(self._ends))

    def close(self) -> None:
        """The log takes nothing more; what waits is dropped."""
        self._closed = True
        self._tick = self._continuation = self._checkpoint = None
        self._liquidations.clear()
        self._ends.clear()


def _pop_oldest(kept: dict[Key, Value]) -> Iterator[Value]:
    for key in list(islice(kept, MAX_PER_BATCH)):
        yield kept.pop(key)
