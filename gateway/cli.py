"""The command line: `tidegate serve` and what else can be started from it.

A subcommand is a function that adds its own parser, with `run` among the defaults: called with
the parsed arguments, it returns the exit status. More of them join `COMMANDS`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from gateway.config import Config, load
from gateway.server import Running, serve
from gateway.settings import ConfigError

if TYPE_CHECKING:
    # argparse has no public name for what add_subparsers returns.
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

# Service managers and people wait two seconds before they lose patience; interpreter and kernel
# need the last fifth of one.
SHUTDOWN_SECONDS: Final = 1.8
USAGE_ERROR: Final = 2


def add_serve(subcommands: Subcommands) -> None:
    """`tidegate serve`."""
    parser = subcommands.add_parser(
        "serve",
        help="run the venue until it is stopped",
        description="Run the venue until SIGTERM or SIGINT; a second signal ends it at once.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; all keys optional")
    parser.set_defaults(run=_serve)


COMMANDS: Final[list[Callable[[Subcommands], None]]] = [add_serve]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="tidegate", description="A derivatives exchange that speaks the Deribit API v2."
    )
    parser.add_argument("--version", action="version", version=f"tidegate {version('tidegate')}")
    subcommands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(subcommands)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # It announces addresses of its own, which are ours to announce.
    logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
    try:
        status: int = chosen.run(chosen)
    except ConfigError as error:
        print(f"tidegate: {error}", file=sys.stderr)
        return USAGE_ERROR
    return status


def _serve(chosen: argparse.Namespace) -> int:
    trio.run(serve_until_signalled, load(chosen.config) if chosen.config else Config())
    return 0


async def serve_until_signalled(config: Config) -> None:
    """Run a venue, say where it is, and stop it in order at the first signal."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as watch:
            async with trio.open_nursery() as venue:
                running = await venue.start(serve, config)
                watch.start_soon(_stop_at_signal, signals, running)
                print(
                    f"tidegate ready http={running.http_url} ws={running.websocket_url}", flush=True
                )
            watch.cancel_scope.cancel()


async def _stop_at_signal(signals: AsyncIterator[int], running: Running) -> None:
    await anext(signals)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    running.stop()
    await trio.sleep(SHUTDOWN_SECONDS)
    await running.log_closed.wait()
    # Whatever still runs now, a client that reads nothing, say, is nothing that would be missed.
    os._exit(0)
