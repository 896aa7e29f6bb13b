"""How long random tests run: TIDEGATE_TEST_EFFORT=20 makes them run twenty times as long.

At the default of 1 they draw the same examples every time; with more, hypothesis draws new ones.
"""

import os
from typing import Any

from hypothesis import HealthCheck, settings

EFFORT = int(os.environ.get("TIDEGATE_TEST_EFFORT", "1"))


def thorough(examples: int, **others: Any) -> settings:
    """Settings of a hypothesis test that tries so many examples per unit of effort."""
    return settings(
        max_examples=examples * EFFORT,
        deadline=None,
        derandomize=EFFORT == 1,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        **others,
    )
