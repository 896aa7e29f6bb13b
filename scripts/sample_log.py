"""Write the small log that later versions must be able to open: tests/data/log-2.

    python scripts/sample_log.py [DIRECTORY]

It holds every kind of command, two starts, two segments, a skip, a checkpoint and two snapshots,
and comes out the same to the byte wherever and whenever it is written. The number of a sample is
the version of the rules (`risk.RULES`) that wrote it.

Until the release, a change that alters a result, a stored fact or the set of commands runs this
script without an argument, which replaces tests/data/log-2 and its end in tests/data/log-2.json,
and commits both. After a merge conflict in them: run it again. After the release they stay as they
are; other rules or another format add a sample of their own beside them. tests/data/log-1 and
tests/data/states-1.jsonl.gz are of rules 1 and are never written again.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from msgspec.structs import replace

from book.order import SelfTrading, Side
from book.units import MONEY, SCALE
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.event_hash import EventHash
from gateway.log.snapshots import Snapshot, Snapshots
from gateway.log.writer import SegmentWriter
from risk import RULES
from risk.commands import (
    Cancel,
    CancelAll,
    ClosePosition,
    Command,
    Continue,
    Deposit,
    Edit,
    EndSession,
    EndSessions,
    Entry,
    Liquidate,
    OpenAccount,
    Origin,
    Place,
    SetCancelOnDisconnect,
    SetParameters,
    SetProduct,
    SetSelfTrading,
    Skip,
    StartSession,
    Tick,
    Withdraw,
)
from risk.contract_specs import LEGACY_2025
from risk.exchange import Exchange
from risk.risk_terms import Parameters
from risk.state import INSURANCE

SAMPLE = Path(__file__).parents[1] / "tests" / "data" / f"log-{RULES}"
BEGAN = 1_780_000_000_000
PERPETUAL, TERMS = LEGACY_2025[0]
SESSION = 2**32 + 1


def tick(price: int) -> Tick:
    """A heartbeat."""
    return Tick(prices=(("btc_usd", price * SCALE),))


def place(account: int, side: Side, price: int, amount: int = 100, **terms: Any) -> Place:
    """A limit order."""
    return Place(
        account=account,
        instrument="BTC-PERPETUAL",
        side=side,
        amount=amount * SCALE,
        price=price * SCALE,
        **terms,
    )


FIRST_START: list[list[Command]] = [
    [
        EndSessions(before=2**32),
        SetParameters(parameters=Parameters(supervision=60_000)),
        SetProduct(contract=PERPETUAL, terms=TERMS),
        Deposit(account=INSURANCE, currency="BTC", amount=10 * MONEY),
        OpenAccount(account=101, name="alice"),
        Deposit(account=101, currency="BTC", amount=20 * MONEY),
        OpenAccount(account=102, name="bob"),
        Deposit(account=102, currency="BTC", amount=MONEY // 100),
        tick(65_000),
    ],
    [
        StartSession(session=SESSION, account=101),
        SetCancelOnDisconnect(account=101, session=SESSION, enabled=True),
        SetSelfTrading(account=101, mode=SelfTrading.CANCEL_MAKER),
        place(101, Side.BUY, 64_000, label="bid"),
        place(101, Side.SELL, 65_500, 10_000),
        place(102, Side.BUY, 65_500, 4_000),
    ],
    [
        Edit(account=101, order_id=1, price=64_100 * SCALE),
        Withdraw(account=101, currency="BTC", amount=MONEY // 3),
        Cancel(account=101, order_id=1),
        ClosePosition(account=102, instrument="BTC-PERPETUAL", price=65_500 * SCALE),
    ],
    [tick(60_000), Liquidate(account=102, currency="BTC"), Continue()],
]
POISON = SetProduct(contract=replace(PERPETUAL, family="Q", tick=0), terms=TERMS)
SECOND_START: list[list[Command]] = [
    [EndSessions(before=2 * 2**32), tick(60_500)],
    [CancelAll(account=102), place(101, Side.BUY, 60_000), EndSession(session=SESSION)],
]


def write(path: Path) -> dict[str, Any]:
    """Write the log into a new directory; returns where it ends."""
    directory, disk = DataDirectory(path), Disk()
    with directory.locked(disk):
        exchange, trail = Exchange(), EventHash()
        writer = SegmentWriter(directory.log, disk)
        writer.open()
        time = BEGAN

        def append(commands: list[Command], start: int, *, applied: bool = True) -> None:
            nonlocal time
            time += 1_000
            entries = [
                # One of them carries an idempotency key.
                Entry(number, time, Origin(0, start, 0, number, "once" * (number == 14)), command)
                for number, command in enumerate(commands, writer.sequence + 1)
            ]
            writer.append(entries)
            for entry in entries if applied else ():
                trail.observe(entry, exchange.apply(entry))

        def snapshot() -> None:
            taken = Snapshot.of(exchange, writer.sequence, writer.hash, trail)
            Snapshots(directory.snapshots, disk).write(taken)

        for commands in FIRST_START:
            append(commands, 1)
        append([trail.checkpoint()], 1)
        snapshot()
        append([POISON], 1, applied=False)
        append([Skip(sequence=writer.sequence, reason="prices in steps of nothing")], 0)
        writer.segment_bytes = 1
        append(SECOND_START[0], 2)
        writer.segment_bytes = 2**20
        append(SECOND_START[1], 2)
        append([trail.checkpoint()], 2)
        snapshot()
        writer.close()
    (path / "LOCK").unlink()
    return {
        "sequence": writer.sequence,
        "digest": exchange.digest(),
        "trail": trail.value.hex(),
    }


def main() -> None:
    """Write the sample to the directory given, or in place of the one that is kept."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE
    if path == SAMPLE:
        shutil.rmtree(path, ignore_errors=True)
    end = json.dumps(write(path), indent=4) + "\n"
    if path == SAMPLE:
        path.with_suffix(".json").write_text(end)
    sys.stdout.write(end)


if __name__ == "__main__":
    main()
