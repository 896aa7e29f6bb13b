"""A venue as a process of its own, started as a user starts it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import IO, NamedTuple

READY = re.compile(r"tidegate ready http=(?P<http>\S+) ws=(?P<websocket>\S+)\n")
START_SECONDS = 20
STOP_SECONDS = 5
TIDEGATE = str(Path(sys.executable).with_name("tidegate"))

ACCOUNTS = """
[server]
http = "127.0.0.1:0"
websocket = "127.0.0.1:0"

[[index]]
name = "btc_usd"
source = "fixed"
price = 65000

[[account]]
name = "alice"
client_id = "alice-key"
client_secret = "alice-secret"
deposits = { BTC = 100, ETH = 1000, USDC = 1000000 }

[[account]]
name = "bob"
client_id = "bob-key"
client_secret = "bob-secret"
deposits = { BTC = 100, ETH = 1000, USDC = 1000000 }
"""


class Addresses(NamedTuple):
    """Where a venue listens, as its ready line says."""

    http: str
    websocket: str
    process: subprocess.Popen[str]


@contextmanager
def venue(
    folder: Path, config: str = ACCOUNTS, stderr: IO[str] | None = None, ulimit: str = ""
) -> Iterator[Addresses]:
    """Run `tidegate serve` on free ports, with a limit of the system, such as "-n 256".

    It must end with status 0 when told to.
    """
    path = folder / "venue.toml"
    path.write_text(config)
    command = [TIDEGATE, "serve", "--config", str(path)]
    if ulimit:
        command = ["sh", "-c", f'ulimit {ulimit} && exec "$@"', "sh", *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        assert process.stdout is not None
        try:
            readable, _, _ = select([process.stdout], [], [], START_SECONDS)
            assert readable, "the venue did not become ready in time"
            match = READY.fullmatch(process.stdout.readline())
            assert match is not None
            yield Addresses(match["http"], match["websocket"], process)
            process.terminate()
            assert process.wait(STOP_SECONDS) == 0
        finally:
            process.kill()
