"""A level-triggered wake-up: whoever waits looks for itself at what there is to do."""

import trio
from attrs import define, field


@define(eq=False)
class Wakeup:
    """Set it as often as there is news; its one waiter wakes once, and never misses any.

    `set` is a plain call that costs the same however often nobody waits, so that it can be made
    from places that must not wait.
    """

    _event: trio.Event = field(factory=trio.Event, init=False)

    def set(self) -> None:
        """There is news since the last wait."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until there was news, at once if there was already. For one task."""
        await self._event.wait()
        self._event = trio.Event()
