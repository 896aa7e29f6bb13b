"""Lives of a venue on one data directory: a process that is started, killed, stopped, started."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from typing import Final

from attrs import define

from tests.system.process import READY, TIDEGATE

START_SECONDS: Final = 120
"""For a start, or an end. `scripts/torture` may run for hours at low priority beside other work."""

OUTLIVED_SECONDS: Final = 2.0
NAMES: Final = ("alice", "bob", "carol")
_INDICES: Final = {
    "btc_usd": 65_000,
    "btc_usdc": 65_000,
    "eth_usd": 3_500,
    "eth_usdc": 3_500,
    "sol_usdc": 150,
}


def configuration(data_dir: Path, *, log: str = "") -> str:
    """A venue with quiet indices and three accounts that keeps what it does.

    `log` are lines for the [log] table.
    """
    server = '[server]\nhttp = "127.0.0.1:0"\nwebsocket = "127.0.0.1:0"\nstrict = true'
    tables = [f'{server}\ndata_dir = "{data_dir}"', f"[log]\n{log}", "[limits]\nenabled = false"]
    tables += [
        f'[[index]]\nname = "{name}"\nsource = "fixed"\nprice = {price}'
        for name, price in _INDICES.items()
    ]
    tables += [
        f'[[account]]\nname = "{name}"\nclient_id = "{name}-key"\nclient_secret = "{name}-secret"\n'
        "deposits = { BTC = 1000 }"
        for name in NAMES
    ]
    return "\n\n".join(tables)


@define(eq=False)
class Life:
    """A running venue. Nothing is known of its addresses before `ready`."""

    process: subprocess.Popen[str]
    stderr: Path
    websocket: str = ""

    def ready(self) -> None:
        """Wait until clients can connect."""
        assert self.begins(), self.said()

    def begins(self) -> bool:
        """Wait until clients can connect, or the process has ended; whether they can."""
        assert self.process.stdout is not None
        readable, _, _ = select([self.process.stdout], [], [], START_SECONDS)
        assert readable, f"not ready in time:\n{self.said()}"
        match = READY.fullmatch(self.process.stdout.readline())
        self.websocket = match["websocket"] if match is not None else ""
        return match is not None

    def kill(self) -> None:
        """SIGKILL, and the end of the process."""
        self.process.kill()
        assert -signal.SIGKILL == self.process.wait(START_SECONDS)

    def outlive(self) -> None:
        """Wait for its end for a while; then SIGKILL, for what it started too."""
        try:
            self.process.wait(OUTLIVED_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(START_SECONDS)

    def stop(self) -> None:
        """SIGTERM; it must end in order."""
        self.process.terminate()
        assert 0 == self.process.wait(START_SECONDS), self.said()

    def freeze(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a time. Blocks as long."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def ended(self) -> int:
        """Wait until it ends by itself; its exit status."""
        return self.process.wait(START_SECONDS)

    def said(self) -> str:
        """What it has written to standard error so far."""
        return self.stderr.read_text()


@contextmanager
def begun(
    folder: Path, config: str, program: Sequence[str] = (TIDEGATE,), name: str = "venue"
) -> Iterator[Life]:
    """A venue that is starting; it must have ended by the end of the block, or is killed.

    `program` is what is run instead of the command `tidegate`.
    """
    file, errors = folder / f"{name}.toml", folder / f"{name}.err"
    file.write_text(config)
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            [*program, "serve", "--config", str(file)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            process_group=0,
            # The digests are to be the same whatever it is.
            env={**os.environ, "PYTHONHASHSEED": "random"},
        ) as process,
    ):
        try:
            yield Life(process, errors)
        finally:
            # With what it started: a tracer ends without what it traces.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


STRACE: Final = shutil.which("strace")


def traced(file: Path, call: str, fault: str, trace: Path) -> tuple[str, ...]:
    """`tidegate` under strace, which injects a fault into a call on a file; nothing else is traced.

    `fault` is what strace's `inject` takes after the call.
    """
    assert STRACE is not None
    return (
        *(STRACE, "-f", "-ttt", "-o", str(trace), "-P", str(file)),
        *("-e", f"trace={call}", "-e", f"inject={call}:{fault}", TIDEGATE),
    )


def command(*arguments: str, program: Sequence[str] = (TIDEGATE,)) -> tuple[int, str]:
    """Run a command to its end: its status, and what it said on both outputs."""
    done = subprocess.run(
        [*program, *arguments], capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    return done.returncode, done.stdout + done.stderr


def replayed_elsewhere(data_dir: Path, hash_seed: int) -> str:
    """Digest and trail of a replay in a process with another hash seed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.durability.replay", str(data_dir)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    return done.stdout


def recovered(said: str) -> tuple[int, int]:
    """What a start says of its recovery: the last entry, and how many it replayed."""
    match = re.search(r"recovered entry (\d+):.* (\d+) entries replayed", said)
    assert match is not None, said
    return int(match[1]), int(match[2])
