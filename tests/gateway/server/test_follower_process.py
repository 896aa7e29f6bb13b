"""The follower process of a venue: its command, restarts and cancellation."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import trio

from gateway.config.schema import LogSettings
from gateway.server import follower_process
from gateway.server.follower_process import follower_command


def test_the_follower_command_contains_the_settings(tmp_path: Path) -> None:
    """Snapshot interval, pruning, and the process id of its parent."""
    settings = LogSettings(snapshot_entries=7, prune=True)
    command = " ".join(follower_command(tmp_path, settings))
    assert f"log snapshot {tmp_path} --follow --every 7 --parent {os.getpid()}" in command
    assert command.endswith(" --prune")
    assert "--prune" not in follower_command(tmp_path, LogSettings())


async def test_a_failed_follower_is_logged_and_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The restart is delayed, and the crash is counted."""
    monkeypatch.setattr(follower_process, "FIRST_RESTART_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    ends: list[float] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            crashed = partial(_count, ends, nursery.cancel_scope)
            # There is no log to follow.
            nursery.start_soon(follower_process.run_follower, tmp_path, LogSettings(), crashed)
    assert 2 == len(ends)
    assert "the follower of the log ended with status 65" in caplog.text
    assert "started again" in caplog.text


def _count(ends: list[float], scope: trio.CancelScope) -> None:
    ends.append(trio.current_time())
    if len(ends) == 2:
        scope.cancel()


async def test_a_diverging_follower_is_logged_as_critical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its exit status shows the divergence; trading continues."""
    monkeypatch.setattr(follower_process, "follower_command", lambda *_: ["sh", "-c", "exit 70"])
    with trio.CancelScope() as scope:
        await follower_process.run_follower(tmp_path, LogSettings(), scope.cancel)
    (record,) = [each for each in caplog.records if each.levelno == logging.CRITICAL]
    assert "cannot confirm what this venue does" in record.message


async def test_a_follower_that_cannot_start_is_logged_and_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A follower that cannot be started is retried with the same delays."""
    monkeypatch.setattr(
        follower_process, "follower_command", lambda *_: [str(tmp_path / "nowhere")]
    )
    with trio.CancelScope() as scope:
        await follower_process.run_follower(tmp_path, LogSettings(), scope.cancel)
    assert "no follower of the log can be started" in caplog.text


async def test_cancellation_kills_the_follower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at once, even if it ignores SIGTERM."""
    pid = tmp_path / "pid"
    script = f"trap '' TERM; echo $$ > {pid}; while :; do sleep 1; done"
    monkeypatch.setattr(follower_process, "follower_command", lambda *_: ["sh", "-c", script])
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower_process.run_follower, tmp_path, LogSettings(), lambda: None)
            while not (pid.exists() and pid.read_text()):  # noqa: ASYNC110 - another process's
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGTERM)
