"""A shock in steps."""

from math import prod

import pytest

from gateway.demo.gradual_shock import GradualShock


def test_the_steps_are_equal_and_lead_to_the_whole() -> None:
    """A fall by a fifth in five steps."""
    slide = GradualShock()
    slide.begin(-0.2, 5)
    steps = [slide.step() for _ in range(5)]
    assert pytest.approx([steps[0]] * 5) == steps
    assert pytest.approx(0.8) == prod(1 + step for step in steps)
    assert 0 == slide.steps


def test_a_second_shock_comes_on_top_of_what_is_left() -> None:
    """Nothing of the first one is lost, and the steps begin anew."""
    slide = GradualShock()
    slide.begin(-0.2, 4)
    taken = [slide.step(), slide.step()]
    slide.begin(-0.5, 3)
    assert 3 == slide.steps
    taken += [slide.step() for _ in range(3)]
    assert pytest.approx(0.8 * 0.5) == prod(1 + step for step in taken)


def test_one_step_is_the_whole_at_once() -> None:
    """As the option --over 0 asks for."""
    slide = GradualShock()
    slide.begin(0.1, 1)
    assert pytest.approx(0.1) == slide.step()
