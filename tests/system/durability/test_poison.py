"""An entry that cannot be applied: the venue stops and names it, and an operator has it skipped."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import pytest
import trio
import trio_websocket

from tests.system.durability import buggy
from tests.system.durability.venue_process import (
    Life,
    begun,
    command,
    configuration,
    replayed_elsewhere,
)
from tests.system.process import TIDEGATE
from tests.system.strict import limit, socket

RUN: Final = f"""
import sys
from runpy import run_module
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
run_module({buggy.__name__!r}, run_name="__main__")
"""
BUGGY: Final = (sys.executable, "-c", RUN)


async def order_then_poison(life: Life) -> str:
    """An order that is acknowledged, and one that never is; the id of the first."""
    async with socket(life.websocket, "alice") as alice, socket(life.websocket, "bob") as bob:
        first = await alice.call("private/buy", **limit(64_000))
        with pytest.raises(trio_websocket.ConnectionClosed):
            await bob.call("private/buy", **limit(64_100, label="poison"))
        # Nobody hears of half an order.
        with pytest.raises(trio_websocket.ConnectionClosed):
            alice.pushed.append(await alice.read())
        assert [] == list(alice.pushed)
        order_id: str = first["order"]["order_id"]
        bob.scope.cancel()
        alice.scope.cancel()
    return order_id


async def open_orders(life: Life) -> list[str]:
    """Which of alice's orders rest."""
    async with socket(life.websocket, "alice") as alice:
        return [order["order_id"] for order in await alice.call("private/get_open_orders")]


def test_a_poisoned_entry_is_named_and_can_be_skipped(tmp_path: Path) -> None:
    """It has no effect; the venue starts again without it, and every replay agrees."""
    data_dir = tmp_path / "data"
    config = configuration(data_dir, log="follower = false\n")
    with begun(tmp_path, config, BUGGY) as life:
        life.ready()
        order_id = trio.run(order_then_poison, life)
        assert 70 == life.ended()
        named = re.search(r"tidegate: entry (\d+) cannot be applied", life.said())
    assert named is not None
    poison = int(named[1])
    with begun(tmp_path, config, BUGGY) as life:
        assert 70 == life.ended()
        assert named[0] in life.said()
    skip = ("log", "skip", str(data_dir))
    status, said = command(*skip, str(poison - 1), "--reason", "why not", program=BUGGY)
    assert 65 == status, said
    status, said = command(*skip, str(poison), "--reason", "a bug", program=BUGGY)
    assert 0 == status, said
    # Also by a version without the bug, which could apply the entry and must not.
    for program in (BUGGY, (TIDEGATE,)):
        with begun(tmp_path, config, program) as life:
            life.ready()
            assert [order_id] == trio.run(open_orders, life)
            life.stop()
        status, said = command("log", "verify", str(data_dir), program=program)
        assert 0 == status, said
        assert f"entry {poison} is skipped: a bug" in said
    verified = re.search("one state, digest ([0-9a-f]+)", said)
    assert verified is not None
    assert verified[1] == replayed_elsewhere(data_dir, 1).split()[0]
