"""An event that resets itself when its waiter wakes."""

import trio
from attrs import define, field


@define(eq=False)
class AutoResetEvent:
    """A level-triggered event for one waiting task.

    Any number of `set` calls between two waits wake the task once. `set` is a plain call, so that
    code that must not wait can make it.
    """

    _event: trio.Event = field(factory=trio.Event, init=False)

    def set(self) -> None:
        """Wake the waiting task, or let its next `wait` return at once."""
        self._event.set()

    async def wait(self) -> None:
        """Wait for the next `set`; returns at once if it was called since the last wait."""
        await self._event.wait()
        self._event = trio.Event()
