"""The process that follows the log of a running venue, verifies it and writes snapshots.

Its failures do not affect the venue.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from os import getpid
from pathlib import Path
from typing import Final

import trio

from gateway.config.schema import LogSettings
from gateway.log.errors import DivergenceError
from gateway.restart_backoff import RestartBackoff

logger = logging.getLogger(__name__)

FIRST_RESTART_SECONDS: Final = 1.0
LONGEST_RESTART_SECONDS: Final = 60.0
"""A follower whose state diverges diverges again after each restart: one report a minute."""


def follower_command(data_dir: Path, settings: LogSettings) -> list[str]:
    """Return the command that starts a follower, which ends when this process has ended."""
    command = [sys.executable, "-P", "-m", "tidegate", "log", "snapshot", str(data_dir), "--follow"]
    command += ["--every", str(settings.snapshot_entries), "--parent", str(getpid())]
    return [*command, "--prune"] if settings.prune else command


async def run_follower(data_dir: Path, settings: LogSettings, crashed: Callable[[], None]) -> None:
    """Keep a follower running until cancelled; call `crashed` each time that it ends.

    On cancellation the follower is killed, which is safe because snapshots are put in place
    atomically. The venue trades on without a follower, but gets no snapshots, so that the next
    start has to replay more entries.
    """
    follow = partial(
        trio.run_process,
        follower_command(data_dir, settings),
        check=False,
        stdout=subprocess.DEVNULL,
        deliver_cancel=_kill,
        # A Ctrl-C must reach only the venue, which then shuts down in order.
        process_group=0,
    )
    backoff = RestartBackoff(FIRST_RESTART_SECONDS, LONGEST_RESTART_SECONDS)
    while True:
        began = trio.current_time()
        try:
            ended = await follow()
        except OSError as error:
            logger.error("no follower of the log can be started: %s", error)  # noqa: TRY400
        else:
            _log_exit(ended.returncode)
        crashed()
        delay = backoff.delay_after(trio.current_time() - began)
        logger.info("a follower of the log is started again in %.0f s", delay)
        await trio.sleep(delay)


def _log_exit(status: int) -> None:
    if status == DivergenceError.status:
        logger.critical(
            "the follower of the log cannot confirm what this venue does; what it said above names"
            " the entry. Compare with `tidegate log verify`"
        )
    else:
        logger.error("the follower of the log ended with status %d", status)


async def _kill(process: trio.Process) -> None:
    process.kill()
    await trio.lowlevel.checkpoint()
