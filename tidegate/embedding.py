"""A venue inside the caller's own process."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from attrs import frozen

from tidegate.location import VENUE

NAMES: Final = ("book", "risk", "gateway")
"""The import names that a process gives up when it embeds a venue."""


@frozen
class Embedded:
    """What a program needs to run a venue.

    `parse_config(text)` and `load_config(path)` return a configuration and raise ValueError for
    one that cannot be served. `serve` runs a venue: start it with
    `running = await nursery.start(embedded.serve, config)`, read `running.http_url` and
    `running.websocket_url`, and end it with `running.stop()`.
    """

    serve: Callable[..., Awaitable[None]]
    parse_config: Callable[[str], Any]
    load_config: Callable[[Path], Any]


def embed() -> Embedded:
    """Import the venue into this process.

    From then on `book`, `risk` and `gateway` are the venue's packages in this process, and
    modules of those names elsewhere cannot be imported. A program that has such modules runs
    `tidegate serve` as a process of its own instead.

    Raises ImportError when another module already has one of these names.
    """
    for name in NAMES:
        _require_ours(name)
    if str(VENUE) not in sys.path[:1]:
        sys.path.insert(0, str(VENUE))
    server, config = import_module("gateway.server.server"), import_module("gateway.config.schema")
    return Embedded(server.serve, config.parse, config.load)


def _require_ours(name: str) -> None:
    module = sys.modules.get(name)
    if module is None or _origin(module).parent == VENUE / name:
        return
    raise ImportError(
        f"`{name}` is {_origin(module)} in this process, and a venue needs that name:"
        " run `tidegate serve` as a process of its own",
        name=name,
    )


def _origin(module: ModuleType) -> Path:
    return Path(module.__file__ or next(iter(module.__path__))).resolve()
