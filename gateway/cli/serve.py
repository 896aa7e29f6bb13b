"""`tidegate serve`: run a venue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from gateway.cli.arguments import add_command, add_config, announce, load_config
from gateway.server.process import serve_until_signalled

if TYPE_CHECKING:
    import argparse

    from gateway.cli.arguments import Subcommands


def add_serve(subcommands: Subcommands) -> None:
    """Add `tidegate serve`."""
    parser = add_command(
        subcommands,
        "serve",
        _serve,
        "Run the venue until SIGTERM or SIGINT; a second signal ends it at once.",
        "run the venue until it is stopped",
    )
    add_config(parser)


def _serve(chosen: argparse.Namespace) -> int:
    config = load_config(chosen.config)
    trio.run(serve_until_signalled, config, lambda running: announce(running.address))
    return 0
