"""Campaigns: a venue that lives, dies and lives again, while the same clients trade on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import Final

import trio
from attrs import define, field

from gateway.log import maintenance
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.segments import list_segments
from tests.system.durability.client_history import Memory
from tests.system.durability.history_checker import Verdict, judge
from tests.system.durability.venue_process import (
    NAMES,
    Life,
    begun,
    configuration,
    recovered,
    traced,
)
from tests.system.durability.workload import Trader, witness
from tests.system.process import TIDEGATE

# Small, so that each life crosses segments, checkpoints and snapshots.
LOG: Final = "segment_bytes = 65536\ncheckpoint_entries = 50\nsnapshot_entries = 200\n"


@define(eq=False)
class Campaign:
    """A data directory, its clients, and what they remember. `seed` decides what is chosen.

    A life that is killed lasts `seconds` under load, at most; `program` is what is run instead
    of `tidegate`, and `log` is the venue's [log] table. With `striking`, strace kills some lives
    at a write or a sync of the log.

    What the clients are answered depends on the machine too, so that another run of a seed
    makes the same choices, though not at the same moments.
    """

    folder: Path
    seed: int
    faulty: bool = False
    follower: bool = True
    program: Sequence[str] = (TIDEGATE,)
    log: str = LOG
    seconds: float = 0.5
    striking: bool = False
    random: Random = field(init=False)
    memory: Memory = field(factory=Memory, init=False)
    killed_lives: int = field(default=0, init=False)
    traders: list[Trader] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.random = Random(self.seed)
        self.traders = [
            Trader(
                f"{name}{number}",
                name,
                Random(self.random.random()),
                self.memory,
                fleeting=number == 2,
                faulty=self.faulty,
            )
            for name in NAMES
            for number in (1, 2)
        ]

    @property
    def data_dir(self) -> Path:
        """The venue's."""
        return self.folder / "data"

    def life(self, during: Callable[[Life], None], *, name: str) -> None:
        """Start the venue and let everybody trade while `during` runs; stop it if it runs still."""
        with self._begun(name) as life:
            life.ready()
            trio.run(self._trade, life, during)
            if life.process.poll() is None:
                life.stop()

    async def _trade(self, life: Life, during: Callable[[Life], None]) -> None:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                stop = trio.Event()
                nursery.start_soon(witness, life.websocket, self.memory, stop)
                async with trio.open_nursery() as trading:
                    for trader in self.traders:
                        trading.start_soon(trader.live, life.websocket, stop)
                    await trio.to_thread.run_sync(during, life)
                    stop.set()

    def kills(self, lives: int) -> None:
        """So many lives that end with SIGKILL, and now and then a snapshot in between."""
        for number in range(lives):
            if self.striking and self.data_dir.exists() and self.random.random() < 0.3:
                self.struck(number)
            else:
                self.killed(number)
            if self.random.random() < 0.3 and self.data_dir.exists():
                self.snapshot()

    def _kill(self, life: Life) -> None:
        life.kill()
        self.killed_lives += 1

    def killed(self, number: int) -> None:
        """A life that ends with SIGKILL at any moment: while it starts, or under load."""
        name = f"life{number}"
        if self.random.random() < 0.15:
            with self._begun(name) as life:
                time.sleep(self.random.uniform(0.2, 0.8))
                self._kill(life)
            return
        seconds = self.random.uniform(0.02, self.seconds)

        def kill(life: Life) -> None:
            time.sleep(seconds)
            self._kill(life)

        self.life(kill, name=name)

    def struck(self, number: int) -> None:
        """A life that ends with SIGKILL at a call on the log, between write and acknowledgement.

        Or a little later, where it has come to another segment by then.
        """
        call, when = self.random.choice(("write", "fdatasync")), self.random.randint(1, 12)
        segment = list_segments(DataDirectory(self.data_dir).log)[-1].path
        fault, trace = f"signal=KILL:when={when}", self.folder / f"trace{number}"
        with self._begun(f"life{number}", traced(segment, call, fault, trace)) as life:
            if life.begins():
                trio.run(self._trade, life, Life.outlive)
        assert life.process.returncode, "the venue went on, or ended in order"
        self.killed_lives += 1

    def frozen(self, number: int, seconds: float) -> None:
        """A life that is stopped for a while now and then, and in the end in order."""

        def freeze(life: Life) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(self.random.uniform(0.05, 0.3))
                life.freeze(self.random.uniform(0.05, 0.5))

        self.life(freeze, name=f"life{number}")

    def last(self) -> tuple[int, int]:
        """A start and an orderly stop; the last entry it found, and how many it replayed."""
        with self._begun("last") as life:
            life.ready()
            life.stop()
            return recovered(life.said())

    def snapshot(self) -> int:
        """Have a snapshot written of the end of the log; its entry. Nobody may write to it."""
        return maintenance.write_snapshot(DataDirectory(self.data_dir), Disk())

    def _begun(
        self, name: str, program: Sequence[str] | None = None
    ) -> AbstractContextManager[Life]:
        log = f"{self.log}follower = {str(self.follower).lower()}\n"
        config = configuration(self.data_dir, log=log)
        return begun(self.folder, config, program or self.program, name)

    def verdict(self) -> Verdict:
        """What the log says of the memories."""
        return judge(self.data_dir, self.memory)
