"""A move of the market in equal steps."""

from __future__ import annotations

from attrs import define, field


@define(eq=False)
class GradualShock:
    """The remaining move of the indices, as a factor, and the number of steps left."""

    factor: float = field(default=1.0, init=False)
    steps: int = field(default=0, init=False)

    def begin(self, fraction: float, steps: int) -> None:
        """Move by `fraction` more than what is left of earlier moves, all of it in `steps`."""
        self.factor *= 1 + fraction
        self.steps = steps

    def step(self) -> float:
        """Take one of the remaining steps; return the fraction to move by now."""
        now: float = self.factor ** (1 / self.steps)
        self.factor /= now
        self.steps -= 1
        return now - 1
