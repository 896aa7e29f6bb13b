"""Hostile bytes on both ports of a real venue, for a moment; scripts/torture has the long form."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from random import Random
from typing import get_args

import pytest
import trio

from gateway.network.transport import Library
from tests.system.hostility import HostileRun, attacked, generated, table

GENERATED = 100
SEED = 30


@pytest.mark.parametrize("transport", get_args(Library))
async def test_hostile_bytes_cost_honest_clients_nothing(tmp_path: Path, transport: str) -> None:
    """Every case of the table and some that are drawn; the venue serves on, its log is sound."""
    random = Random(SEED)
    with attacked(tmp_path, transport) as addresses:
        it = HostileRun((addresses.http, addresses.websocket), random)
        with trio.fail_after(60):
            await it.run(chain(table(random), generated(random, GENERATED)))
        assert it.sent > GENERATED
        assert min(len(it.trading.every), len(it.asking.every)) >= 3
