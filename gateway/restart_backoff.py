"""How long to wait before a failed part of the venue is started again."""

from __future__ import annotations

from attrs import define, field


@define(eq=False)
class RestartBackoff:
    """Delays between restarts, which double from `first` up to `longest`, in seconds.

    A run that lasted for more than `longest` counts as healthy: the next delay is `first` again.
    """

    first: float
    longest: float
    _next: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._next = self.first

    def delay_after(self, run_seconds: float) -> float:
        """Return the delay before the next start, after a run of `run_seconds`."""
        delay = self.first if run_seconds > self.longest else self._next
        self._next = min(2 * delay, self.longest)
        return delay
